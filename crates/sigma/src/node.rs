//! A node as the engine sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::CpuTopology;

use crate::gpu::NodeGpus;
use crate::label::Labels;
use crate::resources::Amounts;

/// Everything about a node that placement depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    /// What pods may ask for in sum: milli-cores for `cpu`, whole units for all else.
    pub allocatable: Amounts,
    pub labels: Labels,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    pub gpus: NodeGpus,
    /// How its CPUs lie, where it has told: what pinned pods need.
    pub cpu_topology: Option<Arc<CpuTopology>>,
    /// The images that are there, by every name that they have, with their sizes in bytes.
    pub images: BTreeMap<String, u64>,
}

/// Keeps pods away that do not tolerate it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: Effect,
}

/// What a taint does to a pod that does not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}
