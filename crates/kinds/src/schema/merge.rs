//! How lists and maps merge: the merge keys and strategies of strategic merge patches, as one table.
//!
//! A field that is not in the table merges in the default way: objects field by field, lists as a whole.

use serde_json::{Map, Value, json};

/// How a field is merged by a strategic merge patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Merge {
    pub(crate) list: List,
    /// Whether `$retainKeys` is part of the field's patches: unions, where a new member must displace the old one.
    pub(crate) retain_keys: bool,
}

/// How a list is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    /// The patch's list takes the place of the whole list.
    Replaced,
    /// Items with the same value of this field are one item.
    ByKey(&'static str),
    /// A set of plain values.
    Set,
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) definition: &'static str,
    pub(crate) field: &'static str,
    pub(crate) merge: Merge,
    /// `x-kubernetes-list-map-keys`, for clients that merge by them; empty where the list has none.
    map_keys: &'static [&'static str],
}

impl Row {
    /// The extensions of the field in OpenAPI documents, from which clients compute their patches.
    pub(crate) fn extensions(&self) -> Map<String, Value> {
        let mut extensions = Map::new();
        if !self.map_keys.is_empty() {
            extensions.insert("x-kubernetes-list-map-keys".into(), json!(self.map_keys));
        }
        let list_type = match self.merge.list {
            List::ByKey(_) if self.map_keys.is_empty() => Some("atomic"),
            List::ByKey(_) => Some("map"),
            List::Set => Some("set"),
            List::Replaced => None,
        };
        if let Some(list_type) = list_type {
            extensions.insert("x-kubernetes-list-type".into(), json!(list_type));
        }
        if let List::ByKey(key) = self.merge.list {
            extensions.insert("x-kubernetes-patch-merge-key".into(), json!(key));
        }
        let strategy = match (self.merge.list, self.merge.retain_keys) {
            (List::Replaced, _) => "retainKeys",
            (_, true) => "merge,retainKeys",
            (_, false) => "merge",
        };
        extensions.insert("x-kubernetes-patch-strategy".into(), json!(strategy));
        extensions
    }
}

/// How `field` of `definition` merges.
pub(crate) fn of(definition: &str, field: &str) -> Merge {
    let row = MERGED.iter().find(|row| row.definition == definition && row.field == field);
    row.map_or(Merge { list: List::Replaced, retain_keys: false }, |row| row.merge)
}

const fn by_key(
    definition: &'static str,
    field: &'static str,
    key: &'static str,
    map_keys: &'static [&'static str],
) -> Row {
    Row { definition, field, merge: Merge { list: List::ByKey(key), retain_keys: false }, map_keys }
}

const fn retaining(mut row: Row) -> Row {
    row.merge.retain_keys = true;
    row
}

const fn set(definition: &'static str, field: &'static str) -> Row {
    Row { definition, field, merge: Merge { list: List::Set, retain_keys: false }, map_keys: &[] }
}

const fn union(definition: &'static str, field: &'static str) -> Row {
    Row { definition, field, merge: Merge { list: List::Replaced, retain_keys: true }, map_keys: &[] }
}

const DEPLOYMENT_SPEC: &str = "io.k8s.api.apps.v1.DeploymentSpec";
const DEPLOYMENT_STATUS: &str = "io.k8s.api.apps.v1.DeploymentStatus";
const REPLICA_SET_STATUS: &str = "io.k8s.api.apps.v1.ReplicaSetStatus";
const JOB_STATUS: &str = "io.k8s.api.batch.v1.JobStatus";
const CONTAINER: &str = "io.k8s.api.core.v1.Container";
const CONTAINER_STATUS: &str = "io.k8s.api.core.v1.ContainerStatus";
const EPHEMERAL_CONTAINER: &str = "io.k8s.api.core.v1.EphemeralContainer";
const NAMESPACE_STATUS: &str = "io.k8s.api.core.v1.NamespaceStatus";
const NODE_SPEC: &str = "io.k8s.api.core.v1.NodeSpec";
const NODE_STATUS: &str = "io.k8s.api.core.v1.NodeStatus";
const POD_SPEC: &str = "io.k8s.api.core.v1.PodSpec";
const POD_STATUS: &str = "io.k8s.api.core.v1.PodStatus";
const SERVICE_ACCOUNT: &str = "io.k8s.api.core.v1.ServiceAccount";
const SERVICE_SPEC: &str = "io.k8s.api.core.v1.ServiceSpec";
const SERVICE_STATUS: &str = "io.k8s.api.core.v1.ServiceStatus";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

pub(crate) static MERGED: &[Row] = &[
    union(DEPLOYMENT_SPEC, "strategy"),
    by_key(DEPLOYMENT_STATUS, "conditions", "type", &["type"]),
    by_key(REPLICA_SET_STATUS, "conditions", "type", &["type"]),
    by_key(JOB_STATUS, "conditions", "type", &[]),
    by_key(CONTAINER, "env", "name", &["name"]),
    by_key(CONTAINER, "ports", "containerPort", &["containerPort", "protocol"]),
    by_key(CONTAINER, "volumeDevices", "devicePath", &["devicePath"]),
    by_key(CONTAINER, "volumeMounts", "mountPath", &["mountPath"]),
    by_key(CONTAINER_STATUS, "allocatedResourcesStatus", "name", &["name"]),
    by_key(CONTAINER_STATUS, "volumeMounts", "mountPath", &["mountPath"]),
    by_key(EPHEMERAL_CONTAINER, "env", "name", &["name"]),
    by_key(EPHEMERAL_CONTAINER, "ports", "containerPort", &["containerPort", "protocol"]),
    by_key(EPHEMERAL_CONTAINER, "volumeDevices", "devicePath", &["devicePath"]),
    by_key(EPHEMERAL_CONTAINER, "volumeMounts", "mountPath", &["mountPath"]),
    by_key(NAMESPACE_STATUS, "conditions", "type", &["type"]),
    set(NODE_SPEC, "podCIDRs"),
    by_key(NODE_STATUS, "addresses", "type", &["type"]),
    by_key(NODE_STATUS, "conditions", "type", &["type"]),
    by_key(POD_SPEC, "containers", "name", &["name"]),
    by_key(POD_SPEC, "ephemeralContainers", "name", &["name"]),
    by_key(POD_SPEC, "hostAliases", "ip", &["ip"]),
    by_key(POD_SPEC, "imagePullSecrets", "name", &["name"]),
    by_key(POD_SPEC, "initContainers", "name", &["name"]),
    retaining(by_key(POD_SPEC, "resourceClaims", "name", &["name"])),
    by_key(POD_SPEC, "schedulingGates", "name", &["name"]),
    by_key(POD_SPEC, "topologySpreadConstraints", "topologyKey", &["topologyKey", "whenUnsatisfiable"]),
    retaining(by_key(POD_SPEC, "volumes", "name", &["name"])),
    by_key(POD_STATUS, "conditions", "type", &["type"]),
    by_key(POD_STATUS, "hostIPs", "ip", &[]),
    by_key(POD_STATUS, "podIPs", "ip", &["ip"]),
    retaining(by_key(POD_STATUS, "resourceClaimStatuses", "name", &["name"])),
    by_key(SERVICE_ACCOUNT, "secrets", "name", &["name"]),
    by_key(SERVICE_SPEC, "ports", "port", &["port", "protocol"]),
    by_key(SERVICE_STATUS, "conditions", "type", &["type"]),
    set(OBJECT_META, "finalizers"),
    by_key(OBJECT_META, "ownerReferences", "uid", &["uid"]),
];
