//! Places a batch of pods: every node filtered, every node that is left scored, the best taken.
//!
//! Each placed pod is assumed in the state at once, so that the next one sees it. Pods that are placed alike share a
//! [`crate::view`], which is why all this costs little.

mod gpus;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::CpuSet;

use crate::cluster::Cluster;
use crate::gang::{self, Gang, Unit};
use crate::gpu::GpuSet;
use crate::pod::{Pod, PodId};
use crate::reason::{NoFit, Reason, Unplaced};
use crate::score::NodeScore;

use gpus::GPU_BASE;

/// A pod that waits for a node.
#[derive(Clone, Debug)]
pub struct Pending {
    pub id: PodId,
    /// Shared by all pods of a template, at best.
    pub pod: Arc<Pod>,
}

/// A pod on its node.
#[derive(Clone, Debug)]
pub struct Bound {
    pub id: PodId,
    pub pod: Arc<Pod>,
    pub node: String,
    /// The GPUs that it is known to hold.
    pub gpus: Option<GpuSet>,
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
        /// The CPUs that are the pod's own; none where it is not pinned.
        cpus: CpuSet,
    },
    Unplaced(Unplaced),
}

impl Cluster {
    /// Places the pods of `batch`, higher priority first and else in order. Outcomes are in the order of the batch.
    pub fn place(&mut self, batch: &[Pending]) -> Vec<Outcome> {
        self.place_together(batch, &[])
    }

    /// As [`Cluster::place`]; of the pods of each gang, enough are placed or none.
    pub fn place_together(&mut self, batch: &[Pending], gangs: &[Gang]) -> Vec<Outcome> {
        self.learn();
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.len()];
        for unit in gang::units(batch, gangs) {
            match unit {
                Unit::Pod(position) => outcomes[position] = Some(self.place_one(&batch[position])),
                Unit::Gang(gang) => {
                    for (position, outcome) in self.place_gang(batch, gang) {
                        outcomes[position] = Some(outcome);
                    }
                }
            }
        }
        outcomes.into_iter().flatten().collect()
    }

    /// What pods ask of GPUs is looked at anew from time to time.
    fn learn(&mut self) {
        if self.gpus.learn() {
            // Another workload: other scores on every row.
            self.structure += 1;
        }
    }

    /// The nodes that would take `pod` now, best first: it would go to the first of them.
    pub fn ranking(&mut self, pod: &Arc<Pod>) -> Vec<NodeScore> {
        if batch_resource(pod).is_some() || self.volumes.is_claimed(&pod.volumes) {
            return Vec::new();
        }
        self.learn();
        let id = self.intern(pod);
        let ranking = self.with_view(id, |cluster, view| {
            let base = if cluster.gpus.is_present() { GPU_BASE } else { 0 };
            let ranking = view.ranking(cluster, cluster.templates.get(id));
            let told = ranking.iter().zip(1..).map(|((row, score), rank)| {
                NodeScore::new(&cluster.hosts[*row].name, rank, base, (score, view.weights()))
            });
            told.collect()
        });
        self.drop_template(id);
        ranking
    }

    /// Why each node that is there would not take `pod` now; no reason where it would.
    pub(crate) fn verdicts(&mut self, pod: &Pod) -> BTreeMap<String, Vec<Reason>> {
        let id = self.intern(&Arc::new(pod.clone()));
        let verdicts = self.with_view(id, |cluster, view| {
            let template = cluster.templates.get(id);
            let verdict = |row| {
                let reasons = view.check(cluster, template, row).err().unwrap_or_default();
                (cluster.hosts[row].name.clone(), reasons)
            };
            cluster.rows_in_order().map(verdict).collect()
        });
        self.drop_template(id);
        verdicts
    }

    /// Places a pod that is held on a node if some node would take it at once; `None` leaves all as it is. What is held for
    /// it counts meanwhile, as if it were another's.
    pub fn place_elsewhere(&mut self, pending: &Pending) -> Option<Outcome> {
        if batch_resource(&pending.pod).is_some() || self.volumes.is_claimed(&pending.pod.volumes) {
            return None;
        }
        if self.is_over_quota(&pending.id, &pending.pod) {
            return None;
        }
        let template = self.intern(&pending.pod);
        let is_taken = self.with_view(template, |_, view| view.choose().is_some());
        self.drop_template(template);
        is_taken.then(|| self.place_one(pending))
    }

    pub(crate) fn place_one(&mut self, pending: &Pending) -> Outcome {
        if let Some(name) = batch_resource(&pending.pod) {
            return Outcome::Unplaced(Unplaced::BatchResource(name));
        }
        // Interned before the pod's old entry goes, so that an unchanged template is not dropped and built again.
        let template = self.intern(&pending.pod);
        // A pod that is asked about again must not stand in its own way.
        self.remove_pod(&pending.id);
        if let Some(over) = self.over_quota(&pending.pod) {
            self.drop_template(template);
            return Outcome::Unplaced(Unplaced::OverQuota(over));
        }
        if self.volumes.is_claimed(&pending.pod.volumes) {
            self.drop_template(template);
            let reasons = [(Reason::ClaimInUse, self.n_nodes())].into();
            return Outcome::Unplaced(Unplaced::NoFit(NoFit { n_nodes: self.n_nodes(), reasons }));
        }
        let choice = self.with_view(template, |cluster, view| {
            view.choose().ok_or_else(|| view.no_fit(cluster, cluster.templates.get(template)))
        });
        match choice {
            Ok((row, score)) => {
                let node = self.hosts[row].name.clone();
                self.attach(pending.id.clone(), template, row);
                let gpus =
                    if pending.pod.gpu.is_some() { self.gpus.held(&pending.id) } else { GpuSet::default() };
                let cpus = if pending.pod.pinning.is_some() {
                    self.cpus.held(&pending.id)
                } else {
                    CpuSet::default()
                };
                Outcome::Placed { node, score, gpus, cpus }
            }
            Err(no_fit) => {
                self.drop_template(template);
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
