//! What a write did: which fields it changed or added, and which it took away.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::field_type::{FieldType, Form, Keys, Type};
use super::set::{self, Element, FieldSet};

/// The difference between two states of a value.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Fields that have another value than before, or that are new.
    pub(crate) changed: FieldSet,
    pub(crate) removed: FieldSet,
}

impl Comparison {
    pub(crate) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }

    fn changed() -> Self {
        Self { changed: FieldSet::leaf(), removed: FieldSet::default() }
    }

    fn removed() -> Self {
        Self { changed: FieldSet::default(), removed: FieldSet::leaf() }
    }

    fn insert(&mut self, element: Element, below: Self) {
        if !below.removed.is_empty() {
            self.removed.insert(element.clone(), below.removed);
        }
        self.changed.insert(element, below.changed);
    }
}

/// Compares two states of an object.
pub(crate) fn objects(root: Type<'_>, old: &Value, new: &Value) -> Comparison {
    values(root, Some(old), Some(new))
}

fn values(kind: Type<'_>, old: Option<&Value>, new: Option<&Value>) -> Comparison {
    let mut difference = match kind.form(new.or(old)) {
        Form::Whole => return whole(old, new),
        Form::Fields => {
            let (before, after) = (fields(old), fields(new));
            if before.is_none_or(Map::is_empty) && after.is_none_or(Map::is_empty) {
                return whole(old, new);
            }
            objects_by_field(before, after, |name| {
                // A field that the type does not know is compared as it is.
                let unknown = FieldType { inner: Type::Untyped, zero: None, omits_empty: false };
                kind.field(name).unwrap_or(unknown)
            })
        }
        Form::Entries(inner) => {
            let (before, after) = (fields(old), fields(new));
            if before.is_none_or(Map::is_empty) && after.is_none_or(Map::is_empty) {
                return whole(old, new);
            }
            objects_by_field(before, after, |_| FieldType { inner, zero: None, omits_empty: false })
        }
        Form::Items(keys, inner) => {
            let (before, after) = (items(old), items(new));
            if before.is_empty() && after.is_empty() {
                return whole(old, new);
            }
            lists(keys, inner, before, after)
        }
    };
    if old.is_none() {
        difference.changed.add_itself();
    }
    if new.is_none() {
        difference.removed.add_itself();
    }
    difference
}

fn whole(old: Option<&Value>, new: Option<&Value>) -> Comparison {
    match (old, new) {
        (Some(old), Some(new)) if old == new => Comparison::default(),
        (_, Some(_)) => Comparison::changed(),
        (Some(_), None) => Comparison::removed(),
        (None, None) => Comparison::default(),
    }
}

fn fields(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value?.as_object()
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn objects_by_field<'s>(
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
    kind: impl Fn(&str) -> FieldType<'s>,
) -> Comparison {
    let mut difference = Comparison::default();
    let names = new.into_iter().flat_map(Map::keys);
    let gone =
        old.into_iter().flat_map(Map::keys).filter(|name| !new.is_some_and(|new| new.contains_key(*name)));
    for name in names.chain(gone) {
        let kind = kind(name);
        let (before, after) = (said(kind, old, name), said(kind, new, name));
        if before.is_none() && after.is_none() {
            continue;
        }
        let below = values(kind.inner, before, after);
        if !below.is_empty() {
            difference.insert(set::field(name), below);
        }
    }
    difference
}

/// What an object says of a field.
fn said<'v>(kind: FieldType<'_>, object: Option<&'v Map<String, Value>>, name: &str) -> Option<&'v Value> {
    let value = object?.get(name).filter(|value| match value {
        Value::Null => false,
        Value::Array(items) => !(kind.omits_empty && items.is_empty()),
        Value::Object(entries) => !(kind.omits_empty && entries.is_empty()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    });
    value.or(kind.zero)
}

fn lists(keys: Keys<'_>, inner: Type<'_>, old: &[Value], new: &[Value]) -> Comparison {
    let mut by_element: BTreeMap<Element, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    // Items without keys are refused by validation; nobody can own them.
    for item in old {
        if let Ok(element) = keys.element(item) {
            by_element.entry(element).or_default().0.push(item);
        }
    }
    for item in new {
        if let Ok(element) = keys.element(item) {
            by_element.entry(element).or_default().1.push(item);
        }
    }
    let mut difference = Comparison::default();
    for (element, (before, after)) in by_element {
        let below = match (before.as_slice(), after.as_slice()) {
            ([] | [_], [] | [_]) => values(inner, before.first().copied(), after.first().copied()),
            // Items that stand twice have no parts that could be told apart.
            (_, []) => Comparison::removed(),
            (before, after) if before == after => Comparison::default(),
            _ => Comparison::changed(),
        };
        difference.insert(element, below);
    }
    difference
}

#[cfg(test)]
mod tests;
