//! The definitions of a user-defined kind: its schema, completed by what every object has, and its list.

use serde_json::{Map, Value, json};

use super::definitions::{self, Dialect, OBJECT_META, kind_entry, list_name};
use crate::Kind;

/// Schemas that the second generation of OpenAPI does not know: what they demand is left to the server.
const UNKNOWN_TO_V2: [&str; 6] = ["anyOf", "not", "nullable", "oneOf", "default", "allOf"];

/// The definitions of a kind, by name; none of a kind of the table.
pub(super) fn definitions(kind: &Kind, dialect: Dialect) -> Vec<(String, Value)> {
    let Some(version) = kind.custom() else { return Vec::new() };
    let mut schema = version.open_api_schema().clone();
    if dialect == Dialect::V2 {
        without_unknown(&mut schema);
    }
    definitions::in_dialect(&mut schema, dialect);
    complete(kind, &mut schema, dialect);
    let mut list = definitions::list(kind);
    definitions::in_dialect(&mut list, dialect);
    if dialect == Dialect::V2 {
        refer_to_definitions(&mut list);
    }
    vec![(kind.schema.to_owned(), schema), (list_name(kind), list)]
}

fn complete(kind: &Kind, schema: &mut Value, dialect: Dialect) {
    let Some(fields) = schema.as_object_mut() else { return };
    fields.insert("type".into(), "object".into());
    fields.insert("x-kubernetes-group-version-kind".into(), json!([kind_entry(kind, kind.kind)]));
    let mut metadata = dialect.reference(OBJECT_META);
    if dialect == Dialect::V3 {
        metadata = json!({"allOf": [metadata], "description": "The object's metadata."});
    }
    let properties = fields.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    properties["apiVersion"] =
        json!({"type": "string", "description": "The version of this representation of the object."});
    properties["kind"] = json!({"type": "string", "description": "The kind of the object."});
    properties["metadata"] = metadata;
}

fn without_unknown(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for name in UNKNOWN_TO_V2 {
                fields.remove(name);
            }
            for (name, value) in fields.iter_mut() {
                match (name.as_str(), value) {
                    // Its keys are names of fields, which may be anything.
                    ("properties", Value::Object(properties)) => {
                        properties.values_mut().for_each(without_unknown);
                    }
                    (_, value) => without_unknown(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_unknown),
        _ => {}
    }
}

fn refer_to_definitions(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get_mut("$ref") {
                *target = target.replace("#/components/schemas/", "#/definitions/");
            }
            fields.values_mut().for_each(refer_to_definitions);
        }
        Value::Array(items) => items.iter_mut().for_each(refer_to_definitions),
        _ => {}
    }
}
