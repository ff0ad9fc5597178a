//! The types of what rules name, from the schema; and the names by which expressions know fields.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cel::Type;
use crate::custom::format::Format;
use crate::custom::schema::{Additional, JsonType, Mark, Schema};

/// The type of a value. Of an object with metadata of its own, names can be looked at.
pub(crate) fn type_of(schema: &Schema, is_resource: bool) -> Type {
    if schema.is(Mark::IntOrString) || schema.is(Mark::Nullable) {
        return Type::Dyn;
    }
    match schema.kind {
        Some(JsonType::String) => match schema.format() {
            Some(Format::DateTime | Format::Date) => Type::Timestamp,
            Some(Format::Duration) => Type::Duration,
            Some(Format::Byte) => Type::Bytes,
            _ => Type::String,
        },
        Some(JsonType::Integer) => Type::Int,
        Some(JsonType::Number) => Type::Double,
        Some(JsonType::Boolean) => Type::Bool,
        Some(JsonType::Array) => Type::List,
        Some(JsonType::Object) => of_object(schema, is_resource || schema.is(Mark::Embedded)),
        None => Type::Dyn,
    }
}

fn of_object(schema: &Schema, is_resource: bool) -> Type {
    if matches!(schema.additional, Some(Additional::Of(_) | Additional::Anything)) {
        return Type::Map;
    }
    let mut fields: BTreeMap<String, Type> = schema
        .properties()
        .filter_map(|(name, property)| Some((escaped(name)?, type_of(property, false))))
        .collect();
    if is_resource {
        let names = ["name", "generateName"].map(|name| (name.to_owned(), Type::String));
        fields.insert("metadata".to_owned(), Type::Fields(Arc::new(names.into())));
        fields.insert("apiVersion".to_owned(), Type::String);
        fields.insert("kind".to_owned(), Type::String);
    } else if fields.is_empty() && schema.is(Mark::Preserves) {
        return Type::Dyn;
    }
    Type::Fields(Arc::new(fields))
}

/// Words of the language, and of those that it came from.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// The name by which an expression knows a field; `None` where it cannot be named.
pub(super) fn escaped(name: &str) -> Option<String> {
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let replaced = name
        .replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__");
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let starts = replaced.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    (starts && replaced.chars().all(is_part)).then_some(replaced)
}

/// Whether a path of a rule names fields that the schema knows: `.spec.replicas`, `.a['b.c']`.
pub(crate) fn is_escaped_name(name: &str) -> bool {
    escaped(name).is_some()
}
