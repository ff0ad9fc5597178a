//! Whether a value is as its schema says: types, bounds, patterns, required fields, and the junctors of schemas.
//!
//! Of an update only what changed is faulted: an object that was fine under an older schema can still be relabelled.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Number, Value};

use super::format::Format;
use super::joined;
use super::lists::Older;
use super::schema::{Additional, JsonType, Mark, Schema, type_name};
use crate::status::FieldError;

/// Faults without a place of their own stand here.
pub(crate) const NOWHERE: &str = "<nil>";
/// So many faults are told at most: each names its whole path.
const MAX_FAULTS: usize = 1_000;
/// What a pattern may take once it is compiled: enough for any pattern that people write.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// What a schema demands beyond types.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    required: Vec<Box<str>>,
    options: Vec<Value>,
    numbers: Numbers,
    length: Range,
    items: Range,
    properties: Range,
    pattern: Option<Pattern>,
    pub(crate) format: Option<Format>,
    all_of: Vec<Schema>,
    any_of: Vec<Schema>,
    one_of: Vec<Schema>,
    not: Option<Schema>,
}

#[derive(Debug, Default)]
struct Numbers {
    minimum: Option<Bound>,
    maximum: Option<Bound>,
    multiple_of: Option<f64>,
}

#[derive(Debug)]
struct Bound {
    value: Number,
    is_exclusive: bool,
}

/// How much of something there may be.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    min: Option<usize>,
    max: Option<usize>,
}

/// A regular expression, compiled when it is first needed. Matching takes time linear in the text, whatever the pattern.
#[derive(Debug)]
struct Pattern {
    source: String,
    compiled: OnceLock<Option<Regex>>,
}

/// Compiles a pattern within the bounds that hold for all.
pub(crate) fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES).build()
}

impl Checks {
    /// `None` if the schema demands nothing.
    pub(super) fn parse(fields: &Map<String, Value>) -> Option<Box<Self>> {
        let list = |name: &str| fields.get(name).and_then(Value::as_array).into_iter().flatten();
        let schemas = |name: &str| list(name).map(Schema::parse).collect();
        let size =
            |name: &str| fields.get(name).and_then(Value::as_u64).and_then(|size| size.try_into().ok());
        let range = |min: &str, max: &str| Range { min: size(min), max: size(max) };
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        const DEMANDS: [&str; 18] = [
            "required",
            "enum",
            "minimum",
            "maximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
            "pattern",
            "format",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
            "uniqueItems",
        ];
        DEMANDS.iter().any(|name| fields.contains_key(*name)).then(|| {
            Box::new(Self {
                required: list("required").filter_map(Value::as_str).map(Into::into).collect(),
                options: list("enum").cloned().collect(),
                numbers: Numbers {
                    minimum: Bound::parse(fields, "minimum", "exclusiveMinimum"),
                    maximum: Bound::parse(fields, "maximum", "exclusiveMaximum"),
                    multiple_of: fields.get("multipleOf").and_then(Value::as_f64),
                },
                length: range("minLength", "maxLength"),
                items: range("minItems", "maxItems"),
                properties: range("minProperties", "maxProperties"),
                pattern: text("pattern")
                    .map(|source| Pattern { source: source.to_owned(), compiled: OnceLock::new() }),
                format: text("format").and_then(Format::parse),
                all_of: schemas("allOf"),
                any_of: schemas("anyOf"),
                one_of: schemas("oneOf"),
                not: fields.get("not").map(Schema::parse),
            })
        })
    }

    pub(super) fn requires(&self, name: &str) -> bool {
        self.required.iter().any(|required| **required == *name)
    }

    /// How many characters a text may have.
    pub(super) fn most_characters(&self) -> Option<usize> {
        self.length.max
    }

    /// How many items a list may have.
    pub(super) fn most_items(&self) -> Option<usize> {
        self.items.max
    }

    /// How many fields an object may have.
    pub(super) fn most_properties(&self) -> Option<usize> {
        self.properties.max
    }

    /// The longest of the texts that are allowed, where only some are.
    pub(super) fn longest_option(&self) -> Option<usize> {
        self.options.iter().filter_map(|option| option.as_str().map(str::len)).max()
    }
}

impl Bound {
    fn parse(fields: &Map<String, Value>, name: &str, exclusive: &str) -> Option<Self> {
        let value = fields.get(name)?.as_number()?.clone();
        Some(Self { value, is_exclusive: fields.get(exclusive).is_some_and(|flag| *flag == true) })
    }
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| compile(&self.source).ok());
        compiled.as_ref().is_none_or(|pattern| pattern.is_match(text))
    }
}

/// The faults of `value`, the next state of `old`.
pub(crate) fn check(schema: &Schema, value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut walk = Walk { path: String::new(), faults: Vec::new() };
    walk.value(schema, value, old, true);
    walk.faults
}

struct Walk {
    path: String,
    faults: Vec<FieldError>,
}

impl Walk {
    fn value(&mut self, schema: &Schema, value: &Value, old: Option<&Value>, is_resource: bool) {
        if old == Some(value) || self.faults.len() >= MAX_FAULTS {
            return;
        }
        self.kind(schema, value);
        if let Some(checks) = &schema.checks {
            self.junctors(checks, value, old);
            self.options(checks, value);
            match value {
                Value::String(text) => self.text(checks, text),
                Value::Number(number) => self.number(checks, number),
                Value::Array(items) => self.items(checks, items),
                Value::Object(fields) => self.fields(checks, fields),
                Value::Null | Value::Bool(_) => {}
            }
        }
        self.below(schema, value, old, is_resource);
    }

    fn below(&mut self, schema: &Schema, value: &Value, old: Option<&Value>, is_resource: bool) {
        match value {
            Value::Array(items) => {
                let Some(inner) = &schema.items else { return };
                let older = Older::of(schema, old);
                for (index, item) in items.iter().enumerate() {
                    let before = older.counterpart(schema, item);
                    let length = self.path.len();
                    self.path.push_str(&format!("[{index}]"));
                    self.value(inner, item, before, false);
                    self.path.truncate(length);
                }
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    if is_resource && name == "metadata" {
                        continue;
                    }
                    let inner = match (schema.property(name), &schema.additional) {
                        (Some(property), _) => property,
                        (None, Some(Additional::Of(inner))) => inner,
                        (None, _) => continue,
                    };
                    let length = self.path.len();
                    self.path = joined(&self.path, name);
                    self.value(inner, value, old.and_then(|old| old.get(name)), false);
                    self.path.truncate(length);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn kind(&mut self, schema: &Schema, value: &Value) {
        let found = type_name(value);
        if value.is_null() && (schema.is(Mark::Nullable) || schema.kind.is_none()) {
            return;
        }
        if schema.is(Mark::IntOrString) {
            if !matches!(found, "integer" | "string") {
                self.wrong_type("integer,string", found);
            }
            return;
        }
        let Some(kind) = schema.kind else { return };
        let fits = kind.name() == found || (kind == JsonType::Number && found == "integer");
        if !fits {
            self.wrong_type(kind.name(), found);
        }
        let format = schema.checks.as_ref().and_then(|checks| checks.format);
        if let (JsonType::Integer, Value::Number(number)) = (kind, value)
            && !is_within(number, format)
        {
            let message = format!("Checked value must be of type integer in {}", self.path);
            self.faults.push(FieldError::invalid(NOWHERE, "", message));
        }
    }

    fn wrong_type(&mut self, expected: &str, found: &str) {
        let message = format!("{} in body must be of type {expected}: \"{found}\"", self.path);
        self.faults.push(FieldError::type_invalid(self.path.clone(), found, message));
    }

    fn invalid(&mut self, value: impl Into<Value>, what: &str) {
        let message = format!("{} in body {what}", self.path);
        self.faults.push(FieldError::invalid(self.place(), value, message));
    }

    fn place(&self) -> String {
        if self.path.is_empty() { NOWHERE.to_owned() } else { self.path.clone() }
    }

    fn options(&mut self, checks: &Checks, value: &Value) {
        if checks.options.is_empty() || checks.options.contains(value) || value.is_null() {
            return;
        }
        let supported: Vec<String> = checks
            .options
            .iter()
            .map(|option| option.as_str().map_or_else(|| option.to_string(), str::to_owned))
            .collect();
        let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
        self.faults.push(FieldError::not_supported(self.place(), value.clone(), &supported));
    }

    /// Of a text only the first fault is told.
    fn text(&mut self, checks: &Checks, text: &str) {
        let length = || text.chars().count();
        match checks {
            Checks { length: Range { max: Some(max), .. }, .. } if length() > *max => {
                self.faults.push(FieldError::too_long(self.place(), *max));
            }
            Checks { length: Range { min: Some(min), .. }, .. } if length() < *min => {
                self.invalid(text, &format!("should be at least {min} chars long"));
            }
            Checks { pattern: Some(pattern), .. } if !pattern.matches(text) => {
                self.invalid(text, &format!("should match '{}'", pattern.source));
            }
            _ => {}
        }
        if let Some(format) = checks.format.filter(|format| !format.admits(text)) {
            let message = format!("{} in body must be of type {}: {text:?}", self.path, format.name());
            self.faults.push(FieldError::type_invalid(self.place(), text, message));
        }
    }

    fn number(&mut self, checks: &Checks, number: &Number) {
        let Numbers { minimum, maximum, multiple_of } = &checks.numbers;
        let value = Value::Number(number.clone());
        if let (Some(step), Some(float)) = (multiple_of, number.as_f64()) {
            let quotient = float / step;
            if (quotient - quotient.round()).abs() > f64::EPSILON * quotient.abs().max(1.0) {
                self.invalid(value.clone(), &format!("should be a multiple of {step}"));
            }
        }
        if let Some(Bound { value: bound, is_exclusive }) = maximum {
            let or_equal = if *is_exclusive { "" } else { " or equal to" };
            if exceeds(number, bound, *is_exclusive) {
                self.invalid(value.clone(), &format!("should be less than{or_equal} {bound}"));
            }
        }
        if let Some(Bound { value: bound, is_exclusive }) = minimum {
            let or_equal = if *is_exclusive { "" } else { " or equal to" };
            if exceeds(bound, number, *is_exclusive) {
                self.invalid(value, &format!("should be greater than{or_equal} {bound}"));
            }
        }
    }

    fn items(&mut self, checks: &Checks, items: &[Value]) {
        self.count(checks.items, items.len(), "items");
    }

    fn fields(&mut self, checks: &Checks, fields: &Map<String, Value>) {
        for name in checks.required.iter().filter(|name| !fields.contains_key(&***name)) {
            self.faults.push(FieldError::required(joined(&self.path, name), ""));
        }
        self.count(checks.properties, fields.len(), "properties");
    }

    fn count(&mut self, range: Range, found: usize, what: &str) {
        if let Some(max) = range.max.filter(|max| found > *max) {
            self.faults.push(FieldError::too_many(self.place(), found, max));
        }
        if let Some(min) = range.min.filter(|min| found < *min) {
            self.invalid(found, &format!("should have at least {min} {what}"));
        }
    }

    fn junctors(&mut self, checks: &Checks, value: &Value, old: Option<&Value>) {
        for schema in &checks.all_of {
            self.value(schema, value, old, false);
        }
        let n_valid = |schemas: &[Schema]| schemas.iter().filter(|schema| admits(schema, value)).count();
        if !checks.any_of.is_empty() && n_valid(&checks.any_of) == 0 {
            self.invalid(value.clone(), "must validate at least one schema (anyOf)");
            // What the first would have liked, so that the client learns more than that nothing fits.
            if let Some(first) = checks.any_of.first() {
                self.value(first, value, old, false);
            }
        }
        if !checks.one_of.is_empty() {
            match n_valid(&checks.one_of) {
                1 => {}
                0 => self.invalid(
                    value.clone(),
                    "must validate one and only one schema (oneOf). Found none valid",
                ),
                n => self.invalid(
                    value.clone(),
                    &format!("must validate one and only one schema (oneOf). Found {n} valid alternatives"),
                ),
            }
        }
        if checks.not.as_ref().is_some_and(|schema| admits(schema, value)) {
            self.invalid(value.clone(), "must not validate the schema (not)");
        }
    }
}

fn admits(schema: &Schema, value: &Value) -> bool {
    check(schema, value, None).is_empty()
}

/// Whether `number` is above `bound`, or as high as it where that is too much.
fn exceeds(number: &Number, bound: &Number, is_exclusive: bool) -> bool {
    let order = match (number.as_i64(), bound.as_i64()) {
        (Some(number), Some(bound)) => Some(number.cmp(&bound)),
        _ => number.as_f64().zip(bound.as_f64()).and_then(|(number, bound)| number.partial_cmp(&bound)),
    };
    order.is_some_and(|order| order.is_gt() || (is_exclusive && order.is_eq()))
}

/// Whether a number is a whole one of the size that its format says.
fn is_within(number: &Number, format: Option<Format>) -> bool {
    let whole = number.as_i64().is_some() || number.as_f64().is_some_and(|float| float.fract() == 0.0);
    match format {
        Some(Format::Int32) => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        _ => whole,
    }
}
