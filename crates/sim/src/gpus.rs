//! The published GPU experiment (FGD, ATC 2023): pods arrive in random order and never leave, until they would fill the
//! cluster's GPUs to 130%. What share of the GPUs is held in the end, and how much of the rest is of any use?
//!
//! ```text
//!   nodes, pods, seed ──► arrivals ──► Policy ──► Ledger (checks every placement) ──► Curve
//! ```

mod ledger;
mod policy;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde::Serialize;

use crate::import::openb::{OpenbNode, OpenbPod};

pub use ledger::{Ledger, Refused, Seat};
pub use policy::{BestFit, Engine, Policy, Random};

/// The experiment's end, in percent of the cluster's GPUs.
pub const LAST_PERCENT: u64 = 130;
/// How often the curve is sampled, in the same unit.
const STEP_PERCENT: u64 = 5;

/// What became of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    pub points: Vec<Point>,
    /// Pods that found no place, by what they asked of GPUs.
    pub failures: BTreeMap<String, u64>,
}

/// The cluster when a share of its GPUs' worth had arrived. All are percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    pub arrived: f64,
    /// Held, of all GPUs.
    pub allocated: f64,
    /// Expected fragments, of what is not held.
    pub fragments: f64,
}

impl Curve {
    /// The first point at which so much had arrived; the last, where it never did.
    pub fn at(&self, percent: u64) -> Option<Point> {
        let reached = self.points.iter().find(|point| point.arrived >= percent as f64);
        reached.or(self.points.last()).copied()
    }
}

/// `pods` in random order, more of their like added at random until [`LAST_PERCENT`] of the capacity arrives, and none
/// thereafter.
pub fn arrivals(nodes: &[OpenbNode], pods: &[OpenbPod], seed: u64) -> Vec<OpenbPod> {
    let mut random = StdRng::seed_from_u64(seed);
    let enough = capacity_milli(nodes) * LAST_PERCENT / 100;
    let mut arriving = pods.to_vec();
    let mut sum: u64 = arriving.iter().map(OpenbPod::total_gpu_milli).sum();
    let mut n_more = 0;
    while sum < enough
        && let Some(like) = pods.choose(&mut random)
    {
        n_more += 1;
        sum += like.total_gpu_milli();
        arriving.push(OpenbPod { name: format!("{}-again-{n_more}", like.name), ..like.clone() });
        if sum == 0 && n_more > pods.len() {
            break; // None of them asks for a GPU.
        }
    }
    arriving.shuffle(&mut random);
    let mut arrived = 0;
    arriving.retain(|pod| {
        let is_in_time = arrived < enough;
        arrived += pod.total_gpu_milli();
        is_in_time
    });
    arriving
}

/// Lets `arriving` come to `nodes` under `policy`.
pub fn run(
    nodes: &[OpenbNode],
    arriving: &[OpenbPod],
    target: &Target,
    policy: &mut dyn Policy,
) -> Result<Curve, Refused> {
    let capacity = capacity_milli(nodes).max(1);
    let mut ledger = Ledger::new(nodes);
    let mut curve = Curve { points: Vec::new(), failures: BTreeMap::new() };
    let (mut arrived, mut next_point) = (0, STEP_PERCENT);
    for pod in arriving {
        arrived += pod.total_gpu_milli();
        match policy.seat(&ledger, pod) {
            Some(seat) => ledger.take(pod, &seat)?,
            None => *curve.failures.entry(class_name(pod)).or_default() += 1,
        }
        let arrived_percent = arrived * 100 / capacity;
        if arrived_percent >= next_point {
            next_point = arrived_percent - arrived_percent % STEP_PERCENT + STEP_PERCENT;
            curve.points.push(point(&ledger, target, arrived, capacity));
        }
    }
    curve.points.push(point(&ledger, target, arrived, capacity));
    Ok(curve)
}

fn point(ledger: &Ledger, target: &Target, arrived: u64, capacity: u64) -> Point {
    let free = ledger.free_milli();
    let percent = |part: f64, whole: u64| if whole == 0 { 0.0 } else { 100.0 * part / whole as f64 };
    Point {
        arrived: percent(arrived as f64, capacity),
        allocated: percent((capacity - free) as f64, capacity),
        fragments: percent(ledger.fragments(target), free),
    }
}

fn capacity_milli(nodes: &[OpenbNode]) -> u64 {
    nodes.iter().map(|node| u64::from(node.n_gpus) * 1000).sum()
}

fn class_name(pod: &OpenbPod) -> String {
    match (pod.n_gpus, pod.gpu_milli) {
        (0, _) => "no GPU".to_owned(),
        (1, 1000) => "1 GPU".to_owned(),
        (1, _) => "share of a GPU".to_owned(),
        (count, _) => format!("{count} GPUs"),
    }
}

/// What pods to come will ask for: each class and its share of all pods.
#[derive(Clone, Debug)]
pub struct Target {
    classes: Vec<(OpenbPod, f64)>,
}

impl Target {
    /// As `pods` are: the distribution that the published experiment takes as known.
    pub fn of(pods: &[OpenbPod]) -> Self {
        let mut counts: BTreeMap<_, (OpenbPod, u64)> = BTreeMap::new();
        for pod in pods {
            let key = (pod.cpu_milli, pod.memory_mib, pod.n_gpus, pod.gpu_milli, pod.models.clone());
            counts.entry(key).or_insert_with(|| (pod.clone(), 0)).1 += 1;
        }
        let total = pods.len().max(1) as f64;
        Self { classes: counts.into_values().map(|(pod, count)| (pod, count as f64 / total)).collect() }
    }

    pub fn classes(&self) -> impl Iterator<Item = (&OpenbPod, f64)> {
        self.classes.iter().map(|(pod, share)| (pod, *share))
    }
}
