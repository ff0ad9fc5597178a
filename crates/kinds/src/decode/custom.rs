//! Bodies of kinds that users define: the schema says what is known, and only the metadata has a fixed type.

use serde_json::Value;

use super::{Decoded, cannot_be, conform};
use crate::custom::Version;
use crate::status::{Failure, FieldError};
use crate::{Kind, schema};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

pub(super) fn object(kind: &Kind, version: &Version, mut object: Value) -> Result<Decoded, Failure> {
    check_type(kind, &object)?;
    let mut problems = version.prune(&mut object);
    if let Some(metadata) = object.get_mut("metadata") {
        let of_metadata = metadata_problems(kind, metadata)?;
        problems.extend(of_metadata.into_iter().map(|path| format!("metadata.{path}")));
    }
    problems.sort();
    let problems = problems.into_iter().map(|path| format!("unknown field \"{path}\"")).collect();
    Ok(Decoded { object, problems })
}

/// Makes the metadata conform to its type; answers the paths of what is unknown.
fn metadata_problems(kind: &Kind, metadata: &mut Value) -> Result<Vec<String>, Failure> {
    let Some(definition) = schema::by_name(OBJECT_META) else { return Ok(Vec::new()) };
    if metadata.is_null() {
        *metadata = Value::Object(serde_json::Map::new());
    }
    if !metadata.is_object() {
        return Err(cannot_be(kind, &"json: cannot unmarshal the metadata: it is no object"));
    }
    let problems = conform::conform(definition, metadata).map_err(|mismatch| cannot_be(kind, &mismatch))?;
    let path =
        |problem: &String| Some(problem.strip_prefix("unknown field \"")?.strip_suffix('"')?.to_owned());
    Ok(problems.iter().filter_map(path).collect())
}

/// Unlike those of built-in kinds, these bodies must say what they are.
fn check_type(kind: &Kind, object: &Value) -> Result<(), Failure> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let (api_version, name, expected) = (text("apiVersion"), text("kind"), kind.api_version());
    if name.is_empty() {
        return Err(Failure::bad_request(format!("the object says no kind: it should be {}", kind.kind)));
    }
    if api_version != expected {
        let message = format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        );
        return Err(Failure::bad_request(message));
    }
    if name != kind.kind {
        let error = FieldError::invalid("kind", name, format!("must be {}", kind.kind));
        let object_name = object["metadata"]["name"].as_str().unwrap_or_default();
        return Err(Failure::invalid_object(kind.group, name, object_name, &[error]));
    }
    Ok(())
}
