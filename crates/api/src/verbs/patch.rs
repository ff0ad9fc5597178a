//! PATCH: a change relative to what is there.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::patch::PatchType;
use kinds::status::Failure;

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
    let kind = call.path.kind;
    let patch_type = patch_type(&call)?;
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    let patch = call.take_body().await?;
    let mut warnings = Vec::new();
    let changed = verbs::update::replace(&call, options, part, |current| {
        let patched = kinds::patch::apply(kind, patch_type, current, &patch)?;
        let decoded = kinds::decode::object(kind, patched)?;
        let (new, problems) = verbs::checked(kind, decoded, options.field_validation)?;
        warnings = problems;
        if object::name(&new) != object::name(current) {
            let message = format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                object::name(&new),
                object::name(current)
            );
            return Err(Failure::bad_request(message));
        }
        Ok(new)
    })
    .await?;
    let response = respond::object(StatusCode::OK, call.accept, kind, changed)?;
    Ok(respond::with_warnings(response, &warnings))
}

pub(crate) fn patch_type(call: &Call) -> Result<PatchType, Failure> {
    let patch_type = PatchType::from_content_type(&call.content_type);
    patch_type
        .filter(|patch_type| call.path.kind.is_builtin() || *patch_type != PatchType::StrategicMerge)
        .ok_or_else(|| Failure::unsupported_media_type(&SUPPORTED))
}

fn is_apply(call: &Call) -> bool {
    call.content_type.split(';').next().unwrap_or_default().trim() == APPLY
}
