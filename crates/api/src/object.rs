//! Reading and writing an object's metadata while it is a JSON tree.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use kinds::defaults::TEMPLATE_GENERATION;
use serde_json::{Map, Value, json};

/// A text field of `metadata`; empty when it is not there.
pub(crate) fn metadata<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

pub(crate) fn name(object: &Value) -> &str {
    metadata(object, "name")
}

pub(crate) fn namespace(object: &Value) -> &str {
    metadata(object, "namespace")
}

/// A body that says what it is, whether or not its sender said so.
pub(crate) fn typed(body: Value, api_version: &str, kind: &str) -> Value {
    let mut fields = match body {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    };
    fields.insert("apiVersion".to_owned(), api_version.into());
    fields.insert("kind".to_owned(), kind.into());
    Value::Object(fields)
}

/// Sets a field of `metadata`, which is made an object if it is none.
pub(crate) fn set_metadata(object: &mut Value, field: &str, value: impl Into<Value>) {
    metadata_mut(object).insert(field.to_owned(), value.into());
}

pub(crate) fn remove_metadata(object: &mut Value, field: &str) {
    metadata_mut(object).remove(field);
}

/// Makes `object` what `other` is, but for its managers; answers what it was.
pub(crate) fn replace_all_but_managers(object: &mut Value, other: &Value) -> Value {
    let managers = object["metadata"].get("managedFields").cloned();
    let was = std::mem::replace(object, other.clone());
    match managers {
        Some(managers) => set_metadata(object, "managedFields", managers),
        None => remove_metadata(object, "managedFields"),
    }
    was
}

pub(crate) fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    entry_object(object, "metadata")
}

/// The object under `field` of `parent`; anything else that stands there gives way to an empty one.
pub(crate) fn entry_object<'a>(parent: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !parent.is_object() {
        *parent = json!({});
    }
    let slot = &mut parent[field];
    if !slot.is_object() {
        *slot = json!({});
    }
    match slot {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            unreachable!("the slot was just made an object")
        }
    }
}

pub(crate) fn template_generation(object: &Value) -> i64 {
    let text = object["metadata"]["annotations"][TEMPLATE_GENERATION].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or(1)
}

pub(crate) fn set_template_generation(object: &mut Value, generation: i64) {
    metadata_mut(object);
    entry_object(&mut object["metadata"], "annotations")
        .insert(TEMPLATE_GENERATION.to_owned(), generation.to_string().into());
}

pub(crate) fn is_being_deleted(object: &Value) -> bool {
    !metadata(object, "deletionTimestamp").is_empty()
}

pub(crate) fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Whether a deletion that was asked for has nothing left to wait for.
pub(crate) fn is_deletion_complete(kind: &str, object: &Value) -> bool {
    let grace_is_over = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0;
    let namespace_is_empty =
        kind != "Namespace" || object["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty);
    is_being_deleted(object) && grace_is_over && namespace_is_empty && finalizers(object).next().is_none()
}

/// A time as Kubernetes writes it: whole seconds, UTC.
pub(crate) fn time(now: Timestamp) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(0));
    PRINTER.timestamp_to_string(&now)
}

/// The items of a list in the spec, to be changed; none where there is no such list.
pub(crate) fn items_mut<'a>(object: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    let items = object.get_mut("spec").and_then(|spec| spec.get_mut(list)?.as_array_mut());
    items.into_iter().flatten()
}
