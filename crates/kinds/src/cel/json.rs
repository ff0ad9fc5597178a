//! Values from JSON and back.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use kube_cel::cel::Value;
use kube_cel::cel::objects::{Key, Map, OptionalValue};
use serde_json::Value as Json;

/// A JSON tree as a value. What is a whole number there is one here.
pub fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Value::Int(value),
            (None, Some(value)) => Value::UInt(value),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => text_value(text),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(from_json).collect())),
        Json::Object(fields) => {
            fields.iter().map(|(name, value)| (key(name), from_json(value))).collect::<HashMap<_, _>>().into()
        }
    }
}

/// A value as JSON; `None` of what has no such form. Fields stand in the order of their names, so that the same value
/// is always the same text.
pub fn to_json(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::UInt(value) => (*value).into(),
        Value::Float(value) => serde_json::Number::from_f64(*value)?.into(),
        Value::String(text) => text.as_str().into(),
        Value::Bytes(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes.as_slice()).into(),
        Value::List(items) => Json::Array(items.iter().map(to_json).collect::<Option<_>>()?),
        Value::Map(map) => object(map)?,
        Value::Timestamp(at) => at.to_utc().to_rfc3339().replace("+00:00", "Z").into(),
        Value::Duration(span) => match span.subsec_nanos() {
            0 => format!("{}s", span.num_seconds()).into(),
            nanos => format!("{}.{:09}s", span.num_seconds(), nanos.unsigned_abs()).into(),
        },
        Value::Opaque(opaque) => to_json(opaque.downcast_ref::<OptionalValue>()?.value()?)?,
        Value::Function(..) => return None,
    })
}

fn object(map: &Map) -> Option<Json> {
    let mut fields = Vec::with_capacity(map.map.len());
    for (key, value) in map.map.iter() {
        let Key::String(name) = key else { return None };
        fields.push((name.as_str(), to_json(value)?));
    }
    fields.sort_by(|left, right| left.0.cmp(right.0));
    Some(Json::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
}

pub(super) fn text_value(text: &str) -> Value {
    Value::String(Arc::new(text.to_owned()))
}

pub(super) fn key(name: &str) -> Key {
    Key::String(Arc::new(name.to_owned()))
}
