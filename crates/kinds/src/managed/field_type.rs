//! What can be owned of an object, by its type: one view of built-in schemas and of those of custom resources.

use std::sync::LazyLock;

use serde_json::Value;

use super::set::{self, Element};
use crate::Kind;
use crate::custom::Schema;
use crate::custom::schema::{Additional, JsonType, ListType, Mark};
use crate::schema::merge::Topology;
use crate::schema::{self, Definition, Format, Shape};

/// The type of a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Type<'s> {
    /// An object of a built-in kind.
    Definition(&'static Definition),
    /// A value below one.
    Shape(&'static Shape, Topology),
    /// By the schema of a custom resource.
    Schema(&'s Schema),
    /// As `Schema`, with a kind and metadata of its own.
    Resource(&'s Schema),
    /// Nothing is said: objects have fields, lists are owned as a whole.
    Untyped,
}

/// How a value is made of parts that can have owners.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form<'s> {
    /// No parts: texts, numbers, and what is written as a whole.
    Whole,
    /// Named fields, by [`Type::field`].
    Fields,
    /// Entries of one type under any name.
    Entries(Type<'s>),
    Items(Keys<'s>, Type<'s>),
}

/// What tells the items of a list apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keys<'s> {
    Value,
    Named(&'static [&'static str]),
    /// The names, and the schema of the items for the keys' defaults.
    Schema(&'s [String], Option<&'s Schema>),
}

/// What plain values a type takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Any,
    Text,
    Number,
    Boolean,
}

/// The field of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldType<'s> {
    pub(crate) inner: Type<'s>,
    /// What stands for it where it is not said.
    pub(crate) zero: Option<&'static Value>,
    /// Whether an empty list or map says as much as none.
    pub(crate) omits_empty: bool,
}

impl<'s> Type<'s> {
    /// The type of a kind's objects.
    pub(crate) fn of(kind: &'s Kind) -> Self {
        match kind.custom() {
            Some(version) => Self::Resource(&version.schema),
            None => Self::Definition(schema::of(kind)),
        }
    }

    /// The parts of a value of this type that can have owners. `sample` decides where the type does not.
    pub(crate) fn form(self, sample: Option<&Value>) -> Form<'s> {
        if self.is_atomic() { Form::Whole } else { self.parts(sample) }
    }

    /// As [`form`](Self::form), also for what has one owner as a whole.
    pub(crate) fn parts(self, sample: Option<&Value>) -> Form<'s> {
        match self {
            Self::Definition(_) | Self::Shape(Shape::Object(_), _) => Form::Fields,
            Self::Shape(Shape::Map(item), _) => Form::Entries(of_item(item)),
            Self::Shape(Shape::List(item), Topology::Keyed(keys)) => {
                Form::Items(Keys::Named(keys), of_item(item))
            }
            Self::Shape(Shape::List(item), _) => Form::Items(Keys::Value, of_item(item)),
            Self::Schema(schema) => parts_by_schema(schema, sample),
            Self::Resource(_) => Form::Fields,
            Self::Untyped if sample.is_some_and(Value::is_object) => Form::Entries(Self::Untyped),
            Self::Shape(..) | Self::Untyped => Form::Whole,
        }
    }

    fn is_atomic(self) -> bool {
        match self {
            Self::Shape(_, topology) => topology == Topology::Atomic,
            Self::Schema(schema) => match schema.kind {
                Some(JsonType::Array) => schema.list_type == ListType::Atomic,
                _ => schema.is(Mark::AtomicMap),
            },
            Self::Definition(_) | Self::Resource(_) | Self::Untyped => false,
        }
    }

    /// A named field; `None` where the type has none of this name.
    pub(crate) fn field(self, name: &str) -> Option<FieldType<'s>> {
        let untold = |inner| FieldType { inner, zero: None, omits_empty: false };
        let definition = match self {
            Self::Definition(definition) => definition,
            Self::Shape(shape @ Shape::Object(_), _) => shape.definition()?,
            Self::Schema(schema) => return field_by_schema(schema, name).map(untold),
            Self::Resource(schema) => return field_of_resource(schema, name).map(untold),
            Self::Shape(..) | Self::Untyped => return None,
        };
        let field = definition.field(name)?;
        Some(FieldType {
            inner: Type::Shape(&field.shape, field.topology),
            zero: field.zero,
            omits_empty: field.omits_empty(),
        })
    }

    pub(crate) fn scalar(self) -> Scalar {
        match self {
            Self::Shape(Shape::Text(Format::Plain | Format::Base64), _) => Scalar::Text,
            Self::Shape(Shape::Integer(_) | Shape::Number, _) => Scalar::Number,
            Self::Shape(Shape::Boolean, _) => Scalar::Boolean,
            Self::Schema(schema) if !schema.is(Mark::IntOrString) => match schema.kind {
                Some(JsonType::String) => Scalar::Text,
                Some(JsonType::Integer | JsonType::Number) => Scalar::Number,
                Some(JsonType::Boolean) => Scalar::Boolean,
                Some(JsonType::Object | JsonType::Array) | None => Scalar::Any,
            },
            _ => Scalar::Any,
        }
    }
}

/// The type of the items of a list or map.
fn of_item(shape: &'static Shape) -> Type<'static> {
    let is_atomic = match shape {
        Shape::List(_) => true,
        Shape::Object(_) => shape.definition().is_some_and(|definition| definition.is_atomic),
        _ => false,
    };
    Type::Shape(shape, if is_atomic { Topology::Atomic } else { Topology::Granular })
}

fn parts_by_schema<'s>(schema: &'s Schema, sample: Option<&Value>) -> Form<'s> {
    if schema.is(Mark::Embedded) {
        return Form::Fields;
    }
    match schema.kind {
        Some(JsonType::Object) => match &schema.additional {
            Some(Additional::Of(values)) => Form::Entries(Type::Schema(values)),
            _ if schema.properties().next().is_some() => Form::Fields,
            Some(Additional::Anything) => Form::Entries(Type::Untyped),
            None if schema.is(Mark::Preserves) => Form::Entries(Type::Untyped),
            None => Form::Fields,
        },
        Some(JsonType::Array) => {
            let items = schema.items.as_deref();
            let keys = match &schema.list_type {
                ListType::Map(keys) => Keys::Schema(keys, items),
                ListType::Atomic | ListType::Set => Keys::Value,
            };
            Form::Items(keys, items.map_or(Type::Untyped, Type::Schema))
        }
        Some(_) => Form::Whole,
        None => Type::Untyped.parts(sample),
    }
}

fn field_by_schema<'s>(schema: &'s Schema, name: &str) -> Option<Type<'s>> {
    if schema.is(Mark::Embedded) {
        return field_of_resource(schema, name);
    }
    let known = schema.property(name).map(Type::Schema);
    known.or(schema.is(Mark::Preserves).then_some(Type::Untyped))
}

fn field_of_resource<'s>(schema: &'s Schema, name: &str) -> Option<Type<'s>> {
    const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    match name {
        "apiVersion" | "kind" => Some(Type::Untyped),
        "metadata" => schema::by_name(OBJECT_META).map(Type::Definition),
        _ => {
            let known = schema.property(name).map(Type::Schema);
            known.or(schema.is(Mark::Preserves).then_some(Type::Untyped))
        }
    }
}

/// Why an item of a list has no place in a set of fields.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ItemError {
    #[error("associative list with keys may not have non-map elements")]
    NoObject,
    #[error("associative list with keys has an element that omits all key fields")]
    NoKeys,
}

impl Keys<'_> {
    /// The path element of an item.
    pub(crate) fn element(self, item: &Value) -> Result<Element, ItemError> {
        let keyed = |names: &mut dyn Iterator<Item = (&str, Option<&Value>)>| {
            let fields = item.as_object().ok_or(ItemError::NoObject)?;
            let mut keys = names
                .filter_map(|(name, default)| {
                    let said = fields.get(name).filter(|value| !value.is_null());
                    Some((name, said.or(default)?))
                })
                .peekable();
            keys.peek().ok_or(ItemError::NoKeys)?;
            Ok(set::keyed(keys))
        };
        match self {
            Self::Value => Ok(set::value(item)),
            Self::Named(names) => keyed(&mut names.iter().map(|name| (*name, default_of_key(name)))),
            Self::Schema(names, items) => keyed(&mut names.iter().map(|name| {
                let default = items.and_then(|items| items.property(name)?.default.as_ref());
                (name.as_str(), default)
            })),
        }
    }
}

/// The defaults of keys: all that there are in built-in kinds.
fn default_of_key(name: &str) -> Option<&'static Value> {
    static TCP: LazyLock<Value> = LazyLock::new(|| "TCP".into());
    static NAMELESS: LazyLock<Value> = LazyLock::new(|| "".into());
    match name {
        "protocol" => Some(&TCP),
        "name" => Some(&NAMELESS),
        _ => None,
    }
}
