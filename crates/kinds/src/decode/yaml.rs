//! YAML as Kubernetes reads it: version 1.1, in which `yes`, `on` and `y` are truths as well, and `0777` is octal.
//!
//! ```text
//!   text ──events──► Builder: a stack of lists and maps that are not closed yet ──► one document
//! ```
//! Read by events, not through serde: only they tell a text with quotes from one without.

use std::collections::HashMap;

use serde_json::{Map, Number, Value};
use yaml_rust2::parser::{Event, Parser, Tag};
use yaml_rust2::scanner::{ScanError, TScalarStyle};

use super::conform::is_enough;

/// As deep as JSON may be.
const MAX_DEPTH: usize = 128;
/// What aliases may repeat in all, in bytes.
const MAX_REPEATED: usize = 4 << 20;

/// Why a text is no document.
#[derive(Debug, thiserror::Error)]
pub(super) enum YamlError {
    #[error("yaml: {0}")]
    Syntax(#[from] ScanError),
    #[error("yaml: more than {MAX_DEPTH} lists and maps are open")]
    TooDeep,
    #[error("yaml: document contains excessive aliasing")]
    TooManyAliases,
    #[error("yaml: the value of an anchor contains itself")]
    Itself,
    #[error("yaml: a key is a list or a map")]
    Key,
    #[error("yaml: {0} is no JSON number")]
    Number(String),
}

/// The first document, with the paths of keys that stand twice in it.
pub(super) fn read(text: &str) -> Result<(Value, Vec<String>), YamlError> {
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    loop {
        match parser.next_token()?.0 {
            Event::Nothing | Event::StreamStart | Event::DocumentStart => {}
            Event::DocumentEnd | Event::StreamEnd => {
                return Ok((builder.document, builder.duplicates));
            }
            Event::Alias(anchor) => builder.alias(anchor)?,
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == TScalarStyle::Plain;
                let value = scalar(&text, is_plain, tag.as_ref())?;
                let merges = is_plain && text == "<<";
                builder.value(Node { value, anchor, merges })?;
            }
            Event::SequenceStart(anchor, _) => builder.open(Parts::List(Vec::new()), anchor)?,
            Event::MappingStart(anchor, _) => builder.open(Parts::Map(Entries::default()), anchor)?,
            Event::SequenceEnd | Event::MappingEnd => builder.close()?,
        }
    }
}

/// A value that is complete.
struct Node {
    value: Value,
    /// Zero for those that have none.
    anchor: usize,
    /// Whether it is the key that takes in what another map has.
    merges: bool,
}

/// The entries of a map so far.
#[derive(Default)]
struct Entries {
    own: Map<String, Value>,
    /// Of other maps, which count where there is no entry of its own.
    merged: Vec<Map<String, Value>>,
    key: Option<Key>,
}

enum Key {
    Named(String),
    Merge,
}

enum Parts {
    List(Vec<Value>),
    Map(Entries),
}

struct Open {
    parts: Parts,
    anchor: usize,
    /// How long the path of its owner is.
    path: usize,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Value>,
    repeated: usize,
    path: String,
    duplicates: Vec<String>,
    document: Value,
}

impl Builder {
    fn open(&mut self, parts: Parts, anchor: usize) -> Result<(), YamlError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(YamlError::TooDeep);
        }
        let path = self.path.len();
        match self.open.last() {
            Some(Open { parts: Parts::List(items), .. }) => {
                self.path.push_str(&format!("[{}]", items.len()));
            }
            Some(Open { parts: Parts::Map(entries), .. }) => match &entries.key {
                Some(Key::Named(name)) => {
                    let separator = if path == 0 { "" } else { "." };
                    self.path.push_str(&format!("{separator}{name}"));
                }
                Some(Key::Merge) => {}
                None => return Err(YamlError::Key),
            },
            None => {}
        }
        self.open.push(Open { parts, anchor, path });
        Ok(())
    }

    fn close(&mut self) -> Result<(), YamlError> {
        let Some(Open { parts, anchor, path }) = self.open.pop() else { return Ok(()) };
        self.path.truncate(path);
        let value = match parts {
            Parts::List(items) => Value::Array(items),
            Parts::Map(Entries { mut own, merged, .. }) => {
                for (name, value) in merged.into_iter().flatten() {
                    own.entry(name).or_insert(value);
                }
                Value::Object(own)
            }
        };
        self.value(Node { value, anchor, merges: false })
    }

    fn alias(&mut self, anchor: usize) -> Result<(), YamlError> {
        let value = self.anchors.get(&anchor).cloned().ok_or(YamlError::Itself)?;
        self.repeated += size(&value);
        if self.repeated > MAX_REPEATED {
            return Err(YamlError::TooManyAliases);
        }
        self.value(Node { value, anchor: 0, merges: false })
    }

    /// Puts a value where it belongs.
    fn value(&mut self, node: Node) -> Result<(), YamlError> {
        let Node { value, anchor, merges } = node;
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        match self.open.last_mut().map(|open| &mut open.parts) {
            None => self.document = value,
            Some(Parts::List(items)) => items.push(value),
            Some(Parts::Map(entries)) => match entries.key.take() {
                None if merges => entries.key = Some(Key::Merge),
                None => entries.key = Some(Key::Named(key(value)?)),
                Some(Key::Merge) => entries.merge(value),
                Some(Key::Named(name)) => {
                    let is_twice = entries.own.contains_key(&name);
                    if is_twice && !is_enough(&self.duplicates) {
                        let separator = if self.path.is_empty() { "" } else { "." };
                        self.duplicates.push(format!("{}{separator}{name}", self.path));
                    }
                    entries.own.insert(name, value);
                }
            },
        }
        Ok(())
    }
}

impl Entries {
    fn merge(&mut self, value: Value) {
        match value {
            Value::Object(entries) => self.merged.push(entries),
            Value::Array(maps) => maps.into_iter().for_each(|map| self.merge(map)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// JSON has names only: other keys are named as they are written.
fn key(value: Value) -> Result<String, YamlError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(YamlError::Key),
    }
}

/// About how many bytes a value takes.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 16,
        Value::String(text) => 16 + text.len(),
        Value::Array(items) => 16 + items.iter().map(size).sum::<usize>(),
        Value::Object(entries) => {
            16 + entries.iter().map(|(name, value)| 16 + name.len() + size(value)).sum::<usize>()
        }
    }
}

fn scalar(text: &str, is_plain: bool, tag: Option<&Tag>) -> Result<Value, YamlError> {
    match tag.map(|tag| tag.suffix.as_str()) {
        Some("str" | "binary") => Ok(text.into()),
        Some("int" | "float" | "bool" | "null") => resolved(text),
        _ if is_plain => resolved(text),
        _ => Ok(text.into()),
    }
}

/// What a text without quotes means.
fn resolved(text: &str) -> Result<Value, YamlError> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            return Ok(true.into());
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            return Ok(false.into());
        }
        _ => {}
    }
    let may_be_number = text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    if !may_be_number {
        return Ok(text.into());
    }
    let plain = text.replace('_', "");
    match integer(&plain).or_else(|| float(&plain)) {
        Some(number) => Ok(Value::Number(number)),
        None if is_infinite(&plain) => Err(YamlError::Number(text.to_owned())),
        None => Ok(text.into()),
    }
}

fn integer(text: &str) -> Option<Number> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("-", digits) => ("-", digits),
        ("+", digits) => ("", digits),
        _ => ("", text),
    };
    let octal = digits.strip_prefix('0').filter(|rest| !rest.is_empty());
    let (digits, radix) = [("0x", 16), ("0b", 2), ("0o", 8)]
        .into_iter()
        .find_map(|(prefix, radix)| Some((digits.strip_prefix(prefix)?, radix)))
        .or_else(|| octal.map(|rest| (rest, 8)))
        .unwrap_or((digits, 10));
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let signed = i64::from_str_radix(&format!("{sign}{digits}"), radix).ok().map(Number::from);
    signed.or_else(|| u64::from_str_radix(digits, radix).ok().filter(|_| sign.is_empty()).map(Number::from))
}

/// A number with a fraction or an exponent. Names that the standard library reads as numbers are none here.
fn float(text: &str) -> Option<Number> {
    let is_numeric = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let value = text.parse::<f64>().ok().filter(|_| is_numeric)?;
    Number::from_f64(value)
}

fn is_infinite(text: &str) -> bool {
    let text = text.trim_start_matches(['+', '-']);
    matches!(text, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::read;

    fn check(text: &str, expected: Expect) {
        let answer = match read(text) {
            Ok((value, duplicates)) if duplicates.is_empty() => value.to_string(),
            Ok((value, duplicates)) => format!("{value} {duplicates:?}"),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&answer);
    }

    #[test]
    fn texts_without_quotes_mean_what_they_meant_in_1_1() {
        check(
            "[y, 'y', No, on, off, null, ~, 'null', 1, 0777, 0x10, 1_000, 1.5, 1e3, -2, +3, 08, 1.2.3, 12:30, .5]",
            expect![[
                r#"[true,"y",false,true,false,null,null,"null",1,511,16,1000,1.5,1000.0,-2,3,8.0,"1.2.3","12:30",0.5]"#
            ]],
        );
        check(
            "a: 2026-01-02\nb: 18446744073709551615\nc: -x",
            expect![[r#"{"a":"2026-01-02","b":18446744073709551615,"c":"-x"}"#]],
        );
        check("a: .inf", expect!["yaml: .inf is no JSON number"]);
        check("a: !!str 1\nb: !!int \"2\"", expect![[r#"{"a":"1","b":2}"#]]);
        check("", expect!["null"]);
    }

    #[test]
    fn keys_are_texts_and_stand_once() {
        check("y: 1\n2: two\n\"yes\": 3", expect![[r#"{"2":"two","true":1,"yes":3}"#]]);
        check(
            "a: {b: 1, b: 2}\nl: [{c: 1, c: 2}]\na: 3",
            expect![[r#"{"a":3,"l":[{"c":2}]} ["a.b", "l[0].c", "a"]"#]],
        );
        check("? [1]\n: 2", expect!["yaml: a key is a list or a map"]);
    }

    #[test]
    fn anchors_are_repeated_and_merged() {
        check(
            "a: &x {b: 1, c: 2}\nd: *x\ne: {<<: *x, c: 3}",
            expect![[r#"{"a":{"b":1,"c":2},"d":{"b":1,"c":2},"e":{"b":1,"c":3}}"#]],
        );
        let mut bomb = "a0: &a0 [xxxxxxxxxxxxxxxx]\n".to_owned();
        for level in 1..20 {
            let before = level - 1;
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 10].join(",")));
        }
        check(&bomb, expect!["yaml: document contains excessive aliasing"]);
    }

    #[test]
    fn only_the_first_document_is_read() {
        check("a: 1\n---\nb: [", expect![[r#"{"a":1}"#]]);
        check(
            &format!("a:\n{}", (1..200).map(|deep| format!("{}a:\n", " ".repeat(deep))).collect::<String>()),
            expect!["yaml: more than 128 lists and maps are open"],
        );
    }
}
