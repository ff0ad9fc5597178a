//! Places a batch of pods: filters every node, scores every node that is left, takes the best.
//!
//! Pods of one template share what does not depend on other pods. Each placed pod is assumed in the state at once,
//! so that the next one sees it.

mod filter;
mod gpus;
mod neighbours;
mod score;
mod spread;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use crate::cluster::{Cluster, Row, TemplateId};
use crate::gpu::GpuSet;
use crate::pod::{Pod, PodId};
use crate::reason::{NoFit, Reason, Unplaced};

use filter::StaticView;
use neighbours::Neighbours;
use spread::Spread;

/// A pod that waits for a node.
#[derive(Clone, Debug)]
pub struct Pending {
    pub id: PodId,
    pub pod: Pod,
}

/// What became of a pod of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The state holds the pod on the node already. Take it back by [`Cluster::remove_pod`] if it cannot be bound.
    Placed {
        node: String,
        score: u64,
        /// The GPUs that the pod holds there; none where it asks for none.
        gpus: GpuSet,
    },
    Unplaced(Unplaced),
}

impl Cluster {
    /// Places the pods of `batch`, higher priority first and else in order. Outcomes are in the order of the batch.
    pub fn place(&mut self, batch: &[Pending]) -> Vec<Outcome> {
        let mut order: Vec<usize> = (0..batch.len()).collect();
        order.sort_by_key(|&position| std::cmp::Reverse(batch[position].pod.priority));
        self.gpus.learn();
        let mut views = HashMap::new();
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.len()];
        for position in order {
            outcomes[position] = Some(self.place_one(&batch[position], &mut views));
        }
        for (template, _) in views {
            self.drop_template(template);
        }
        outcomes.into_iter().flatten().collect()
    }

    /// Why each node that is there would not take `pod` now; no reason where it would.
    pub(crate) fn verdicts(&mut self, pod: &Pod) -> BTreeMap<String, Vec<Reason>> {
        let id = self.intern(pod);
        let template = self.templates.get(id);
        let view = StaticView::of(self, pod);
        let others = Others { spread: Spread::of(self, pod, &view), neighbours: Neighbours::of(self, pod) };
        let rows = (0..self.hosts.len()).filter(|&row| self.hosts[row].is_present);
        let verdict = |row: Row| {
            let checked = filter::check(self, template, view.verdict(row), (row, &others));
            (self.hosts[row].name.clone(), checked.err().unwrap_or_default())
        };
        let verdicts = rows.map(verdict).collect();
        self.drop_template(id);
        verdicts
    }

    fn place_one(&mut self, pending: &Pending, views: &mut HashMap<TemplateId, StaticView>) -> Outcome {
        if let Some(name) = batch_resource(&pending.pod) {
            return Outcome::Unplaced(Unplaced::BatchResource(name));
        }
        // A pod that is asked about again must not stand in its own way.
        self.remove_pod(&pending.id);
        let template = self.intern(&pending.pod);
        let is_new = !views.contains_key(&template);
        let view = views.entry(template).or_insert_with(|| StaticView::of(self, &pending.pod));
        let choice = choose(self, template, view, &pending.id);
        match choice {
            Ok((row, score)) => {
                let node = self.hosts[row].name.clone();
                if is_new {
                    // The view holds a reference of its own until the batch ends.
                    self.intern(&pending.pod);
                }
                self.attach_interned(pending.id.clone(), template, row);
                let gpus = self.gpus.held(&pending.id);
                Outcome::Placed { node, score, gpus }
            }
            Err(no_fit) => {
                if !is_new {
                    self.drop_template(template);
                }
                Outcome::Unplaced(Unplaced::NoFit(no_fit))
            }
        }
    }
}

/// A resource that the pod asks for and that Sigma never spends.
fn batch_resource(pod: &Pod) -> Option<String> {
    let batch = [model::names::BATCH_CPU, model::names::BATCH_MEMORY];
    pod.requests.keys().find(|name| batch.contains(&name.as_str())).cloned()
}

/// What other pods mean to a pod.
#[derive(Debug)]
struct Others<'a> {
    spread: Spread<'a>,
    neighbours: Neighbours<'a>,
}

fn choose(
    cluster: &Cluster,
    template: TemplateId,
    view: &StaticView,
    id: &PodId,
) -> Result<(Row, u64), NoFit> {
    let template = cluster.templates.get(template);
    let others = Others {
        spread: Spread::of(cluster, &template.pod, view),
        neighbours: Neighbours::of(cluster, &template.pod),
    };
    let mut no_fit = NoFit { n_nodes: cluster.n_nodes(), reasons: BTreeMap::new() };
    let mut feasible: Vec<Row> = Vec::new();
    for row in (0..cluster.hosts.len()).filter(|&row| cluster.hosts[row].is_present) {
        match filter::check(cluster, template, view.verdict(row), (row, &others)) {
            Ok(()) => feasible.push(row),
            Err(reasons) => reasons.into_iter().for_each(|reason| {
                *no_fit.reasons.entry(reason).or_default() += 1;
            }),
        }
    }
    let scores = score::totals(cluster, template, view, &feasible, &others);
    let tied = |row: Row| tie_break(cluster.seed, id, &cluster.hosts[row].name);
    let best = feasible.iter().zip(scores).max_by_key(|&(&row, score)| (score, tied(row)));
    best.map(|(&row, score)| (row, score)).ok_or(no_fit)
}

/// A number that depends on nothing but the seed and the two names, so that equal nodes share the load and every
/// run decides alike (FNV-1a with a final mix).
fn tie_break(seed: u64, id: &PodId, node: &str) -> u64 {
    let bytes = id.as_str().bytes().chain([0]).chain(node.bytes());
    let hash = bytes.fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}
