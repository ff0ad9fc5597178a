//! The optimiser: a better place for everything, and the moves that lead there.
//!
//! ```text
//!   Problem + Objective ─┬─► optimise: choose machines, fill, anneal ──► Placement ──► evaluate (the judge)
//!                        └─► rebalance, towards: deals within limits ──► Plan: rounds of moves
//! ```
//!
//! Pure: no clock, no IO. How long it searches, its seed and its threads are parameters; the same parameters give the
//! same answer. `evaluate` shares no arithmetic with the search and is what every figure comes from.

mod anneal;
mod construct;
mod evaluate;
mod host;
mod moves;
mod opening;
mod plan;
mod problem;
mod random;
mod room;
mod rules;
mod search;
mod tables;

#[cfg(test)]
mod tests;

pub use construct::first_fit;
pub use evaluate::{Evaluation, Objective, Violation, evaluate};
pub use moves::{Budget, Limits, Move, difference, rounds};
pub use plan::{Plan, rebalance, towards};
pub use problem::{
    App, AppId, Item, ItemId, Machine, MachineId, Parts, Placement, Problem, ProblemError, Rule, Tie,
};
pub use search::{Settings, optimise};
