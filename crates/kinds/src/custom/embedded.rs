//! Objects within objects: `x-kubernetes-embedded-resource` makes a field an object with a kind and metadata.

use serde_json::Value;

use super::joined;
use super::schema::{Mark, Schema};
use crate::status::FieldError;
use crate::validate::names;

/// What embedded objects lack.
pub(super) fn check(schema: &Schema, value: &Value, faults: &mut Vec<FieldError>) {
    walk(schema, value, "", faults);
}

fn walk(schema: &Schema, value: &Value, path: &str, faults: &mut Vec<FieldError>) {
    match value {
        Value::Object(fields) => {
            if schema.is(Mark::Embedded) {
                identity(value, path, faults);
            }
            for (name, value) in fields {
                if let Some(schema) = schema.field(name) {
                    walk(schema, value, &joined(path, name), faults);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                walk(schema, item, &format!("{path}[{index}]"), faults);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn identity(object: &Value, path: &str, faults: &mut Vec<FieldError>) {
    for field in ["apiVersion", "kind"] {
        if object[field].as_str().unwrap_or_default().is_empty() {
            faults.push(FieldError::required(joined(path, field), "must not be empty"));
        }
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if !name.is_empty() {
        let faulty = names::path_segment(name).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(joined(path, "metadata.name"), name, fault)));
    }
}
