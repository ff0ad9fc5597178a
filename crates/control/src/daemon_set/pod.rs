//! The pod of a DaemonSet for one node: bound to it by affinity, so that Sigma still keeps the books, and at home on
//! nodes that are in trouble.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, PodTemplateSpec, Toleration,
};
use kube::ResourceExt;

use crate::owner;
use crate::pods;
use crate::revisions::REVISION_HASH;

const GENERATION: &str = "pod-template-generation";
const NAME_FIELD: &str = "metadata.name";
/// Taints that say a node is in trouble: its daemons stay, and come.
const TROUBLES: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NO_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// The pod for `node`, of the revision with this hash.
pub(super) fn pod(set: &DaemonSet, template: &PodTemplateSpec, (node, hash): (&str, &str)) -> Pod {
    let namespace = set.namespace().unwrap_or_default();
    let mut pod =
        pods::from_template(template, &namespace, &set.name_any(), owner::controller_reference(set));
    let generation = set.annotations().get("deprecated.daemonset.template.generation").cloned();
    let labels = pod.labels_mut();
    labels.insert(REVISION_HASH.to_owned(), hash.to_owned());
    labels.extend(generation.map(|generation| (GENERATION.to_owned(), generation)));
    if let Some(spec) = &mut pod.spec {
        tolerate_troubles(spec);
        bind(spec, node);
    }
    pod
}

/// The tolerations that every daemon has.
pub(super) fn tolerate_troubles(spec: &mut PodSpec) {
    let network = (spec.host_network == Some(true)).then_some(NO_NETWORK);
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in TROUBLES.into_iter().chain(network) {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
}

/// Lets the pod run on `node` only.
fn bind(spec: &mut PodSpec, node: &str) {
    let requirement = NodeSelectorRequirement {
        key: NAME_FIELD.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .get_or_insert_with(|| NodeSelector { node_selector_terms: Vec::new() });
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    for term in &mut required.node_selector_terms {
        // Whether the labels fit was decided already, on the set's own terms.
        term.match_expressions = None;
        term.match_fields = Some(vec![requirement.clone()]);
    }
    required.node_selector_terms.truncate(1);
}

/// The node that a pod is on or bound for.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(name) = pods::node_name(pod) {
        return Some(name);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let mut names = fields.filter(|field| field.key == NAME_FIELD && field.operator == "In");
    names.find_map(|field| field.values.as_ref()?.first()).map(String::as_str)
}
