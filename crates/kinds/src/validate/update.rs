//! What may not change once an object is there.

use serde_json::Value;

use super::{Faults, definition, items, list, not_negative};
use crate::Kind;
use crate::status::FieldError;

const IMMUTABLE: &str = "field is immutable";

pub(super) fn check(kind: &Kind, new: &Value, old: &Value, faults: &mut Faults) {
    match (kind.group, kind.kind) {
        ("", "Pod") => pod(new, old, faults),
        ("", "ConfigMap") => frozen(new, old, &["data", "binaryData"], faults),
        ("", "Secret") => {
            same(new, old, "type", faults);
            frozen(new, old, &["data"], faults);
        }
        ("", "Service") => service(&new["spec"], &old["spec"], faults),
        ("apps", "Deployment") => {
            same(new, old, "spec.selector", faults);
            replica_counts(new, old, &["updatedReplicas", "readyReplicas", "availableReplicas"], faults);
        }
        ("apps", "ReplicaSet") => {
            same(new, old, "spec.selector", faults);
            replica_counts(new, old, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"], faults);
        }
        ("batch", "Job") => job(new, old, faults),
        ("", "PersistentVolumeClaim") => claim(new, old, faults),
        ("", "PersistentVolume") => volume(new, old, faults),
        ("apps", "StatefulSet") => stateful_set(&new["spec"], &old["spec"], faults),
        ("scheduling.k8s.io", "PriorityClass") => {
            for field in ["value", "preemptionPolicy"] {
                if new[field] != old[field] {
                    faults.push(FieldError::forbidden(field, "may not be changed in an update."));
                }
            }
        }
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
    ("discovery.k8s.io", "EndpointSlice", &["addressType"]),
    ("networking.k8s.io", "IPAddress", &["spec"]),
    ("networking.k8s.io", "IngressClass", &["spec.controller"]),
    ("node.k8s.io", "RuntimeClass", &["handler"]),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", &["roleRef"]),
    ("rbac.authorization.k8s.io", "RoleBinding", &["roleRef"]),
    ("resource.k8s.io", "ResourceClaim", &["spec"]),
    ("resource.k8s.io", "ResourceClaimTemplate", &["spec"]),
    (
        "storage.k8s.io",
        "CSIDriver",
        &["spec.attachRequired", "spec.fsGroupPolicy", "spec.volumeLifecycleModes"],
    ),
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
        same(new, old, path, faults);
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

/// A claim may be bound, and may ask for more once it is.
fn claim(new: &Value, old: &Value, faults: &mut Faults) {
    let (new, old) = (&new["spec"], &old["spec"]);
    let bound = old["volumeName"].is_string();
    let mut may = vec!["volumeAttributesClassName"];
    if bound {
        may.push("resources");
    } else {
        may.push("volumeName");
    }
    if old["storageClassName"].is_null() {
        // A class that was made the default later is filled in.
        may.push("storageClassName");
    }
    if differ_beside(new, old, &may) {
        let message = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                       bound claims";
        faults.push(FieldError::forbidden("spec", message));
        return;
    }
    let amount = |spec: &Value| {
        let text = spec["resources"]["requests"]["storage"].as_str();
        text.and_then(|text| model::quantity::Quantity::parse(text).ok())
    };
    if bound && amount(new) < amount(old) {
        let message = "field can not be less than status.capacity";
        faults.push(FieldError::forbidden("spec.resources.requests.storage", message));
    }
}

/// Where a volume is never changes.
fn volume(new: &Value, old: &Value, faults: &mut Faults) {
    const MAY: &[&str] = &[
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    if differ_beside(&new["spec"], &old["spec"], MAY) {
        let message = "spec.persistentvolumesource is immutable after creation";
        faults.push(FieldError::forbidden("spec.persistentvolumesource", message));
    }
    same(new, old, "spec.volumeMode", faults);
    if !old["spec"]["nodeAffinity"].is_null() {
        same(new, old, "spec.nodeAffinity", faults);
    }
}

fn dag_job(new: &Value, old: &Value, faults: &mut Faults) {
    if new["tasks"] != old["tasks"] || new["volumes"] != old["volumes"] {
        let message = "the tasks of a job may not change once it is created; create another job";
        faults.push(FieldError::forbidden("spec.tasks", message));
    }
}

fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(object, |value, name| &value[name])
}

fn same(new: &Value, old: &Value, path: &str, faults: &mut Faults) {
    let (new, old) = (at(new, path), at(old, path));
    if new != old {
        faults.push(FieldError::invalid(path, new.clone(), IMMUTABLE));
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

fn service(new: &Value, old: &Value, faults: &mut Faults) {
    let had = old["clusterIP"].as_str().filter(|address| !address.is_empty());
    let both_have_one = new["type"] != "ExternalName" && old["type"] != "ExternalName";
    if had.is_some() && both_have_one && new["clusterIP"] != old["clusterIP"] {
        let message = "may not change once set";
        faults.push(FieldError::invalid("spec.clusterIPs[0]", new["clusterIP"].clone(), message));
    }
}

fn job(new: &Value, old: &Value, faults: &mut Faults) {
    same(new, old, "spec.selector", faults);
    same(new, old, "spec.completionMode", faults);
    same(new, old, "spec.backoffLimitPerIndex", faults);
    same(new, old, "spec.podFailurePolicy", faults);
    // An indexed job may be scaled as a whole: completions together with parallelism.
    let (spec, before) = (&new["spec"], &old["spec"]);
    let scaled = spec["completionMode"] == "Indexed" && spec["completions"] == spec["parallelism"];
    if spec["completions"] != before["completions"] && !scaled {
        faults.push(FieldError::invalid("spec.completions", spec["completions"].clone(), IMMUTABLE));
    }
    if spec["template"] != before["template"] && before["suspend"] != true {
        faults.push(FieldError::invalid("spec.template", spec["template"].clone(), IMMUTABLE));
    }
}

/// A Pod's containers run: only what takes effect while they do may change.
fn pod(new: &Value, old: &Value, faults: &mut Faults) {
    let (mut wanted, spec) = (new["spec"].clone(), &old["spec"]);
    if !wanted.is_object() {
        // Decoding refuses it; nothing could be compared.
        return;
    }
    for field in ["containers", "initContainers"] {
        if list(&wanted, field).len() != list(spec, field).len() {
            let message = "pod updates may not add or remove containers";
            faults.push(FieldError::forbidden(format!("spec.{field}"), message));
            return;
        }
        for (index, container) in list(spec, field).iter().enumerate() {
            wanted[field][index]["image"] = container["image"].clone();
        }
    }
    let before = faults.len();
    deadline(&wanted, spec, faults);
    tolerations(&wanted, spec, faults);
    gates(&wanted, spec, faults);
    if faults.len() > before {
        return;
    }
    node_selector(&mut wanted, spec, faults);
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        wanted[field] = spec[field].clone();
    }
    if without_nulls(&wanted) != without_nulls(spec) {
        let message = "pod updates may not change fields other than `spec.containers[*].image`,\
                       `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` \
                       (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` \
                       (allow it to be set to 1 if it was previously negative)";
        faults.push(FieldError::forbidden("spec", message));
    }
}

/// A deadline may come, and may come nearer.
fn deadline(wanted: &Value, spec: &Value, faults: &mut Faults) {
    const FIELD: &str = "activeDeadlineSeconds";
    let Some(old) = spec[FIELD].as_i64() else { return };
    let message = match wanted[FIELD].as_i64() {
        Some(new) if new <= old => return,
        Some(_) => "must be less than or equal to previous value",
        None => "must not update from a positive integer to nil value",
    };
    faults.push(FieldError::invalid(format!("spec.{FIELD}"), wanted[FIELD].clone(), message));
}

/// Tolerations may come; one that is there may change how long it lasts.
fn tolerations(wanted: &Value, spec: &Value, faults: &mut Faults) {
    let same = |left: &Value, right: &Value| {
        ["key", "operator", "value", "effect"].iter().all(|field| left[*field] == right[*field])
    };
    let kept = list(spec, "tolerations")
        .iter()
        .all(|old| list(wanted, "tolerations").iter().any(|new| same(old, new)));
    if !kept {
        let message = "existing toleration can not be modified except its tolerationSeconds";
        faults.push(FieldError::forbidden("spec.tolerations", message));
    }
}

/// Gates are lifted, never put up.
fn gates(wanted: &Value, spec: &Value, faults: &mut Faults) {
    for (path, gate) in items("spec", wanted, "schedulingGates") {
        if !list(spec, "schedulingGates").contains(gate) {
            let message = format!("only deletion is allowed, but found new scheduling gate {}", gate["name"]);
            faults.push(FieldError::forbidden(format!("{path}.name"), message));
        }
    }
}

/// A Pod that is held back may be narrowed down: nothing was decided on it yet.
fn node_selector(wanted: &mut Value, spec: &Value, faults: &mut Faults) {
    if list(spec, "schedulingGates").is_empty() || wanted["nodeSelector"] == spec["nodeSelector"] {
        return;
    }
    let narrowed = spec["nodeSelector"]
        .as_object()
        .is_none_or(|old| old.iter().all(|(key, value)| wanted["nodeSelector"].get(key) == Some(value)));
    if !narrowed {
        let message = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        faults.push(FieldError::invalid("spec.nodeSelector", wanted["nodeSelector"].clone(), message));
    }
    wanted["nodeSelector"] = spec["nodeSelector"].clone();
}

/// How many replicas are in which state: never less than none, never more than there are.
fn replica_counts(new: &Value, old: &Value, parts: &[&str], faults: &mut Faults) {
    let (status, before) = (&new["status"], &old["status"]);
    if status == before {
        return;
    }
    not_negative("status", status, "replicas", faults);
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    for field in parts {
        not_negative("status", status, field, faults);
        let path = || format!("status.{field}");
        if count(field) > count("replicas") {
            faults.push(FieldError::invalid(path(), count(field), "cannot be greater than status.replicas"));
        }
        if *field == "availableReplicas" && count(field) > count("readyReplicas") {
            faults.push(FieldError::invalid(path(), count(field), "cannot be greater than readyReplicas"));
        }
    }
}

/// Looking for a field that is not there leaves a null behind.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
