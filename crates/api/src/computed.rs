//! Objects that are worked out when they are asked for: nothing of them is stored, so they can only be read.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::status::Failure;
use kinds::table::IncludeObject;
use serde_json::{Value, json};

use crate::accept::Shape;
use crate::call::Call;
use crate::query::Selection;
use crate::request::Verb;
use crate::{object, respond};

/// Answers a read of `objects`, which are all that there are where the call looks.
pub(crate) fn answer(call: &Call, objects: Vec<Value>) -> Result<Response<Body>, Failure> {
    let kind = &call.path.kind;
    match call.verb {
        Verb::Get => {
            let found = objects.into_iter().find(|found| object::name(found) == call.path.name());
            let found = found.ok_or_else(|| Failure::not_found(kind, call.path.name()))?;
            respond::object(StatusCode::OK, call.accept, kind, found)
        }
        Verb::List => {
            let selection = Selection::parse(kind, &call.query)?;
            list(call, objects.into_iter().filter(|object| selection.matches(kind, object)).collect())
        }
        _ => Err(Failure::method_not_allowed()),
    }
}

fn list(call: &Call, items: Vec<Value>) -> Result<Response<Body>, Failure> {
    let kind = &call.path.kind;
    let answer = match call.accept.shape {
        Shape::Object => json!({
            "kind": kind.list_kind(), "apiVersion": kind.api_version(), "metadata": {}, "items": items,
        }),
        Shape::Table => {
            let include = call.query.get("includeObject").unwrap_or_default();
            kinds::table::render(
                kind,
                &items,
                call.context.now(),
                IncludeObject::parse(include).unwrap_or_default(),
            )
        }
        Shape::Metadata | Shape::MetadataList => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {},
            "items": items.into_iter().map(kinds::table::partial_metadata).collect::<Vec<_>>(),
        }),
    };
    respond::encoded(StatusCode::OK, call.accept.encoding, &answer)
}
