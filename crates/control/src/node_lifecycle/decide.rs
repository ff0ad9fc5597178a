//! Whether a node is alive, which taints say so, and which pods must leave it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::sigma;

/// A node that did not renew its lease for so long is taken for lost.
pub(crate) const GRACE: Duration = Duration::from_secs(40);
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// What admission lets a pod tolerate that says nothing itself; also for pods that came past admission.
const DEFAULT_TOLERATION: i64 = 300;
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// What is owed for a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Conditions that nobody vouches for any more.
    pub(crate) conditions: Option<Vec<NodeCondition>>,
    pub(crate) taints: Option<Vec<Taint>>,
}

/// Decides on `node`, whose last sign of life is `silence` ago.
pub(crate) fn decide(node: &Node, silence: Duration, now: Timestamp) -> Plan {
    let status = node.status.clone().unwrap_or_default();
    let mut conditions = status.conditions.unwrap_or_default();
    let is_silent = silence >= GRACE;
    let unvouched = is_silent && unvouched(&mut conditions, now);
    let old = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let new = taints(&conditions, &old, now);
    Plan { conditions: unvouched.then_some(conditions), taints: (new != old).then_some(new) }
}

/// Sets the node's own conditions to unknown. False when they are already.
fn unvouched(conditions: &mut Vec<NodeCondition>, now: Timestamp) -> bool {
    let own = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
    if !conditions.iter().any(|condition| condition.type_ == "Ready") {
        conditions.push(NodeCondition { type_: "Ready".to_owned(), ..NodeCondition::default() });
    }
    let known =
        conditions.iter_mut().filter(|each| own.contains(&each.type_.as_str()) && each.status != "Unknown");
    let mut is_changed = false;
    for condition in known {
        condition.status = "Unknown".to_owned();
        condition.reason = Some("NodeStatusUnknown".to_owned());
        condition.message = Some("Kubelet stopped posting node status.".to_owned());
        condition.last_transition_time = Some(Time(now));
        is_changed = true;
    }
    is_changed
}

/// The taints that follow from the conditions, beside those that are not ours. What stands keeps its time.
fn taints(conditions: &[NodeCondition], old: &[Taint], now: Timestamp) -> Vec<Taint> {
    let status = |kind: &str| {
        conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.as_str())
    };
    let mut wanted: Vec<(&str, &str)> = match status("Ready") {
        Some("True") => Vec::new(),
        Some("Unknown") => vec![(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")],
        // A node that said nothing yet is new: pods must not come, but none has to leave.
        None => vec![(NOT_READY, "NoSchedule")],
        Some(_) => vec![(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")],
    };
    let pressed = PRESSURES.iter().filter(|(kind, _)| status(kind) == Some("True"));
    wanted.extend(pressed.map(|(_, key)| (*key, "NoSchedule")));
    let is_ours = |taint: &Taint| {
        [UNREACHABLE, NOT_READY].contains(&taint.key.as_str())
            || PRESSURES.iter().any(|(_, key)| *key == taint.key)
    };
    let is_wanted =
        |taint: &Taint| wanted.iter().any(|(key, effect)| *key == taint.key && *effect == taint.effect);
    let mut taints: Vec<Taint> =
        old.iter().filter(|taint| !is_ours(taint) || is_wanted(taint)).cloned().collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            let time_added = (effect == "NoExecute").then_some(Time(now));
            taints.push(Taint { key: key.to_owned(), effect: effect.to_owned(), value: None, time_added });
        }
    }
    taints
}

/// Pods of the node that must leave now, and when the next one must.
pub(crate) fn evictions(
    node: &Node,
    on_it: &[Arc<Pod>],
    now: Timestamp,
) -> (Vec<Arc<Pod>>, Option<Duration>) {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    let expelling: Vec<&Taint> = taints.filter(|taint| taint.effect == "NoExecute").collect();
    let mut due = Vec::new();
    let mut next: Option<Duration> = None;
    for pod in on_it.iter().filter(|pod| crate::pods::is_active(pod)) {
        let ends = expelling.iter().filter_map(|taint| stay_ends(pod, taint, now));
        match ends.min() {
            Some(end) if end <= now.as_second() => due.push(Arc::clone(pod)),
            Some(end) => {
                let left = Duration::from_secs(u64::try_from(end - now.as_second()).unwrap_or(0));
                next = next.into_iter().chain([left]).min();
            }
            None => {}
        }
    }
    (due, next)
}

/// The second at which the taint expels the pod; `None`: never.
fn stay_ends(pod: &Pod, taint: &Taint, now: Timestamp) -> Option<i64> {
    let since = taint.time_added.as_ref().map_or(now, |time| time.0).as_second();
    let engine_taint = sigma::taint(taint)?;
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_ref());
    let tolerates = |each: &&Toleration| sigma::toleration(each).tolerates(&engine_taint);
    let matching: Vec<&Toleration> = tolerations.into_iter().flatten().filter(tolerates).collect();
    if matching.is_empty() {
        let is_ours = [UNREACHABLE, NOT_READY].contains(&taint.key.as_str());
        return Some(since + if is_ours { DEFAULT_TOLERATION } else { 0 });
    }
    let limited = matching.iter().filter_map(|each| each.toleration_seconds).min();
    limited.map(|seconds| since.saturating_add(seconds.max(0)))
}
