//! A structural schema, read once from its JSON: what every walk over values of a custom resource looks at.

use serde_json::{Map, Value};

use super::check::Checks;
use super::format::Format;
use super::rules::Rule;

/// The type that a schema names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonType {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl JsonType {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// The type of a value, as messages name it.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number)
            if number.is_f64() && number.as_f64().is_none_or(|float| float.fract() != 0.0) =>
        {
            "number"
        }
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Yes-or-no properties of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Nullable = 1,
    Preserves = 2,
    Embedded = 4,
    IntOrString = 8,
    /// Its objects have one owner as a whole.
    AtomicMap = 16,
    /// Rules stand in it or below.
    HasRules = 32,
}

/// The marks that a schema has.
#[derive(Clone, Copy, Debug, Default)]
struct Marks(u8);

/// The fields that a schema does not name.
#[derive(Debug)]
pub(crate) enum Additional {
    Anything,
    Of(Box<Schema>),
}

/// How the items of a list are told apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    #[default]
    Atomic,
    Set,
    Map(Vec<String>),
}

/// One node.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) kind: Option<JsonType>,
    /// Sorted by name.
    properties: Vec<(Box<str>, Schema)>,
    pub(crate) additional: Option<Additional>,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) default: Option<Value>,
    pub(crate) list_type: ListType,
    pub(crate) checks: Option<Box<Checks>>,
    pub(crate) rules: Vec<Rule>,
    marks: Marks,
    /// How many bytes its smallest value takes as JSON.
    pub(crate) least_bytes: u64,
}

impl Schema {
    /// The schema of whole objects.
    pub(crate) fn root(source: &Value) -> Self {
        Self::parse(source)
    }

    /// Reads what it understands; that the rest is sound was checked when the definition was written.
    pub(crate) fn parse(source: &Value) -> Self {
        let empty = Map::new();
        let fields = source.as_object().unwrap_or(&empty);
        let mut properties: Vec<(Box<str>, Self)> = fields
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.as_str().into(), Self::parse(schema)))
            .collect();
        properties.sort_by(|left, right| left.0.cmp(&right.0));
        let additional = match fields.get("additionalProperties") {
            Some(Value::Bool(true)) => Some(Additional::Anything),
            Some(schema @ Value::Object(_)) => Some(Additional::Of(Box::new(Self::parse(schema)))),
            _ => None,
        };
        Self {
            kind: fields.get("type").and_then(Value::as_str).and_then(JsonType::parse),
            properties,
            additional,
            items: fields
                .get("items")
                .filter(|items| items.is_object())
                .map(|items| Box::new(Self::parse(items))),
            default: fields.get("default").filter(|value| !value.is_null()).cloned(),
            list_type: list_type(fields),
            checks: Checks::parse(fields),
            rules: Rule::of(fields),
            marks: Marks::parse(fields),
            least_bytes: 0,
        }
        .marked()
        .weighed()
    }

    /// Notes whether there are rules here or anywhere below, so that walks can leave out the rest.
    fn marked(mut self) -> Self {
        let additional = match &self.additional {
            Some(Additional::Of(schema)) => Some(&**schema),
            _ => None,
        };
        let below = self.properties.iter().map(|(_, schema)| schema);
        let mut below = below.chain(additional).chain(self.items.as_deref());
        if !self.rules.is_empty() || below.any(Self::has_rules) {
            self.marks.0 |= Mark::HasRules as u8;
        }
        self
    }

    /// Notes how small a value can be: of an object, what it must have and nobody fills in.
    fn weighed(mut self) -> Self {
        let required = |name: &str| self.checks.as_ref().is_some_and(|checks| checks.requires(name));
        self.least_bytes = match self.kind {
            _ if self.is(Mark::IntOrString) => 1,
            Some(JsonType::Object) => {
                let fields =
                    self.properties().filter(|(name, schema)| required(name) && schema.default.is_none());
                let sizes =
                    fields.map(|(name, schema)| schema.least_bytes.saturating_add(name.len() as u64 + 4));
                sizes.fold(2, u64::saturating_add)
            }
            Some(JsonType::Array) => 2,
            Some(JsonType::String) => self.format().map_or(2, Format::least_bytes),
            Some(JsonType::Boolean) => 4,
            Some(JsonType::Integer | JsonType::Number) | None => 1,
        };
        self
    }

    pub(crate) fn has_rules(&self) -> bool {
        self.is(Mark::HasRules)
    }

    pub(crate) fn format(&self) -> Option<Format> {
        self.checks.as_ref()?.format
    }

    pub(crate) fn property(&self, name: &str) -> Option<&Self> {
        let index = self.properties.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        self.properties.get(index).map(|(_, schema)| schema)
    }

    /// In the order of their names.
    pub(crate) fn properties(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.properties.iter().map(|(name, schema)| (&**name, schema))
    }

    /// The schema of a field, named or not.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        self.property(name).or(match &self.additional {
            Some(Additional::Of(schema)) => Some(schema),
            _ => None,
        })
    }

    pub(crate) fn is(&self, mark: Mark) -> bool {
        self.marks.0 & mark as u8 != 0
    }
}

impl Marks {
    fn parse(fields: &Map<String, Value>) -> Self {
        let flags = [
            ("nullable", Mark::Nullable),
            ("x-kubernetes-preserve-unknown-fields", Mark::Preserves),
            ("x-kubernetes-embedded-resource", Mark::Embedded),
            ("x-kubernetes-int-or-string", Mark::IntOrString),
        ];
        let is_set = |name: &str| fields.get(name).is_some_and(|value| *value == true);
        let mut marks =
            flags.iter().filter(|(name, _)| is_set(name)).fold(0, |all, (_, mark)| all | *mark as u8);
        if fields.get("x-kubernetes-map-type").is_some_and(|value| value == "atomic") {
            marks |= Mark::AtomicMap as u8;
        }
        Self(marks)
    }
}

fn list_type(fields: &Map<String, Value>) -> ListType {
    match fields.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListType::Set,
        Some("map") => {
            let keys = fields.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            ListType::Map(keys.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => ListType::Atomic,
    }
}
