//! The scheduler over a cluster as it was listed, once: what it would do, and why, without doing it.
//!
//! ```text
//!   Snapshot ──► the very scheduler that the edge runs ──┬─► explain: one pod
//!                                                        └─► run: all that wait, as a report
//! ```

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use sigma::PodId;
use sigma::report::{Preempting, Report, utilisation};

use super::bind::Bind;
use super::decide::{self, Decision, PodExplanation, Scheduler};
use super::group::{self, Origin};
use super::snapshot::Snapshot;
use super::{Config, convert, policies, reservations};
use crate::key::ObjectKey;
use crate::volumes::{self, Storage};

/// What is said of pods whose room went to more important ones.
const GIVES_WAY: &str = "more important pods come first: it is tried again after them";

/// A scheduler that was told of a snapshot, and acts on nothing.
#[derive(Debug)]
pub struct Rehearsal {
    scheduler: Scheduler,
    pods: BTreeMap<ObjectKey, Arc<Pod>>,
    /// Pods without a node.
    waiting: Vec<ObjectKey>,
    seed: u64,
    now: Instant,
}

impl Rehearsal {
    /// Tells a scheduler of all that is in `snapshot`.
    pub fn new(snapshot: Snapshot, config: &Config, now: Instant) -> Self {
        let mut scheduler = Scheduler::new(config);
        let pods = feed(&mut scheduler, snapshot, now);
        let (mut by_key, mut waiting) = (BTreeMap::new(), Vec::new());
        for pod in pods {
            let key = ObjectKey::of(&*pod);
            if crate::pods::node_name(&pod).is_none() && !crate::pods::has_ended(&pod) {
                waiting.push(key.clone());
            }
            by_key.insert(key, pod);
        }
        Self { scheduler, pods: by_key, waiting, seed: config.seed, now }
    }

    /// Why a pod is where it is, or why it waits; `None` when there is no such pod.
    pub fn explain(&mut self, namespace: &str, name: &str) -> Option<PodExplanation> {
        let pod = self.pods.get(&ObjectKey::new(namespace, name))?;
        Some(self.scheduler.explain(&decide::id_of(pod)?, pod))
    }

    /// Places all that waits, as the scheduler would at once; pods that are held back are not told of. Those in whose favour
    /// others would go are not placed, since that takes its time.
    pub fn run(&mut self) -> Report {
        let (nodes, bound_before) = (self.scheduler.nodes().count(), self.scheduler.n_placed());
        let mut report = Report { seed: self.seed, nodes, bound_before, ..Report::default() };
        let scheduler = &self.scheduler;
        let is_tried = |key: &&ObjectKey| self.pods.get(key).is_some_and(|pod| scheduler.is_ours(pod));
        let mut undecided: BTreeSet<ObjectKey> = self.waiting.iter().filter(is_tried).cloned().collect();
        for decision in self.scheduler.decide(self.now) {
            match decision {
                Decision::Bind(Bind { pod, node, gpus, cpus, .. }) => {
                    let key = ObjectKey::of(&*pod);
                    undecided.remove(&key);
                    report.placed(key.to_string(), node, (&gpus, &cpus));
                }
                Decision::Report { pod, report: told } => {
                    let key = ObjectKey::of(&*pod);
                    undecided.remove(&key);
                    report.unplaced(key.to_string(), told.message, told.cause.as_ref());
                }
                Decision::Preempt { pod, node, victims, report: told } => {
                    if let Some(told) = told {
                        let key = ObjectKey::of(&*pod);
                        undecided.remove(&key);
                        report.unplaced(key.to_string(), told.message, told.cause.as_ref());
                    }
                    let victims = victims.iter().map(|victim| victim.key.to_string()).collect();
                    report.preempting.push(Preempting {
                        pod: ObjectKey::of(&*pod).to_string(),
                        node,
                        victims,
                    });
                }
                Decision::Tell { .. } | Decision::Account(_) | Decision::Reserve { .. } => {}
            }
        }
        for key in undecided {
            report.unplaced(key.to_string(), GIVES_WAY.to_owned(), None);
        }
        report.utilisation = utilisation(self.scheduler.cluster(), self.scheduler.nodes());
        report
    }
}

/// Tells `scheduler` of everything; returns the pods as it knows them.
fn feed(scheduler: &mut Scheduler, snapshot: Snapshot, now: Instant) -> Vec<Arc<Pod>> {
    for namespace in &snapshot.namespaces {
        scheduler.namespace_changed(&namespace.name_any(), Some(namespace.labels()), now);
    }
    for node in &snapshot.nodes {
        scheduler.node_changed(&node.name_any(), Some(node), now);
    }
    for node in &snapshot.csi_nodes {
        scheduler.volume_limits_changed(&node.name_any(), volumes::limits(node), now);
    }
    for budget in &snapshot.budgets {
        scheduler.budget_changed(&ObjectKey::of(budget).to_string(), convert::budget(budget));
    }
    for policy in &snapshot.policies {
        scheduler.policy_changed(&policy.name_any(), Some(policy), now);
    }
    for rule in &snapshot.rules {
        scheduler.interference_changed(&rule.name_any(), Some(policies::interference(rule)), now);
    }
    for quota in &snapshot.quotas {
        scheduler.quota_changed(&quota.name_any(), Some(quota), now);
    }
    for each in &snapshot.groups {
        scheduler.group_changed(&ObjectKey::of(each), Origin::Ours, Some(group::ours(each)));
    }
    for each in &snapshot.workload_groups {
        scheduler.group_changed(&ObjectKey::of(each), Origin::Kubernetes, Some(group::kubernetes(each)));
    }
    for reservation in snapshot.reservations {
        let key = ObjectKey::of(&reservation);
        let left = snapshot.taken.and_then(|taken| reservations::time_left(&reservation, taken));
        scheduler.reservation_changed(&key, Some(&Arc::new(reservation)), left, now);
    }
    let stock = Stock::new(snapshot.claims, snapshot.classes, snapshot.volumes);
    let pods: Vec<Arc<Pod>> = snapshot.pods.into_iter().map(identified).collect();
    for pod in &pods {
        let id = PodId::new(pod.metadata.uid.as_deref().unwrap_or_default());
        scheduler.needs_changed(&id, volumes::needs_of(&stock, pod));
        scheduler.pod_changed(pod, now);
    }
    scheduler.usage_changed(&snapshot.usage, now);
    pods
}

/// A manifest has no uid yet.
fn identified(mut pod: Pod) -> Arc<Pod> {
    if pod.metadata.uid.is_none() {
        pod.metadata.uid = Some(ObjectKey::of(&pod).to_string());
    }
    Arc::new(pod)
}

/// Storage as it was listed.
struct Stock {
    claims: BTreeMap<ObjectKey, Arc<PersistentVolumeClaim>>,
    classes: BTreeMap<String, Arc<StorageClass>>,
    volumes: BTreeMap<String, Arc<PersistentVolume>>,
}

impl Stock {
    fn new(
        claims: Vec<PersistentVolumeClaim>,
        classes: Vec<StorageClass>,
        volumes: Vec<PersistentVolume>,
    ) -> Self {
        Self {
            claims: claims.into_iter().map(|each| (ObjectKey::of(&each), Arc::new(each))).collect(),
            classes: classes.into_iter().map(|each| (each.name_any(), Arc::new(each))).collect(),
            volumes: volumes.into_iter().map(|each| (each.name_any(), Arc::new(each))).collect(),
        }
    }
}

impl Storage for Stock {
    fn claim(&self, key: &ObjectKey) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.get(key).cloned()
    }

    fn class(&self, name: &str) -> Option<Arc<StorageClass>> {
        self.classes.get(name).cloned()
    }

    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.volumes.get(name).cloned()
    }

    fn volumes(&self) -> Vec<Arc<PersistentVolume>> {
        self.volumes.values().cloned().collect()
    }
}
