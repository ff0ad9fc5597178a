//! Lists whose items are told apart: none may stand twice, and an item is found again in an older state by its keys.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::joined;
use super::schema::{ListType, Schema};
use crate::status::FieldError;

/// Items of sets and maps that stand twice. What was so before may stay so.
pub(super) fn check(schema: &Schema, value: &Value, old: Option<&Value>, faults: &mut Vec<FieldError>) {
    walk(schema, value, old, "", faults);
}

fn walk(schema: &Schema, value: &Value, old: Option<&Value>, path: &str, faults: &mut Vec<FieldError>) {
    if old == Some(value) {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(schema) = schema.field(name) {
                    let before = old.and_then(|old| old.get(name));
                    walk(schema, value, before, &joined(path, name), faults);
                }
            }
        }
        Value::Array(items) => {
            twice(schema, items, path, faults);
            let Some(inner) = &schema.items else { return };
            let older = Older::of(schema, old);
            for (index, item) in items.iter().enumerate() {
                let before = older.counterpart(schema, item);
                walk(inner, item, before, &format!("{path}[{index}]"), faults);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn twice(schema: &Schema, items: &[Value], path: &str, faults: &mut Vec<FieldError>) {
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let Some(key) = key(schema, item) else { continue };
        if !seen.insert(key.to_string()) {
            faults.push(FieldError::duplicate(format!("{path}[{index}]"), key));
        }
    }
}

/// What tells an item from the others; `None` where nothing does.
fn key(schema: &Schema, item: &Value) -> Option<Value> {
    match &schema.list_type {
        ListType::Atomic => None,
        ListType::Set => Some(canonical(item)),
        ListType::Map(keys) => {
            let fields = item.as_object()?;
            let default = |key: &str| schema.items.as_ref()?.property(key)?.default.clone();
            let said = |key: &String| Some((key.clone(), fields.get(key).cloned().or_else(|| default(key))?));
            Some(Value::Object(keys.iter().filter_map(said).collect()))
        }
    }
}

/// The same value with the fields of its objects in order, so that equal values have equal texts.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<(String, Value)> =
                fields.iter().map(|(name, value)| (name.clone(), canonical(value))).collect();
            sorted.sort_by(|left, right| left.0.cmp(&right.0));
            Value::Object(sorted.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(canonical).collect(),
        plain => plain.clone(),
    }
}

/// The items of an older list, found by what tells them apart: of a map by their keys, of a set by their values.
#[derive(Debug, Default)]
pub(crate) struct Older<'v>(HashMap<String, &'v Value>);

impl<'v> Older<'v> {
    pub(crate) fn of(schema: &Schema, old: Option<&'v Value>) -> Self {
        let items = old.and_then(Value::as_array).into_iter().flatten();
        Self(items.filter_map(|item| Some((key(schema, item)?.to_string(), item))).collect())
    }

    /// The item that `item` is the next state of.
    pub(crate) fn counterpart(&self, schema: &Schema, item: &Value) -> Option<&'v Value> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&key(schema, item)?.to_string()).copied()
    }
}
