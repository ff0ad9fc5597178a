//! Bad input by the million: seeds are mutated and fed to every parser and every handler. Works with a stable
//! compiler; what it finds is found again by the seed that it prints.
//!
//! ```text
//!   seeds ──► mutation (by seed and number) ──► target ──► fine | panic | too slow
//! ```

mod admission;
mod mutation;
mod requests;
mod run;
mod seeds;
mod targets;

pub use run::{Finding, Limits, run};
pub use targets::{TARGETS, Target};
