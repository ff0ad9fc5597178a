//! A scene placed once, as a whole, and what came of it in numbers.

#[cfg(test)]
mod tests;

use sigma::Outcome;
use sigma::report::{Report, utilisation};

use crate::Scene;

/// Pods that are placed between two words on progress.
const CHUNK: usize = 256;

/// Places all that waits in `scene`, higher priority first; `progress` hears how many pods are done.
pub fn run(scene: &Scene, seed: u64, mut progress: impl FnMut(usize)) -> Report {
    let mut cluster = scene.cluster(seed);
    let (nodes, bound_before) = (scene.nodes.len(), scene.bound.len());
    let mut report = Report { seed, nodes, bound_before, ..Report::default() };
    let mut waiting: Vec<_> = scene.pending.iter().collect();
    waiting.sort_by_key(|pending| std::cmp::Reverse(pending.pod.priority));
    for chunk in waiting.chunks(CHUNK) {
        let batch: Vec<_> = chunk.iter().map(|&pending| pending.clone()).collect();
        for (pending, outcome) in chunk.iter().zip(cluster.place(&batch)) {
            let pod = pending.id.as_str().to_owned();
            match outcome {
                Outcome::Placed { node, gpus, cpus, .. } => report.placed(pod, node, (&gpus, &cpus)),
                Outcome::Unplaced(unplaced) => report.unplaced(pod, unplaced.to_string(), Some(&unplaced)),
            }
        }
        progress(report.placed.len() + report.unplaced.len());
    }
    report.utilisation = utilisation(&cluster, &scene.nodes);
    report
}
