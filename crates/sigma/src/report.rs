//! What came of a placement of many pods, in numbers: for people, and as JSON for programs.

use std::collections::BTreeMap;

use model::CpuSet;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::gpu::{GpuSet, WHOLE_MILLI};
use crate::node::Node;
use crate::reason::Unplaced;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub seed: u64,
    pub nodes: usize,
    pub bound_before: usize,
    pub placed: Vec<Seat>,
    pub unplaced: Vec<Left>,
    /// Those of the unplaced in whose favour lesser pods would go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preempting: Vec<Preempting>,
    /// How many unplaced pods gave each reason: of a pod, the one that ruled out most nodes.
    pub reasons: BTreeMap<String, usize>,
    /// What is in use in the end, by resource.
    pub utilisation: BTreeMap<String, Utilisation>,
}

/// A pod that was placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seat {
    pub pod: String,
    pub node: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gpus: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cpus: String,
}

/// A pod that was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    pub pod: String,
    pub message: String,
}

/// A pod that has its node once others have gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preempting {
    pub pod: String,
    pub node: String,
    pub victims: Vec<String>,
}

/// How much of a resource is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Utilisation {
    pub used: u128,
    pub capacity: u128,
}

impl Utilisation {
    pub fn percent(&self) -> f64 {
        if self.capacity == 0 { 0.0 } else { 100.0 * self.used as f64 / self.capacity as f64 }
    }
}

impl Report {
    pub fn placed(&mut self, pod: String, node: String, (gpus, cpus): (&GpuSet, &CpuSet)) {
        self.placed.push(Seat { pod, node, gpus: gpus.to_string(), cpus: cpus.to_string() });
    }

    /// `cause` is what the engine said, where it is the engine that said it.
    pub fn unplaced(&mut self, pod: String, message: String, cause: Option<&Unplaced>) {
        let reason = cause.map_or_else(|| message.clone(), main_reason);
        *self.reasons.entry(reason).or_default() += 1;
        self.unplaced.push(Left { pod, message });
    }
}

/// Of several reasons the one that ruled out most nodes.
fn main_reason(unplaced: &Unplaced) -> String {
    match unplaced {
        Unplaced::NoFit(no_fit) => {
            let most =
                no_fit.reasons.iter().max_by_key(|(reason, count)| (**count, std::cmp::Reverse(*reason)));
            most.map_or_else(|| no_fit.to_string(), |(reason, _)| reason.to_string())
        }
        Unplaced::BatchResource(_) | Unplaced::HalfGang(_) | Unplaced::OverQuota(_) => unplaced.to_string(),
    }
}

/// What is in use on `nodes`, all of them together.
pub fn utilisation<'a>(
    cluster: &Cluster,
    nodes: impl IntoIterator<Item = &'a Node>,
) -> BTreeMap<String, Utilisation> {
    let [mut cpu, mut memory, mut gpu] = [Utilisation::default(); 3];
    for node in nodes {
        let [cpu_used, memory_used, _] = cluster.used(&node.name).unwrap_or_default();
        let offered = |name: &str| u128::from(node.allocatable.get(name).copied().unwrap_or(0));
        cpu.used += u128::from(cpu_used);
        cpu.capacity += offered(crate::resources::CPU);
        memory.used += u128::from(memory_used);
        memory.capacity += offered(crate::resources::MEMORY);
        let free: u128 = cluster.free_gpus(&node.name).into_iter().flatten().map(u128::from).sum();
        let whole = u128::from(node.gpus.count) * u128::from(WHOLE_MILLI);
        gpu.used += whole.saturating_sub(free);
        gpu.capacity += whole;
    }
    let all = [("cpu (milli-cores)", cpu), ("memory (bytes)", memory), ("gpu (milli)", gpu)];
    all.into_iter()
        .filter(|(_, each)| each.capacity > 0)
        .map(|(name, each)| (name.to_owned(), each))
        .collect()
}
