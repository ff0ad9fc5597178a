//! What stands in every object, whether anybody said it or not: the types behind Kubernetes have no way to leave it out.
//!
//! Clients rely on some of these (a count of zero, a list that is null), and nobody owns them.

use serde_json::{Map, Value};

use crate::Kind;
use crate::schema::{self, Definition, Shape};

/// What becomes of an empty list that must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EmptyList {
    Stays,
    BecomesNull,
}

/// Adds them to an object of one of Kubernetes' own kinds.
pub(super) fn apply(kind: &Kind, fields: &mut Map<String, Value>, empty: EmptyList) {
    if kind.is_builtin() {
        object(schema::of(kind), fields, empty);
    }
}

fn object(definition: &'static Definition, fields: &mut Map<String, Value>, empty: EmptyList) {
    for (field, zero) in definition.zeros().filter(|(field, _)| *field.name != *"managedFields") {
        let Some(value) = fields.get_mut(&*field.name) else {
            fields.insert(field.name.to_string(), zero.clone());
            continue;
        };
        let is_empty_list = empty == EmptyList::BecomesNull && value.as_array().is_some_and(Vec::is_empty);
        if value.is_null() || is_empty_list {
            *value = zero.clone();
        }
    }
    for (name, value) in fields.iter_mut() {
        if let Some(field) = definition.field(name) {
            descend(&field.shape, value, empty);
        }
    }
}

fn descend(shape: &Shape, value: &mut Value, empty: EmptyList) {
    match (shape, value) {
        (Shape::List(item), Value::Array(items)) => {
            items.iter_mut().for_each(|value| descend(item, value, empty));
        }
        (Shape::Map(item), Value::Object(entries)) => {
            entries.values_mut().for_each(|value| descend(item, value, empty));
        }
        (Shape::Object(_), Value::Object(fields)) => {
            if let Some(definition) = shape.definition() {
                object(definition, fields, empty);
            }
        }
        _ => {}
    }
}
