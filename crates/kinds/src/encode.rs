//! Objects in Kubernetes' protobuf, for clients that read nothing else: by the same descriptors that decode it.
//!
//! ```text
//!   object ──► message of its kind ──► k8s\0 Unknown { typeMeta { apiVersion, kind }, raw }
//! ```

use base64::engine::{Engine, general_purpose::STANDARD};
use jiff::Timestamp;
use prost::Message;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind as FieldKind, MapKey, MessageDescriptor, Value as Wire,
};
use serde_json::{Map, Value, json};

use crate::decode::protobuf::{ENVELOPE, MAGIC, POOL, descriptor};
use crate::kind;
use crate::schema::{self, Definition};

/// The object with its envelope; `None` if its kind has no such form.
pub fn protobuf(object: &Value) -> Option<Vec<u8>> {
    let api_version = object["apiVersion"].as_str().unwrap_or("v1");
    let kind = object["kind"].as_str()?;
    let raw = body(api_version, kind, object)?.encode_to_vec();
    let envelope =
        json!({"typeMeta": {"apiVersion": api_version, "kind": kind}, "raw": STANDARD.encode(raw)});
    let envelope = message(POOL.get_message_by_name(ENVELOPE)?, None, envelope.as_object()?);
    Some([MAGIC, &envelope.encode_to_vec()].concat())
}

/// A watch event: its length, then the event with the object in its envelope.
pub fn protobuf_event(event_type: &str, object: &Value) -> Option<Vec<u8>> {
    let mut event = DynamicMessage::new(descriptor("v1", "WatchEvent").ok()?);
    event.try_set_field_by_name("type", Wire::String(event_type.to_owned())).ok()?;
    let mut raw = DynamicMessage::new(POOL.get_message_by_name(RAW_EXTENSION)?);
    raw.try_set_field_by_name("raw", Wire::Bytes(protobuf(object)?.into())).ok()?;
    event.try_set_field_by_name("object", Wire::Message(raw)).ok()?;
    let bytes = event.encode_to_vec();
    let length = u32::try_from(bytes.len()).ok()?;
    Some([&length.to_be_bytes(), bytes.as_slice()].concat())
}

const RAW_EXTENSION: &str = "k8s.io.apimachinery.pkg.runtime.RawExtension";

fn body(api_version: &str, kind: &str, object: &Value) -> Option<DynamicMessage> {
    let fields = object.as_object()?;
    if let Some(known) = kind::find_api_version(api_version, kind) {
        return Some(message(descriptor(api_version, kind).ok()?, Some(schema::of(known)), fields));
    }
    let listed = kind.strip_suffix("List").and_then(|kind| kind::find_api_version(api_version, kind));
    let descriptor = descriptor(api_version, kind).ok()?;
    let Some(listed) = listed else { return Some(message(descriptor, None, fields)) };
    // A list has no schema of its own; its items have.
    let items = descriptor.get_field_by_name("items")?;
    let item = items.kind().as_message()?.clone();
    let values = object["items"].as_array().into_iter().flatten().filter_map(Value::as_object);
    let messages =
        values.map(|fields| Wire::Message(message(item.clone(), Some(schema::of(listed)), fields))).collect();
    let mut list = message(descriptor, None, &without_items(fields));
    list.set_field(&items, Wire::List(messages));
    Some(list)
}

fn without_items(fields: &Map<String, Value>) -> Map<String, Value> {
    let rest = fields.iter().filter(|(name, _)| *name != "items");
    rest.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn message(
    descriptor: MessageDescriptor,
    definition: Option<&'static Definition>,
    object: &Map<String, Value>,
) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let known = definition.and_then(|definition| definition.field(field.json_name()));
        // What Go embeds is a message of its own on the wire.
        let inlined = match (definition, known, field.kind()) {
            (Some(_), None, FieldKind::Message(inner)) if !field.is_list() && !field.is_map() => Some(inner),
            _ => None,
        };
        if let Some(inner) = inlined {
            message.set_field(&field, Wire::Message(self::message(inner, definition, object)));
        } else if let Some(value) = object.get(field.json_name()).filter(|value| !value.is_null())
            && let Some(wire) = field_value(&field, known.and_then(|field| field.shape.definition()), value)
        {
            message.set_field(&field, wire);
        }
    }
    message
}

fn field_value(
    field: &FieldDescriptor,
    definition: Option<&'static Definition>,
    value: &Value,
) -> Option<Wire> {
    if field.is_map() {
        let entry = field.kind();
        let inner = entry.as_message()?.map_entry_value_field();
        let entries = value.as_object()?.iter();
        let wire = entries.filter_map(|(key, value)| {
            Some((MapKey::String(key.clone()), single(&inner.kind(), definition, value)?))
        });
        return Some(Wire::Map(wire.collect()));
    }
    if field.is_list() {
        let items = value.as_array()?.iter();
        return Some(Wire::List(items.filter_map(|item| single(&field.kind(), definition, item)).collect()));
    }
    single(&field.kind(), definition, value)
}

fn single(kind: &FieldKind, definition: Option<&'static Definition>, value: &Value) -> Option<Wire> {
    let integer = |value: &Value| value.as_i64();
    Some(match kind {
        FieldKind::Bool => Wire::Bool(value.as_bool()?),
        FieldKind::Int32 | FieldKind::Sint32 | FieldKind::Sfixed32 => {
            Wire::I32(i32::try_from(integer(value)?).ok()?)
        }
        FieldKind::Int64 | FieldKind::Sint64 | FieldKind::Sfixed64 => Wire::I64(integer(value)?),
        FieldKind::Uint32 | FieldKind::Fixed32 => Wire::U32(u32::try_from(value.as_u64()?).ok()?),
        FieldKind::Uint64 | FieldKind::Fixed64 => Wire::U64(value.as_u64()?),
        FieldKind::Double => Wire::F64(value.as_f64()?),
        FieldKind::String => Wire::String(value.as_str()?.to_owned()),
        FieldKind::Bytes => Wire::Bytes(STANDARD.decode(value.as_str()?).ok()?.into()),
        FieldKind::Message(inner) => Wire::Message(special(inner, definition, value)?),
        // None of Kubernetes' messages has any.
        FieldKind::Float | FieldKind::Enum(_) => return None,
    })
}

/// Messages whose JSON form is not an object of their fields.
fn special(
    descriptor: &MessageDescriptor,
    definition: Option<&'static Definition>,
    value: &Value,
) -> Option<DynamicMessage> {
    let of = |fields: Value| Some(message(descriptor.clone(), None, fields.as_object()?));
    let raw = |name: &str| of(json!({name: STANDARD.encode(value.to_string())}));
    match descriptor.full_name().strip_prefix("k8s.io.apimachinery.pkg.").unwrap_or_default() {
        "api.resource.Quantity" => of(json!({"string": value})),
        "apis.meta.v1.Time" | "apis.meta.v1.MicroTime" => {
            let time: Timestamp = value.as_str()?.parse().ok()?;
            of(json!({"seconds": time.as_second(), "nanos": time.subsec_nanosecond()}))
        }
        "util.intstr.IntOrString" if value.is_string() => of(json!({"type": 1, "strVal": value})),
        "util.intstr.IntOrString" => of(json!({"type": 0, "intVal": value})),
        _ if descriptor.name() == "ExtraValue" => of(json!({"items": value})),
        "apis.meta.v1.FieldsV1" => raw("Raw"),
        "runtime.RawExtension" => raw("raw"),
        _ if descriptor.package_name() == "k8s.io.api.apiextensions.v1" => match descriptor.name() {
            "Json" => raw("raw"),
            "JsonSchemaPropsOrArray" if value.is_array() => of_schemas(descriptor, "jSONSchemas", value),
            "JsonSchemaPropsOrBool" if value.is_boolean() => of(json!({"allows": value})),
            "JsonSchemaPropsOrStringArray" if value.is_array() => of(json!({"property": value})),
            "JsonSchemaPropsOrArray" | "JsonSchemaPropsOrBool" | "JsonSchemaPropsOrStringArray" => {
                of_schemas(descriptor, "schema", value)
            }
            _ => Some(message(descriptor.clone(), definition, value.as_object()?)),
        },
        _ => Some(message(descriptor.clone(), definition, value.as_object()?)),
    }
}

/// A message of one field that holds schemas.
fn of_schemas(descriptor: &MessageDescriptor, name: &str, value: &Value) -> Option<DynamicMessage> {
    let field = descriptor.get_field_by_json_name(name)?;
    let mut message = DynamicMessage::new(descriptor.clone());
    let definition = schema::by_name(SCHEMA);
    message.set_field(&field, field_value(&field, definition, value)?);
    Some(message)
}

const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

#[cfg(test)]
mod tests;
