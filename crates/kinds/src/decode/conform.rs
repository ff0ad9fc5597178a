//! Makes a value conform to its definition: unknown fields go, wrong types are refused, texts get their one form.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use super::quantity;
use crate::schema::{Bits, Definition, Field, Format, Shape};

/// A value of another type than its field's; the messages are those that clients of Kubernetes know.
#[derive(Debug, thiserror::Error)]
pub(super) enum Mismatch {
    #[error("json: cannot unmarshal {found} into Go {place} of type {expected}")]
    Type { found: String, place: String, expected: String },
    #[error(
        "{place}: {found:?} is no quantity: quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Quantity { place: String, found: String },
    #[error("parsing time \"{0}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse it")]
    Time(String),
    #[error("illegal base64 data at input byte {0}")]
    Base64(usize),
}

/// Returns the problems: fields that the definition does not know, which are gone from `value`.
pub(super) fn conform(definition: &'static Definition, value: &mut Value) -> Result<Vec<String>, Mismatch> {
    let mut walk = Walk { path: String::new(), owner: "", problems: Vec::new() };
    if let Value::Object(fields) = value {
        walk.object(definition, fields)?;
    }
    Ok(walk.problems)
}

struct Walk {
    path: String,
    /// The type that the field at hand belongs to.
    owner: &'static str,
    problems: Vec<String>,
}

impl Walk {
    fn object(
        &mut self,
        definition: &'static Definition,
        fields: &mut Map<String, Value>,
    ) -> Result<(), Mismatch> {
        self.drop_unknown(definition, fields);
        let outer = std::mem::replace(&mut self.owner, definition.short_name());
        for (name, value) in fields.iter_mut() {
            let Some(Field { shape, .. }) = definition.field(name) else { continue };
            let length = self.enter(name);
            self.value(shape, value)?;
            self.path.truncate(length);
        }
        self.owner = outer;
        Ok(())
    }

    /// A null field means the same as an absent one, and so do an empty list and an empty map where they may be absent.
    fn drop_unknown(&mut self, definition: &Definition, fields: &mut Map<String, Value>) {
        fields.retain(|name, value| {
            let field = definition.field(name);
            let known = field.is_some();
            let says_nothing = value.is_null() || (is_empty(value) && field.is_some_and(Field::omits_empty));
            if !known && !is_enough(&self.problems) {
                let separator = if self.path.is_empty() { "" } else { "." };
                self.problems.push(format!("unknown field \"{}{separator}{name}\"", self.path));
            }
            known && !says_nothing
        });
    }

    fn enter(&mut self, name: &str) -> usize {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        length
    }

    fn value(&mut self, shape: &Shape, value: &mut Value) -> Result<(), Mismatch> {
        match (shape, &mut *value) {
            (Shape::Any, _) | (Shape::Boolean, Value::Bool(_)) | (Shape::Number, Value::Number(_)) => Ok(()),
            (Shape::Text(format), _) => self.text(*format, value),
            (Shape::Integer(bits), Value::Number(number)) if fits(number, *bits) => Ok(()),
            (Shape::List(item), Value::Array(items)) => self.list(item, items),
            (Shape::Map(item), Value::Object(entries)) => self.map(item, entries),
            (Shape::Object(_), Value::Object(fields)) => match shape.definition() {
                Some(definition) => self.object(definition, fields),
                None => Ok(()),
            },
            _ => Err(self.mismatch(shape, value)),
        }
    }

    fn list(&mut self, item: &Shape, items: &mut [Value]) -> Result<(), Mismatch> {
        let length = self.path.len();
        for (index, value) in items.iter_mut().enumerate() {
            if value.is_null() {
                *value = zero(item);
            }
            self.path.push_str(&format!("[{index}]"));
            self.value(item, value)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn map(&mut self, item: &Shape, entries: &mut Map<String, Value>) -> Result<(), Mismatch> {
        for (name, value) in entries.iter_mut() {
            if value.is_null() {
                *value = zero(item);
            }
            let length = self.enter(name);
            self.value(item, value)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn quantity(&self, text: &str) -> Result<Value, Mismatch> {
        let canonical = quantity::canonical(text).map(Value::from);
        canonical.ok_or_else(|| Mismatch::Quantity { place: self.path.clone(), found: text.to_owned() })
    }

    fn text(&self, format: Format, value: &mut Value) -> Result<(), Mismatch> {
        match (format, &*value) {
            (Format::Plain, Value::String(_)) => Ok(()),
            (Format::IntOrString, Value::String(_)) => Ok(()),
            (Format::IntOrString, Value::Number(number)) if fits(number, Bits::Signed32) => Ok(()),
            (Format::Quantity, Value::String(text)) => {
                *value = self.quantity(text)?;
                Ok(())
            }
            (Format::Quantity, Value::Number(number)) => {
                *value = self.quantity(&number.to_string())?;
                Ok(())
            }
            (Format::Base64, Value::String(text)) => {
                if let Cow::Owned(unbroken) = base64(text)? {
                    *value = unbroken.into();
                }
                Ok(())
            }
            (Format::Time, Value::String(text)) => {
                *value = format!("{:.0}", time(text)?).into();
                Ok(())
            }
            (Format::MicroTime, Value::String(text)) => {
                *value = format!("{:.6}", time(text)?).into();
                Ok(())
            }
            _ => Err(self.mismatch(&Shape::Text(format), value)),
        }
    }

    fn mismatch(&self, shape: &Shape, value: &Value) -> Mismatch {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number) if matches!(shape, Shape::Integer(_)) => format!("number {number}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        let owner = self.owner.rsplit('.').next().unwrap_or_default();
        Mismatch::Type {
            found,
            place: format!("struct field {owner}.{}", self.path),
            expected: shape.type_name(),
        }
    }
}

/// Whether so much is wrong already that more would only cost memory: every problem names its whole path.
pub(super) fn is_enough(problems: &[String]) -> bool {
    const MAX_PROBLEMS: usize = 1_000;
    const MAX_BYTES: usize = 64 * 1024;
    problems.len() >= MAX_PROBLEMS || problems.iter().map(String::len).sum::<usize>() > MAX_BYTES
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What `null` stands for where it cannot be left out: in a list or map.
fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::Any => Value::Null,
        Shape::Text(Format::Quantity) => "0".into(),
        Shape::Text(_) => "".into(),
        Shape::Integer(_) | Shape::Number => 0.into(),
        Shape::Boolean => false.into(),
        Shape::List(_) => Value::Array(Vec::new()),
        Shape::Map(_) | Shape::Object(_) => Value::Object(Map::new()),
    }
}

fn fits(number: &Number, bits: Bits) -> bool {
    let Some(value) = number.as_i64() else { return false };
    match bits {
        Bits::Signed32 => i32::try_from(value).is_ok(),
        Bits::Unsigned32 => u32::try_from(value).is_ok(),
        Bits::Signed64 => true,
    }
}

fn time(text: &str) -> Result<Timestamp, Mismatch> {
    // A date alone is a time to some parsers, but not to RFC 3339.
    let whole = text.len() >= "2006-01-02T15:04:05Z".len();
    text.parse().ok().filter(|_| whole).ok_or_else(|| Mismatch::Time(text.to_owned()))
}

/// The text without the line breaks that some put into long ones; the bytes it stands for are the same.
fn base64(text: &str) -> Result<Cow<'_, str>, Mismatch> {
    use base64::DecodeError;
    use base64::engine::{Engine, general_purpose::STANDARD};
    let is_break = |character: char| matches!(character, '\r' | '\n');
    let text = if text.contains(is_break) { text.replace(is_break, "").into() } else { Cow::from(text) };
    match STANDARD.decode(&*text) {
        Ok(_bytes) => Ok(text),
        Err(DecodeError::InvalidByte(offset, _) | DecodeError::InvalidLastSymbol(offset, _)) => {
            Err(Mismatch::Base64(offset))
        }
        Err(DecodeError::InvalidLength(length)) => Err(Mismatch::Base64(length)),
        Err(DecodeError::InvalidPadding) => Err(Mismatch::Base64(text.len())),
    }
}
