//! What the server fills in where the user said nothing.

use serde_json::Value;

use crate::Kind;

/// Fills in the defaults of `kind`.
pub fn apply(kind: &Kind, object: &mut Value) {
    let _used_soon = (kind, object);
}
