//! What the server fills in where the user said nothing.
//!
//! Filling in twice changes nothing: what is there stays.

mod controllers;
mod kinds;
mod pod;
mod prune;
mod rules;
mod service;
mod settle;
mod workload;

use base64::engine::{Engine, general_purpose::STANDARD};
use serde_json::{Map, Value, json};

pub use controllers::TEMPLATE_GENERATION;

use crate::Kind;

/// Fills in the defaults of `kind`. Of new objects the caller has set `metadata.uid` before: a Job's selector is
/// made from it.
pub fn apply(kind: &Kind, object: &mut Value) {
    if let Some(version) = kind.custom() {
        return version.fill(object);
    }
    let Some(fields) = object.as_object_mut() else { return };
    prune::apply(kind, fields);
    rules::apply(kind, fields);
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::pod(fields),
        ("", "Service") => service::service(fields),
        ("", "Secret") => secret(fields),
        ("", "Namespace") => namespace(fields),
        ("", "Node") => node(fields),
        ("", "Event") => event(fields),
        ("apps", "Deployment") => workload::deployment(fields),
        ("apps", "ReplicaSet") => workload::replica_set(fields),
        ("batch", "Job") => workload::job(fields),
        ("", "LimitRange") => kinds::limit_range(fields),
        ("", "PodTemplate") => controllers::template(fields, "template"),
        ("", "ReplicationController") => controllers::replication_controller(fields),
        ("apps", "DaemonSet") => controllers::daemon_set(fields),
        ("apps", "StatefulSet") => controllers::stateful_set(fields),
        ("autoscaling", "HorizontalPodAutoscaler") if kind.version == "v2" => kinds::autoscaler(fields),
        ("batch", "CronJob") => controllers::cron_job(fields),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => kinds::priority_level(fields),
        ("networking.k8s.io", "NetworkPolicy") => kinds::network_policy(fields),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => kinds::role_binding(fields),
        ("resource.k8s.io", "ResourceClaim" | "ResourceClaimTemplate") => kinds::resource_claim(fields),
        ("apiextensions.k8s.io", _) => kinds::definition(fields),
        ("crest.dev", "BatchQuota") => batch_quota(fields),
        ("crest.dev", "DagJob") => dag_job(fields),
        _ => {}
    }
}

/// Adds what stands in every object whether anybody said it or not: zeros, empty objects, lists that are null.
pub fn fill_zeros(kind: &Kind, object: &mut Value) {
    if let Some(fields) = object.as_object_mut() {
        settle::apply(kind, fields, settle::EmptyList::Stays);
    }
}

/// Brings an object that is otherwise complete into the form in which it is kept: as [`fill_zeros`], and a list that
/// must be there and holds nothing is null. Who wrote the empty list owns it all the same, so this comes last.
pub fn settle(kind: &Kind, object: &mut Value) {
    if let Some(fields) = object.as_object_mut() {
        settle::apply(kind, fields, settle::EmptyList::BecomesNull);
    }
}

/// Kubernetes' class of a Pod with this spec, its defaults filled in: `Guaranteed`, `Burstable` or `BestEffort`.
pub fn quality_of_service(spec: &Value) -> &'static str {
    spec.as_object().map_or("BestEffort", pod::quality_of_service)
}

/// The first status of an object of `kind`: a status that a client writes with a new object is dropped.
pub fn initial_status(kind: &Kind) -> Value {
    rules::status(kind)
}

/// Sets a field that is not there, or that is null.
fn fill(fields: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if fields.get(name).is_none_or(Value::is_null) {
        fields.insert(name.to_owned(), value.into());
    }
}

/// As `fill`, for fields whose zero (`""`, `0`) means that they were not set.
fn fill_zero(fields: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    let zero = fields.get(name).is_none_or(|old| old.is_null() || *old == "" || *old == 0);
    if zero {
        fields.insert(name.to_owned(), value.into());
    }
}

/// An object field, made if it is not there; `None` when something else is in its place.
fn object<'a>(fields: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    fill(fields, name, Map::new());
    fields.get_mut(name)?.as_object_mut()
}

/// An object field that is there.
fn existing<'a>(fields: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    fields.get_mut(name)?.as_object_mut()
}

/// The objects of a list field.
fn items<'a>(
    fields: &'a mut Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let list = fields.get_mut(name).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// `stringData` is for writing only: it becomes `data`.
fn secret(fields: &mut Map<String, Value>) {
    if let Some(Value::Object(texts)) = fields.remove("stringData")
        && let Some(data) = object(fields, "data")
    {
        for (key, text) in texts {
            data.insert(key, STANDARD.encode(text.as_str().unwrap_or_default()).into());
        }
    }
    fill_zero(fields, "type", "Opaque");
}

fn namespace(fields: &mut Map<String, Value>) {
    let Some(metadata) = object(fields, "metadata") else { return };
    let name = metadata.get("name").cloned();
    if let (Some(name), Some(labels)) = (name, object(metadata, "labels")) {
        labels.insert("kubernetes.io/metadata.name".into(), name);
    }
    let deleted = metadata.contains_key("deletionTimestamp");
    if !deleted && let Some(spec) = object(fields, "spec") {
        fill(spec, "finalizers", json!(["kubernetes"]));
    }
    if let Some(status) = object(fields, "status") {
        fill_zero(status, "phase", "Active");
    }
}

fn node(fields: &mut Map<String, Value>) {
    if let Some(status) = existing(fields, "status") {
        // What a node can hand out is what it has, until its agent says less.
        if let Some(capacity) = status.get("capacity").cloned() {
            fill(status, "allocatable", capacity);
        }
    }
}

fn event(fields: &mut Map<String, Value>) {
    fill(fields, "source", Map::new());
    for name in ["firstTimestamp", "lastTimestamp", "eventTime"] {
        fields.entry(name).or_insert(Value::Null);
    }
    fill(fields, "reportingComponent", "");
    fill(fields, "reportingInstance", "");
}

fn batch_quota(fields: &mut Map<String, Value>) {
    if let Some(spec) = existing(fields, "spec") {
        fill(spec, "weight", 1);
    }
}

fn dag_job(fields: &mut Map<String, Value>) {
    let Some(spec) = existing(fields, "spec") else { return };
    fill(spec, "priority", 0);
    for task in items(spec, "tasks") {
        fill(task, "maxAttempts", 3);
        if let Some(resources) = object(task, "resources") {
            fill(resources, "cpu", "1");
            fill(resources, "memory", "256Mi");
        }
    }
    pod::volumes(spec);
}

#[cfg(test)]
mod tests;
