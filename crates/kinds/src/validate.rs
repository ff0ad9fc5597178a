//! What must hold of an object; all faults are told at once.

use serde_json::Value;

use crate::Kind;
use crate::status::FieldError;

/// The faults of an object that is to be created.
pub fn create(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let _used_soon = (kind, object);
    Vec::new()
}

/// The faults of `new` as the next state of `old`.
pub fn update(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let _used_soon = old;
    create(kind, new)
}
