//! Kubernetes' protobuf: `k8s\0`, an envelope (`runtime.Unknown`), and in it the object, by embedded descriptors.
//!
//! ```text
//!   6b 38 73 00 │ Unknown { typeMeta { apiVersion, kind }, raw: <object>, contentType }
//! ```
//!
//! The JSON form differs from the wire form in a few places: some messages are one text or number, and what Go
//! embeds in a struct is a message of its own on the wire. The schema tells the latter: it has no such field.

use std::sync::LazyLock;

use base64::engine::{Engine, general_purpose::STANDARD};
use jiff::Timestamp;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MapKey, MessageDescriptor};
use prost_reflect::{ReflectMessage, Value as Wire};
use serde_json::{Map, Value};

use crate::kind;
use crate::schema::{self, Definition};

pub(crate) const MAGIC: &[u8] = b"k8s\0";
pub(crate) const ENVELOPE: &str = "k8s.io.apimachinery.pkg.runtime.Unknown";

/// Fields whose zero means that they were not set: the wire form carries them all the same.
const ZERO_IS_UNSET: &[&str] = &[
    "containerPort",
    "count",
    "currentReplicas",
    "failureThreshold",
    "generation",
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
    "periodSeconds",
    "port",
    "publishNotReadyAddresses",
    "readOnly",
    "restartCount",
    "stdin",
    "stdinOnce",
    "successThreshold",
    "targetPort",
    "timeoutSeconds",
    "tty",
    "unschedulable",
    "deprecatedCount",
];

pub(crate) static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let set: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kubernetes.bin"));
    DescriptorPool::decode(set).expect("the build script wrote a descriptor set, and a test decodes it")
});

/// The object in the envelope, with `apiVersion` and `kind`; the error is the message for the client.
pub(super) fn decode(bytes: &[u8]) -> Result<Value, String> {
    let body = bytes.strip_prefix(MAGIC).ok_or("provided data does not appear to be a protobuf message")?;
    let envelope = POOL.get_message_by_name(ENVELOPE).ok_or("no descriptor of the envelope")?;
    let envelope =
        DynamicMessage::decode(envelope, body).map_err(|error| format!("bad envelope: {error}"))?;
    let field = |name: &str| envelope.get_field_by_name(name).map(|value| value.into_owned());
    let type_meta = field("typeMeta");
    let type_text = |name: &str| {
        let message = type_meta.as_ref().and_then(Wire::as_message)?;
        message.get_field_by_name(name)?.as_str().map(str::to_owned)
    };
    let api_version = type_text("apiVersion").filter(|text| !text.is_empty());
    let kind = type_text("kind").filter(|text| !text.is_empty());
    let (Some(api_version), Some(kind)) = (api_version, kind) else {
        return Err("the envelope names no apiVersion and kind".to_owned());
    };
    let raw = field("raw").and_then(|value| value.as_bytes().cloned()).unwrap_or_default();
    let descriptor = descriptor(&api_version, &kind)?;
    let message = DynamicMessage::decode(descriptor, raw)
        .map_err(|error| format!("the {kind} in the envelope is no {api_version} object: {error}"))?;
    let definition = kind::find_api_version(&api_version, &kind).map(schema::of);
    let mut object = Map::new();
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    fields(&message, definition, &mut object);
    Ok(Value::Object(object))
}

/// Kinds of the groups' own packages, or of apimachinery, which are part of every group (`DeleteOptions`).
pub(crate) fn descriptor(api_version: &str, kind: &str) -> Result<MessageDescriptor, String> {
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    let package = group.split('.').next().unwrap_or_default();
    POOL.get_message_by_name(&format!("k8s.io.api.{package}.{version}.{kind}"))
        .or_else(|| POOL.get_message_by_name(&format!("k8s.io.apimachinery.pkg.apis.meta.v1.{kind}")))
        .ok_or_else(|| format!("no kind \"{kind}\" is registered for version \"{api_version}\""))
}

fn fields(
    message: &DynamicMessage,
    definition: Option<&'static Definition>,
    object: &mut Map<String, Value>,
) {
    for (field, wire) in message.fields() {
        let known = definition.and_then(|definition| definition.field(field.json_name()));
        let inlined = definition.is_some() && known.is_none() && field.kind().as_message().is_some();
        match (inlined, wire) {
            (true, Wire::Message(inner)) => fields(inner, definition, object),
            _ => {
                let inner = known.and_then(|field| field.shape.definition());
                if let Some(value) = convert(&field, wire, inner) {
                    object.insert(field.json_name().to_owned(), value);
                }
            }
        }
    }
}

/// The JSON form of a set field; `None` when it says nothing.
fn convert(field: &FieldDescriptor, wire: &Wire, definition: Option<&'static Definition>) -> Option<Value> {
    let value = json(wire, definition)?;
    let empty_text = value.as_str().is_some_and(str::is_empty);
    let zero = value == 0 || value == false;
    let unset = (empty_text && !field.is_list())
        || (zero && ZERO_IS_UNSET.contains(&field.name()))
        || (field.name() == "status" && value.as_object().is_some_and(Map::is_empty));
    (!unset).then_some(value)
}

fn json(wire: &Wire, definition: Option<&'static Definition>) -> Option<Value> {
    Some(match wire {
        Wire::Bool(value) => (*value).into(),
        Wire::I32(value) | Wire::EnumNumber(value) => (*value).into(),
        Wire::I64(value) => (*value).into(),
        Wire::U32(value) => (*value).into(),
        Wire::U64(value) => (*value).into(),
        Wire::F32(value) => (*value).into(),
        Wire::F64(value) => (*value).into(),
        Wire::String(value) => value.as_str().into(),
        Wire::Bytes(value) => STANDARD.encode(value).into(),
        Wire::Message(message) => return message_json(message, definition),
        Wire::List(items) => items.iter().filter_map(|item| json(item, definition)).collect(),
        Wire::Map(entries) => {
            let mut map: Vec<(String, Value)> = entries
                .iter()
                .filter_map(|(key, value)| Some((key_text(key), json(value, definition)?)))
                .collect();
            // The wire's order is accidental.
            map.sort_by(|left, right| left.0.cmp(&right.0));
            Value::Object(map.into_iter().collect())
        }
    })
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::String(text) => text.clone(),
        MapKey::Bool(value) => value.to_string(),
        MapKey::I32(value) => value.to_string(),
        MapKey::I64(value) => value.to_string(),
        MapKey::U32(value) => value.to_string(),
        MapKey::U64(value) => value.to_string(),
    }
}

/// Messages whose JSON form is not an object of their fields.
fn message_json(message: &DynamicMessage, definition: Option<&'static Definition>) -> Option<Value> {
    let text =
        |name: &str| message.get_field_by_name(name).and_then(|value| value.as_str().map(str::to_owned));
    let descriptor = message.descriptor();
    match descriptor.full_name().strip_prefix("k8s.io.apimachinery.pkg.").unwrap_or_default() {
        "api.resource.Quantity" => text("string").map(Value::from),
        "apis.meta.v1.Time" => time(message).map(|time| format!("{time:.0}").into()),
        "apis.meta.v1.MicroTime" => time(message).map(|time| format!("{time:.6}").into()),
        "util.intstr.IntOrString" => {
            let is_text = number(message, "type") == 1;
            if is_text { text("strVal").map(Value::from) } else { Some(number(message, "intVal").into()) }
        }
        // A list under a name, which a map of the wire cannot hold as it is.
        _ if descriptor.name() == "ExtraValue" => {
            message.get_field_by_name("items").and_then(|items| json(&items, None))
        }
        "apis.meta.v1.FieldsV1" => raw_json(message, "Raw"),
        "runtime.RawExtension" => raw_json(message, "raw"),
        _ if descriptor.package_name() == "k8s.io.api.apiextensions.v1" => schema_json(message, definition),
        _ => {
            let mut object = Map::new();
            fields(message, definition, &mut object);
            Some(Value::Object(object))
        }
    }
}

/// The parts of a CustomResourceDefinition's schema that are one of several things in JSON.
fn schema_json(message: &DynamicMessage, definition: Option<&'static Definition>) -> Option<Value> {
    let field = |name: &str| {
        let value = message.has_field_by_name(name).then(|| message.get_field_by_name(name));
        value.flatten().and_then(|value| json(&value, definition))
    };
    match message.descriptor().name() {
        "Json" => raw_json(message, "raw"),
        "JsonSchemaPropsOrArray" => field("schema").or_else(|| field("jSONSchemas")),
        "JsonSchemaPropsOrBool" => field("schema").or_else(|| field("allows").or(Some(false.into()))),
        "JsonSchemaPropsOrStringArray" => field("schema").or_else(|| field("property")),
        _ => {
            let mut object = Map::new();
            fields(message, definition, &mut object);
            Some(Value::Object(object))
        }
    }
}

fn number(message: &DynamicMessage, name: &str) -> i64 {
    let value = message.get_field_by_name(name);
    value.and_then(|value| value.as_i64().or_else(|| value.as_i32().map(i64::from))).unwrap_or_default()
}

/// The zero of Go's times, in the year 1, is written by clients for times that were never set.
fn time(message: &DynamicMessage) -> Option<Timestamp> {
    let seconds = number(message, "seconds");
    let nanos = i32::try_from(number(message, "nanos")).ok()?;
    let time = Timestamp::new(seconds, nanos).ok()?;
    (seconds > 0 || nanos > 0).then_some(time)
}

fn raw_json(message: &DynamicMessage, name: &str) -> Option<Value> {
    let value = message.get_field_by_name(name)?;
    serde_json::from_slice(value.as_bytes()?).ok()
}
