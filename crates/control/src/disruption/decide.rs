//! The status of a PodDisruptionBudget: how many pods are healthy, how many must be, how many may go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::owner;
use crate::pods;
use crate::share::{Rounding, share};

/// A pod whose eviction was granted and which is still there after this time stays: the deletion got lost.
const FORGET_AFTER: Duration = Duration::from_secs(120);
const ALLOWED: &str = "DisruptionAllowed";

/// A budget and the pods that it covers.
pub(crate) struct View<'a> {
    pub(crate) budget: &'a PodDisruptionBudget,
    pub(crate) pods: &'a [Arc<Pod>],
    /// The uid and wanted size of a pod's workload.
    pub(crate) size_of: &'a (dyn Fn(&Pod) -> Option<(String, i32)> + Sync),
    pub(crate) now: Timestamp,
}

/// What is owed to the world.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) status: PodDisruptionBudgetStatus,
    /// When a granted eviction is forgotten.
    pub(crate) check_after: Option<Duration>,
}

/// Whether the budget covers the pod. An empty selector covers all pods, a missing one none.
pub(crate) fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    selector.is_some_and(|selector| owner::selector(selector).matches(&labels))
}

pub(crate) fn decide(view: &View<'_>) -> Plan {
    let before = view.budget.status.clone().unwrap_or_default();
    let (expected, desired) = needs(view);
    let (disrupted, check_after) = disrupted(view, before.disrupted_pods.unwrap_or_default());
    let is_healthy = |pod: &&Arc<Pod>| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        pods::ready_since(pod).is_some()
            && pod.metadata.deletion_timestamp.is_none()
            && !disrupted.contains_key(name)
    };
    let healthy = count(view.pods.iter().filter(is_healthy).count());
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let generation = view.budget.metadata.generation;
    let conditions = with_verdict(before.conditions.unwrap_or_default(), allowed > 0, (generation, view.now));
    let status = PodDisruptionBudgetStatus {
        observed_generation: generation,
        expected_pods: Some(expected),
        desired_healthy: Some(desired),
        current_healthy: Some(healthy),
        disruptions_allowed: Some(allowed),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        conditions: Some(conditions),
    };
    Plan { status, check_after }
}

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// How many pods there are to be, and how many of them must be healthy.
fn needs(view: &View<'_>) -> (i32, i32) {
    let spec = view.budget.spec.clone().unwrap_or_default();
    // Shares are of what the workloads ask for, not of what happens to run.
    let sizes: BTreeMap<String, i32> = view.pods.iter().filter_map(|pod| (view.size_of)(pod)).collect();
    let wanted = sizes.values().fold(0, |sum: i32, size| sum.saturating_add(*size));
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => (wanted, wanted.saturating_sub(share(most, wanted, Rounding::Up)).max(0)),
        (None, Some(IntOrString::Int(least))) => (count(view.pods.len()), (*least).max(0)),
        (None, Some(least)) => (wanted, share(least, wanted, Rounding::Up)),
        (None, None) => (count(view.pods.len()), 0),
    }
}

/// Evictions that were granted and are not carried out yet.
fn disrupted(view: &View<'_>, granted: BTreeMap<String, Time>) -> (BTreeMap<String, Time>, Option<Duration>) {
    let mut check_after = None;
    let mut kept = BTreeMap::new();
    for (name, since) in granted {
        let pod = view.pods.iter().find(|pod| pod.metadata.name.as_ref() == Some(&name));
        let is_pending = pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none());
        let age = Duration::from_secs(u64::try_from(view.now.as_second() - since.0.as_second()).unwrap_or(0));
        let Some(left) = FORGET_AFTER.checked_sub(age).filter(|left| is_pending && !left.is_zero()) else {
            continue;
        };
        check_after = check_after.into_iter().chain([left]).min();
        kept.insert(name, since);
    }
    (kept, check_after)
}

fn with_verdict(
    mut conditions: Vec<Condition>,
    is_allowed: bool,
    (generation, now): (Option<i64>, Timestamp),
) -> Vec<Condition> {
    let (status, reason) =
        if is_allowed { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let since = crate::condition::since(&conditions, (ALLOWED, status), Time(now));
    let verdict = Condition {
        type_: ALLOWED.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|condition| condition.type_ == ALLOWED) {
        Some(old) => *old = verdict,
        None => conditions.push(verdict),
    }
    conditions
}
