//! Who places: our engine, and the two plain policies that it is measured against.

use std::collections::HashMap;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;

use sigma::{Cluster, Outcome, Pending, Pod, PodId};

use crate::import::openb::{OpenbNode, OpenbPod};

use super::{Ledger, Seat, Target};

/// Gives pods their seats, one by one.
pub trait Policy {
    /// `None`: there is none for this pod.
    fn seat(&mut self, ledger: &Ledger, pod: &OpenbPod) -> Option<Seat>;
}

/// Our engine, with its own books.
#[derive(Debug)]
pub struct Engine {
    cluster: Cluster,
    positions: HashMap<String, usize>,
}

impl Engine {
    /// With a `target`, the engine is told what will come; else it learns from what came.
    pub fn new(nodes: &[OpenbNode], target: Option<&Target>, seed: u64) -> Self {
        let mut cluster = Cluster::new(seed);
        nodes.iter().for_each(|node| cluster.set_node(&node.node()));
        if let Some(target) = target {
            // Shares are of whole pods; a millionth tells them apart.
            let parts = target.classes().map(|(pod, share)| (pod.pod(), (share * 1e6).round()));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a million")]
            let parts: Vec<(Pod, u64)> = parts.map(|(pod, part)| (pod, part as u64)).collect();
            cluster.set_gpu_workload(parts.iter().map(|(pod, part)| (pod, *part)));
        }
        let positions =
            nodes.iter().enumerate().map(|(position, node)| (node.name.clone(), position)).collect();
        Self { cluster, positions }
    }
}

impl Policy for Engine {
    fn seat(&mut self, _ledger: &Ledger, pod: &OpenbPod) -> Option<Seat> {
        let pending = Pending { id: PodId::new(&pod.name), pod: pod.pod().into() };
        match self.cluster.place(&[pending]).pop()? {
            Outcome::Placed { node, gpus, .. } => {
                Some(Seat { node: self.positions[&node], gpus: gpus.iter().collect() })
            }
            Outcome::Unplaced(_) => None,
        }
    }
}

/// Any node that fits, and any GPUs of it.
#[derive(Debug)]
pub struct Random(StdRng);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }
}

impl Policy for Random {
    fn seat(&mut self, ledger: &Ledger, pod: &OpenbPod) -> Option<Seat> {
        let fitting = ledger.nodes().iter().enumerate().filter(|(_, free)| free.fits(pod));
        let (node, free) = fitting.choose(&mut self.0)?;
        let roomy = (0..free.gpu_milli.len()).filter(|&gpu| free.gpu_milli[gpu] >= pod.gpu_milli);
        let gpus = roomy.choose_multiple(&mut self.0, pod.n_gpus as usize);
        Some(Seat { node, gpus })
    }
}

/// The node that has the least left, as a sum of shares of the largest node's CPU and GPUs; of it, the fullest GPU.
#[derive(Debug)]
pub struct BestFit {
    most_cpu: f64,
    most_gpus: f64,
}

impl BestFit {
    pub fn new(nodes: &[OpenbNode]) -> Self {
        let most = |value: fn(&OpenbNode) -> u64| nodes.iter().map(value).max().unwrap_or(1).max(1) as f64;
        Self { most_cpu: most(|node| node.cpu_milli), most_gpus: most(|node| u64::from(node.n_gpus) * 1000) }
    }
}

impl Policy for BestFit {
    fn seat(&mut self, ledger: &Ledger, pod: &OpenbPod) -> Option<Seat> {
        let fitting = ledger.nodes().iter().enumerate().filter(|(_, free)| free.fits(pod));
        let left = |free: &super::ledger::Free| {
            free.cpu_milli as f64 / self.most_cpu + free.free_milli() as f64 / self.most_gpus
        };
        let (node, free) = fitting.min_by(|(_, one), (_, other)| left(one).total_cmp(&left(other)))?;
        let mut roomy: Vec<usize> =
            (0..free.gpu_milli.len()).filter(|&gpu| free.gpu_milli[gpu] >= pod.gpu_milli).collect();
        roomy.sort_by_key(|&gpu| free.gpu_milli[gpu]);
        roomy.truncate(pod.n_gpus as usize);
        Some(Seat { node, gpus: roomy })
    }
}
