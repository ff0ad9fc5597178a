//! Recorded clusters, in the words of the engines that the live system runs: what an engine would have done with them.
//!
//! ```text
//!   files ──► import (one module per source) ──► Scene: nodes, bound pods, waiting pods ──► engine ──► report
//! ```
//!
//! Nothing here decides: where a pod goes is the engine's word. Seeds are parameters; there is no clock.

pub mod batch;
pub mod contest;
pub mod gpus;
pub mod import;
pub mod placement;
pub mod scene;

pub use import::ImportError;
pub use scene::Scene;
