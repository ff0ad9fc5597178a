//! The online placement engine: filter, score, explain. Pure: it proposes, it cannot bind.
//!
//! ```text
//!   Node, Pod ──► Cluster (columns per resource and label, counts per owner and selector)
//!                    │
//!   batch ──► place: every node filtered, every feasible node scored ──► Outcome per pod
//! ```
//!
//! The same events and the same seed give the same plan on every run, in whatever order nodes became known.

pub mod cluster;
pub mod cpu;
pub mod explain;
pub mod gang;
pub mod gpu;
pub mod interference;
pub mod label;
pub mod load;
pub mod node;
pub mod optimise;
pub mod place;
pub mod pod;
pub mod policy;
pub mod preempt;
pub mod quota;
pub mod reason;
pub mod report;
pub mod reservation;
pub mod resources;
pub mod score;
mod view;
pub mod volume;

pub use cluster::{Budget, Cluster};
pub use gang::Gang;
pub use interference::Interference;
pub use load::{LoadPolicy, Usage};
pub use place::{Bound, Outcome, Pending};
pub use pod::{Pod, PodId};
pub use policy::Policy;
pub use preempt::Preemption;
pub use quota::{OverQuota, Quota};
pub use reason::{HalfGang, NoFit, Reason, Unplaced};
