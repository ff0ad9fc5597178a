//! Request bodies: JSON, YAML or Kubernetes protobuf to an object that has only known fields of the right types.

mod conform;
mod custom;
pub(crate) mod protobuf;
pub(crate) mod quantity;
mod text;
mod yaml;

use serde_json::{Map, Value};

use crate::kind::Entry;
use crate::status::Failure;
use crate::{Kind, kind, schema};

/// The media type of Kubernetes' protobuf.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// The media types that `body` reads.
pub const MEDIA_TYPES: &[&str] = &["application/json", "application/yaml", PROTOBUF];

/// A body that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Without what `problems` names.
    pub object: Value,
    /// Unknown and duplicate fields, in the words that clients of `fieldValidation` know:
    /// `unknown field "spec.foo"`, `duplicate field "spec.bar"`.
    pub problems: Vec<String>,
}

/// Reads a body that should be an object of `kind`.
pub fn body(kind: &Kind, content_type: &str, bytes: &[u8]) -> Result<Decoded, Failure> {
    let mut parsed = parse(content_type, bytes, Some(kind))?;
    if parsed.object.is_null() {
        // Nothing said: what is missing is for validation to tell.
        parsed.object = Value::Object(Map::new());
    }
    let Value::Object(_) = parsed.object else {
        let message = format!("the object provided is unrecognized: it is no {} object", kind.kind);
        return Err(Failure::bad_request(message));
    };
    let mut decoded = object(kind, parsed.object)?;
    let mut problems = parsed.problems;
    problems.append(&mut decoded.problems);
    Ok(Decoded { object: decoded.object, problems })
}

/// Reads a body of any shape (`DeleteOptions`, `Scale`, `Binding`) without checking it against a schema.
pub fn raw(content_type: &str, bytes: &[u8]) -> Result<Value, Failure> {
    parse(content_type, bytes, None).map(|decoded| decoded.object)
}

/// As [`raw`], with the duplicate fields of the body.
pub fn untyped(content_type: &str, bytes: &[u8]) -> Result<Decoded, Failure> {
    parse(content_type, bytes, None)
}

/// The problems of a body of any shape: its duplicate fields.
pub fn duplicates(content_type: &str, bytes: &[u8]) -> Result<Vec<String>, Failure> {
    parse(content_type, bytes, None).map(|decoded| decoded.problems)
}

/// Drops unknown fields and refuses wrong types in an object that was put together here, after a patch for example.
pub fn object(kind: &Kind, mut object: Value) -> Result<Decoded, Failure> {
    if let Some(version) = kind.custom() {
        return custom::object(kind, version, object);
    }
    check_type(kind, &object)?;
    let problems =
        conform::conform(schema::of(kind), &mut object).map_err(|mismatch| cannot_be(kind, &mismatch))?;
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), kind.api_version().into());
        fields.insert("kind".to_owned(), kind.kind.into());
    }
    Ok(Decoded { object, problems })
}

/// How a body with problems is refused under `fieldValidation=Strict`.
pub fn strict_failure(kind: &Kind, problems: &[String]) -> Failure {
    cannot_be(kind, &format!("strict decoding error: {}", problems.join(", ")))
}

fn cannot_be(kind: &Kind, why: &impl std::fmt::Display) -> Failure {
    let Entry { kind, version, .. } = **kind;
    Failure::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
}

/// A body may leave out its type; when it names one, it must be this one.
fn check_type(kind: &Kind, object: &Value) -> Result<(), Failure> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, name) = (text("apiVersion"), text("kind"));
    let same_version = api_version.is_empty() || api_version == kind.api_version();
    if same_version && (name.is_empty() || name == kind.kind) {
        return Ok(());
    }
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let why = if kind::find_api_version(api_version, name).is_some() {
        format!("the path takes {} objects of {}", kind.kind, kind.api_version())
    } else {
        format!("no kind \"{name}\" is registered for version \"{api_version}\"")
    };
    let expected = kind.kind;
    Err(Failure::bad_request(format!(
        "{name} in version \"{version}\" cannot be handled as a {expected}: {why}"
    )))
}

fn parse(content_type: &str, bytes: &[u8], kind: Option<&Kind>) -> Result<Decoded, Failure> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    match media_type {
        // Clients that name no type send JSON.
        "" | "application/json" | "text/json" => text::json(bytes),
        "application/yaml" | "text/yaml" | "application/x-yaml" => text::yaml(bytes),
        PROTOBUF if kind.is_none_or(Kind::is_builtin) => {
            protobuf::decode(bytes).map(|object| Decoded { object, problems: Vec::new() })
        }
        PROTOBUF => return Err(Failure::unsupported_media_type(&["application/json", "application/yaml"])),
        _ => return Err(Failure::unsupported_media_type(MEDIA_TYPES)),
    }
    .map_err(Failure::bad_request)
}

#[cfg(test)]
mod tests;
