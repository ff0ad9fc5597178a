//! What a StatefulSet owes: its pods in their order, the surplus from the end, and updates from the end down to the
//! partition.
//!
//! ```text
//!   up: 0 ─► 1 ─► 2     each once the one before is available      (Parallel: all at once)
//!   down and update: 2 ─► 1 ─► 0
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::pods;
use crate::revisions::{History, REVISION_HASH};
use crate::share::{Rounding, share};

/// As many pods at once as kube-controller-manager makes.
const BURST: usize = 500;

/// A StatefulSet, its pods and its revisions.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) set: &'a StatefulSet,
    pub(crate) pods: &'a [Arc<Pod>],
    pub(crate) history: &'a History,
    pub(crate) now: Timestamp,
}

/// A pod to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct New {
    pub(crate) ordinal: i32,
    /// The name of the revision whose template it follows.
    pub(crate) revision: String,
}

/// What is owed to the world.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) create: Vec<New>,
    pub(crate) delete: Vec<Arc<Pod>>,
    pub(crate) status: StatefulSetStatus,
    /// When a pod that is ready becomes available.
    pub(crate) check_after: Option<Duration>,
}

/// The pod's place in the set, by its name.
pub(crate) fn ordinal_of(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let name = pod.metadata.name.as_deref()?;
    let digits = name.strip_prefix(set.metadata.name.as_deref()?)?.strip_prefix('-')?;
    let ordinal: i32 = digits.parse().ok()?;
    // One spelling per ordinal: `s-01` is somebody else's.
    (ordinal >= 0 && ordinal.to_string() == digits).then_some(ordinal)
}

/// The name of the revision that a pod is of.
pub(crate) fn revision_of(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get(REVISION_HASH).map(String::as_str)
}

pub(crate) fn first_ordinal(set: &StatefulSet) -> i32 {
    let ordinals = set.spec.as_ref().and_then(|spec| spec.ordinals.as_ref());
    ordinals.and_then(|ordinals| ordinals.start).unwrap_or(0).max(0)
}

pub(crate) fn size(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1).max(0)
}

/// The set's pods, by what they are to it.
struct Places {
    /// The ordinals of the set.
    ordinals: Range<i32>,
    /// The pods that have their place.
    taken: BTreeMap<i32, Arc<Pod>>,
    /// Beyond its size, the last first.
    surplus: Vec<Arc<Pod>>,
}

impl Places {
    fn of(view: &View<'_>) -> Self {
        let first = first_ordinal(view.set);
        let ordinals = first..first.saturating_add(size(view.set));
        let place = |pod: &Pod| ordinal_of(view.set, pod).filter(|ordinal| ordinals.contains(ordinal));
        let taken = view.pods.iter().filter_map(|pod| Some((place(pod)?, Arc::clone(pod)))).collect();
        let mut surplus: Vec<Arc<Pod>> =
            view.pods.iter().filter(|pod| place(pod).is_none()).cloned().collect();
        surplus.sort_by_key(|pod| std::cmp::Reverse(ordinal_of(view.set, pod)));
        Self { ordinals, taken, surplus }
    }
}

/// What of the spec the steps need.
struct Rules<'a> {
    is_ordered: bool,
    is_rolling: bool,
    partition: i32,
    max_unavailable: usize,
    min_ready: i32,
    /// The revision of pods below the partition.
    current: &'a str,
    update: &'a str,
}

impl<'a> Rules<'a> {
    fn of(view: &'a View<'_>, spec: &StatefulSetSpec, update: &'a str) -> Self {
        let strategy = spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let limit = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let known = view.set.status.as_ref().and_then(|status| status.current_revision.as_deref());
        Self {
            is_ordered: spec.pod_management_policy.as_deref() != Some("Parallel"),
            is_rolling: strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete"),
            partition: rolling.and_then(|rolling| rolling.partition).unwrap_or(0).max(0),
            max_unavailable: limit
                .map_or(1, |limit| share(limit, size(view.set), Rounding::Down).max(1))
                .try_into()
                .unwrap_or(1),
            min_ready: spec.min_ready_seconds.unwrap_or(0),
            current: known.filter(|name| !name.is_empty()).unwrap_or(update),
            update,
        }
    }

    fn revision_for(&self, set: &StatefulSet, ordinal: i32) -> String {
        let is_held = self.is_rolling && ordinal < first_ordinal(set).saturating_add(self.partition);
        if is_held { self.current.to_owned() } else { self.update.to_owned() }
    }
}

/// Decides on one StatefulSet.
pub(crate) fn decide(view: &View<'_>) -> Plan {
    let spec = view.set.spec.clone().unwrap_or_default();
    let update = view.history.update.name_any();
    let rules = Rules::of(view, &spec, &update);
    let places = Places::of(view);
    let mut plan = Plan { status: status(view, &rules), ..Plan::default() };
    let waits = view.pods.iter().filter_map(|pod| pods::until_available(pod, rules.min_ready, view.now));
    plan.check_after = waits.min();
    if view.set.metadata.deletion_timestamp.is_none() {
        let is_complete = grow(view, &places, &rules, &mut plan);
        let is_shrunk = is_complete && shrink(view, &places, &rules, &mut plan);
        if is_shrunk && rules.is_rolling {
            update_pods(view, &places, &rules, &mut plan);
        }
    }
    plan
}

fn is_healthy(pod: &Pod) -> bool {
    pods::phase(pod) == "Running"
        && pods::ready_since(pod).is_some()
        && pod.metadata.deletion_timestamp.is_none()
}

fn is_available(pod: &Pod, view: &View<'_>, rules: &Rules<'_>) -> bool {
    is_healthy(pod) && pods::is_available(pod, rules.min_ready, view.now)
}

/// Fills the set's places. False when what follows has to wait.
fn grow(view: &View<'_>, places: &Places, rules: &Rules<'_>, plan: &mut Plan) -> bool {
    for ordinal in places.ordinals.clone() {
        let may_go_on = match places.taken.get(&ordinal) {
            None => {
                plan.create.push(New { ordinal, revision: rules.revision_for(view.set, ordinal) });
                false
            }
            Some(pod) if pods::has_ended(pod) => {
                // It comes again once it is gone.
                if pod.metadata.deletion_timestamp.is_none() {
                    plan.delete.push(Arc::clone(pod));
                }
                false
            }
            Some(pod) => is_available(pod, view, rules),
        };
        if rules.is_ordered && !may_go_on || plan.create.len() >= BURST {
            return false;
        }
    }
    true
}

/// Takes away the surplus, from the end. False when what follows has to wait.
fn shrink(view: &View<'_>, places: &Places, rules: &Rules<'_>, plan: &mut Plan) -> bool {
    // An ordered set takes a pod that serves only when no other pod is in trouble, so that trouble does not spread.
    let first_unhealthy = places.surplus.iter().rev().find(|pod| !is_healthy(pod));
    for pod in &places.surplus {
        let is_going = pod.metadata.deletion_timestamp.is_some();
        let is_in_trouble = !is_available(pod, view, rules);
        let is_first = first_unhealthy.is_some_and(|first| Arc::ptr_eq(first, pod));
        if rules.is_ordered && (is_going || is_in_trouble && !is_first) {
            return false;
        }
        if !is_going {
            plan.delete.push(Arc::clone(pod));
        }
        if rules.is_ordered {
            return false;
        }
    }
    true
}

/// Takes away pods of old revisions, from the end down to the partition, so many at a time as may be missing.
fn update_pods(view: &View<'_>, places: &Places, rules: &Rules<'_>, plan: &mut Plan) {
    let first = places.ordinals.start.saturating_add(rules.partition).min(places.ordinals.end);
    let held = first..places.ordinals.end;
    let updated = || places.taken.range(held.clone());
    let mut missing = held.len().saturating_sub(updated().count());
    for (_, pod) in updated().rev() {
        if missing >= rules.max_unavailable {
            return;
        }
        let is_stale = revision_of(pod) != Some(rules.update);
        if is_stale && pod.metadata.deletion_timestamp.is_none() {
            plan.delete.push(Arc::clone(pod));
            missing += 1;
        } else if !is_available(pod, view, rules) {
            missing += 1;
        }
    }
}

fn status(view: &View<'_>, rules: &Rules<'_>) -> StatefulSetStatus {
    let count = |condition: &dyn Fn(&Pod) -> bool| {
        let count = view.pods.iter().filter(|pod| condition(pod)).count();
        i32::try_from(count).unwrap_or(i32::MAX)
    };
    let some = |count: i32| (count > 0).then_some(count);
    let is_of =
        |pod: &Pod, name: &str| revision_of(pod) == Some(name) && pod.metadata.deletion_timestamp.is_none();
    let before = view.set.status.clone().unwrap_or_default();
    let ready = count(&|pod| pods::phase(pod) == "Running" && pods::ready_since(pod).is_some());
    let updated = count(&|pod| is_of(pod, rules.update));
    let size = size(view.set);
    // The rollout is over: the new revision is the current one.
    let is_complete = rules.is_rolling && updated == size && ready == size && count(&|_| true) == size;
    let current = if is_complete { rules.update } else { rules.current };
    StatefulSetStatus {
        observed_generation: view.set.metadata.generation,
        replicas: count(&|_| true),
        ready_replicas: some(ready),
        available_replicas: Some(count(&|pod| is_available(pod, view, rules))),
        current_replicas: some(count(&|pod| is_of(pod, current))),
        updated_replicas: some(updated),
        current_revision: Some(current.to_owned()),
        update_revision: Some(rules.update.to_owned()),
        collision_count: Some(before.collision_count.unwrap_or(0)),
        conditions: before.conditions,
    }
}
