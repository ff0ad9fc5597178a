//! What every room's edge needs and no room owns: error chains, task supervision, telemetry, time, TLS.
//!
//! Never a domain word.

pub mod chain;
pub mod clock;
pub mod task;
pub mod telemetry;

pub use chain::Chain;
