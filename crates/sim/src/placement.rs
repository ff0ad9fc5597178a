//! A scene placed once, as a whole, and what came of it in numbers.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;
use sigma::gpu::WHOLE_MILLI;
use sigma::resources::{CPU, MEMORY};
use sigma::{Outcome, Pod, Unplaced};

use crate::Scene;

/// Pods that are placed between two words on progress.
const CHUNK: usize = 256;

/// What came of a scene.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub seed: u64,
    pub nodes: usize,
    pub bound_before: usize,
    pub placed: Vec<Seat>,
    pub unplaced: Vec<Left>,
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
}

/// A pod that was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    pub pod: String,
    pub message: String,
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

/// Places all that waits in `scene`, higher priority first; `progress` hears how many pods are done.
pub fn run(scene: &Scene, seed: u64, mut progress: impl FnMut(usize)) -> Report {
    let mut cluster = scene.cluster(seed);
    let mut report = Report {
        seed,
        nodes: scene.nodes.len(),
        bound_before: scene.bound.len(),
        placed: Vec::new(),
        unplaced: Vec::new(),
        reasons: BTreeMap::new(),
        utilisation: BTreeMap::new(),
    };
    let mut waiting: Vec<_> = scene.pending.iter().collect();
    waiting.sort_by_key(|pending| std::cmp::Reverse(pending.pod.priority));
    let mut held: Vec<&Pod> = scene.bound.iter().map(|bound| &*bound.pod).collect();
    for chunk in waiting.chunks(CHUNK) {
        let batch: Vec<_> = chunk.iter().map(|&pending| pending.clone()).collect();
        for (&pending, outcome) in chunk.iter().zip(cluster.place(&batch)) {
            let pod = pending.id.as_str().to_owned();
            match outcome {
                Outcome::Placed { node, gpus, .. } => {
                    held.push(&pending.pod);
                    report.placed.push(Seat { pod, node, gpus: gpus.to_string() });
                }
                Outcome::Unplaced(unplaced) => {
                    *report.reasons.entry(main_reason(&unplaced)).or_default() += 1;
                    report.unplaced.push(Left { pod, message: unplaced.to_string() });
                }
            }
        }
        progress(report.placed.len() + report.unplaced.len());
    }
    report.utilisation = utilisation(scene, &held);
    report
}

/// Of several reasons the one that ruled out most nodes.
fn main_reason(unplaced: &Unplaced) -> String {
    match unplaced {
        Unplaced::NoFit(no_fit) => {
            let most =
                no_fit.reasons.iter().max_by_key(|(reason, count)| (**count, std::cmp::Reverse(*reason)));
            most.map_or_else(|| no_fit.to_string(), |(reason, _)| reason.to_string())
        }
        Unplaced::BatchResource(_) | Unplaced::HalfGang(_) => unplaced.to_string(),
    }
}

fn utilisation(scene: &Scene, held: &[&Pod]) -> BTreeMap<String, Utilisation> {
    let sum = |name: &str| Utilisation {
        used: held.iter().filter_map(|pod| pod.requests.get(name)).map(|&amount| u128::from(amount)).sum(),
        capacity: scene
            .nodes
            .iter()
            .filter_map(|node| node.allocatable.get(name))
            .map(|&amount| u128::from(amount))
            .sum(),
    };
    let gpu_milli = Utilisation {
        used: held
            .iter()
            .filter_map(|pod| pod.gpu.as_ref())
            .map(|gpu| gpu.ask.count() as u128 * u128::from(gpu.ask.milli_each()))
            .sum(),
        capacity: scene.nodes.iter().map(|node| u128::from(node.gpus.count) * u128::from(WHOLE_MILLI)).sum(),
    };
    let all = [("cpu (milli-cores)", sum(CPU)), ("memory (bytes)", sum(MEMORY)), ("gpu (milli)", gpu_milli)];
    all.into_iter()
        .filter(|(_, each)| each.capacity > 0)
        .map(|(name, each)| (name.to_owned(), each))
        .collect()
}
