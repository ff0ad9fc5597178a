//! Defaulting: what the schema says of a field that is not there. Filling in twice changes nothing.

use serde_json::Value;

use super::schema::{Mark, Schema};

pub(super) fn fill(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, property) in schema.properties() {
                let Some(default) = &property.default else { continue };
                if fields.get(name).is_none_or(|value| is_missing(property, value)) {
                    fields.insert(name.to_owned(), default.clone());
                }
            }
            for (name, value) in fields.iter_mut() {
                if let Some(schema) = schema.field(name) {
                    fill_one(schema, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                items.iter_mut().for_each(|item| fill_one(schema, item));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn fill_one(schema: &Schema, value: &mut Value) {
    if let Some(default) = schema.default.as_ref().filter(|_| is_missing(schema, value)) {
        *value = default.clone();
    }
    fill(schema, value);
}

fn is_missing(schema: &Schema, value: &Value) -> bool {
    value.is_null() && !schema.is(Mark::Nullable)
}
