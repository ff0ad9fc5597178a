//! PATCH: a change relative to what is there.

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

/// The form of a server-side apply.
const APPLY: &str = "application/apply-patch+yaml";
const SUPPORTED: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    APPLY,
];

pub(crate) async fn handle(call: Call) -> Result<Response<Body>, Failure> {
    handle_part(call, Part::Main).await
}

/// As [`handle`] for the part of the object that the path is about.
pub(crate) async fn handle_part(mut call: Call, part: Part) -> Result<Response<Body>, Failure> {
    if is_apply(&call) {
        return verbs::apply::handle(call, part).await;
    }
    let kind = &call.path.kind.clone();
    let patch_type = patch_type(&call)?;
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    if call.query.get("force").is_some() {
        let error = FieldError::forbidden("force", "may not be specified for non-apply patch");
        return Err(Failure::invalid_object("meta.k8s.io", "PatchOptions", "", &[error]));
    }
    let patch = call.take_body().await?;
    let duplicates = kinds::patch::duplicates(patch_type, &patch);
    let written = verbs::update::replace(&call, options, part, |current| {
        let patched = kinds::patch::apply(kind, patch_type, current, &patch)?;
        let mut decoded = kinds::decode::object(kind, patched)
            .map_err(|failure| no_object(object::name(current), &failure))?;
        decoded.problems.splice(0..0, duplicates.iter().cloned());
        let mut new = verbs::checked(&call, decoded, options.field_validation)?;
        keep_name(&mut new, current);
        must_stay(kind, &new, current)?;
        verbs::complete(&call, Some(current), &mut new);
        Ok(new)
    })
    .await?;
    respond::written(StatusCode::OK, call.accept, kind, written)
}

/// A patch that replaces everything need not repeat whose object it is.
fn keep_name(new: &mut Value, current: &Value) {
    if object::name(new).is_empty() {
        object::set_metadata(new, "name", object::name(current));
    }
    if object::namespace(new).is_empty() && !object::namespace(current).is_empty() {
        object::set_metadata(new, "namespace", object::namespace(current));
    }
}

/// 422: what the patch makes of the object is no object of its kind.
fn no_object(name: &str, failure: &Failure) -> Failure {
    let error = FieldError::invalid("patch", name, failure.message());
    Failure::invalid_object("", "", "", &[error])
}

/// A patch leaves an object where and what it is.
pub(crate) fn must_stay(kind: &Kind, new: &Value, current: &Value) -> Result<(), Failure> {
    let (name, was) = (object::name(new), object::name(current));
    if name != was {
        let message = format!("the name of the object ({name}) does not match the name on the URL ({was})");
        return Err(Failure::bad_request(message));
    }
    if kind.is_namespaced() && object::namespace(new) != object::namespace(current) {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Failure::bad_request(message));
    }
    let uid = object::metadata(new, "uid");
    if !uid.is_empty() && uid != object::metadata(current, "uid") {
        // Told once by the rules of all objects and once by those of the kind, as Kubernetes does.
        let error = FieldError::invalid("metadata.uid", uid, "field is immutable");
        return Err(Failure::invalid(kind, was, vec![error.clone(), error]));
    }
    Ok(())
}

pub(crate) fn patch_type(call: &Call) -> Result<PatchType, Failure> {
    let patch_type = PatchType::from_content_type(&call.content_type);
    patch_type
        .filter(|patch_type| call.path.kind.is_builtin() || *patch_type != PatchType::StrategicMerge)
        .ok_or_else(|| Failure::unsupported_patch_type(&call.path.kind, &SUPPORTED))
}

fn is_apply(call: &Call) -> bool {
    call.content_type.split(';').next().unwrap_or_default().trim() == APPLY
}
