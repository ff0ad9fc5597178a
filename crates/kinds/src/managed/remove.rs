//! Takes the members of a set of fields out of an object.

use serde_json::{Map, Value};

use super::field_type::{Form, Keys, Type};
use super::set::{self, FieldSet};

/// `object` without the fields of `gone`; what is left empty by that goes as well.
pub(crate) fn fields(root: Type<'_>, object: Value, gone: &FieldSet) -> Value {
    if gone.is_empty() { object } else { values(root, object, gone) }
}

fn values(kind: Type<'_>, value: Value, gone: &FieldSet) -> Value {
    match (kind.form(Some(&value)), value) {
        (Form::Fields, Value::Object(fields)) => {
            entries(fields, gone, |name| kind.field(name).map_or(Type::Untyped, |field| field.inner))
        }
        (Form::Entries(inner), Value::Object(fields)) => entries(fields, gone, |_| inner),
        (Form::Items(keys, inner), Value::Array(items)) => list(keys, inner, items, gone),
        (_, value) => value,
    }
}

fn entries<'s>(fields: Map<String, Value>, gone: &FieldSet, kind: impl Fn(&str) -> Type<'s>) -> Value {
    let mut left = Map::new();
    for (name, value) in fields {
        let value = match gone.child(&set::field(&name)) {
            Some(gone) if gone.is_member() => continue,
            Some(gone) => values(kind(&name), value, gone),
            None => value,
        };
        left.insert(name, value);
    }
    if left.is_empty() { Value::Null } else { Value::Object(left) }
}

fn list(keys: Keys<'_>, inner: Type<'_>, items: Vec<Value>, gone: &FieldSet) -> Value {
    let mut left = Vec::with_capacity(items.len());
    for item in items {
        let below = keys.element(&item).ok().and_then(|element| gone.child(&element));
        match below {
            Some(gone) if gone.is_member() => {}
            Some(gone) => left.push(values(inner, item, gone)),
            None => left.push(item),
        }
    }
    if left.is_empty() { Value::Null } else { Value::Array(left) }
}
