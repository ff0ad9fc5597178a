//! What a node's agent may do: the rules of all agents, and of objects that are others' only those that a Pod on its
//! own node speaks of. Pure: the Pods are told to it, see `mirror`.

use std::collections::{BTreeSet, HashMap, HashSet};

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::Value;

use super::rule;
use super::{Action, Decision, ObjectAction};
use crate::object;

/// How a refusal begins that a newer state of the Pods might lift.
pub(super) const NO_RELATIONSHIP: &str = "no relationship found";
const LEASES: &str = "kube-node-lease";

/// What a Pod speaks of: the resource and the name, in the Pod's namespace.
type Reference = (&'static str, String);

/// Which node needs which objects.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// By namespace and name.
    pods: HashMap<(String, String), Placed>,
    /// By namespace, resource and name: the Pods that need it.
    users: HashMap<(String, Reference), HashSet<String>>,
}

#[derive(Debug)]
struct Placed {
    node: String,
    needs: BTreeSet<Reference>,
}

/// A Pod as the graph knows it.
#[derive(Debug)]
pub(crate) struct Placement {
    namespace: String,
    name: String,
    /// None while it is on no node, and needs nothing.
    placed: Option<Placed>,
}

impl Placement {
    pub(crate) fn of(pod: &Value) -> Self {
        let node = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty());
        let placed = node.map(|node| Placed { node: node.to_owned(), needs: references(pod) });
        Self { namespace: object::namespace(pod).to_owned(), name: object::name(pod).to_owned(), placed }
    }
}

impl Graph {
    /// Takes in a Pod as it stands now.
    pub(crate) fn put(&mut self, pod: Placement) {
        let Placement { namespace, name, placed } = pod;
        self.remove(&namespace, &name);
        let Some(placed) = placed else { return };
        for reference in &placed.needs {
            let key = (namespace.clone(), reference.clone());
            self.users.entry(key).or_default().insert(name.clone());
        }
        self.pods.insert((namespace, name), placed);
    }

    pub(crate) fn remove(&mut self, namespace: &str, name: &str) {
        let Some(placed) = self.pods.remove(&(namespace.to_owned(), name.to_owned())) else { return };
        for reference in placed.needs {
            let key = (namespace.to_owned(), reference);
            if let Some(users) = self.users.get_mut(&key) {
                users.remove(name);
                if users.is_empty() {
                    self.users.remove(&key);
                }
            }
        }
    }

    fn is_on(&self, node: &str, namespace: &str, pod: &str) -> bool {
        let key = (namespace.to_owned(), pod.to_owned());
        self.pods.get(&key).is_some_and(|placed| placed.node == node)
    }

    fn is_needed(&self, node: &str, namespace: &str, resource: &'static str, name: &str) -> bool {
        let key = (namespace.to_owned(), (resource, name.to_owned()));
        let mut users = self.users.get(&key).into_iter().flatten();
        users.any(|pod| self.is_on(node, namespace, pod))
    }

    /// Whether the agent of `node` may do it; `rules` are those of the role `system:node`.
    pub(crate) fn decide(&self, node: &str, rules: &[PolicyRule], action: Action<'_>) -> Decision {
        let refuse = |why: &str| Decision::NoOpinion(why.to_owned());
        if !rules.iter().any(|rule| rule::allows(rule, action)) {
            return refuse("");
        }
        let Action::Object(object) = action else { return Decision::Allowed(String::new()) };
        let why = match (object.group, object.resource) {
            ("", "secrets") => self.needed(node, "secrets", object),
            ("", "configmaps") => self.needed(node, "configmaps", object),
            ("", "persistentvolumeclaims") => self.needed(node, "persistentvolumeclaims", object),
            ("", "serviceaccounts") => self.needed(node, "serviceaccounts", object),
            ("", "pods") => self.pod(node, object),
            ("", "nodes") => own_node(node, object),
            ("coordination.k8s.io", "leases") => own_lease(node, object),
            ("storage.k8s.io", "csinodes") if object.verb != "create" && object.name != Some(node) => {
                Some(format!("can only access CSINode with the same name as the requesting node {node}"))
            }
            _ => None,
        };
        why.map_or(Decision::Allowed(String::new()), Decision::NoOpinion)
    }

    /// Why not, if not.
    fn needed(&self, node: &str, resource: &'static str, action: ObjectAction<'_>) -> Option<String> {
        let Some(name) = action.name else { return Some("No Object name found".to_owned()) };
        let Some(namespace) = action.namespace else {
            return Some("can only read namespaced object of this type".to_owned());
        };
        let needed = self.is_needed(node, namespace, resource, name);
        (!needed).then(|| unrelated(node))
    }

    fn pod(&self, node: &str, action: ObjectAction<'_>) -> Option<String> {
        match (action.verb, action.subresource) {
            ("list" | "watch", None) if action.on_node != Some(node) => {
                Some("can only list/watch pods with spec.nodeName field selector".to_owned())
            }
            ("get", None) => {
                let (namespace, name) =
                    (action.namespace.unwrap_or_default(), action.name.unwrap_or_default());
                let is_own = self.is_on(node, namespace, name);
                (!is_own).then(|| unrelated(node))
            }
            // Of what it writes admission knows more: see `guard`.
            _ => None,
        }
    }
}

fn unrelated(node: &str) -> String {
    format!("{NO_RELATIONSHIP} between node '{node}' and this object")
}

fn own_node(node: &str, action: ObjectAction<'_>) -> Option<String> {
    let is_read = matches!(action.verb, "get" | "list" | "watch");
    match action.name {
        _ if !is_read => None,
        Some(name) if name == node => None,
        Some(name) => Some(format!("node '{node}' cannot read '{name}', only its own Node object")),
        None => Some(format!("node '{node}' cannot read all nodes, only its own Node object")),
    }
}

fn own_lease(node: &str, action: ObjectAction<'_>) -> Option<String> {
    if action.namespace != Some(LEASES) {
        return Some(format!("can only access leases in the \"{LEASES}\" system namespace"));
    }
    let is_own = action.verb == "create" || action.name == Some(node);
    (!is_own).then(|| "can only access node lease with the same name as the requesting node".to_owned())
}

/// What a Pod speaks of, wherever it may do so.
fn references(pod: &Value) -> BTreeSet<Reference> {
    let spec = &pod["spec"];
    let mut found = BTreeSet::new();
    let mut add = |resource: &'static str, name: &Value| {
        if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
            found.insert((resource, name.to_owned()));
        }
    };
    add("serviceaccounts", &spec["serviceAccountName"]);
    items(&spec["imagePullSecrets"]).for_each(|secret| add("secrets", &secret["name"]));
    for volume in items(&spec["volumes"]) {
        add("secrets", &volume["secret"]["secretName"]);
        add("configmaps", &volume["configMap"]["name"]);
        add("persistentvolumeclaims", &volume["persistentVolumeClaim"]["claimName"]);
        for driver in ["csi", "flexVolume", "cephfs", "rbd", "iscsi", "scaleIO", "storageos"] {
            for field in ["secretRef", "nodePublishSecretRef"] {
                add("secrets", &volume[driver][field]["name"]);
            }
        }
        add("secrets", &volume["azureFile"]["secretName"]);
        for source in items(&volume["projected"]["sources"]) {
            add("secrets", &source["secret"]["name"]);
            add("configmaps", &source["configMap"]["name"]);
        }
    }
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    for container in lists.iter().flat_map(|list| items(&spec[*list])) {
        for source in items(&container["envFrom"]) {
            add("secrets", &source["secretRef"]["name"]);
            add("configmaps", &source["configMapRef"]["name"]);
        }
        for variable in items(&container["env"]) {
            add("secrets", &variable["valueFrom"]["secretKeyRef"]["name"]);
            add("configmaps", &variable["valueFrom"]["configMapKeyRef"]["name"]);
        }
    }
    found
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
