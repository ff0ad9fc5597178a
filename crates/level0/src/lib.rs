//! The arbiter of one host: how much batch may have, when it must shrink, and who goes when memory runs short.
//!
//! ```text
//!   readings (1 s) ──► reckon ──► capacity ──► batch-cpu, batch-memory of the Node, with the sum that led to them
//!   samples (100 ms) ─► squeeze ──► idle class and CPU quota of the batch group
//!                    └► evict ────► batch Pods to end, lowest priority first
//! ```
//!
//! Everything here is a plain state machine: the time comes in as an argument, decisions go out as values.

pub mod capacity;
pub mod evict;
pub mod histogram;
pub mod peak;
pub mod predict;
pub mod reckon;
pub mod squeeze;
