//! What every room's edge needs and no room owns: error chains, task supervision, telemetry, time, TLS.
//!
//! Never a domain word.

pub mod chain;
pub mod clock;
pub mod door;
pub mod serve;
pub mod task;
pub mod telemetry;
pub mod tls;
pub mod tunnel;

pub use chain::Chain;
