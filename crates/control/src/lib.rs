//! The edges that wire engines and workload controllers to the API, one module each. Never a second copy of a decision.
//!
//! ```text
//!   one watch per kind ──► World ──► handlers note keys ──► queue ──► decide (pure) ──► act
//! ```

pub mod act;
pub mod autoscaler;
pub mod catalog;
pub mod certificate;
mod claim;
pub mod cluster_role;
mod condition;
pub mod cron_job;
pub mod daemon_set;
mod departures;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod ephemeral_volume;
pub mod event_ttl;
pub mod expectations;
pub mod fuxi;
pub mod garbage;
pub mod informer;
pub mod job;
mod keeper;
pub mod key;
pub mod leader;
mod metrics;
pub mod namespace;
pub mod node_lifecycle;
pub mod node_ttl;
pub mod owner;
pub mod pod_gc;
pub mod pods;
pub mod policy_status;
pub mod queue;
pub mod quota;
pub mod rebalance;
pub mod rebalancer;
pub mod record;
pub mod replica_set;
mod revisions;
pub mod run;
pub mod service_account;
mod share;
pub mod sigma;
pub mod stateful_set;
pub mod tide;
pub mod token_cleaner;
pub mod volumes;
pub mod world;

pub use run::{Config, run, schedule};
