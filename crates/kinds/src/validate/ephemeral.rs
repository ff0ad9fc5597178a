//! Ephemeral containers: they come to a Pod that is there, look on, and never go.

use serde_json::Value;

use super::{Faults, items, list, text};
use crate::status::FieldError;

/// What would promise something that a container without restarts and without a share of the node cannot keep.
const DENIED: [&str; 8] = [
    "ports",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resources",
    "resizePolicy",
    "restartPolicy",
];

/// What holds of the ephemeral containers of a Pod at all times, beside what holds of any container.
pub(super) fn check(path: &str, spec: &Value, faults: &mut Faults) {
    for (path, container) in items(path, spec, "ephemeralContainers") {
        let target = text(container, "targetContainerName");
        let mut names = ["containers", "initContainers"].iter().flat_map(|field| list(spec, field));
        if !target.is_empty() && !names.any(|other| text(other, "name") == target) {
            faults.push(FieldError::not_found(format!("{path}.targetContainerName"), target));
        }
        let message = "cannot be set for an Ephemeral Container";
        for field in DENIED.into_iter().filter(|field| is_set(&container[*field])) {
            faults.push(FieldError::forbidden(format!("{path}.{field}"), message));
        }
        for (path, mount) in items(&path, container, "volumeMounts") {
            for field in ["subPath", "subPathExpr"].into_iter().filter(|field| is_set(&mount[*field])) {
                faults.push(FieldError::forbidden(format!("{path}.{field}"), message));
            }
        }
    }
}

/// Containers may come; those that are there stay as they are.
pub(super) fn check_update(new: &Value, old: &Value, faults: &mut Faults) {
    const FIELD: &str = "ephemeralContainers";
    for had in list(&old["spec"], FIELD) {
        let name = text(had, "name");
        let what = match list(&new["spec"], FIELD).iter().find(|container| text(container, "name") == name) {
            Some(kept) if kept == had => continue,
            Some(_) => "changed",
            None => "removed",
        };
        let message = format!("existing ephemeral containers \"{name}\" may not be {what}\n");
        faults.push(FieldError::forbidden(format!("spec.{FIELD}"), message));
    }
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}
