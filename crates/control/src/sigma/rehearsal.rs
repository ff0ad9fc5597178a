//! The scheduler over a cluster as it was listed, once: what it would do, and why, without doing it.
//!
//! ```text
//!   Snapshot ──► the very scheduler that the edge runs ──┬─► explain: one pod
//!                                                        └─► run: all that wait, as a report
//! ```

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1alpha2 as workload;
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use kube::ResourceExt;
use model::elastic_quota::ElasticQuota;
use model::interference_rule::InterferenceRule;
use model::pod_group::PodGroup;
use model::reservation::Reservation;
use model::scheduling_policy::SchedulingPolicy;
use sigma::report::{Preempting, Report, utilisation};
use sigma::{PodId, Usage};

use super::bind::Bind;
use super::decide::{self, Decision, PodExplanation, Scheduler};
use super::group::{self, Origin};
use super::snapshot::Snapshot;
use super::{Config, convert, policies, reservations};
use crate::key::ObjectKey;
use crate::volumes::{self, Storage};
use crate::world::World;

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
        let (objects, stock) = Objects::of_snapshot(snapshot);
        Self::told_of(objects, &stock, config, now)
    }

    /// Tells a scheduler of all that controllers of this process have heard of.
    pub(super) fn of_world(
        world: &World,
        usage: Vec<(String, Usage, Duration)>,
        config: &Config,
        (wall, now): (Timestamp, Instant),
    ) -> Self {
        Self::told_of(Objects::of_world(world, usage, wall), world, config, now)
    }

    fn told_of(objects: Objects, storage: &impl Storage, config: &Config, now: Instant) -> Self {
        let mut scheduler = Scheduler::new(config);
        let pods = feed(&mut scheduler, objects, storage, now);
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

    /// Places all that waits, as the scheduler would soon: while any find a place it is asked again, once its next pause
    /// is over. Pods that are held back are not told of. Those in whose favour others would go are not placed, since that
    /// takes its time.
    pub fn run(&mut self) -> Report {
        let (nodes, bound_before) = (self.scheduler.nodes().count(), self.scheduler.n_placed());
        let mut report = Report { seed: self.seed, nodes, bound_before, ..Report::default() };
        let scheduler = &self.scheduler;
        let is_tried = |key: &&ObjectKey| self.pods.get(key).is_some_and(|pod| scheduler.is_ours(pod));
        let tried = self.waiting.iter().filter(is_tried).cloned();
        let mut left: BTreeMap<ObjectKey, Option<decide::Report>> = tried.map(|key| (key, None)).collect();
        while self.decide_once(&mut report, &mut left)
            && let Some(pause_end) = self.scheduler.next_try()
        {
            // Not until reservations run out, or figures grow old: that is another cluster.
            self.now = self.now.max(pause_end);
        }
        for (key, told) in left {
            match told {
                Some(told) => report.unplaced(key.to_string(), told.message, told.cause.as_ref()),
                None => report.unplaced(key.to_string(), GIVES_WAY.to_owned(), None),
            }
        }
        report.utilisation = utilisation(self.scheduler.cluster(), self.scheduler.nodes());
        report
    }

    /// Has the scheduler decide once; `left` has the last word on each pod without a place. Whether any got one.
    fn decide_once(
        &mut self,
        report: &mut Report,
        left: &mut BTreeMap<ObjectKey, Option<decide::Report>>,
    ) -> bool {
        let n_placed = report.placed.len();
        for decision in self.scheduler.decide(self.now) {
            match decision {
                Decision::Bind(Bind { pod, node, gpus, cpus, .. }) => {
                    let key = ObjectKey::of(&*pod);
                    left.remove(&key);
                    let pod = key.to_string();
                    report.preempting.retain(|preempting| preempting.pod != pod);
                    report.placed(pod, node, (&gpus, &cpus));
                }
                Decision::Report { pod, report: told } => {
                    left.insert(ObjectKey::of(&*pod), Some(told));
                }
                Decision::Preempt { pod, node, victims, report: told } => {
                    let key = ObjectKey::of(&*pod);
                    let pod = key.to_string();
                    if told.is_some() {
                        left.insert(key, told);
                    }
                    let victims = victims.iter().map(|victim| victim.key.to_string()).collect();
                    report.preempting.retain(|preempting| preempting.pod != pod);
                    report.preempting.push(Preempting { pod, node, victims });
                }
                Decision::Tell { .. } | Decision::Account(_) | Decision::Reserve { .. } => {}
            }
        }
        report.placed.len() > n_placed
    }
}

/// All that a scheduler is told of.
struct Objects {
    nodes: Vec<Arc<Node>>,
    pods: Vec<Arc<Pod>>,
    namespaces: Vec<Arc<Namespace>>,
    budgets: Vec<Arc<PodDisruptionBudget>>,
    csi_nodes: Vec<Arc<CSINode>>,
    groups: Vec<Arc<PodGroup>>,
    workload_groups: Vec<Arc<workload::PodGroup>>,
    policies: Vec<Arc<SchedulingPolicy>>,
    rules: Vec<Arc<InterferenceRule>>,
    reservations: Vec<Arc<Reservation>>,
    quotas: Vec<Arc<ElasticQuota>>,
    /// What nodes use, and how long ago that was.
    usage: Vec<(String, Usage, Duration)>,
    /// When all this was; `None` where that is not known, and then nothing runs out.
    taken: Option<Timestamp>,
}

impl Objects {
    /// What was listed, and where storage is looked up.
    fn of_snapshot(snapshot: Snapshot) -> (Self, Stock) {
        fn shared<T>(objects: Vec<T>) -> Vec<Arc<T>> {
            objects.into_iter().map(Arc::new).collect()
        }
        let stock = Stock::new(snapshot.claims, snapshot.classes, snapshot.volumes);
        let objects = Self {
            nodes: shared(snapshot.nodes),
            pods: snapshot.pods.into_iter().map(identified).collect(),
            namespaces: shared(snapshot.namespaces),
            budgets: shared(snapshot.budgets),
            csi_nodes: shared(snapshot.csi_nodes),
            groups: shared(snapshot.groups),
            workload_groups: shared(snapshot.workload_groups),
            policies: shared(snapshot.policies),
            rules: shared(snapshot.rules),
            reservations: shared(snapshot.reservations),
            quotas: shared(snapshot.quotas),
            usage: snapshot.usage,
            taken: snapshot.taken,
        };
        (objects, stock)
    }

    /// What controllers have heard of.
    fn of_world(world: &World, usage: Vec<(String, Usage, Duration)>, now: Timestamp) -> Self {
        Self {
            nodes: world.nodes.all(),
            pods: world.pods.all(),
            namespaces: world.namespaces.all(),
            budgets: world.budgets.all(),
            csi_nodes: world.csi_nodes.all(),
            groups: world.pod_groups.all(),
            workload_groups: world.workload_groups.all(),
            policies: world.scheduling_policies.all(),
            rules: world.interference_rules.all(),
            reservations: world.reservations.all(),
            quotas: world.elastic_quotas.all(),
            usage,
            taken: Some(now),
        }
    }
}

/// Tells `scheduler` of everything; returns the pods as it knows them.
fn feed(scheduler: &mut Scheduler, objects: Objects, storage: &impl Storage, now: Instant) -> Vec<Arc<Pod>> {
    for namespace in &objects.namespaces {
        scheduler.namespace_changed(&namespace.name_any(), Some(namespace.labels()), now);
    }
    for node in &objects.nodes {
        scheduler.node_changed(&node.name_any(), Some(node), now);
    }
    for node in &objects.csi_nodes {
        scheduler.volume_limits_changed(&node.name_any(), volumes::limits(node), now);
    }
    for budget in &objects.budgets {
        scheduler.budget_changed(&ObjectKey::of(&**budget).to_string(), convert::budget(budget));
    }
    for policy in &objects.policies {
        scheduler.policy_changed(&policy.name_any(), Some(policy), now);
    }
    for rule in &objects.rules {
        scheduler.interference_changed(&rule.name_any(), Some(policies::interference(rule)), now);
    }
    for quota in &objects.quotas {
        scheduler.quota_changed(&quota.name_any(), Some(quota), now);
    }
    for each in &objects.groups {
        scheduler.group_changed(&ObjectKey::of(&**each), Origin::Ours, Some(group::ours(each)));
    }
    for each in &objects.workload_groups {
        scheduler.group_changed(&ObjectKey::of(&**each), Origin::Kubernetes, Some(group::kubernetes(each)));
    }
    for reservation in &objects.reservations {
        let key = ObjectKey::of(&**reservation);
        let left = objects.taken.and_then(|taken| reservations::time_left(reservation, taken));
        scheduler.reservation_changed(&key, Some(reservation), left, now);
    }
    for pod in &objects.pods {
        let id = PodId::new(pod.metadata.uid.as_deref().unwrap_or_default());
        scheduler.needs_changed(&id, volumes::needs_of(storage, pod));
        scheduler.pod_changed(pod, now);
    }
    scheduler.usage_changed(&objects.usage, now);
    objects.pods
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
