//! Values for expressions, as the schema types them: times are times, whole numbers of a `number` are floats, fields have
//! the names by which expressions know them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use base64::engine::{Engine, general_purpose::STANDARD};
use kube_cel::cel::objects::Key;
use serde_json::Value as Json;

use super::declare::escaped;
use crate::cel::{Budget, Declarations, Program, Type, Value, from_json};
use crate::custom::format::Format;
use crate::custom::schema::{Additional, JsonType, Mark, Schema};

/// The value of `json`.
pub(super) fn of(schema: &Schema, json: &Json, is_resource: bool) -> Value {
    match json {
        Json::Object(fields) => {
            let is_resource = is_resource || schema.is(Mark::Embedded);
            let mut map: HashMap<Key, Value> = HashMap::with_capacity(fields.len());
            for (name, json) in fields {
                let value = match (schema.field(name), name.as_str()) {
                    (_, "metadata") if is_resource => metadata(json),
                    (Some(inner), _) => of(inner, json, false),
                    (None, _) => from_json(json),
                };
                map.insert(key_of(schema, name), value);
            }
            map.into()
        }
        Json::Array(items) => match &schema.items {
            Some(inner) => Value::List(Arc::new(items.iter().map(|item| of(inner, item, false)).collect())),
            None => from_json(json),
        },
        Json::String(text) => of_text(schema, text).unwrap_or_else(|| from_json(json)),
        Json::Number(number) if schema.kind == Some(JsonType::Number) => {
            Value::Float(number.as_f64().unwrap_or(f64::NAN))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => from_json(json),
    }
}

/// Of metadata only the names are for rules: all else has its own.
fn metadata(json: &Json) -> Value {
    let names = ["name", "generateName"].into_iter();
    let said = names.filter_map(|name| Some((Key::from(name.to_owned()), from_json(json.get(name)?))));
    said.collect::<HashMap<_, _>>().into()
}

/// Texts that are times and the like are what the language itself makes of them.
fn of_text(schema: &Schema, text: &str) -> Option<Value> {
    if schema.kind != Some(JsonType::String) {
        return None;
    }
    let read = |reader: &LazyLock<Option<Program>>, text: String| {
        let bound = HashMap::from([("text", Value::String(Arc::new(text)))]);
        reader.as_ref()?.evaluate(&bound, &Budget::new(Budget::EXPRESSION)).ok()
    };
    match schema.format()? {
        Format::DateTime => read(&TIMESTAMP, text.to_owned()),
        Format::Date => read(&TIMESTAMP, format!("{text}T00:00:00Z")),
        Format::Duration => read(&DURATION, text.to_owned()),
        Format::Byte => Some(Value::Bytes(Arc::new(STANDARD.decode(text).ok()?))),
        _ => None,
    }
}

static TIMESTAMP: LazyLock<Option<Program>> = LazyLock::new(|| reader("timestamp(text)"));
static DURATION: LazyLock<Option<Program>> = LazyLock::new(|| reader("duration(text)"));

fn reader(source: &str) -> Option<Program> {
    let variables = [("text".to_owned(), Type::String)].into();
    Program::compile(source, &Declarations { variables, ..Declarations::default() }).ok()
}

/// Under which key a field stands: what a user names in a map is data, and stands as it is.
pub(super) fn key_of(schema: &Schema, name: &str) -> Key {
    let is_data = matches!(schema.additional, Some(Additional::Of(_) | Additional::Anything));
    let known = if is_data { None } else { escaped(name) };
    Key::from(known.unwrap_or_else(|| name.to_owned()))
}

pub(super) fn field<'v>(value: &'v Value, key: &Key) -> Option<&'v Value> {
    match value {
        Value::Map(map) => map.map.get(key),
        _ => None,
    }
}

pub(super) fn item(value: &Value, index: usize) -> Option<&Value> {
    match value {
        Value::List(items) => items.get(index),
        _ => None,
    }
}
