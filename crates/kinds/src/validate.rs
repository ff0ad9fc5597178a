//! What must hold of an object; all faults are told at once, in the order of the document.

mod access;
pub(crate) mod address;
mod config;
mod container;
pub(crate) mod definition;
mod dns;
mod ephemeral;
mod extension;
mod flow;
mod job;
mod metadata;
pub mod names;
mod network;
mod os;
mod pinning;
mod placement;
mod pod;
mod quota;
mod resize;
mod rules;
mod scaling;
pub mod schedule;
mod security;
mod service;
mod status;
mod storage;
mod tide;
mod update;
mod volume;
mod workload;

use std::collections::HashSet;

use serde_json::Value;

pub(crate) use self::metadata::STANDARD_FINALIZERS;
use crate::Kind;
use crate::status::FieldError;

/// The faults of an object that is to be created, with its defaults filled in and its name generated.
pub fn create(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut faults = Vec::new();
    metadata::check(kind, object, &mut faults);
    if let Some(version) = kind.custom() {
        faults.extend(version.check(object, None));
        return faults;
    }
    match (kind.group, kind.kind) {
        ("", "Pod") => {
            pod::check_new(object, &mut faults);
            resize::check_static(object, &mut faults);
        }
        ("apps", "StatefulSet") => scaling::new_stateful_set(object, &mut faults),
        ("batch", "CronJob") => job::new_cron_job(object, &mut faults),
        ("networking.k8s.io", "Ingress") => network::new_ingress(object, &mut faults),
        _ => {}
    }
    content(kind, object, &mut faults);
    faults
}

/// The faults of the labels and annotations of `metadata`, whoever set them.
pub fn marks(metadata: &Value) -> Vec<FieldError> {
    let mut faults = Vec::new();
    metadata::labels("metadata.labels", &metadata["labels"], &mut faults);
    metadata::annotations("metadata.annotations", &metadata["annotations"], &mut faults);
    faults
}

/// The faults of `new` as the next state of `old`.
pub fn update(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut faults = Vec::new();
    metadata::check_update(kind, new, old, &mut faults);
    if let Some(version) = kind.custom() {
        faults.extend(version.check(new, Some(old)));
        return faults;
    }
    // A job that was stored before a check existed must still be able to say in its status that it cannot run.
    if kind.kind != "DagJob" || new["spec"] != old["spec"] {
        for _ in 0..metadata::passes(kind).of_content {
            content(kind, new, &mut faults);
        }
    }
    update::check(kind, new, old, &mut faults);
    faults
}

/// The faults of a write to the status alone. What else the object says is as it was, and was judged before.
pub fn update_status(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    if kind.custom().is_some() || !status::is_judged(kind) {
        return update(kind, new, old);
    }
    let mut faults = Vec::new();
    metadata::check_update(kind, new, old, &mut faults);
    status::check(kind, new, old, &mut faults);
    faults
}

/// As [`update`] for a write to the Pod's `ephemeralcontainers`.
pub fn ephemeral_containers(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut faults = standing(kind, new, old);
    ephemeral::check_update(new, old, &mut faults);
    faults
}

/// As [`update`] for a write to the Pod's `resize`.
pub fn resize(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut faults = standing(kind, new, old);
    resize::check_update(new, old, &mut faults);
    faults
}

/// What must hold of an object after any write.
fn standing(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut faults = Vec::new();
    metadata::check_update(kind, new, old, &mut faults);
    content(kind, new, &mut faults);
    faults
}

/// What is specific to a kind and holds at all times.
fn content(kind: &Kind, object: &Value, faults: &mut Faults) {
    rules::check(kind, object, faults);
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::check(object, faults),
        ("", "Service") => service::check(object, faults),
        ("", "ConfigMap") => config::config_map(object, faults),
        ("", "Secret") => config::secret(object, faults),
        ("", "Node") => config::node(object, faults),
        ("", "Event") => config::event("involvedObject", object, faults),
        ("events.k8s.io", "Event") => {
            config::event("regarding", object, faults);
            config::new_event(object, faults);
        }
        ("", "PersistentVolume") => storage::persistent_volume(object, faults),
        ("", "PersistentVolumeClaim") => storage::claim(object, faults),
        ("", "LimitRange") => quota::limit_range(object, faults),
        ("", "ResourceQuota") => quota::resource_quota(object, faults),
        ("", "ReplicationController") => workload::replication_controller(&object["spec"], faults),
        ("", "PodTemplate") => workload::pod_template("template", &object["template"], faults),
        ("", "Endpoints") => network::endpoints(object, faults),
        ("apps", "DaemonSet") => scaling::daemon_set(object, faults),
        ("apps", "StatefulSet") => scaling::stateful_set(object, faults),
        ("autoscaling", "HorizontalPodAutoscaler") => scaling::autoscaler(object, faults),
        ("batch", "CronJob") => job::cron_job(object, faults),
        ("policy", "PodDisruptionBudget") => scaling::disruption_budget(object, faults),
        ("discovery.k8s.io" | "networking.k8s.io", _) => connected(kind, object, faults),
        ("storage.k8s.io", "CSIDriver") => storage::csi_driver(object, faults),
        ("storage.k8s.io", "CSINode") => storage::csi_node(object, faults),
        ("storage.k8s.io", "CSIStorageCapacity") => storage::storage_capacity(object, faults),
        ("storage.k8s.io", "StorageClass") => storage::storage_class(object, faults),
        ("storage.k8s.io", "VolumeAttributesClass") => storage::attributes_class(object, faults),
        ("storage.k8s.io", "VolumeAttachment") => storage::volume_attachment(object, faults),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => access::role(kind, object, faults),
        ("rbac.authorization.k8s.io", _) => access::binding(kind, object, faults),
        ("certificates.k8s.io", _) => access::signing_request(object, faults),
        ("admissionregistration.k8s.io" | "apiregistration.k8s.io" | "flowcontrol.apiserver.k8s.io", _) => {
            extending(kind, object, faults);
        }
        ("apiextensions.k8s.io", _) => definition::definition(object, faults),
        ("apps", "Deployment") => workload::deployment(&object["spec"], faults),
        ("apps", "ReplicaSet") => workload::replica_set(&object["spec"], faults),
        ("batch", "Job") => job::check(object, faults),
        ("scheduling.k8s.io", "PriorityClass") => config::priority_class(object, faults),
        ("coordination.k8s.io", "Lease") => config::lease(&object["spec"], faults),
        ("crest.dev", "DagJob") => config::dag_job(object, faults),
        ("crest.dev", "ColocationPolicy") => config::colocation_policy(object, faults),
        ("crest.dev", "BatchQuota") => quota::batch_quota(object, faults),
        ("crest.dev", "ElasticQuota") => quota::elastic_quota(object, faults),
        ("crest.dev", "RebalancePolicy") => config::rebalance_policy(object, faults),
        ("crest.dev", "Reservation") => config::reservation(object, faults),
        ("crest.dev", "SchedulingPolicy") => config::scheduling_policy(object, faults),
        ("crest.dev", "Tide") => tide::tide(object, faults),
        _ => {}
    }
}

fn connected(kind: &Kind, object: &Value, faults: &mut Faults) {
    match kind.kind {
        "EndpointSlice" => network::endpoint_slice(object, faults),
        "Ingress" => network::ingress(object, faults),
        "IngressClass" => network::ingress_class(object, faults),
        "IPAddress" => network::ip_address(object, faults),
        "NetworkPolicy" => network::network_policy(object, faults),
        "ServiceCIDR" => network::service_cidr(object, faults),
        _ => {}
    }
}

fn extending(kind: &Kind, object: &Value, faults: &mut Faults) {
    match kind.kind {
        "APIService" => extension::api_service(object, faults),
        "FlowSchema" => flow::schema(object, faults),
        "MutatingAdmissionPolicy" | "ValidatingAdmissionPolicy" => extension::policy(object, faults),
        "MutatingAdmissionPolicyBinding" | "ValidatingAdmissionPolicyBinding" => {
            extension::policy_binding(object, faults);
        }
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            extension::webhooks(object, faults);
        }
        "PriorityLevelConfiguration" => flow::level(object, faults),
        _ => {}
    }
}

type Faults = Vec<FieldError>;

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The items of a list field with their paths.
fn items<'a>(path: &str, value: &'a Value, field: &str) -> impl Iterator<Item = (String, &'a Value)> {
    let items = list(value, field).iter().enumerate();
    items.map(move |(index, item)| (format!("{path}.{field}[{index}]"), item))
}

/// A field that must be one of `supported`, if it is there.
fn one_of(path: &str, value: &Value, field: &str, supported: &[&str], faults: &mut Faults) {
    let found = &value[field];
    if !found.is_null() && !found.as_str().is_some_and(|found| supported.contains(&found)) {
        faults.push(FieldError::not_supported(format!("{path}.{field}"), found.clone(), supported));
    }
}

/// A field that must be within `range`, if it is there.
fn in_range(
    path: &str,
    value: &Value,
    field: &str,
    range: std::ops::RangeInclusive<i64>,
    faults: &mut Faults,
) {
    if let Some(number) = value[field].as_i64()
        && !range.contains(&number)
    {
        let message = format!("must be between {} and {}, inclusive", range.start(), range.end());
        faults.push(FieldError::invalid(format!("{path}.{field}"), number, message));
    }
}

fn not_negative(path: &str, value: &Value, field: &str, faults: &mut Faults) {
    if let Some(number) = value[field].as_i64()
        && number < 0
    {
        let message = "must be greater than or equal to 0";
        faults.push(FieldError::invalid(format!("{path}.{field}"), number, message));
    }
}

/// A text field that must be there.
fn required(path: &str, value: &Value, field: &str, faults: &mut Faults) {
    if text(value, field).is_empty() {
        faults.push(FieldError::required(format!("{path}.{field}"), ""));
    }
}

/// Finds values that come twice.
fn unique<'a>(seen: &mut HashSet<&'a str>, value: &'a str, path: impl Into<String>, faults: &mut Faults) {
    if !value.is_empty() && !seen.insert(value) {
        faults.push(FieldError::duplicate(path, value));
    }
}

#[cfg(test)]
mod tests;
