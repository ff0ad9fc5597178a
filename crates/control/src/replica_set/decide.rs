//! How many pods a ReplicaSet lacks or has too many, which of them go first, and its status.
//!
//! A pod that is marked as being replaced does not count: another is made in its place, and bears its uid as a label.
//! Whoever set the mark has the pod go once the other is up, or takes the mark away, and then one is too many.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use model::rebalance_policy::{BEING_REPLACED, SUCCESSOR_OF};

use crate::pods;

/// As many pods at once as kube-controller-manager makes.
const BURST: usize = 500;
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What is owed to the world.
#[derive(Debug)]
pub(crate) enum Step {
    /// So many, of which the first take the place of the pods with these uids.
    Create {
        count: usize,
        in_place_of: Vec<String>,
    },
    Delete {
        pods: Vec<Arc<Pod>>,
    },
}

/// The decision on one ReplicaSet.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) step: Option<Step>,
    pub(crate) status: ReplicaSetStatus,
    /// When a pod that is ready becomes available.
    pub(crate) check_after: Option<Duration>,
}

/// `pods` are the set's own pods, ended ones included.
pub(crate) fn decide(replica_set: &ReplicaSet, owned: &[Arc<Pod>], now: Timestamp) -> Plan {
    let active: Vec<Arc<Pod>> = owned.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let min_ready = replica_set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let check_after = active.iter().filter_map(|pod| pods::until_available(pod, min_ready, now)).min();
    Plan { step: step(replica_set, active), status: status(replica_set, owned, now), check_after }
}

/// How many pods the set is to have.
pub(crate) fn wanted(replica_set: &ReplicaSet) -> usize {
    let replicas = replica_set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or(0)
}

fn step(replica_set: &ReplicaSet, mut active: Vec<Arc<Pod>>) -> Option<Step> {
    if replica_set.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let wanted = wanted(replica_set);
    // Of a set that shrinks to nothing, what is being replaced goes as well.
    let wanted = wanted + being_replaced(&active).count().min(wanted);
    if active.len() < wanted {
        let is_alone = |uid: &&str| !active.iter().any(|pod| succeeds(pod, uid));
        let in_place_of = being_replaced(&active).filter(is_alone).map(str::to_owned).collect();
        return Some(Step::Create { count: (wanted - active.len()).min(BURST), in_place_of });
    }
    let excess = (active.len() - wanted).min(BURST);
    let crowds = crowds(&active);
    active.sort_by_cached_key(|pod| retirement_rank(pod, &crowds));
    active.truncate(excess);
    (excess > 0).then_some(Step::Delete { pods: active })
}

/// The uids of pods in whose place others are to be made.
fn being_replaced(active: &[Arc<Pod>]) -> impl Iterator<Item = &str> {
    let is_marked = |pod: &&Arc<Pod>| {
        pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(BEING_REPLACED))
    };
    active.iter().filter(is_marked).filter_map(|pod| pod.metadata.uid.as_deref())
}

fn succeeds(pod: &Pod, uid: &str) -> bool {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|all| all.get(SUCCESSOR_OF)).is_some_and(|of| of == uid)
}

/// How many of the pods are on each node.
fn crowds(active: &[Arc<Pod>]) -> HashMap<String, usize> {
    let mut crowds = HashMap::new();
    for node in active.iter().filter_map(|pod| pods::node_name(pod)) {
        *crowds.entry(node.to_owned()).or_default() += 1;
    }
    crowds
}

/// The smaller, the sooner the pod goes: what serves least goes first, as in Kubernetes.
fn retirement_rank(pod: &Pod, crowds: &HashMap<String, usize>) -> impl Ord + use<> {
    let node = pods::node_name(pod);
    let phase = match pods::phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    };
    let annotations = pod.metadata.annotations.as_ref();
    let cost = annotations.and_then(|all| all.get(DELETION_COST)).and_then(|cost| cost.parse::<i32>().ok());
    let crowd = node.and_then(|node| crowds.get(node)).copied().unwrap_or(0);
    let ready_since = pods::ready_since(pod).map(|since| since.as_second());
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
    (
        node.is_some(),
        phase,
        ready_since.is_some(),
        cost.unwrap_or(0),
        std::cmp::Reverse(crowd),
        // Ready for a shorter time, restarted more often, created later: sooner.
        std::cmp::Reverse(ready_since),
        std::cmp::Reverse(pods::restarts(pod)),
        std::cmp::Reverse(created),
        pod.metadata.name.clone(),
    )
}

fn status(replica_set: &ReplicaSet, owned: &[Arc<Pod>], now: Timestamp) -> ReplicaSetStatus {
    let spec = replica_set.spec.clone().unwrap_or_default();
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let template = spec.template.and_then(|template| template.metadata).and_then(|meta| meta.labels);
    let count = |condition: &dyn Fn(&Pod) -> bool| {
        let count = owned.iter().filter(|pod| condition(pod)).count();
        i32::try_from(count).unwrap_or(i32::MAX)
    };
    let labelled = |pod: &Pod| {
        let labels = pod.metadata.labels.as_ref();
        template.iter().flatten().all(|(key, value)| labels.and_then(|all| all.get(key)) == Some(value))
    };
    let active: Vec<Arc<Pod>> = owned.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    // A pod and the one in its place are one replica to whoever counts them.
    let is_double = |uid: &&str| active.iter().any(|pod| succeeds(pod, uid));
    let doubles = being_replaced(&active).filter(is_double).count();
    let replicas = i32::try_from(active.len() - doubles).unwrap_or(i32::MAX);
    let some = |count: i32| (count > 0).then_some(count.min(replicas));
    let ready = |pod: &Pod| pods::is_active(pod) && pods::ready_since(pod).is_some();
    ReplicaSetStatus {
        replicas,
        fully_labeled_replicas: some(count(&|pod| pods::is_active(pod) && labelled(pod))),
        ready_replicas: some(count(&ready)),
        available_replicas: some(count(&|pod| ready(pod) && pods::is_available(pod, min_ready, now))),
        terminating_replicas: Some(count(&pods::is_terminating)),
        observed_generation: replica_set.metadata.generation,
        conditions: replica_set.status.as_ref().and_then(|status| status.conditions.clone()),
    }
}
