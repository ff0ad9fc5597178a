//! Placement as Kubernetes' documentation describes it, and the incremental state against one built anew.

mod load;
mod model;
mod neighbours;
mod policies;
mod tables;
mod volumes;
