//! Cells that several kinds have.

use jiff::Timestamp;
use serde_json::Value;

use super::age;

pub(super) const NONE: &str = "<none>";

pub(super) fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

/// The time since the object was created.
pub(super) fn created(object: &Value, now: Timestamp) -> Value {
    age::since(&object["metadata"]["creationTimestamp"], now).into()
}

/// A number that counts as zero when it is not there.
pub(super) fn count(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// A text, or `otherwise` when it is empty or not there.
pub(super) fn text_or(value: &Value, otherwise: &str) -> Value {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(otherwise).into()
}

/// The items of a list, joined; `<none>` when there are none.
pub(super) fn joined<'a>(items: impl Iterator<Item = &'a str>) -> Value {
    let items: Vec<&str> = items.collect();
    if items.is_empty() { NONE.into() } else { items.join(",").into() }
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The status (`True`, `False`) of a condition.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = list(&object["status"]["conditions"]);
    conditions.iter().find(|condition| condition["type"] == kind)?["status"].as_str()
}

/// Names and images of a template's containers, and the selector: what `-o wide` adds to workloads.
pub(super) fn wide(object: &Value) -> [Value; 3] {
    let containers = list(&object["spec"]["template"]["spec"]["containers"]);
    let of = |field: &str| joined(containers.iter().filter_map(|container| container[field].as_str()));
    [of("name"), of("image"), selector(&object["spec"]["selector"])]
}

/// A selector as one writes it on the command line.
pub(super) fn selector(selector: &Value) -> Value {
    let mut terms: Vec<String> = labels(&selector["matchLabels"]);
    for expression in list(&selector["matchExpressions"]) {
        let key = expression["key"].as_str().unwrap_or_default();
        let values: Vec<&str> = list(&expression["values"]).iter().filter_map(Value::as_str).collect();
        let values = values.join(",");
        terms.push(match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    joined(terms.iter().map(String::as_str))
}

/// `key=value` of each label, in the order of the keys.
pub(super) fn labels(labels: &Value) -> Vec<String> {
    let labels = labels.as_object().into_iter().flatten();
    let mut terms: Vec<String> =
        labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    terms.sort();
    terms
}
