//! Patches: JSON, merge and strategic merge.

mod bounds;
mod strategic;

use serde_json::Value;

use crate::status::Failure;
use crate::{Kind, decode, schema};

/// How a patch is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    Json,
    Merge,
    StrategicMerge,
}

impl PatchType {
    /// By the request's `Content-Type`; parameters after `;` do not count.
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::StrategicMerge),
            _ => None,
        }
    }

    /// The media types of the patches that objects of `kind` take.
    pub fn media_types(kind: &Kind) -> &'static [&'static str] {
        const ALL: &[&str] = &[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
        ];
        // Merge keys are known of built-in kinds only; kubectl sends merge patches for the others.
        if kind.is_builtin() { ALL } else { &ALL[..2] }
    }
}

/// `current` with `patch` applied. Types and unknown fields are `decode::object`'s to check.
///
/// Patches are JSON, also to a real server: clients convert YAML themselves.
pub fn apply(kind: &Kind, patch_type: PatchType, current: &Value, patch: &[u8]) -> Result<Value, Failure> {
    match patch_type {
        PatchType::Json => apply_json(current, patch),
        PatchType::Merge => {
            let patch = object_patch(patch)?;
            let mut patched = current.clone();
            json_patch::merge(&mut patched, &patch);
            Ok(patched)
        }
        PatchType::StrategicMerge if kind.is_builtin() => {
            let Value::Object(patch) = object_patch(patch)? else { return Ok(current.clone()) };
            strategic::merge(schema::of(kind), current, patch).map_err(|error| refused_merge(&error))
        }
        PatchType::StrategicMerge => Err(Failure::unsupported_patch_type(kind, PatchType::media_types(kind))),
    }
}

/// What no client sends is answered as Kubernetes answers it: as if it were the server's fault.
fn refused_merge(error: &strategic::MergeError) -> Failure {
    use strategic::MergeError::{DirectiveWithoutList, NoMergeKey, UnknownDirective, WrongItems};
    match error {
        DirectiveWithoutList { .. } => Failure::bad_request(error.to_string()),
        NoMergeKey { .. } | UnknownDirective(_) | WrongItems { .. } => {
            Failure::unreasonable(error.to_string())
        }
    }
}

/// The fields that stand twice in a patch, in the words of Kubernetes.
pub fn duplicates(patch_type: PatchType, patch: &[u8]) -> Vec<String> {
    let problems = decode::duplicates("application/json", patch).unwrap_or_default();
    match patch_type {
        PatchType::Json => problems.into_iter().map(|problem| format!("json patch {problem}")).collect(),
        PatchType::Merge | PatchType::StrategicMerge => problems,
    }
}

/// The most operations of one JSON patch: a bound for the work of one request, as in Kubernetes.
const MAX_OPERATIONS: usize = 10_000;

/// `current` with a JSON patch applied, whatever kind of object it is.
pub(crate) fn apply_json(current: &Value, patch: &[u8]) -> Result<Value, Failure> {
    let refused = |error: String| Failure::bad_request(format!("error decoding patch: {error}"));
    // Of a field that stands twice the last one counts, which the type itself would refuse.
    let operations =
        decode::raw("application/json", patch).map_err(|failure| refused(failure.to_string()))?;
    let patch: json_patch::Patch =
        serde_json::from_value(operations).map_err(|error| refused(error.to_string()))?;
    if patch.0.len() > MAX_OPERATIONS {
        let message = format!(
            "the allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            patch.0.len()
        );
        return Err(Failure::new(413, "RequestEntityTooLarge", message));
    }
    let mut patched = current.clone();
    let mut growth = bounds::Growth::default();
    for operation in &patch.0 {
        growth.admit(&patched, operation)?;
        json_patch::patch(&mut patched, std::slice::from_ref(operation))
            .map_err(|error| Failure::unprocessable(format!("the JSON patch cannot be applied: {error}")))?;
    }
    Ok(patched)
}

fn object_patch(patch: &[u8]) -> Result<Value, Failure> {
    let value = decode::raw("application/json", patch)
        .map_err(|failure| Failure::bad_request(format!("error decoding patch: {failure}")))?;
    if value.is_object() {
        return Ok(value);
    }
    Err(Failure::bad_request("error decoding patch: a patch of this type is a JSON object"))
}

#[cfg(test)]
mod tests;
