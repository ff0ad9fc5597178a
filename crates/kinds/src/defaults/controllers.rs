//! Defaults of the kinds that keep Pods running, beside Deployments and Jobs.

use serde_json::{Map, Value, json};

use super::pod::pod_spec;
use super::{existing, fill, object};

/// Where a DaemonSet counts the changes of its template, as old clients expect it.
pub const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// The selector and the labels of a controller that names none are those of its template.
pub(super) fn replication_controller(fields: &mut Map<String, Value>) {
    let Some(spec) = existing(fields, "spec") else { return };
    template(spec, "template");
    let labels = spec.get("template").map(|template| template["metadata"]["labels"].clone());
    let Some(labels) = labels.filter(Value::is_object) else { return };
    fill(spec, "selector", labels.clone());
    if let Some(metadata) = object(fields, "metadata") {
        fill(metadata, "labels", labels);
    }
}

pub(super) fn daemon_set(fields: &mut Map<String, Value>) {
    // The server counts the changes of the template in an annotation that every writer is taken to have written.
    if let Some(annotations) = object(fields, "metadata").and_then(|metadata| object(metadata, "annotations"))
    {
        fill(annotations, TEMPLATE_GENERATION, "0");
    }
    let Some(spec) = existing(fields, "spec") else { return };
    template(spec, "template");
    if let Some(rolling) = rolling_update(spec) {
        fill(rolling, "maxUnavailable", 1);
        fill(rolling, "maxSurge", 0);
    }
}

pub(super) fn stateful_set(fields: &mut Map<String, Value>) {
    let Some(spec) = existing(fields, "spec") else { return };
    template(spec, "template");
    if let Some(rolling) = rolling_update(spec) {
        fill(rolling, "partition", 0);
    }
}

pub(super) fn cron_job(fields: &mut Map<String, Value>) {
    let job = existing(fields, "spec").and_then(|spec| existing(spec, "jobTemplate"));
    if let Some(spec) = job.and_then(|job| existing(job, "spec")) {
        template(spec, "template");
    }
}

/// The Pod template under `name`.
pub(super) fn template(fields: &mut Map<String, Value>, name: &str) {
    if let Some(template) = existing(fields, name)
        && let Some(pod) = object(template, "spec")
    {
        pod_spec(pod);
    }
}

fn rolling_update(spec: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    let strategy = existing(spec, "updateStrategy")?;
    if strategy.get("type") != Some(&json!("RollingUpdate")) {
        return None;
    }
    object(strategy, "rollingUpdate")
}
