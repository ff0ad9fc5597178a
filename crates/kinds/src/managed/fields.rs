//! The fields that an object states: what an applied configuration makes its applier the owner of.

use serde_json::{Map, Value};

use super::field_type::{Form, Keys, Type};
use super::set::{self, FieldSet};

/// All fields of an object. An object that holds another one is not among them, unless it is empty or stands in a list
/// or map: those have no parts that would be enough to keep them.
pub(crate) fn stated(root: Type<'_>, object: &Value) -> FieldSet {
    values(root, object)
}

fn values(kind: Type<'_>, value: &Value) -> FieldSet {
    let empty = Map::new();
    match kind.form(Some(value)) {
        Form::Whole => FieldSet::leaf(),
        Form::Fields => {
            let mut fields = FieldSet::default();
            for (name, value) in value.as_object().unwrap_or(&empty) {
                let known = kind.field(name);
                let mut below = values(known.map_or(Type::Untyped, |field| field.inner), value);
                if known.is_none() || is_nothing(value) {
                    below.add_itself();
                }
                fields.insert(set::field(name), below);
            }
            fields
        }
        Form::Entries(inner) => {
            let mut entries = FieldSet::default();
            for (name, value) in value.as_object().unwrap_or(&empty) {
                let mut below = values(inner, value);
                below.add_itself();
                entries.insert(set::field(name), below);
            }
            entries
        }
        Form::Items(keys, inner) => items(keys, inner, value),
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}

fn items(keys: Keys<'_>, inner: Type<'_>, value: &Value) -> FieldSet {
    let mut fields = FieldSet::default();
    for item in value.as_array().into_iter().flatten() {
        let Ok(element) = keys.element(item) else { continue };
        let mut below = values(inner, item);
        below.add_itself();
        fields.insert(element, below);
    }
    fields
}

/// The set with the named fields that lead to its members: who withdraws all of a field withdraws the field.
pub(crate) fn with_named(kind: Type<'_>, set: &FieldSet) -> FieldSet {
    let mut named = FieldSet::default();
    if set.is_member() {
        named.add_itself();
    }
    // The form of what is not typed: by the elements that the set has.
    let form = match kind.form(None) {
        Form::Whole => Type::Untyped.form(Some(&Value::Object(Map::new()))),
        form => form,
    };
    for (element, below) in set.children() {
        let name = element.strip_prefix("f:");
        let field = name.and_then(|name| kind.field(name));
        let inner = match form {
            Form::Fields => field.map_or(Type::Untyped, |field| field.inner),
            Form::Entries(inner) | Form::Items(_, inner) => inner,
            Form::Whole => Type::Untyped,
        };
        let mut below = with_named(inner, below);
        if field.is_some() {
            below.add_itself();
        }
        named.insert(element.clone(), below);
    }
    named
}
