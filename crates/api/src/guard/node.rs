//! A node's agent writes its own Node, its own Lease and the Pods on it, and of its Node not what steers scheduling.

use std::collections::BTreeSet;

use kinds::status::Failure;
use serde_json::Value;

use crate::call::Call;
use crate::object;
use crate::strategy::Part;

const MIRROR: &str = "kubernetes.io/config.mirror";
/// Labels by which administrators keep workloads on certain nodes.
const RESERVED_PREFIX: &str = "node-restriction.kubernetes.io";
/// Of Kubernetes' own labels those that an agent knows better than anybody.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const OWN_PREFIXES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

pub(super) fn create(call: &Call, new: &Value) -> Result<(), Failure> {
    let Some(node) = call.user.node_name() else { return Ok(()) };
    match (call.path.kind.group, call.path.kind.kind) {
        ("", "Pod") => create_pod(call, node, new),
        ("", "Node") => {
            must_be_own(call, node, object::name(new))?;
            let labels = labels(new).filter(|label| !is_own_label(label)).collect();
            must_not_touch(call, new, &labels)
        }
        ("coordination.k8s.io", "Lease") if object::name(new) != node => {
            refuse(call, new, "can only access node lease with the same name as the requesting node")
        }
        ("storage.k8s.io", "CSINode") if object::name(new) != node => {
            refuse(call, new, "can only access CSINode with the same name as the requesting node")
        }
        _ => Ok(()),
    }
}

fn create_pod(call: &Call, node: &str, pod: &Value) -> Result<(), Failure> {
    let spec = &pod["spec"];
    if pod["metadata"]["annotations"].get(MIRROR).is_none() {
        let why =
            format!("pod does not have \"{MIRROR}\" annotation, node \"{node}\" can only create mirror pods");
        return refuse(call, pod, &why);
    }
    if spec["nodeName"] != node {
        let why = format!("node \"{node}\" can only create pods with spec.nodeName set to itself");
        return refuse(call, pod, &why);
    }
    // By these it could have itself shown what its Pods do not need.
    let account = spec["serviceAccountName"].as_str().filter(|name| !name.is_empty());
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let sources = ["secret", "configMap", "persistentVolumeClaim", "projected"];
    let needs = volumes.flat_map(|volume| sources.iter().filter(|source| !volume[**source].is_null()));
    match (account, needs.min()) {
        (None, None) => Ok(()),
        (Some(_), _) => refuse(
            call,
            pod,
            &format!("node \"{node}\" can not create pods that reference a service account"),
        ),
        (_, Some(what)) => {
            refuse(call, pod, &format!("node \"{node}\" can not create pods that reference {what}"))
        }
    }
}

pub(super) fn update(call: &Call, new: &Value, current: &Value, part: Part) -> Result<(), Failure> {
    let Some(node) = call.user.node_name() else { return Ok(()) };
    match (call.path.kind.group, call.path.kind.kind) {
        ("", "Pod") if current["spec"]["nodeName"] != node => {
            let why = format!(
                "node \"{node}\" can only update pod status for pods with spec.nodeName set to itself"
            );
            refuse(call, current, &why)
        }
        ("", "Pod") if part == Part::Status && new["metadata"]["labels"] != current["metadata"]["labels"] => {
            refuse(call, current, &format!("node \"{node}\" cannot update labels through pod status"))
        }
        ("", "Node") => update_node(call, node, new, current),
        _ => Ok(()),
    }
}

fn update_node(call: &Call, node: &str, new: &Value, current: &Value) -> Result<(), Failure> {
    must_be_own(call, node, object::name(current))?;
    if new["spec"]["taints"] != current["spec"]["taints"] {
        return refuse(call, current, &format!("node \"{node}\" is not allowed to modify taints"));
    }
    if new["metadata"]["ownerReferences"] != current["metadata"]["ownerReferences"] {
        return refuse(call, current, &format!("node \"{node}\" is not allowed to modify ownerReferences"));
    }
    let (new_labels, old_labels) = (&new["metadata"]["labels"], &current["metadata"]["labels"]);
    let changed = labels(new).chain(labels(current)).filter(|label| new_labels[*label] != old_labels[*label]);
    must_not_touch(call, current, &changed.filter(|label| !is_own_label(label)).collect())
}

pub(super) fn delete(call: &Call, current: &Value) -> Result<(), Failure> {
    let Some(node) = call.user.node_name() else { return Ok(()) };
    match (call.path.kind.group, call.path.kind.kind) {
        ("", "Pod") if current["spec"]["nodeName"] != node => {
            let what = if call.path.subresource.is_some() { "evict" } else { "delete" };
            let why = format!("node \"{node}\" can only {what} pods with spec.nodeName set to itself");
            refuse(call, current, &why)
        }
        ("", "Node") => must_be_own(call, node, object::name(current)),
        _ => Ok(()),
    }
}

pub(super) fn token(call: &Call, pod: Option<&Value>) -> Result<(), Failure> {
    let Some(node) = call.user.node_name() else { return Ok(()) };
    let refuse = |why: &str| Err(Failure::forbidden(&call.path.kind, call.path.name(), why));
    match pod {
        None => refuse("node requested token not bound to a pod"),
        Some(pod) if pod["spec"]["nodeName"] != node => {
            refuse("node requested token bound to a pod scheduled on a different node")
        }
        Some(_) => Ok(()),
    }
}

fn must_be_own(call: &Call, node: &str, name: &str) -> Result<(), Failure> {
    if name == node {
        return Ok(());
    }
    let why = format!("node \"{node}\" is not allowed to modify node \"{name}\"");
    Err(Failure::forbidden(&call.path.kind, name, &why))
}

fn must_not_touch(call: &Call, object: &Value, labels: &BTreeSet<&str>) -> Result<(), Failure> {
    if labels.is_empty() {
        return Ok(());
    }
    let labels: Vec<&str> = labels.iter().copied().collect();
    refuse(call, object, &format!("is not allowed to modify labels: {}", labels.join(", ")))
}

fn refuse(call: &Call, object: &Value, why: &str) -> Result<(), Failure> {
    Err(Failure::forbidden(&call.path.kind, object::name(object), why))
}

fn labels(object: &Value) -> impl Iterator<Item = &str> {
    object["metadata"]["labels"].as_object().into_iter().flatten().map(|(label, _)| label.as_str())
}

/// Whether an agent may set the label on its own node.
fn is_own_label(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let is_under =
        |top: &str| domain == top || domain.strip_suffix(top).is_some_and(|rest| rest.ends_with('.'));
    let is_kubernetes = is_under("kubernetes.io") || is_under("k8s.io");
    !is_under(RESERVED_PREFIX)
        && (!is_kubernetes || OWN_LABELS.contains(&label) || OWN_PREFIXES.into_iter().any(is_under))
}
