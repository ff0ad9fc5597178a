//! GPUs in the score, and what the engine is told of them.
//!
//! Where there are GPUs at all, what is left of them usable outranks how evenly CPU and memory are used: a thousandth
//! of a GPU weighs as much as one point of a wish.

use crate::cluster::{Ask, Class, Cluster, Row};
use crate::gpu::{GpuSet, MOST_GPUS, WHOLE_MILLI};
use crate::pod::{Pod, PodId};
use crate::view::FULL;

/// More than any pod can cost on a node, in millionths of a GPU.
const MOST_COST: i64 = 1_000_000_000;
/// A point, the hundredth of a score's range, in millionths of a GPU.
const POINT_MILLIONTHS: u64 = 1_000;

/// What a row's score has for GPUs that lose nothing.
pub(crate) const GPU_BASE: u64 = MOST_COST.cast_unsigned() * (FULL / 100) / POINT_MILLIONTHS;

/// What GPUs mean to the score of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usability {
    /// How usable they stay; nothing where there are none in the cluster.
    pub(crate) gpus: u64,
    /// Whether it counts how evenly CPU and memory are used: not where there are GPUs.
    pub(crate) is_even_better: bool,
}

impl Cluster {
    /// What becomes of the GPUs of a row with the pod.
    pub(crate) fn usability(&self, row: Row, pod: &Pod) -> Usability {
        if !self.gpus.is_present() {
            return Usability { gpus: 0, is_even_better: true };
        }
        let free = self.gpus.free(row);
        if free.is_empty() {
            return Usability { gpus: GPU_BASE, is_even_better: true };
        }
        let point = FULL / 100;
        let spared = |cost: i64| MOST_COST.saturating_sub(cost).clamp(0, 2 * MOST_COST).cast_unsigned();
        let (ask, beside) = (Ask::of(pod), self.resources.beside(row));
        let cost = self.gpus.growth(row, ask, beside) + self.gpus.imbalance(row, ask, beside);
        let gpus = spared(cost) * point / POINT_MILLIONTHS + fullness(&free) * point / POINT_MILLIONTHS;
        Usability { gpus, is_even_better: false }
    }

    /// The pod is known to hold exactly these GPUs of its node: its annotation says so.
    pub fn hold_gpus(&mut self, pod: &PodId, gpus: &GpuSet) {
        self.gpus.correct(pod, gpus);
        if let Some(placed) = self.placed(pod) {
            let row = placed.row;
            self.changes.touch(row, self.hosts.len());
        }
    }

    /// The GPUs that a pod holds.
    pub fn gpus_of(&self, pod: &PodId) -> GpuSet {
        self.gpus.held(pod)
    }

    /// What is free of each GPU of a node, in milli.
    pub fn free_gpus(&self, node: &str) -> Option<Vec<u32>> {
        self.row(node).map(|row| self.gpus.free(row))
    }

    /// What pods to come will ask for, each with its part. Without this, it is learnt from the pods that are there.
    pub fn set_gpu_workload<'a>(&mut self, parts: impl IntoIterator<Item = (&'a Pod, u64)>) {
        let class = |(pod, part): (&Pod, u64)| {
            let Ask { request, cpu, memory } = Ask::of(pod);
            Some((Class { request: request?.clone(), cpu, memory }, part))
        };
        self.gpus.set_workload(parts.into_iter().filter_map(class));
        self.structure += 1;
    }
}

/// Between nodes of equal cost the fuller one, for at most a thousandth of a GPU: evenness would spread pods over nodes
/// that had better be left whole.
fn fullness(free: &[u32]) -> u64 {
    let n_free: u64 = free.iter().map(|&free| u64::from(free)).sum();
    let most = u64::from(MOST_GPUS) * u64::from(WHOLE_MILLI);
    1_000 * (most - n_free) / most
}
