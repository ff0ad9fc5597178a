//! Pruning: fields that the schema does not know go, and so does a null where none is allowed.

use serde_json::{Map, Value};

use super::joined;
use super::schema::{Additional, Mark, Schema};

/// What identifies an object, at the root and of embedded ones: the schema need not name it.
const IDENTITY: [&str; 3] = ["apiVersion", "kind", "metadata"];
/// So many paths are told at most, of so many bytes together.
const MAX_PATHS: usize = 1_000;
const MAX_BYTES: usize = 64 * 1024;

/// Prunes an object; answers the paths of what went, in their order.
pub(super) fn prune(schema: &Schema, object: &mut Value) -> Vec<String> {
    let mut walk = Walk::default();
    walk.object(schema, object, true);
    walk.unknown.sort();
    walk.unknown
}

/// As [`prune`] for a value somewhere below the root: a default in a schema.
pub(crate) fn prune_value(schema: &Schema, value: &mut Value) -> Vec<String> {
    let mut walk = Walk::default();
    walk.value(schema, value);
    walk.unknown
}

#[derive(Default)]
struct Walk {
    path: String,
    unknown: Vec<String>,
    n_bytes: usize,
}

impl Walk {
    fn value(&mut self, schema: &Schema, value: &mut Value) {
        match value {
            Value::Object(_) => self.object(schema, value, schema.is(Mark::Embedded)),
            Value::Array(items) => {
                let Some(schema) = &schema.items else {
                    if !schema.is(Mark::Preserves) {
                        items.iter_mut().for_each(|item| self.untyped(item));
                    }
                    return;
                };
                let length = self.path.len();
                for (index, item) in items.iter_mut().enumerate() {
                    self.path.push_str(&format!("[{index}]"));
                    self.value(schema, item);
                    self.path.truncate(length);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn object(&mut self, schema: &Schema, value: &mut Value, is_resource: bool) {
        let Some(fields) = value.as_object_mut() else { return };
        let before = std::mem::take(fields);
        for (name, mut value) in before {
            if is_resource && IDENTITY.contains(&name.as_str()) {
                fields.insert(name, value);
                continue;
            }
            let length = self.path.len();
            self.path = joined(&self.path, &name);
            match (schema.field(&name), &schema.additional) {
                (Some(schema), _) => {
                    if !is_senseless_null(schema, &value) {
                        self.value(schema, &mut value);
                        fields.insert(name, value);
                    }
                }
                (None, Some(Additional::Anything)) => drop(fields.insert(name, value)),
                (None, _) if schema.is(Mark::Preserves) => drop(fields.insert(name, value)),
                (None, _) => self.note(),
            }
            self.path.truncate(length);
        }
    }

    /// Of a list without a schema for its items only plain values stay.
    fn untyped(&mut self, value: &mut Value) {
        if let Value::Object(fields) = value {
            *fields = Map::new();
        }
    }

    fn note(&mut self) {
        self.n_bytes += self.path.len();
        if self.unknown.len() < MAX_PATHS && self.n_bytes < MAX_BYTES {
            self.unknown.push(self.path.clone());
        }
    }
}

/// A null says the same as nothing, but where the schema allows it.
fn is_senseless_null(schema: &Schema, value: &Value) -> bool {
    let is_typed = schema.kind.is_some() || schema.is(Mark::IntOrString);
    value.is_null() && is_typed && !schema.is(Mark::Nullable)
}
