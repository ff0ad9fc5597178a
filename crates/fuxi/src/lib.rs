//! The batch engine: grants, DAG progress, instance hand-out. Pure: never IO, never knows pods.
//!
//! ```text
//!               ask, deltas                 grants, revokes
//!   job::Job ───────────────► grants::Ledger ───────────────► (edge makes and drains workers)
//!      ▲ │
//!      │ └── assign, ack, stop ──► worker ──► one child process per instance
//!      └──── hello, result ◄──────────┘
//! ```
//! Everything is `(state, event, now) -> decisions`, where `now` is the time since any fixed moment.

pub mod asks;
pub mod blame;
pub mod dag;
pub mod grants;
pub mod inputs;
pub mod instances;
pub mod job;
pub mod protocol;
pub mod ranges;
mod stragglers;
pub mod writes;

use std::time::Duration;

pub use dag::TaskIdx;
pub use job::{Job, WorkerId};
pub use ranges::Ranges;

/// How often what depends on time alone is to be looked at, while there is work.
pub const TICK: Duration = Duration::from_secs(1);
/// How long a machine may have less room than was granted, and who has a better right may be kept waiting. CPU gives way at
/// once, in the agent; memory by eviction.
pub const REVOKE_GRACE: Duration = Duration::from_secs(10);
