//! What says nothing goes: empty lists and maps, and the zeros of fields whose zero means that they were not set.
//!
//! Kubernetes keeps its own kinds in a form that has no room for them, so clients never see them again.

use serde_json::{Map, Value};

use crate::Kind;
use crate::schema::{self, Definition, Shape};

/// Flags and counts that are left out when they are false or zero.
const ZERO_IS_UNSET: &[&str] = &[
    "count",
    "deprecatedCount",
    "globalDefault",
    "healthCheckNodePort",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostPort",
    "initialDelaySeconds",
    "minReadySeconds",
    "nodePort",
    "observedGeneration",
    "paused",
    "publishNotReadyAddresses",
    "readOnly",
    "stdin",
    "stdinOnce",
    "tty",
    "unschedulable",
];

/// Drops them from an object of one of Kubernetes' own kinds.
pub(super) fn apply(kind: &Kind, fields: &mut Map<String, Value>) {
    if kind.is_builtin() {
        object(schema::of(kind), fields);
    }
}

fn object(definition: &'static Definition, fields: &mut Map<String, Value>) {
    fields.retain(|name, value| {
        let Some(field) = definition.field(name) else { return true };
        descend(&field.shape, value);
        match (&field.shape, value) {
            // What must be there stays, for its writer owns it.
            (Shape::List(_), Value::Array(items)) => !items.is_empty() || field.zero.is_some(),
            (Shape::Map(_), Value::Object(entries)) => !entries.is_empty(),
            (Shape::Boolean | Shape::Integer(_), value) => {
                !(ZERO_IS_UNSET.contains(&name.as_str()) && (*value == false || *value == 0))
            }
            _ => true,
        }
    });
}

fn descend(shape: &Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::List(item), Value::Array(items)) => {
            items.iter_mut().for_each(|value| descend(item, value));
        }
        (Shape::Map(item), Value::Object(entries)) => {
            entries.values_mut().for_each(|value| descend(item, value));
        }
        (Shape::Object(_), Value::Object(fields)) => {
            if let Some(definition) = shape.definition() {
                object(definition, fields);
            }
        }
        _ => {}
    }
}
