//! GPUs in the score, and what the engine is told of them.
//!
//! Where there are GPUs at all, what is left of them usable outranks how evenly CPU and memory are used: a thousandth
//! of a GPU weighs as much as one point of a wish.

use crate::cluster::{Ask, Class, Cluster, Row};
use crate::gpu::{GpuSet, MOST_GPUS, WHOLE_MILLI};
use crate::pod::{Pod, PodId};

/// More than any pod can cost on a node, in millionths of a GPU.
const MOST_COST: i64 = 1_000_000_000;
/// A point, the hundredth of a score's range, in millionths of a GPU.
const POINT_MILLIONTHS: u64 = 1_000;

impl Cluster {
    /// The part of a row's score that is for how evenly it is used and, where there are GPUs, for how usable they stay.
    /// `point` is a hundredth of the range of one score.
    pub(crate) fn usability(&self, row: Row, pod: &Pod, evenness: u64, point: u64) -> u64 {
        if !self.gpus.is_present() {
            return evenness;
        }
        let spared = |cost: i64| MOST_COST.saturating_sub(cost).clamp(0, 2 * MOST_COST).cast_unsigned();
        let free = self.gpus.free(row);
        if free.is_empty() {
            return spared(0) * point / POINT_MILLIONTHS + evenness;
        }
        let (ask, beside) = (Ask::of(pod), self.resources.beside(row));
        let cost = self.gpus.growth(row, ask, beside) + self.gpus.imbalance(row, ask, beside);
        spared(cost) * point / POINT_MILLIONTHS + fullness(&free) * point / POINT_MILLIONTHS
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
