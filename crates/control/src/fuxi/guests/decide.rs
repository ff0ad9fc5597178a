//! What a Pod of somebody else asks of the ledger, and where it may run.

use std::collections::BTreeMap;

use fuxi::grants::{MachineId, Place, Resources};
use k8s_openapi::api::core::v1::Pod;
use model::{Bytes, MilliCpu, names};
use sigma::node::Node;

use crate::pods;

/// How a Pod stands, as far as placing it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It holds nothing, and never will again.
    Over,
    /// Not to be placed: a gate holds it back, or it is on its way out without having had a Node.
    Held,
    Waits,
    On(String),
}

pub(super) fn standing(pod: &Pod) -> Standing {
    let is_gated = pod.spec.as_ref().is_some_and(pods::is_gated);
    match pods::node_name(pod) {
        _ if pods::has_ended(pod) => Standing::Over,
        Some(node) => Standing::On(node.to_owned()),
        None if is_gated || pod.metadata.deletion_timestamp.is_some() => Standing::Held,
        None => Standing::Waits,
    }
}

/// Whether the Pod did what it was there for: its gang need not start anew.
pub(super) fn has_succeeded(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded")
}

/// The priority of the class `crest-batch`: as good as that of a DagJob that names none.
const OF_BATCH: i32 = 5_000;

/// How the Pod ranks beside DagJobs, whose usual priority is 0.
pub(super) fn priority(pod: &Pod) -> i32 {
    match pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0) {
        0 => 0,
        priority => priority.saturating_sub(OF_BATCH),
    }
}

/// What of batch's resources the Pod asks for.
pub(super) fn shape(pod: &Pod) -> Resources {
    let requests = crate::sigma::pod(pod).requests;
    let of = |name: &str| requests.get(name).copied().unwrap_or(0);
    Resources {
        cpu: MilliCpu(of(names::BATCH_CPU)),
        memory: Bytes(of(names::BATCH_MEMORY)),
        workers: 1,
        ..Resources::default()
    }
}

/// The `BatchQuota` that the Pod counts for.
pub(super) fn quota(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get(names::QUOTA_LABEL).map(String::as_str)
}

/// The uid of what the Pod is a part of, such as a Job: what its Pods hold together counts among others.
pub(super) fn owner(pod: &Pod) -> Option<&str> {
    let owners = pod.metadata.owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

/// Where the Pod may run: anywhere, or on each of these Nodes.
pub(super) fn places(pod: &Pod, nodes: &BTreeMap<String, (MachineId, Node)>) -> Vec<Place> {
    let pod = crate::sigma::pod(pod);
    if pod.node_selector.is_empty() && pod.required_nodes.is_none() {
        return vec![Place::Cluster];
    }
    let fit = nodes.values().filter(|(_, node)| pod.admits(node));
    fit.map(|(machine, _)| Place::Machine(*machine)).collect()
}

/// Why the Pod waits, in words that do not change while nothing does.
pub(super) fn why_waiting(shape: Resources, places: &[Place]) -> String {
    if places.is_empty() {
        return "no Node has the labels that the Pod's node selector or affinity asks for".to_owned();
    }
    let where_ = match places {
        [Place::Cluster] => "no Node leaves".to_owned(),
        places => format!("none of the {} Nodes that its selector names leaves", places.len()),
    };
    let text = |name: &str, amount: u64| sigma::resources::text(name, u128::from(amount));
    format!(
        "{where_} {} CPU and {} memory to batch now; `kubectl describe nodes` shows {} and {}",
        text("cpu", shape.cpu.0),
        text("memory", shape.memory.0),
        names::BATCH_CPU,
        names::BATCH_MEMORY
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(body: Value) -> Pod {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn how_pods_stand() {
        let check = |body: Value, expected: Standing| assert_eq!(standing(&pod(body)), expected);
        check(json!({"spec": {"containers": []}}), Standing::Waits);
        check(json!({"spec": {"containers": [], "schedulingGates": [{"name": "g"}]}}), Standing::Held);
        let going = "2026-01-01T00:00:00Z";
        check(json!({"metadata": {"deletionTimestamp": going}, "spec": {"containers": []}}), Standing::Held);
        check(json!({"spec": {"containers": [], "nodeName": "n"}}), Standing::On("n".to_owned()));
        check(
            json!({"metadata": {"deletionTimestamp": going}, "spec": {"containers": [], "nodeName": "n"}}),
            Standing::On("n".to_owned()),
        );
        check(
            json!({"spec": {"containers": [], "nodeName": "n"}, "status": {"phase": "Failed"}}),
            Standing::Over,
        );
    }

    #[test]
    fn pods_rank_beside_jobs() {
        let check =
            |spec: Value, expected: i32| assert_eq!(priority(&pod(json!({ "spec": spec }))), expected);
        check(json!({"containers": []}), 0);
        check(json!({"containers": [], "priority": 0}), 0);
        check(json!({"containers": [], "priority": 5000}), 0);
        check(json!({"containers": [], "priority": 5010}), 10);
        check(json!({"containers": [], "priority": 3000}), -2000);
    }

    #[test]
    fn all_containers_count_and_those_that_come_before() {
        let asks = |name: &str, cpu: &str, memory: &str| {
            json!({"name": name, "resources": {"requests": {
                "kubernetes.io/batch-cpu": cpu, "kubernetes.io/batch-memory": memory}}})
        };
        let pod = pod(json!({"spec": {
            "initContainers": [asks("i", "900", "1Ki")],
            "containers": [asks("a", "500", "1Mi"), asks("b", "250", "1Mi")]}}));
        let shape = shape(&pod);
        assert_eq!((shape.cpu, shape.memory, shape.workers), (MilliCpu(900), Bytes(2 << 20), 1));
    }

    #[test]
    fn selectors_name_nodes() {
        let node = |labels: &[(&str, &str)]| Node {
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..Node::default()
        };
        let nodes: BTreeMap<String, (MachineId, Node)> = [
            ("a".to_owned(), (MachineId(0), node(&[("disk", "ssd")]))),
            ("b".to_owned(), (MachineId(1), node(&[]))),
        ]
        .into();
        let check = |spec: Value, expected: &[Place], why: &str| {
            let found = places(&pod(json!({"spec": spec})), &nodes);
            assert_eq!(found, expected);
            assert!(why_waiting(Resources::default(), &found).starts_with(why));
        };
        check(json!({"containers": []}), &[Place::Cluster], "no Node leaves 0 CPU");
        let selecting = |value: &str| json!({"containers": [], "nodeSelector": {"disk": value}});
        check(selecting("ssd"), &[Place::Machine(MachineId(0))], "none of the 1 Nodes");
        check(selecting("hdd"), &[], "no Node has the labels");
    }
}
