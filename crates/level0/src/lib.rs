//! The arbiter of one host: how much batch may have, when it must shrink, and who goes when memory runs short.
//!
//! ```text
//!   readings (1 s) ──► reckon ──► capacity ──► batch-cpu, batch-memory of the Node, with the sum that led to them
//!                          ├► mid ───────► mid-cpu, mid-memory
//!                          ├► zones ─────► the same by NUMA zone
//!   samples (100 ms) ─► squeeze ──► idle class and CPU quota of the batch group
//!                    ├► offender ─► quota of one batch Pod, or its end
//!                    └► evict ────► batch Pods to end, lowest priority first
//!   requests, offers ──► shield ───► memory that services keep, memory that batch may hold
//!   load ──────────────► pools ────► CPUs that batch is kept to, where it is
//!   needs by the hour ─► season ───► when services will need hosts, and how many
//!   window, hosts ─────► tide ─────► hosts that leave batch for a window, and what on them has to go
//! ```
//!
//! Everything here is a plain state machine: the time comes in as an argument, decisions go out as values.

pub mod capacity;
pub mod error_rate;
pub mod evict;
pub mod histogram;
pub mod latency;
pub mod mid;
pub mod offender;
pub mod peak;
pub mod pools;
pub mod predict;
pub mod reckon;
pub mod season;
pub mod shield;
pub mod signal;
pub mod squeeze;
mod steady;
pub mod tide;
pub mod told;
pub mod zones;
