//! Defaults of the kinds that make Pods from a template.

use serde_json::{Map, Value, json};

use super::pod::pod_spec;
use super::{existing, fill, fill_zero, object};

pub(super) fn deployment(fields: &mut Map<String, Value>) {
    fill(fields, "status", Map::new());
    let Some(spec) = existing(fields, "spec") else { return };
    template(spec);
    fill(spec, "replicas", 1);
    if let Some(strategy) = object(spec, "strategy") {
        fill_zero(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate"
            && let Some(rolling) = object(strategy, "rollingUpdate")
        {
            fill(rolling, "maxUnavailable", "25%");
            fill(rolling, "maxSurge", "25%");
        }
    }
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "progressDeadlineSeconds", 600);
}

pub(super) fn replica_set(fields: &mut Map<String, Value>) {
    let Some(spec) = existing(fields, "spec") else { return };
    template(spec);
    fill(spec, "replicas", 1);
    if let Some(status) = object(fields, "status") {
        fill(status, "replicas", 0);
    }
}

pub(super) fn job(fields: &mut Map<String, Value>) {
    let metadata = |name: &str| fields.get("metadata").and_then(|metadata| metadata[name].as_str());
    let (uid, name) = (metadata("uid").map(str::to_owned), metadata("name").map(str::to_owned));
    fill(fields, "status", Map::new());
    let Some(spec) = existing(fields, "spec") else { return };
    template(spec);
    // A job with neither runs once; one with a parallelism only is a work queue and ends when its Pods say so.
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        spec.insert("completions".into(), 1.into());
    }
    fill(spec, "parallelism", 1);
    let backoff_limit = if spec.contains_key("backoffLimitPerIndex") { i64::from(i32::MAX) } else { 6 };
    fill(spec, "backoffLimit", backoff_limit);
    fill_zero(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", false);
    fill(spec, "manualSelector", false);
    let replacement = if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    fill_zero(spec, "podReplacementPolicy", replacement);
    if let (Some(uid), Some(name), Some(false)) = (uid, name, spec["manualSelector"].as_bool()) {
        own_selector(spec, &uid, &name);
    }
    // A job without labels of its own has its template's.
    let labels = spec["template"]["metadata"]["labels"].clone();
    if labels.is_object()
        && let Some(metadata) = existing(fields, "metadata")
    {
        fill(metadata, "labels", labels);
    }
}

/// A job's Pods are found by the job's own identity, so that no two jobs ever share Pods.
fn own_selector(spec: &mut Map<String, Value>, uid: &str, name: &str) {
    if spec.contains_key("selector") {
        return;
    }
    spec.insert("selector".into(), json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
    let labels = object(spec, "template")
        .and_then(|template| object(template, "metadata"))
        .and_then(|metadata| object(metadata, "labels"));
    let Some(labels) = labels else { return };
    let own = [
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
        ("controller-uid", uid),
        ("job-name", name),
    ];
    for (key, value) in own {
        labels.insert(key.to_owned(), value.into());
    }
}

fn template(spec: &mut Map<String, Value>) {
    if let Some(template) = object(spec, "template")
        && let Some(pod) = object(template, "spec")
    {
        pod_spec(pod);
    }
}
