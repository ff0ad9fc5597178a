//! Defaults of Pods and of the templates that become Pods.

use model::names::SIGMA_SCHEDULER;
use serde_json::{Map, Value, json};

use super::{existing, fill, fill_zero, items, object};
use crate::resources::of_containers;

/// A Pod itself: the template's defaults and a few of its own.
pub(super) fn pod(fields: &mut Map<String, Value>) {
    let Some(spec) = object(fields, "spec") else { return };
    pod_spec(spec);
    requests_from_limits(spec);
    requests_of_whole(spec);
    fill(spec, "enableServiceLinks", true);
    // Two names of one field. What a Pod that names no account gets is admission's to say, and not its client's own.
    for (said, meant) in [("serviceAccount", "serviceAccountName"), ("serviceAccountName", "serviceAccount")]
    {
        if let Some(account) = spec.get(said).cloned() {
            fill_zero(spec, meant, account);
        }
    }
    let class = quality_of_service(spec);
    if let Some(status) = object(fields, "status") {
        fill_zero(status, "phase", "Pending");
        fill_zero(status, "qosClass", class);
    }
}

/// The spec of a Pod or of a template.
pub(super) fn pod_spec(spec: &mut Map<String, Value>) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(spec, list) {
            self::container(container);
        }
    }
    volumes(spec);
    fill_zero(spec, "restartPolicy", "Always");
    fill(spec, "terminationGracePeriodSeconds", 30);
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds < 0) {
        // As Kubernetes reads it: negative is the least.
        spec.insert("terminationGracePeriodSeconds".into(), 1.into());
    }
    fill_zero(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "securityContext", Map::new());
    fill_zero(spec, "schedulerName", SIGMA_SCHEDULER);
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        for list in ["initContainers", "containers"] {
            items(spec, list).for_each(host_ports);
        }
    }
}

fn container(container: &mut Map<String, Value>) {
    for port in items(container, "ports") {
        fill_zero(port, "protocol", "TCP");
    }
    for variable in items(container, "env") {
        if let Some(source) = existing(variable, "valueFrom")
            && let Some(field) = existing(source, "fieldRef")
        {
            fill_zero(field, "apiVersion", "v1");
        }
    }
    fill(container, "resources", Map::new());
    fill_zero(container, "terminationMessagePath", "/dev/termination-log");
    fill_zero(container, "terminationMessagePolicy", "File");
    let policy = pull_policy(container.get("image").and_then(Value::as_str).unwrap_or_default());
    fill_zero(container, "imagePullPolicy", policy);
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = existing(container, probe) {
            self::probe(probe);
        }
    }
    if let Some(lifecycle) = existing(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = existing(lifecycle, hook) {
                http_get(hook);
            }
        }
    }
}

/// An image that may change under its name is asked for each time.
fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or_default();
    let tag = name.split_once(':').map(|(_, tag)| tag);
    if !image.contains('@') && tag.is_none_or(|tag| tag == "latest") { "Always" } else { "IfNotPresent" }
}

fn probe(probe: &mut Map<String, Value>) {
    fill_zero(probe, "timeoutSeconds", 1);
    fill_zero(probe, "periodSeconds", 10);
    fill_zero(probe, "successThreshold", 1);
    fill_zero(probe, "failureThreshold", 3);
    http_get(probe);
    if let Some(grpc) = existing(probe, "grpc") {
        fill(grpc, "service", "");
    }
}

fn http_get(handler: &mut Map<String, Value>) {
    if let Some(http) = existing(handler, "httpGet") {
        fill_zero(http, "path", "/");
        fill_zero(http, "scheme", "HTTP");
    }
}

/// Volumes of a Pod or of a DagJob: a volume without a source is an emptyDir.
pub(super) fn volumes(spec: &mut Map<String, Value>) {
    const DEFAULT_MODE: i32 = 0o644;
    for volume in items(spec, "volumes") {
        if volume.keys().all(|key| key == "name") {
            volume.insert("emptyDir".into(), json!({}));
        }
        for source in ["secret", "configMap", "downwardAPI", "projected"] {
            if let Some(source) = existing(volume, source) {
                fill(source, "defaultMode", DEFAULT_MODE);
            }
        }
        super::rules::volume_source(volume);
        if let Some(ephemeral) = existing(volume, "ephemeral")
            && let Some(claim) = existing(ephemeral, "volumeClaimTemplate")
            && let Some(spec) = existing(claim, "spec")
        {
            fill(spec, "volumeMode", "Filesystem");
        }
        if let Some(downward) = existing(volume, "downwardAPI") {
            items(downward, "items").for_each(field_reference);
        }
        if let Some(projected) = existing(volume, "projected") {
            for source in items(projected, "sources") {
                if let Some(token) = existing(source, "serviceAccountToken") {
                    fill(token, "expirationSeconds", 3600);
                }
                if let Some(downward) = existing(source, "downwardAPI") {
                    items(downward, "items").for_each(field_reference);
                }
            }
        }
    }
}

fn field_reference(item: &mut Map<String, Value>) {
    if let Some(field) = existing(item, "fieldRef") {
        fill_zero(field, "apiVersion", "v1");
    }
}

/// In the host's network a container's port is the host's.
fn host_ports(container: &mut Map<String, Value>) {
    for port in items(container, "ports") {
        if let Some(number) = port.get("containerPort").cloned() {
            fill_zero(port, "hostPort", number);
        }
    }
}

/// Who says how much it may use, and not how much it needs, needs that much.
fn requests_from_limits(spec: &mut Map<String, Value>) {
    for list in ["initContainers", "containers"] {
        for container in items(spec, list) {
            let Some(resources) = existing(container, "resources") else { continue };
            let Some(limits) = existing(resources, "limits").cloned() else { continue };
            let Some(requests) = object(resources, "requests") else { continue };
            for (name, quantity) in limits {
                fill(requests, &name, quantity);
            }
        }
    }
}

/// A Pod that says how much it may use as a whole needs what its containers need together; where none of them says, as much
/// as it may use.
fn requests_of_whole(spec: &mut Map<String, Value>) {
    let has_limits =
        |resources: &Value| resources["limits"].as_object().is_some_and(|limits| !limits.is_empty());
    if !spec.get("resources").is_some_and(has_limits) {
        return;
    }
    let needed = of_containers(&Value::Object(spec.clone()), "requests");
    let Some(resources) = existing(spec, "resources") else { return };
    let limits = existing(resources, "limits").cloned().unwrap_or_default();
    let Some(requests) = object(resources, "requests") else { return };
    for name in ["cpu", "memory"] {
        let sum = needed.get(name).map(|amount| Value::from(amount.to_string()));
        if let Some(quantity) = sum.or_else(|| limits.get(name).cloned()) {
            fill(requests, name, quantity);
        }
    }
}

/// Kubernetes' own class, from the requests and limits of cpu and memory: of the whole Pod where it has any.
pub(super) fn quality_of_service(spec: &Map<String, Value>) -> &'static str {
    let is_told = |resources: &&Value| {
        let has = |field: &str| resources[field].as_object().is_some_and(|amounts| !amounts.is_empty());
        has("requests") || has("limits")
    };
    if let Some(resources) = spec.get("resources").filter(is_told) {
        return class_of([resources].into_iter());
    }
    let containers = ["initContainers", "containers"]
        .iter()
        .filter_map(|list| spec.get(*list)?.as_array())
        .flatten()
        .map(|container| &container["resources"]);
    class_of(containers)
}

fn class_of<'a>(all_resources: impl Iterator<Item = &'a Value>) -> &'static str {
    let (mut any, mut all) = (false, true);
    for resources in all_resources {
        for name in ["cpu", "memory"] {
            let (request, limit) = (&resources["requests"][name], &resources["limits"][name]);
            any |= !is_zero(request) || !is_zero(limit);
            all &= !is_zero(limit) && request == limit;
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn is_zero(quantity: &Value) -> bool {
    quantity.is_null() || *quantity == "0"
}
