//! One host: desired to actual, level-triggered; adopts what runs after a restart. Never places.
//!
//! ```text
//!   API server ◄──watch, status──► pods ──CRI──► container engine
//!                                   │ ▲
//!              kubelet (logs, exec) ┘ └── colocation, hands (level0) ──► cgroup
//! ```

mod agent;
pub mod beside;
pub mod cgroup;
pub mod colocation;
pub mod config;
pub mod engine;
pub mod env;
pub mod events;
pub mod hands;
pub mod host;
pub mod identity;
pub mod kubelet;
pub mod node;
pub mod pinning;
pub mod pods;
pub mod policy;
pub mod probes;
pub mod resources;
mod schedstat;
pub mod signals;
pub mod sources;
mod state_file;
mod sys;
pub mod tokens;
pub mod usage;
pub mod volumes;
pub mod worker;

pub use agent::{Agent, BuildError, TeardownError, remove_traces};
pub use config::{Arbiter, Config, Hands};
