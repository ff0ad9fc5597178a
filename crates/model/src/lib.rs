//! The words of Crest: kinds of our own, quantities, QoS classes, names that several rooms must agree on.
//!
//! Nothing here does IO, waits or reads a clock.

pub mod batch_quota;
pub mod binding_batch;
pub mod class;
pub mod colocation_policy;
pub mod colocation_profile;
pub mod cpu_set;
pub mod cpu_topology;
pub mod dagjob;
pub mod elastic_quota;
pub mod error_rate;
pub mod interference_rule;
pub mod latency;
pub mod names;
pub mod pinning;
pub mod pod_explanation;
pub mod pod_group;
pub mod preemption_batch;
pub mod qos;
pub mod quantity;
pub mod rebalance_policy;
pub mod reservation;
pub mod scheduling_policy;
pub mod tide;

pub use cpu_set::CpuSet;
pub use cpu_topology::CpuTopology;
pub use qos::QosClass;
pub use quantity::{Bytes, MilliCpu, Quantity};
