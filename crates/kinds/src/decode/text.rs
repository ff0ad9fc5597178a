//! JSON to values, with a note of every key that stands twice in one object; YAML that is no JSON goes on from here.

use std::fmt::{self, Write};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::Decoded;
use super::conform::is_enough;

/// The paths of keys that stood twice; the last one counted.
type DuplicateKeys = Vec<String>;

/// Reads JSON; the error is the message for the client.
pub(super) fn json(bytes: &[u8]) -> Result<Decoded, String> {
    let mut reader = Reader::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let object = Seed(&mut reader)
        .deserialize(&mut deserializer)
        .and_then(|object| deserializer.end().map(|()| object))
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
    Ok(reader.finish(object))
}

/// The work that a YAML body may make, as [`yaml`] reckons it: about a second.
const MAX_YAML_WORK: usize = 1 << 31;

/// Reads YAML: the first document, as Kubernetes does.
///
/// JSON is YAML, and most of what clients send as YAML is JSON. Of the rest, each token costs the parser a step for
/// every bracket that stands open, so that a body of brackets could keep it busy for hours.
pub(super) fn yaml(bytes: &[u8]) -> Result<Decoded, String> {
    if let Ok(decoded) = json(bytes) {
        return Ok(decoded);
    }
    let n_brackets = bytes.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if n_brackets.saturating_mul(bytes.len()) > MAX_YAML_WORK {
        return Err(format!("error converting YAML to JSON: {n_brackets} brackets are too many: send JSON"));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|error| format!("error converting YAML to JSON: {error}"))?;
    let (object, duplicates) =
        super::yaml::read(text).map_err(|error| format!("error converting YAML to JSON: {error}"))?;
    Ok(Reader { path: String::new(), duplicates }.finish(object))
}

/// Where in the document the reader is, and what it found.
#[derive(Default)]
struct Reader {
    path: String,
    duplicates: DuplicateKeys,
}

impl Reader {
    fn finish(self, object: Value) -> Decoded {
        let problems = self.duplicates.iter().map(|path| format!("duplicate field \"{path}\"")).collect();
        Decoded { object, problems }
    }

    /// Appends the name of a field; the result is what `truncate` takes back.
    fn enter_field(&mut self, name: &str) -> usize {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        length
    }

    /// As [`Reader::enter_field`] for an item of a list.
    fn enter_item(&mut self, index: usize) -> usize {
        let length = self.path.len();
        // Writing to a text cannot fail.
        write!(self.path, "[{index}]").ok();
        length
    }
}

struct Seed<'a>(&'a mut Reader);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number =
            Number::from_f64(value).ok_or_else(|| E::custom(format!("{value} is no JSON number")))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let Seed(reader) = self;
        let mut list = Vec::new();
        loop {
            let length = reader.enter_item(list.len());
            let item = items.next_element_seed(Seed(reader))?;
            reader.path.truncate(length);
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let Seed(reader) = self;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let length = reader.enter_field(&key);
            let value = entries.next_value_seed(Seed(reader))?;
            if map.insert(key, value).is_some() && !is_enough(&reader.duplicates) {
                reader.duplicates.push(reader.path.clone());
            }
            reader.path.truncate(length);
        }
        Ok(Value::Object(map))
    }
}
