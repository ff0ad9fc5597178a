//! What a DaemonSet owes: a pod to every fit node, none to the others, and updates within the bounds of its strategy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use sigma::node::Effect;

use super::pod::{node_of, tolerate_troubles};
use crate::pods;
use crate::revisions::REVISION_HASH;
use crate::share::{Rounding, share};

/// As many pods at once as kube-controller-manager makes.
const BURST: usize = 250;
/// A daemon that failed is replaced after this time, so that one that fails at once is no busy loop.
const PAUSE: Duration = Duration::from_secs(5);

/// A DaemonSet, its pods, and all nodes.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) set: &'a DaemonSet,
    pub(crate) nodes: &'a [Arc<Node>],
    pub(crate) pods: &'a [Arc<Pod>],
    /// The hash of the template as it is now.
    pub(crate) update: &'a str,
    pub(crate) now: Timestamp,
}

/// What is owed to the world.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Names of nodes that lack a pod.
    pub(crate) create: Vec<String>,
    pub(crate) delete: Vec<Arc<Pod>>,
    pub(crate) status: DaemonSetStatus,
    pub(crate) check_after: Option<Duration>,
}

/// What a node is to the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fitness {
    /// A pod is to run there.
    Wanted,
    /// A pod that is there may stay, none comes.
    Tolerated,
    Unfit,
}

/// Decides on one DaemonSet.
pub(crate) fn decide(view: &View<'_>) -> Plan {
    let engine_pod = sigma_pod(view.set);
    let fitness: BTreeMap<String, Fitness> =
        view.nodes.iter().map(|node| (node.name_any(), fitness(&engine_pod, node))).collect();
    let mut by_node: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    for pod in view.pods {
        by_node.entry(node_of(pod).unwrap_or_default()).or_default().push(pod);
    }
    let mut plan = Plan { status: status(view, &fitness, &by_node), ..Plan::default() };
    let min_ready = min_ready(view.set);
    plan.check_after =
        view.pods.iter().filter_map(|pod| pods::until_available(pod, min_ready, view.now)).min();
    if view.set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    for (node, on_it) in &by_node {
        // The pods of nodes that are gone are taken away by the pod collector, with the grace that it gives.
        let Some(fitness) = fitness.get(*node) else { continue };
        tidy(*fitness, on_it, view.now, &mut plan);
    }
    if is_rolling(view.set) {
        roll(view, &fitness, &by_node, &mut plan);
    }
    let bare = |node: &&String| {
        let on_it = by_node.get(node.as_str()).into_iter().flatten();
        // One that is going still holds the place, and its ports.
        !on_it.into_iter().any(|pod| !pods::has_ended(pod) || pod.metadata.deletion_timestamp.is_none())
    };
    let wanted = fitness.iter().filter(|(_, fitness)| **fitness == Fitness::Wanted).map(|(node, _)| node);
    plan.create.extend(wanted.filter(bare).cloned());
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    plan
}

fn sigma_pod(set: &DaemonSet) -> sigma::pod::Pod {
    let template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let mut spec = template.spec.unwrap_or_default();
    tolerate_troubles(&mut spec);
    let metadata = template.metadata.unwrap_or_default();
    crate::sigma::pod(&Pod { metadata, spec: Some(spec), status: None })
}

fn fitness(pod: &sigma::pod::Pod, node: &Node) -> Fitness {
    let node = crate::sigma::node(node);
    if !pod.admits(&node) || !pod.tolerates(&node, &[Effect::NoExecute]) {
        Fitness::Unfit
    } else if pod.tolerates(&node, &[Effect::NoSchedule]) {
        Fitness::Wanted
    } else {
        Fitness::Tolerated
    }
}

/// Takes away from a node what is too much there: everything where the set is not to be, failed pods, doubles.
fn tidy(fitness: Fitness, on_it: &[&Arc<Pod>], now: Timestamp, plan: &mut Plan) {
    let standing = || on_it.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    if fitness == Fitness::Unfit {
        plan.delete.extend(standing().map(|pod| Arc::clone(pod)));
        return;
    }
    for ended in standing().filter(|pod| pods::has_ended(pod)) {
        let created = ended.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
        let age = Duration::from_secs(u64::try_from(now.as_second() - created).unwrap_or(0));
        match PAUSE.checked_sub(age).filter(|left| !left.is_zero()) {
            Some(left) => plan.check_after = plan.check_after.into_iter().chain([left]).min(),
            None => plan.delete.push(Arc::clone(ended)),
        }
    }
    let mut running: Vec<&&Arc<Pod>> = standing().filter(|pod| !pods::has_ended(pod)).collect();
    // While an update surges there are two, of different revisions.
    running.sort_by_key(|pod| (pod.labels().get(REVISION_HASH), pod.metadata.creation_timestamp.clone()));
    let doubles = running
        .windows(2)
        .filter(|pair| pair[0].labels().get(REVISION_HASH) == pair[1].labels().get(REVISION_HASH));
    plan.delete.extend(doubles.map(|pair| Arc::clone(pair[1])));
}

fn strategy(set: &DaemonSet) -> Option<&k8s_openapi::api::apps::v1::DaemonSetUpdateStrategy> {
    set.spec.as_ref()?.update_strategy.as_ref()
}

fn is_rolling(set: &DaemonSet) -> bool {
    strategy(set).and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
}

fn min_ready(set: &DaemonSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
}

/// How many nodes may be without, and how many may have two.
fn bounds(set: &DaemonSet, n_wanted: usize) -> (usize, usize) {
    let rolling = strategy(set).and_then(|strategy| strategy.rolling_update.as_ref());
    let of = i32::try_from(n_wanted).unwrap_or(i32::MAX);
    let count = |value: Option<&IntOrString>, default: i32| {
        let value = value.cloned().unwrap_or(IntOrString::Int(default));
        usize::try_from(share(&value, of, Rounding::Up)).unwrap_or(0)
    };
    let surge = count(rolling.and_then(|rolling| rolling.max_surge.as_ref()), 0);
    let unavailable = count(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), 1);
    (if surge == 0 { unavailable.max(1) } else { unavailable }, surge)
}

/// The next pods of old revisions that make room for new ones.
fn roll(
    view: &View<'_>,
    fitness: &BTreeMap<String, Fitness>,
    by_node: &BTreeMap<&str, Vec<&Arc<Pod>>>,
    plan: &mut Plan,
) {
    let wanted: Vec<&str> =
        fitness.iter().filter(|(_, each)| **each == Fitness::Wanted).map(|(node, _)| node.as_str()).collect();
    let (max_unavailable, max_surge) = bounds(view.set, wanted.len());
    let is_new = |pod: &Pod| pod.labels().get(REVISION_HASH).map(String::as_str) == Some(view.update);
    let is_available =
        |pod: &Pod| pods::is_active(pod) && pods::is_available(pod, min_ready(view.set), view.now);
    let (mut n_unavailable, mut n_surging) = (0, 0);
    let mut stale: Vec<(&str, &Arc<Pod>, bool)> = Vec::new();
    for node in wanted {
        let on_it = by_node.get(node).map_or(&[][..], Vec::as_slice);
        let old = on_it.iter().find(|pod| pods::is_active(pod) && !is_new(pod));
        let new = on_it.iter().find(|pod| pods::is_active(pod) && is_new(pod));
        if !on_it.iter().any(|pod| is_available(pod)) {
            n_unavailable += 1;
        }
        match (old, new) {
            (Some(old), Some(new)) if is_available(new) => plan.delete.push(Arc::clone(old)),
            (Some(_), Some(_)) => n_surging += 1,
            (Some(old), None) => stale.push((node, old, is_available(old))),
            (None, _) => {}
        }
    }
    // What serves nobody goes at once: taking it costs nothing.
    stale.sort_by_key(|(_, _, is_available)| *is_available);
    for (node, old, is_available) in stale {
        if max_surge > 0 {
            if n_surging < max_surge && is_available {
                plan.create.push(node.to_owned());
                n_surging += 1;
            } else if !is_available {
                plan.delete.push(Arc::clone(old));
            }
        } else if !is_available {
            plan.delete.push(Arc::clone(old));
        } else if n_unavailable < max_unavailable {
            plan.delete.push(Arc::clone(old));
            n_unavailable += 1;
        }
    }
}

fn status(
    view: &View<'_>,
    fitness: &BTreeMap<String, Fitness>,
    by_node: &BTreeMap<&str, Vec<&Arc<Pod>>>,
) -> DaemonSetStatus {
    let before = view.set.status.clone().unwrap_or_default();
    let mut status = DaemonSetStatus {
        observed_generation: view.set.metadata.generation,
        collision_count: before.collision_count,
        conditions: before.conditions,
        ..DaemonSetStatus::default()
    };
    let (mut updated, mut available) = (0, 0);
    for (node, fitness) in fitness {
        let on_it = by_node.get(node.as_str()).map_or(&[][..], Vec::as_slice);
        // Of an old and a new pod on a node, the one that serves counts.
        let is_ready = |pod: &Pod| pods::ready_since(pod).is_some();
        let counted = on_it.iter().filter(|pod| pods::is_active(pod)).max_by_key(|pod| is_ready(pod));
        if *fitness == Fitness::Unfit {
            status.number_misscheduled += i32::from(counted.is_some());
            continue;
        }
        let is_wanted = *fitness == Fitness::Wanted || counted.is_some();
        status.desired_number_scheduled += i32::from(is_wanted);
        let Some(pod) = counted else { continue };
        status.current_number_scheduled += 1;
        if is_ready(pod) {
            status.number_ready += 1;
            available += i32::from(pods::is_available(pod, min_ready(view.set), view.now));
        }
        updated += i32::from(pod.labels().get(REVISION_HASH).map(String::as_str) == Some(view.update));
    }
    let some = |count: i32| (count > 0).then_some(count);
    status.updated_number_scheduled = some(updated);
    status.number_available = some(available);
    status.number_unavailable = some(status.desired_number_scheduled - available);
    status
}
