//! Load generation, open-loop and recorded honestly.
//!
//! A closed-loop generator waits for an answer before it asks again, so a server that stalls is asked less
//! just when it is slow, and the stall hardly shows. Here requests are due at fixed times whatever the server
//! does, and latency counts from the time a request was *due*, not from when it was sent. That rules out
//! coordinated omission.

pub mod company;
pub mod latency;
pub mod load;
pub mod report;
pub mod stopwatch;
