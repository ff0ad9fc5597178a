//! What the server makes of an object before it is stored: identity, generation, and the parts that only it writes.
//!
//! Pure: the time and the random parts come from outside.

mod job;
mod pod;
pub(crate) mod service;
pub(crate) mod signing_request;

use kinds::status::Failure;
use kinds::{Kind, custom};
use serde_json::{Value, json};

use crate::{definitions, object};

/// What is new about a new object.
#[derive(Clone, Debug)]
pub(crate) struct Birth {
    pub(crate) uid: String,
    pub(crate) created: String,
    /// Follows `generateName`.
    pub(crate) suffix: String,
}

/// Names are at most 63 characters, of which `generateName` leaves five to the server.
const MAX_GENERATED_BASE: usize = 58;
/// Set by the server alone, whatever a client says.
const SERVER_FIELDS: [&str; 5] =
    ["uid", "resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"];

/// Makes `object` ready to be created.
pub(crate) fn prepare_create(kind: &Kind, object: &mut Value, birth: &Birth) {
    for field in SERVER_FIELDS {
        object::remove_metadata(object, field);
    }
    let base = object::metadata(object, "generateName").to_owned();
    if object::name(object).is_empty() && !base.is_empty() {
        let base: String = base.chars().take(MAX_GENERATED_BASE).collect();
        object::set_metadata(object, "name", format!("{base}{}", birth.suffix));
    }
    object::set_metadata(object, "uid", birth.uid.clone());
    object::set_metadata(object, "creationTimestamp", birth.created.clone());
    if counts_generations(kind) {
        object::set_metadata(object, "generation", 1);
    }
    drop_empty(object);
    reset_status(kind, object);
    match kind.table_name() {
        "CustomResourceDefinition" => object["status"] = custom::status::initial(object),
        "Namespace" => prepare_namespace(object),
        "Pod" => pod::prepare_create(object),
        "Service" => service::prepare_create(object),
        "Job" => job::prepare_create(object),
        "DaemonSet" => object::set_template_generation(object, 1),
        "Node" => prepare_node(object),
        _ => {}
    }
    kinds::defaults::settle(kind, object);
}

/// A new node takes no Pods until it said that it is ready, which our own agents say when they register.
fn prepare_node(object: &mut Value) {
    const NOT_READY: &str = "node.kubernetes.io/not-ready";
    let conditions = object["status"]["conditions"].as_array();
    let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    if conditions.is_some_and(|conditions| conditions.iter().any(is_ready)) {
        return;
    }
    let spec = object::entry_object(object, "spec");
    let taints = spec.entry("taints").or_insert_with(|| json!([]));
    if let Some(taints) = taints.as_array_mut()
        && !taints.iter().any(|taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule")
    {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
}

/// Which part of an object a request may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but the status, where the kind has one.
    Main,
    Status,
    /// Those of a Pod.
    EphemeralContainers,
    /// The shares of a Pod's containers.
    Resize,
    /// What was decided on a request for a certificate.
    Approval,
}

/// Makes `new`, as a client wrote it, the next state of `old`; refuses to touch another object.
pub(crate) fn prepare_update(kind: &Kind, new: &mut Value, old: &Value, part: Part) -> Result<(), Failure> {
    check_identity(kind, new, old)?;
    match part {
        Part::Main => prepare_main(kind, new, old),
        Part::Status => {
            keep_all_but_status(kind, new, old);
            signing_request::keep_verdicts(kind, new, old);
            if kind.table_name() == "Pod" {
                pod::keep_quality(new, old);
            }
        }
        Part::Approval => signing_request::keep_all_but_conditions(new, old),
        Part::EphemeralContainers => pod::keep_all_but_ephemeral_containers(new, old),
        Part::Resize => pod::keep_all_but_resources(new, old),
    }
    if kind.table_name() == "DaemonSet" {
        let same = new["spec"]["template"] == old["spec"]["template"];
        let generation = object::template_generation(old).saturating_add(i64::from(!same));
        object::set_template_generation(new, generation);
    }
    if definitions::is_definition(kind) {
        custom::status::note_stored_version(new);
    }
    if counts_generations(kind) && (asks_for_more(kind, new, old) || labels_count(kind, new, old)) {
        bump_generation(new);
    }
    drop_empty(new);
    kinds::defaults::settle(kind, new);
    Ok(())
}

/// What is in none of `metadata`'s lists and maps is not written down as empty.
fn drop_empty(object: &mut Value) {
    for field in ["finalizers", "ownerReferences", "labels", "annotations"] {
        let value = &object["metadata"][field];
        let is_empty = value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(|map| map.is_empty());
        if is_empty {
            object::remove_metadata(object, field);
        }
    }
}

fn prepare_main(kind: &Kind, new: &mut Value, old: &Value) {
    keep_server_fields(new, old);
    if kind.subresource("status").is_some() {
        copy_field(new, old, "status");
    }
    signing_request::keep_spec(kind, new, old);
    if kind.table_name() == "Service" {
        service::prepare_update(new, old);
    }
    if kind.table_name() == "Namespace" {
        // Its finalizers have a subresource of their own.
        let finalizers = old["spec"].get("finalizers").cloned().unwrap_or_else(|| json!([]));
        object::entry_object(new, "spec").insert("finalizers".into(), finalizers);
    }
}

/// The next generation, if the object counts them.
pub(crate) fn bump_generation(object: &mut Value) {
    if let Some(generation) = object["metadata"]["generation"].as_i64() {
        object::set_metadata(object, "generation", generation.saturating_add(1));
    }
}

fn check_identity(kind: &Kind, new: &Value, old: &Value) -> Result<(), Failure> {
    let name = object::name(old);
    let revision = object::metadata(new, "resourceVersion");
    if !revision.is_empty() && revision.parse::<u64>().is_err() {
        let message = format!(
            "metadata.resourceVersion: `{revision}` is no revision; take it from the object that was read"
        );
        return Err(Failure::unreasonable(message));
    }
    if !revision.is_empty() && revision != "0" && revision != object::metadata(old, "resourceVersion") {
        return Err(Failure::stale(kind, name));
    }
    let (uid, current) = (object::metadata(new, "uid"), object::metadata(old, "uid"));
    if !uid.is_empty() && uid != current {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {current}");
        return Err(Failure::conflict(kind, name, &why));
    }
    Ok(())
}

fn keep_server_fields(new: &mut Value, old: &Value) {
    let fields = ["name", "namespace", "generateName", "creationTimestamp", "generation"];
    for field in SERVER_FIELDS.into_iter().chain(fields) {
        match old["metadata"].get(field) {
            Some(value) => object::set_metadata(new, field, value.clone()),
            None => object::remove_metadata(new, field),
        }
    }
}

/// A write to the status changes nothing else, but for labels and annotations where controllers have always written
/// those with it.
fn keep_all_but_status(kind: &Kind, new: &mut Value, old: &Value) {
    let status = new.get("status").cloned();
    let marks = kind.marks_of_status().iter();
    let marks: Vec<_> = marks.map(|field| (*field, new["metadata"].get(*field).cloned())).collect();
    object::replace_all_but_managers(new, old);
    match status {
        Some(status) => new["status"] = status,
        None => drop(object_fields(new).map(|fields| fields.remove("status"))),
    }
    for (field, value) in marks {
        match value {
            Some(value) => object::set_metadata(new, field, value),
            None => object::remove_metadata(new, field),
        }
    }
}

fn copy_field(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) => new[field] = value.clone(),
        None => drop(object_fields(new).map(|fields| fields.remove(field))),
    }
}

fn object_fields(object: &mut Value) -> Option<&mut serde_json::Map<String, Value>> {
    object.as_object_mut()
}

/// Kinds whose `metadata.generation` counts the changes of what their owners ask for.
const COUNTED: &[&str] = &[
    "BatchQuota",
    "ColocationPolicy",
    "ColocationProfile",
    "CronJob",
    "CustomResourceDefinition",
    "DaemonSet",
    "DagJob",
    "Deployment",
    "DeviceClass",
    "ElasticQuota",
    "EndpointSlice",
    "FlowSchema",
    "Ingress",
    "IngressClass",
    "InterferenceRule",
    "Job",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "NetworkPolicy",
    "Pod",
    "PodDisruptionBudget",
    "PodGroup",
    "PodTemplate",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "RebalancePolicy",
    "ReplicaSet",
    "ReplicationController",
    "Reservation",
    "ResourceSlice",
    "SchedulingPolicy",
    "StatefulSet",
    "Tide",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
];

/// Whether the labels of this kind say as much as its other fields.
fn labels_count(kind: &Kind, new: &Value, old: &Value) -> bool {
    kind.kind == "EndpointSlice" && new["metadata"]["labels"] != old["metadata"]["labels"]
}

fn counts_generations(kind: &Kind) -> bool {
    kind.custom().is_some() || COUNTED.contains(&kind.table_name())
}

/// Whether more differs than metadata and status. Where the status is a part like any other, it counts.
fn asks_for_more(kind: &Kind, new: &Value, old: &Value) -> bool {
    let counts_status = kind.custom().is_some() && kind.subresource("status").is_none();
    // A PriorityClass is what it is from its first day on; only its description changes.
    if kind.table_name() == "PriorityClass" {
        return false;
    }
    let asked = |object: &Value| -> Vec<(String, Value)> {
        let fields = object.as_object().into_iter().flatten();
        let mut asked: Vec<(String, Value)> = fields
            .filter(|(name, _)| match name.as_str() {
                "apiVersion" | "kind" | "metadata" => false,
                "status" => counts_status,
                _ => true,
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        asked.sort_by(|left, right| left.0.cmp(&right.0));
        asked
    };
    asked(new) != asked(old)
}

/// A status written by the creator is dropped, except that agents register Nodes with theirs.
fn reset_status(kind: &Kind, object: &mut Value) {
    if kind.subresource("status").is_none() || kind.table_name() == "Node" {
        return;
    }
    if kind.custom().is_some() {
        object_fields(object).map(|fields| fields.remove("status"));
        return;
    }
    let mut status = kinds::defaults::initial_status(kind);
    match kind.table_name() {
        "Namespace" => status["phase"] = "Active".into(),
        "Service" => status["loadBalancer"] = json!({}),
        "ReplicaSet" => status["replicas"] = 0.into(),
        "PersistentVolume" => {
            status["lastPhaseTransitionTime"] = object["metadata"]["creationTimestamp"].clone();
        }
        _ => {}
    }
    object["status"] = status;
}

fn prepare_namespace(object: &mut Value) {
    let name = object::name(object).to_owned();
    let spec = object::entry_object(object, "spec");
    spec.insert("finalizers".into(), json!(["kubernetes"]));
    let labels = &mut object["metadata"];
    object::entry_object(labels, "labels").insert("kubernetes.io/metadata.name".into(), name.into());
}

#[cfg(test)]
mod tests;
