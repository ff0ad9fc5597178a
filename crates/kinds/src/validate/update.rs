//! What may not change once an object is there.

mod job;
mod pod;
mod service;
mod storage;

use serde_json::{Map, Value};

use super::{Faults, definition, list};
use crate::Kind;
use crate::status::FieldError;

const IMMUTABLE: &str = "field is immutable";

pub(super) fn check(kind: &Kind, new: &Value, old: &Value, faults: &mut Faults) {
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::check(new, old, faults),
        ("", "ConfigMap") => frozen(new, old, &["data", "binaryData"], faults),
        ("", "Secret") => {
            same(new, old, "type", faults);
            frozen(new, old, &["data"], faults);
        }
        ("", "Node") => node(&new["spec"], &old["spec"], faults),
        ("", "Service") => service::check(&new["spec"], &old["spec"], faults),
        ("batch", "Job") => job::check(new, old, faults),
        ("", "PersistentVolumeClaim") => storage::claim(new, old, faults),
        ("", "PersistentVolume") => storage::volume(new, old, faults),
        ("apps", "StatefulSet") => stateful_set(&new["spec"], &old["spec"], faults),
        ("networking.k8s.io", "ServiceCIDR") => ranges(&new["spec"], &old["spec"], faults),
        ("scheduling.k8s.io", "PriorityClass") => {
            if new["value"] != old["value"] {
                faults.push(FieldError::forbidden("value", "may not be changed in an update."));
            }
            same(new, old, "preemptionPolicy", faults);
        }
        ("storage.k8s.io", "CSINode") => storage::drivers(&new["spec"], &old["spec"], faults),
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            super::access::signing_request_update(new, old, faults);
        }
        ("apiextensions.k8s.io", _) => definition::update(new, old, faults),
        ("crest.dev", "DagJob") => dag_job(&new["spec"], &old["spec"], faults),
        _ => fixed(kind, new, old, faults),
    }
}

/// Fields that never change, of the kinds that have no other rule, with how a change is refused.
const FIXED: &[(&str, &str, &[&str])] = &[
    ("", "ResourceQuota", &["spec.scopes"]),
    ("apps", "ControllerRevision", &["data"]),
    ("apps", "DaemonSet", &["spec.selector"]),
    ("apps", "Deployment", &["spec.selector"]),
    ("apps", "ReplicaSet", &["spec.selector"]),
    ("crest.dev", "Reservation", &["spec.resources", "spec.owners", "spec.nodeSelector", "spec.tolerations"]),
    ("discovery.k8s.io", "EndpointSlice", &["addressType"]),
    ("networking.k8s.io", "IPAddress", &["spec.parentRef"]),
    ("networking.k8s.io", "IngressClass", &["spec.controller"]),
    ("node.k8s.io", "RuntimeClass", &["handler"]),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", &["roleRef"]),
    ("rbac.authorization.k8s.io", "RoleBinding", &["roleRef"]),
    ("resource.k8s.io", "ResourceClaim", &["spec"]),
    ("resource.k8s.io", "ResourceClaimTemplate", &["spec"]),
    ("storage.k8s.io", "CSIDriver", &["spec.attachRequired", "spec.volumeLifecycleModes"]),
    ("storage.k8s.io", "CSIStorageCapacity", &["nodeTopology", "storageClassName"]),
    ("storage.k8s.io", "StorageClass", &["volumeBindingMode"]),
    ("storage.k8s.io", "VolumeAttachment", &["spec"]),
];
/// As [`FIXED`], refused as forbidden.
const FORBIDDEN: &[(&str, &str, &[&str])] = &[
    ("storage.k8s.io", "StorageClass", &["parameters", "provisioner", "reclaimPolicy"]),
    ("storage.k8s.io", "VolumeAttributesClass", &["driverName", "parameters"]),
];

fn fixed(kind: &Kind, new: &Value, old: &Value, faults: &mut Faults) {
    let of = |table: &'static [(&str, &str, &'static [&'static str])]| {
        let rows = table.iter().filter(|(group, name, _)| *group == kind.group && *name == kind.kind);
        rows.flat_map(|(_, _, paths)| paths.iter().copied())
    };
    for path in of(FIXED) {
        let told = if path == "spec.attachRequired" { "spec.attachedRequired" } else { path };
        same_as(new, old, path, told, faults);
    }
    for path in of(FORBIDDEN).filter(|path| at(new, path) != at(old, path)) {
        faults.push(FieldError::forbidden(path, format!("updates to {path} are forbidden.")));
    }
}

/// What a set promises to each of its Pods cannot change under them.
fn stateful_set(new: &Value, old: &Value, faults: &mut Faults) {
    const MAY: &[&str] = &[
        "minReadySeconds",
        "ordinals",
        "persistentVolumeClaimRetentionPolicy",
        "replicas",
        "revisionHistoryLimit",
        "template",
        "updateStrategy",
    ];
    if differ_beside(new, old, MAY) {
        let message = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                       'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                       'minReadySeconds' are forbidden";
        faults.push(FieldError::forbidden("spec", message));
    }
}

/// Whether the specs differ in other fields than `may`.
fn differ_beside(new: &Value, old: &Value, may: &[&str]) -> bool {
    let rest = |spec: &Value| {
        let mut rest = without_nulls(spec);
        if let Some(fields) = rest.as_object_mut() {
            fields.retain(|name, _| !may.contains(&name.as_str()));
        }
        rest
    };
    rest(new) != rest(old)
}

/// What a node got is its own for life.
fn node(new: &Value, old: &Value, faults: &mut Faults) {
    let (ranges, before) = (list(new, "podCIDRs"), list(old, "podCIDRs"));
    if !before.is_empty() {
        let message = "node updates may not change podCIDR except from \"\" to valid";
        let changed = if ranges.len() == before.len() {
            ranges.iter().zip(before).filter(|(range, before)| range != before).count()
        } else {
            1
        };
        faults.extend((0..changed).map(|_| FieldError::forbidden("spec.podCIDRs", message)));
    }
    let provider = old["providerID"].as_str().unwrap_or_default();
    if !provider.is_empty() && new["providerID"] != provider {
        let message = "node updates may not change providerID except from \"\" to valid";
        faults.push(FieldError::forbidden("spec.providerID", message));
    }
}

/// A range for the addresses of Services stays; another may come beside it.
fn ranges(new: &Value, old: &Value, faults: &mut Faults) {
    let (ranges, before) = (list(new, "cidrs"), list(old, "cidrs"));
    if ranges.len() != before.len() && (before.len(), ranges.len()) != (1, 2) {
        faults.push(FieldError::invalid("spec.cidrs", ranges.to_vec(), IMMUTABLE));
        return;
    }
    for (index, (range, _)) in ranges.iter().zip(before).enumerate().filter(|(_, (new, old))| new != old) {
        faults.push(FieldError::invalid(format!("spec.cidrs[{index}]"), range.clone(), IMMUTABLE));
    }
}

fn dag_job(new: &Value, old: &Value, faults: &mut Faults) {
    if ["tasks", "volumes", "parameters"].iter().any(|field| new[*field] != old[*field]) {
        let message = "the tasks of a job may not change once it is created; create another job";
        faults.push(FieldError::forbidden("spec.tasks", message));
    }
    if new["quota"] != old["quota"] {
        let message = "the quota of a job may not change once it is created; create another job";
        faults.push(FieldError::forbidden("spec.quota", message));
    }
}

fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(object, |value, name| &value[name])
}

/// Sets a field some levels down; nothing, if something else than an object is on the way.
fn put(object: &mut Value, path: &[&str], value: &Value) {
    if object.is_null() {
        *object = Value::Object(Map::new());
    }
    match (path, object) {
        ([field], Value::Object(fields)) => drop(fields.insert((*field).to_owned(), value.clone())),
        ([field, rest @ ..], Value::Object(fields)) => {
            put(fields.entry(*field).or_insert(Value::Null), rest, value);
        }
        _ => {}
    }
}

/// Gives the items of a list the `of` of those of another.
fn put_each(items: Option<&mut Value>, of: &str, others: &[Value]) {
    let items = items.and_then(Value::as_array_mut).into_iter().flatten();
    for (item, other) in items.zip(others) {
        put(item, &[of], &other[of]);
    }
}

fn same(new: &Value, old: &Value, path: &str, faults: &mut Faults) {
    same_as(new, old, path, path, faults);
}

/// As [`same`], told of another path.
fn same_as(new: &Value, old: &Value, path: &str, told: &str, faults: &mut Faults) {
    let (new, old) = (at(new, path), at(old, path));
    if without_nulls(new) != without_nulls(old) {
        faults.push(FieldError::invalid(told, new.clone(), IMMUTABLE));
    }
}

/// ConfigMaps and Secrets that said of themselves that they never change.
fn frozen(new: &Value, old: &Value, fields: &[&str], faults: &mut Faults) {
    if old["immutable"] != true {
        return;
    }
    if new["immutable"] != true {
        faults.push(FieldError::forbidden("immutable", "field is immutable when `immutable` is set"));
    }
    for field in fields {
        if new[*field] != old[*field] {
            faults.push(FieldError::forbidden(*field, "field is immutable when `immutable` is set"));
        }
    }
}

/// A value as it is compared: looking for a field that is not there leaves a null behind, and a list of nothing says
/// no more than none.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let says = |value: &Value| !value.is_null() && !value.as_array().is_some_and(Vec::is_empty);
            let kept = fields.iter().filter(|(_, value)| says(value));
            Value::Object(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
