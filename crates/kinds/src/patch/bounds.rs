//! What a JSON patch may make of an object on the way: its operations can double the size and the depth each time.

use json_patch::PatchOperation;
use serde_json::Value;

use crate::status::Failure;

/// All copies of a patch together: as much as a body may have.
const MAX_COPIED_BYTES: usize = 3 << 20;
/// As deep as a parsed body may be.
const MAX_DEPTH: usize = 128;

/// How much a patch has copied so far.
#[derive(Debug, Default)]
pub(super) struct Growth {
    copied: usize,
}

impl Growth {
    /// Refuses an operation on `object` before it is done; one that cannot be done is left to tell that itself.
    pub(super) fn admit(&mut self, object: &Value, operation: &PatchOperation) -> Result<(), Failure> {
        let (path, value) = match operation {
            PatchOperation::Add(add) => (add.path.as_str(), Some(&add.value)),
            PatchOperation::Replace(replace) => (replace.path.as_str(), Some(&replace.value)),
            PatchOperation::Move(moved) => (moved.path.as_str(), object.pointer(moved.from.as_str())),
            PatchOperation::Copy(copy) => {
                let source = object.pointer(copy.from.as_str());
                self.copied = self.copied.saturating_add(source.map_or(0, size));
                (copy.path.as_str(), source)
            }
            PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
        };
        if self.copied > MAX_COPIED_BYTES {
            let message = format!("the copies of a JSON patch may not exceed {MAX_COPIED_BYTES} bytes");
            return Err(Failure::new(413, "RequestEntityTooLarge", message));
        }
        let above = path.bytes().filter(|byte| *byte == b'/').count();
        if above.saturating_add(value.map_or(0, depth)) > MAX_DEPTH {
            let message = format!("the JSON patch nests values more than {MAX_DEPTH} deep");
            return Err(Failure::unprocessable(message));
        }
        Ok(())
    }
}

/// About the bytes of a value as JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| size(item) + 1).sum::<usize>() + 2,
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| name.len() + size(value) + 4).sum::<usize>() + 2
        }
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(depth).max().unwrap_or(0) + 1,
        Value::Object(fields) => fields.values().map(depth).max().unwrap_or(0) + 1,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
