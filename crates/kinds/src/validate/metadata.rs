//! What holds of every object's metadata.

use serde_json::Value;

use super::{Faults, list, names, text};
use crate::Kind;
use crate::status::FieldError;

/// Finalizers that need no domain.
pub(crate) const STANDARD_FINALIZERS: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];
/// All annotations of an object together.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

pub(super) fn check(kind: &Kind, object: &Value, faults: &mut Faults) {
    let metadata = &object["metadata"];
    let (name, prefix) = (text(metadata, "name"), text(metadata, "generateName"));
    if !prefix.is_empty() {
        let faulty = name_faults(kind, prefix.trim_end_matches('-'));
        faults.extend(
            faulty.into_iter().map(|fault| FieldError::invalid("metadata.generateName", prefix, fault)),
        );
    }
    if name.is_empty() {
        let message = "name or generateName is required";
        faults.push(FieldError::required("metadata.name", message));
    } else {
        let faulty = name_faults(kind, name);
        faults.extend(faulty.into_iter().map(|fault| FieldError::invalid("metadata.name", name, fault)));
    }
    namespace(kind, metadata, faults);
    marks(metadata, faults);
    finalizers(metadata, faults);
    if !is_of_others(kind) {
        known_finalizers(metadata, faults);
    }
}

/// What others write on an object.
fn marks(metadata: &Value, faults: &mut Faults) {
    labels("metadata.labels", &metadata["labels"], faults);
    annotations("metadata.annotations", &metadata["annotations"], faults);
    owners(metadata, faults);
}

/// Kinds whose finalizers may have any name: those that extend the API, and those that extend it with.
fn is_of_others(kind: &Kind) -> bool {
    const GROUPS: [&str; 3] =
        ["admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io"];
    kind.custom().is_some() || GROUPS.contains(&kind.group)
}

fn name_faults(kind: &Kind, name: &str) -> Vec<String> {
    match (kind.group, kind.kind) {
        ("", "Namespace" | "Service") | ("apps", "StatefulSet") => names::label(name),
        ("rbac.authorization.k8s.io" | "apiregistration.k8s.io" | "certificates.k8s.io", _) => {
            names::path_segment(name)
        }
        // An address, which has colons in its newer form: its own rule is the stricter.
        ("networking.k8s.io", "IPAddress") => Vec::new(),
        _ => names::subdomain(name),
    }
}

fn namespace(kind: &Kind, metadata: &Value, faults: &mut Faults) {
    let namespace = text(metadata, "namespace");
    match (kind.is_namespaced(), namespace.is_empty()) {
        (true, true) => faults.push(FieldError::required("metadata.namespace", "")),
        (true, false) => {
            let faulty = names::label(namespace).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid("metadata.namespace", namespace, fault)));
        }
        (false, false) => {
            faults.push(FieldError::forbidden("metadata.namespace", "not allowed on this type"));
        }
        (false, true) => {}
    }
}

/// Labels of an object or of a template.
pub(super) fn labels(path: &str, labels: &Value, faults: &mut Faults) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let faulty = names::qualified_name(key).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(path, key.as_str(), fault)));
        faults.extend(names::label_value(value).map(|fault| FieldError::invalid(path, value, fault)));
    }
}

/// A selector of labels; nothing where there is none.
pub(super) fn selector(path: &str, selector: &Value, faults: &mut Faults) {
    labels(&format!("{path}.matchLabels"), &selector["matchLabels"], faults);
    for (path, expression) in super::items(path, selector, "matchExpressions") {
        requirement(&path, expression, faults);
        for (index, value) in list(expression, "values").iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            let fault = names::label_value(value);
            faults.extend(
                fault.map(|fault| FieldError::invalid(format!("{path}.values[{index}]"), value, fault)),
            );
        }
    }
}

/// What selectors of labels and of nodes alike ask of one requirement: its operator, how many values it takes, its key.
pub(super) fn requirement(path: &str, expression: &Value, faults: &mut Faults) {
    let operator = text(expression, "operator");
    let has_values = !list(expression, "values").is_empty();
    match operator {
        "In" | "NotIn" if !has_values => {
            let message = "must be specified when `operator` is 'In' or 'NotIn'";
            faults.push(FieldError::required(format!("{path}.values"), message));
        }
        "Exists" | "DoesNotExist" if has_values => {
            let message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            faults.push(FieldError::forbidden(format!("{path}.values"), message));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => {
            let message = "not a valid selector operator";
            faults.push(FieldError::invalid(format!("{path}.operator"), operator, message));
        }
    }
    requirement_key(path, expression, faults);
}

/// The key of a requirement on a label.
pub(super) fn requirement_key(path: &str, expression: &Value, faults: &mut Faults) {
    let key = text(expression, "key");
    let faulty = names::qualified_name(key).into_iter();
    faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.key"), key, fault)));
}

pub(super) fn annotations(path: &str, annotations: &Value, faults: &mut Faults) {
    let mut bytes = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        bytes += key.len() + value.as_str().map_or(0, str::len);
        let faulty = names::qualified_name(&key.to_lowercase()).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(path, key.as_str(), fault)));
    }
    if bytes > MAX_ANNOTATION_BYTES {
        faults.push(FieldError::too_long(path, MAX_ANNOTATION_BYTES));
    }
}

fn owners(metadata: &Value, faults: &mut Faults) {
    const PATH: &str = "metadata.ownerReferences";
    let owners = list(metadata, "ownerReferences");
    for owner in owners {
        for (field, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if text(owner, field).is_empty() {
                faults.push(FieldError::invalid(format!("{PATH}.{field}"), "", why));
            }
        }
    }
    for owner in owners.iter().filter(|owner| owner["kind"] == "Event" && owner["apiVersion"] == "v1") {
        faults.push(FieldError::invalid(PATH, owner.clone(), "Events are disallowed from being an owner"));
    }
    let controllers: Vec<String> = owners
        .iter()
        .filter(|owner| owner["controller"] == true)
        .map(|owner| format!("{}/{}", text(owner, "kind"), text(owner, "name")))
        .collect();
    if let [first, second, ..] = controllers.as_slice() {
        let message = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
        );
        faults.push(FieldError::invalid(PATH, metadata["ownerReferences"].clone(), message));
    }
}

fn finalizers(metadata: &Value, faults: &mut Faults) {
    const PATH: &str = "metadata.finalizers";
    let finalizers = list(metadata, "finalizers");
    for name in finalizers.iter().filter_map(Value::as_str) {
        let faulty = names::qualified_name(name).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(PATH, name, fault)));
    }
    if ["orphan", "foregroundDeletion"].iter().all(|name| finalizers.iter().any(|found| found == name)) {
        let message = "finalizer orphan and foregroundDeletion cannot be both set";
        faults.push(FieldError::invalid(PATH, finalizers.to_vec(), message));
    }
}

/// The few names without a domain are Kubernetes' own.
fn known_finalizers(metadata: &Value, faults: &mut Faults) {
    for (path, finalizer) in super::items("metadata", metadata, "finalizers") {
        let name = finalizer.as_str().unwrap_or_default();
        if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
            let message = "name is neither a standard finalizer name nor is it fully qualified";
            faults.push(FieldError::invalid(path, name, message));
        }
    }
}

/// How often the rules of metadata are gone through when an object of a kind is changed, beside once for all kinds.
/// Each time tells its faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passes {
    /// The rules of changes.
    pub(super) of_changes: usize,
    /// All rules.
    pub(super) whole: usize,
    /// The rules of the content.
    pub(super) of_content: usize,
}

/// A group, kinds of it, and the fields of their [`Passes`].
type Row = (&'static str, &'static [&'static str], (usize, usize, usize));

/// Kinds by how Kubernetes goes through their rules, where it is not `(1, 0, 1)`.
const PASSES: &[Row] = &[
    ("", &["ConfigMap", "Endpoints", "Namespace", "Pod", "Secret", "ServiceAccount"], (1, 1, 1)),
    ("", &["LimitRange"], (0, 1, 1)),
    ("", &["Node", "ReplicationController"], (1, 1, 2)),
    ("", &["PersistentVolume"], (0, 2, 2)),
    ("", &["PersistentVolumeClaim"], (1, 2, 2)),
    ("apps", &["ControllerRevision"], (1, 1, 1)),
    ("apps", &["ReplicaSet"], (1, 1, 2)),
    ("batch", &["Job"], (1, 1, 2)),
    ("networking.k8s.io", &["Ingress", "IngressClass"], (1, 1, 1)),
    ("node.k8s.io", &["RuntimeClass"], (1, 1, 1)),
    ("policy", &["PodDisruptionBudget"], (0, 0, 1)),
    ("rbac.authorization.k8s.io", &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"], (1, 1, 1)),
    ("storage.k8s.io", &["CSINode", "VolumeAttachment"], (0, 2, 2)),
    ("storage.k8s.io", &["CSIStorageCapacity", "StorageClass", "VolumeAttributesClass"], (1, 1, 1)),
    ("apiregistration.k8s.io", &["APIService"], (1, 1, 1)),
    ("certificates.k8s.io", &["CertificateSigningRequest"], (1, 1, 1)),
];

pub(super) fn passes(kind: &Kind) -> Passes {
    let found = PASSES.iter().find(|(group, kinds, _)| *group == kind.group && kinds.contains(&kind.kind));
    let (of_changes, whole, of_content) = found.map_or((1, 0, 1), |(.., passes)| *passes);
    Passes { of_changes, whole, of_content }
}

/// The metadata of `new` as the next state of `old`'s.
pub(super) fn check_update(kind: &Kind, new: &Value, old: &Value, faults: &mut Faults) {
    let passes = passes(kind);
    let (new, old) = (&new["metadata"], &old["metadata"]);
    for _ in 0..passes.whole + passes.of_changes + 2 {
        marks(new, faults);
    }
    for _ in 0..=passes.whole {
        finalizers(new, faults);
    }
    for _ in (0..passes.whole + passes.of_changes).filter(|_| !is_of_others(kind)) {
        known_finalizers(new, faults);
    }
    for _ in 0..=passes.of_changes {
        changes(new, old, faults);
    }
}

/// What may not change in an object's life.
fn changes(new: &Value, old: &Value, faults: &mut Faults) {
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        if !new[field].is_null() && new[field] != old[field] {
            let path = format!("metadata.{field}");
            faults.push(FieldError::invalid(path, new[field].clone(), "field is immutable"));
        }
    }
    if !old["deletionTimestamp"].is_null() {
        let had = list(old, "finalizers");
        let added: Vec<&Value> = list(new, "finalizers").iter().filter(|name| !had.contains(name)).collect();
        if !added.is_empty() {
            let message = format!("an object that is being deleted gets no new finalizers, found {added:?}");
            faults.push(FieldError::forbidden("metadata.finalizers", message));
        }
    }
}
