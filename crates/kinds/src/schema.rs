//! The shape of every kind, read once from the typed schemas: which fields there are, of which type, merged how.
//!
//! Everything that walks an object by its type (decoding, strategic merges, protobuf) walks these definitions.

pub(crate) mod merge;
mod presence;
pub(crate) mod source;

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::Kind;
use merge::{Merge, Topology};

/// A type with named fields.
#[derive(Debug)]
pub(crate) struct Definition {
    /// `io.k8s.api.core.v1.PodSpec`.
    pub(crate) name: Box<str>,
    /// Whether its objects have one owner as a whole.
    pub(crate) is_atomic: bool,
    /// Sorted by name.
    fields: Vec<Field>,
    /// Where in `fields` those are that have a zero: few, and asked for with every write.
    zeros: Vec<usize>,
}

/// One field of a definition.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: Box<str>,
    pub(crate) shape: Shape,
    pub(crate) merge: Merge,
    pub(crate) topology: Topology,
    /// What stands for the field in an object that does not say it, where a field must be there; for most it is nothing.
    pub(crate) zero: Option<&'static Value>,
}

/// What a value may look like.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// Kept as it is: raw extensions and field sets.
    Any,
    Text(Format),
    Integer(Bits),
    Number,
    Boolean,
    List(Box<Shape>),
    Map(Box<Shape>),
    Object(usize),
}

/// Texts with a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Plain,
    Base64,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
}

/// How large an integer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bits {
    Signed32,
    Signed64,
    Unsigned32,
}

impl Definition {
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        let index = self.fields.binary_search_by(|field| (*field.name).cmp(name)).ok()?;
        self.fields.get(index)
    }

    /// All of them, sorted by name.
    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The fields that must be there, with what stands for them where an object does not say them.
    pub(crate) fn zeros(&self) -> impl Iterator<Item = (&Field, &'static Value)> {
        self.zeros.iter().filter_map(|index| {
            let field = self.fields.get(*index)?;
            Some((field, field.zero?))
        })
    }

    /// `v1.PodSpec`: how messages name the type.
    pub(crate) fn short_name(&self) -> &str {
        let mut dots = self.name.rmatch_indices('.').map(|(index, _)| index);
        dots.nth(1).map_or(&*self.name, |index| &self.name[index + 1..])
    }
}

impl Field {
    /// Whether an empty list or map says as much as none.
    pub(crate) fn omits_empty(&self) -> bool {
        self.zero.is_none() && matches!(self.shape, Shape::List(_) | Shape::Map(_))
    }
}

impl Shape {
    /// How messages name the type: `[]v1.Container`, `map[string]string`, `int32`.
    pub(crate) fn type_name(&self) -> String {
        match self {
            Self::Any => "interface {}".to_owned(),
            Self::Text(Format::Base64) => "[]uint8".to_owned(),
            Self::Text(_) => "string".to_owned(),
            Self::Integer(Bits::Signed32) => "int32".to_owned(),
            Self::Integer(Bits::Signed64) => "int64".to_owned(),
            Self::Integer(Bits::Unsigned32) => "uint32".to_owned(),
            Self::Number => "float64".to_owned(),
            Self::Boolean => "bool".to_owned(),
            Self::List(item) => format!("[]{}", item.type_name()),
            Self::Map(item) => format!("map[string]{}", item.type_name()),
            Self::Object(index) => definition_at(*index).short_name().to_owned(),
        }
    }

    /// The definition of an object, or of the objects in a list or map.
    pub(crate) fn definition(&self) -> Option<&'static Definition> {
        match self {
            Self::Object(index) => Some(definition_at(*index)),
            Self::List(item) | Self::Map(item) => item.definition(),
            Self::Any | Self::Text(_) | Self::Integer(_) | Self::Number | Self::Boolean => None,
        }
    }
}

/// The definition of a kind's objects.
pub(crate) fn of(kind: &Kind) -> &'static Definition {
    by_name(kind.schema).expect("a test decodes every kind of the table")
}

/// A definition by its full name.
pub(crate) fn by_name(name: &str) -> Option<&'static Definition> {
    SCHEMAS.names.get(name).map(|index| definition_at(*index))
}

fn definition_at(index: usize) -> &'static Definition {
    &SCHEMAS.definitions[index]
}

struct Schemas {
    definitions: Vec<Definition>,
    names: HashMap<Box<str>, usize>,
}

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| compile(&source::definitions()));

fn compile(source: &Map<String, Value>) -> Schemas {
    let objects: Vec<(&String, &Map<String, Value>)> = source
        .iter()
        .filter(|(_, schema)| schema.get("properties").is_some_and(Value::is_object))
        .filter_map(|(name, schema)| Some((name, schema.as_object()?)))
        .collect();
    let names: HashMap<Box<str>, usize> =
        objects.iter().enumerate().map(|(index, (name, _))| (name.as_str().into(), index)).collect();
    let definitions = objects.iter().map(|(name, schema)| definition(name, schema, source, &names)).collect();
    Schemas { definitions, names }
}

fn definition(
    name: &str,
    schema: &Map<String, Value>,
    source: &Map<String, Value>,
    names: &HashMap<Box<str>, usize>,
) -> Definition {
    let properties = schema.get("properties").and_then(Value::as_object);
    let is_required = |field: &str| {
        let required = schema.get("required").and_then(Value::as_array);
        required.is_some_and(|required| required.iter().any(|name| name == field))
    };
    let is_root =
        properties.is_some_and(|fields| fields.contains_key("kind") && fields.contains_key("metadata"));
    let mut fields: Vec<Field> = properties
        .into_iter()
        .flatten()
        .map(|(field, schema)| {
            let shape = shape(schema, source, names);
            let row = merge::of(name, field);
            let is_needed = is_required(field) && !presence::is_omitted(name, field);
            let always = is_needed || presence::is_by_value(name, field, is_root);
            Field {
                name: field.as_str().into(),
                merge: row.map_or(Merge::USUAL, |row| row.merge),
                topology: row.map_or_else(|| topology(schema, &shape), |row| row.topology),
                zero: match presence::is_referred(name, field) {
                    true => Some(&Value::Null),
                    false => always.then(|| presence::zero(&shape)),
                },
                shape,
            }
        })
        .collect();
    fields.sort_by(|left, right| left.name.cmp(&right.name));
    let has_zero = |(index, field): (usize, &Field)| field.zero.is_some().then_some(index);
    let zeros = fields.iter().enumerate().filter_map(has_zero).collect();
    Definition { name: name.into(), is_atomic: merge::is_atomic(name), fields, zeros }
}

/// How a field is owned that the table does not name.
fn topology(schema: &Value, shape: &Shape) -> Topology {
    let is_atomic = match shape {
        Shape::List(_) => true,
        Shape::Object(_) => schema.as_object().and_then(source::reference).is_some_and(merge::is_atomic),
        _ => false,
    };
    if is_atomic { Topology::Atomic } else { Topology::Granular }
}

fn shape(schema: &Value, source: &Map<String, Value>, names: &HashMap<Box<str>, usize>) -> Shape {
    if let Some(name) = schema.as_object().and_then(source::reference) {
        return referenced(name, source, names);
    }
    if schema.get("x-kubernetes-int-or-string").is_some() {
        return Shape::Text(Format::IntOrString);
    }
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => Shape::Text(text_format(format)),
        Some("integer") => Shape::Integer(bits(format)),
        Some("number") => Shape::Number,
        Some("boolean") => Shape::Boolean,
        Some("array") => Shape::List(Box::new(shape(&schema["items"], source, names))),
        Some("object") => match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) => Shape::Map(Box::new(shape(values, source, names))),
            _ => Shape::Any,
        },
        _ => Shape::Any,
    }
}

fn referenced(name: &str, source: &Map<String, Value>, names: &HashMap<Box<str>, usize>) -> Shape {
    match name.rsplit('.').next() {
        Some("Quantity") => Shape::Text(Format::Quantity),
        Some("MicroTime") => Shape::Text(Format::MicroTime),
        _ => match names.get(name) {
            Some(index) => Shape::Object(*index),
            None => source.get(name).map_or(Shape::Any, |schema| shape(schema, source, names)),
        },
    }
}

fn text_format(format: &str) -> Format {
    match format {
        "byte" => Format::Base64,
        "date-time" => Format::Time,
        _ => Format::Plain,
    }
}

fn bits(format: &str) -> Bits {
    match format {
        "int32" => Bits::Signed32,
        "uint32" => Bits::Unsigned32,
        _ => Bits::Signed64,
    }
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
