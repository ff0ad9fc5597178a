//! `namespaces/finalize`: who emptied a namespace takes its finalizer away, and the last one lets it go.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::status::Failure;
use serde_json::Value;

use crate::admission::Review;
use crate::call::Call;
use crate::query::WriteOptions;
use crate::registry::{Found, Next};
use crate::{admission, object, respond, verbs};

pub(super) async fn handle(mut call: Call) -> Result<Response<Body>, Failure> {
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let body = call.take_body().await?;
    let wanted = kinds::decode::body(&call.path.kind, call.media_type(), &body)?.object;
    let revision = object::metadata(&wanted, "resourceVersion").to_owned();
    let mut attempts = call.context.registry.attempts(&call.path, options.dry_run);
    loop {
        let current = match attempts.read().await? {
            Found::Object(current) => current,
            Found::Gone(object) => {
                return respond::object(StatusCode::OK, call.accept, &call.path.kind, object);
            }
        };
        if !revision.is_empty() && revision != object::metadata(&current, "resourceVersion") {
            return Err(Failure::stale(&call.path.kind, call.path.name()));
        }
        let mut next = finalized(&current, &wanted);
        verbs::complete(&call, Some(&current), &mut next);
        let mut review = Review::of_update(&call, next.clone(), current, options.dry_run);
        admission::mutate(&mut review).await?;
        // Whoever is asked may change what is finalized, and nothing else.
        review.object = finalized(&next, &review.object);
        admission::validate(&mut review).await?;
        let Some(changed) = attempts.write(Next::Replace(std::mem::take(&mut review.object))).await? else {
            continue;
        };
        call.warnings.add(review.keep());
        return respond::written(StatusCode::OK, call.accept, &call.path.kind, changed.into_written());
    }
}

/// The namespace with the finalizers that `wanted` leaves, in its spec and in its metadata.
fn finalized(current: &Value, wanted: &Value) -> Value {
    let mut next = current.clone();
    let spec = object::entry_object(&mut next, "spec");
    match wanted["spec"]["finalizers"].as_array() {
        Some(left) if !left.is_empty() => drop(spec.insert("finalizers".into(), left.clone().into())),
        _ => drop(spec.remove("finalizers")),
    }
    match wanted["metadata"].get("finalizers") {
        Some(left) => object::set_metadata(&mut next, "finalizers", left.clone()),
        None => object::remove_metadata(&mut next, "finalizers"),
    }
    next
}
