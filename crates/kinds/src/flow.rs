//! Priority and fairness: which requests run now, which wait, and which are refused. Pure.
//!
//! ```text
//!   request ──classify (FlowSchemas)──► flow ──arrive──► seated │ waits │ refused
//!                                        │                 ▲       │
//!                                        └ priority level  └───────┘ a seat becomes free
//! ```
//! Every priority level has its own seats; what it does not use it lends, as far as its configuration says. Within a
//! level flows share the seats fairly: each is dealt a few of the level's queues, and the queue that had the least
//! service is served next. The state is told what happens and when; it never reads a clock and waits for nothing.

mod bootstrap;
mod classifier;
mod deal;
mod dispatcher;
mod level;
mod limits;

pub use bootstrap::{Bootstrap, bootstrap, mended};
pub use classifier::{Classifier, Flow, Request, Target, dangling};
pub use dispatcher::{Arrival, Dispatcher, Refusal, Ticket};
pub use limits::Limits;

/// The level, and the schema, that takes what nothing else does; there is no cluster without it.
const CATCH_ALL: &str = "catch-all";
/// The level that knows no limits.
const EXEMPT: &str = "exempt";

#[cfg(test)]
mod tests;
