//! PATCH as a server-side apply: the object is created, or what the applier states is merged into it.
//!
//! Field ownership is not kept yet: every applier wins, and a field that it no longer states stays. The place for it
//! is [`merge`], which alone decides what an applied configuration makes of the current object.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::Kind;
use kinds::patch::PatchType;
use kinds::status::{Failure, FieldError};
use serde_json::Value;

use crate::call::Call;
use crate::query::WriteOptions;
use crate::strategy::Part;
use crate::{object, respond, verbs};

pub(crate) async fn handle(mut call: Call, part: Part) -> Result<Response<Body>, Failure> {
    let kind = call.path.kind;
    if call.query.get("fieldManager").unwrap_or_default().is_empty() {
        let error = FieldError::required("fieldManager", "is required for apply patch");
        return Err(Failure::invalid_object("meta.k8s.io", "PatchOptions", "", &[error]));
    }
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    let body = call.take_body().await?;
    let decoded = kinds::decode::body(kind, "application/yaml", &body)?;
    let (mut applied, warnings) = verbs::checked(kind, decoded.clone(), options.field_validation)?;
    if object::name(&applied).is_empty() {
        object::set_metadata(&mut applied, "name", call.path.name());
    }
    verbs::update::must_match_path(&call, &applied)?;
    verbs::create::place(&call, &mut applied)?;
    let merged = verbs::update::replace(&call, options, part, |current| {
        let merged = merge(kind, current, &applied)?;
        verbs::patch::must_stay(kind, &merged, current)?;
        Ok(merged)
    })
    .await;
    let (status, value) = match merged {
        Err(failure) if failure.code() == 404 && part == Part::Main => {
            let decoded = kinds::decode::Decoded { object: applied, ..decoded };
            (StatusCode::CREATED, verbs::create::create(&call, decoded, options).await?.0)
        }
        merged => (StatusCode::OK, merged?),
    };
    let response = respond::object(status, call.accept, kind, value)?;
    Ok(respond::with_warnings(response, &warnings))
}

/// What `applied` makes of `current`.
fn merge(kind: &Kind, current: &Value, applied: &Value) -> Result<Value, Failure> {
    let patch_type = if kind.is_builtin() { PatchType::StrategicMerge } else { PatchType::Merge };
    let mut applied = applied.clone();
    object::remove_metadata(&mut applied, "creationTimestamp");
    object::remove_metadata(&mut applied, "managedFields");
    let patched = kinds::patch::apply(kind, patch_type, current, applied.to_string().as_bytes())?;
    Ok(kinds::decode::object(kind, patched)?.object)
}
