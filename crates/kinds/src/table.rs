//! Tables: the rows and cells that `kubectl get` prints.

pub(crate) mod age;
mod batch;
mod cell;
mod columns;
mod controllers;
mod core;
mod guards;
mod metrics;
mod network;
mod placement;
mod pod;
mod storage;
mod workload;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Kind;
use crate::custom::Version;
use crate::defaults::TEMPLATE_GENERATION;

/// What a row carries beside its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl IncludeObject {
    /// By the `includeObject` query parameter.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "None" => Some(Self::None),
            "" | "Metadata" => Some(Self::Metadata),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// A `meta.k8s.io/v1` Table of `objects`. The caller fills in the list's metadata.
///
/// Watches send a Table of one row per event; clients take the columns from the first.
pub fn render(kind: &Kind, objects: &[Value], now: Timestamp, include: IncludeObject) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let carried = match include {
                IncludeObject::None => Value::Null,
                IncludeObject::Metadata => partial_metadata(object.clone()),
                IncludeObject::Object => object.clone(),
            };
            json!({"cells": cells(kind, object, now), "object": carried})
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": columns::of(kind),
        "rows": rows,
    })
}

/// The object reduced to its metadata, as metadata-only clients ask for it.
pub fn partial_metadata(mut object: Value) -> Value {
    let mut metadata = object["metadata"].take();
    if let Some(fields) = metadata.as_object_mut()
        && let Some(Value::Object(annotations)) = fields.get_mut("annotations")
        && object["kind"] == "DaemonSet"
    {
        // It is no annotation but a field of the object.
        annotations.remove(TEMPLATE_GENERATION);
        if annotations.is_empty() {
            fields.remove("annotations");
        }
    }
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

/// One cell for each of the kind's columns.
fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    if let Some(version) = kind.custom() {
        return custom(version, object, now);
    }
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::cells(object, now),
        ("", "Node") => core::node(object, now),
        ("", "Namespace") => core::namespace(object, now),
        ("", "Service") => core::service(object, now),
        ("", "ConfigMap") => core::config_map(object, now),
        ("", "Secret") => core::secret(object, now),
        ("", "ServiceAccount") => core::service_account(object, now),
        ("" | "events.k8s.io", "Event") => core::event(object, now),
        ("apps", "Deployment") => workload::deployment(object, now),
        ("apps", "ReplicaSet") => workload::replica_set(object, now),
        ("batch", "Job") => batch::job(object, now),
        ("metrics.k8s.io", _) => metrics::cells(object),
        ("crest.dev", "DagJob") => batch::dag_job(object, now),
        ("crest.dev", _) => placement::cells(kind, object, now),
        ("coordination.k8s.io", "Lease") => core::lease(object, now),
        ("scheduling.k8s.io", "PriorityClass") => core::priority_class(object, now),
        _ => others(kind, object, now),
    }
}

fn custom(version: &Version, object: &Value, now: Timestamp) -> Vec<Value> {
    let own = version.columns.iter().map(|column| column.cell(object, now));
    let mut cells: Vec<Value> = std::iter::once(cell::name(object)).chain(own).collect();
    if version.columns.is_empty() {
        cells.push(cell::created(object, now));
    }
    cells
}

fn others(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    match kind.kind {
        "ComponentStatus" => guards::component_status(object),
        "ControllerRevision" => controllers::controller_revision(object, now),
        "CronJob" => controllers::cron_job(object, now),
        "DaemonSet" => controllers::daemon_set(object, now),
        "HorizontalPodAutoscaler" => controllers::autoscaler(object, now),
        "PodDisruptionBudget" => storage::disruption_budget(object, now),
        "PodTemplate" => controllers::pod_template(object),
        "ReplicationController" => controllers::replication_controller(object, now),
        "ResourceClaim" => guards::resource_claim(object, now),
        "ResourceQuota" => storage::resource_quota(object, now),
        "ResourceSlice" => guards::resource_slice(object, now),
        "Scale" => vec![
            cell::name(object),
            cell::count(&object["spec"]["replicas"]).into(),
            cell::count(&object["status"]["replicas"]).into(),
            cell::created(object, now),
        ],
        "RuntimeClass" => {
            vec![cell::name(object), cell::text_or(&object["handler"], ""), cell::created(object, now)]
        }
        "StatefulSet" => controllers::stateful_set(object, now),
        name => network::cells(name, object, now)
            .or_else(|| storage::cells(name, object, now))
            .or_else(|| guards::cells(name, object, now))
            .unwrap_or_else(|| plain(kind, object, now)),
    }
}

/// Kinds without columns of their own show when they were made, or for how long they are there.
fn plain(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let made = if columns::has_own(kind) {
        cell::created(object, now)
    } else {
        object["metadata"]["creationTimestamp"].clone()
    };
    vec![cell::name(object), made]
}

#[cfg(test)]
mod tests;
