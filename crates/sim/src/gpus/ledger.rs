//! What every GPU, core and MiB is held by, kept apart from any policy: it refuses what a policy must not do, and
//! measures fragments by the letter of their definition.

use crate::import::openb::{OpenbNode, OpenbPod};

use super::Target;

/// A place for a pod: a node, and GPUs of it, by their positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub node: usize,
    pub gpus: Vec<usize>,
}

/// A policy gave what was not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pod `{pod}` was placed on `{node}`, GPUs {gpus:?}, where it does not fit")]
pub struct Refused {
    pub pod: String,
    pub node: String,
    pub gpus: Vec<usize>,
}

/// What is free on all nodes.
#[derive(Clone, Debug)]
pub struct Ledger {
    nodes: Vec<Free>,
}

/// What is free on one.
#[derive(Clone, Debug)]
pub struct Free {
    pub name: String,
    pub model: String,
    pub cpu_milli: u64,
    pub memory_mib: u64,
    pub gpu_milli: Vec<u32>,
}

impl Ledger {
    pub fn new(nodes: &[OpenbNode]) -> Self {
        let free = |node: &OpenbNode| Free {
            name: node.name.clone(),
            model: node.model.clone(),
            cpu_milli: node.cpu_milli,
            memory_mib: node.memory_mib,
            gpu_milli: vec![1000; node.n_gpus as usize],
        };
        Self { nodes: nodes.iter().map(free).collect() }
    }

    pub fn nodes(&self) -> &[Free] {
        &self.nodes
    }

    /// The pod holds the seat from now on.
    pub fn take(&mut self, pod: &OpenbPod, seat: &Seat) -> Result<(), Refused> {
        let node = &mut self.nodes[seat.node];
        let mut distinct = seat.gpus.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let are_roomy =
            distinct.iter().all(|&gpu| node.gpu_milli.get(gpu).is_some_and(|&free| free >= pod.gpu_milli));
        if distinct.len() != pod.n_gpus as usize || !are_roomy || !node.fits(pod) {
            let (pod, node, gpus) = (pod.name.clone(), node.name.clone(), seat.gpus.clone());
            return Err(Refused { pod, node, gpus });
        }
        node.cpu_milli -= pod.cpu_milli;
        node.memory_mib -= pod.memory_mib;
        distinct.into_iter().for_each(|gpu| node.gpu_milli[gpu] -= pod.gpu_milli);
        Ok(())
    }

    pub fn free_milli(&self) -> u64 {
        self.nodes.iter().map(Free::free_milli).sum()
    }

    /// The expected fragments of all nodes, in milli.
    pub fn fragments(&self, target: &Target) -> f64 {
        let of_node = |node: &Free| -> f64 {
            target.classes().map(|(pod, share)| share * node.fragments_for(pod) as f64).sum()
        };
        self.nodes.iter().map(of_node).sum()
    }
}

impl Free {
    pub fn fits(&self, pod: &OpenbPod) -> bool {
        let n_roomy = self.gpu_milli.iter().filter(|&&free| free >= pod.gpu_milli).count();
        let model = pod.n_gpus == 0 || pod.models.is_empty() || pod.models.contains(&self.model);
        n_roomy >= pod.n_gpus as usize
            && model
            && self.cpu_milli >= pod.cpu_milli
            && self.memory_mib >= pod.memory_mib
    }

    pub fn free_milli(&self) -> u64 {
        self.gpu_milli.iter().map(|&free| u64::from(free)).sum()
    }

    /// All that is free if the node cannot run the pod or the pod uses no GPU; else what single GPUs have too little of.
    fn fragments_for(&self, pod: &OpenbPod) -> u64 {
        if pod.n_gpus == 0 || !self.fits(pod) {
            return self.free_milli();
        }
        let scraps = self.gpu_milli.iter().filter(|&&free| free < pod.gpu_milli);
        scraps.map(|&free| u64::from(free)).sum()
    }
}
