//! An applied configuration laid over an object: what it states counts, all else stays.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::field_type::{Form, Keys, Type};
use super::set::Element;

/// `live` with `applied` laid over it. Lists whose items can be told apart keep the applied order, with the other items
/// where they stood.
pub(crate) fn objects(root: Type<'_>, live: &Value, applied: &Value) -> Value {
    values(root, live, applied)
}

fn values(kind: Type<'_>, live: &Value, applied: &Value) -> Value {
    match kind.form(Some(applied)) {
        Form::Whole => applied.clone(),
        Form::Fields => {
            fields(live, applied, |name| kind.field(name).map_or(Type::Untyped, |field| field.inner))
        }
        Form::Entries(inner) => fields(live, applied, |_| inner),
        Form::Items(keys, inner) => match (live.as_array(), applied.as_array()) {
            (Some(live), Some(applied)) if !live.is_empty() => items(keys, inner, live, applied).into(),
            (Some(live), None) if !live.is_empty() => live.clone().into(),
            _ => applied.clone(),
        },
    }
}

fn fields<'s>(live: &Value, applied: &Value, kind: impl Fn(&str) -> Type<'s>) -> Value {
    let empty = Map::new();
    let Some(live) = live.as_object().filter(|live| !live.is_empty()) else { return applied.clone() };
    let mut merged = live.clone();
    for (name, applied) in applied.as_object().unwrap_or(&empty) {
        let value = match merged.get(name) {
            Some(live) => values(kind(name), live, applied),
            None => applied.clone(),
        };
        merged.insert(name.clone(), value);
    }
    Value::Object(merged)
}

/// Walks both lists at once: an item that only `live` has goes out as soon as it is met, a shared one when the applied
/// order comes to it.
fn items(keys: Keys<'_>, inner: Type<'_>, live: &[Value], applied: &[Value]) -> Vec<Value> {
    let element = |item: &Value| keys.element(item).ok();
    let mut by_element: BTreeMap<Element, Option<&Value>> = BTreeMap::new();
    for item in live {
        if let Some(element) = element(item) {
            // An item that stands twice cannot be merged with: it gives way to the applied one.
            by_element.entry(element).and_modify(|first| *first = None).or_insert(Some(item));
        }
    }
    let wanted: BTreeMap<Element, usize> =
        applied.iter().enumerate().filter_map(|(index, item)| Some((element(item)?, index))).collect();
    let merge = |item: &Value| match element(item).and_then(|element| *by_element.get(&element)?) {
        Some(live) => values(inner, live, item),
        None => item.clone(),
    };
    let mut merged = Vec::with_capacity(live.len().max(applied.len()));
    let mut next = 0;
    for item in live {
        match element(item).and_then(|element| wanted.get(&element).copied()) {
            None => merged.push(item.clone()),
            // All that the applied order puts before a shared item goes before it; if it is out already, it moved up.
            Some(index) => {
                let shared_later =
                    |item: &Value| element(item).is_some_and(|element| by_element.contains_key(&element));
                while next < index && !shared_later(&applied[next]) {
                    merged.push(merge(&applied[next]));
                    next += 1;
                }
                if next == index {
                    merged.push(merge(&applied[next]));
                    next += 1;
                }
            }
        }
    }
    merged.extend(applied[next..].iter().map(merge));
    merged
}
