//! POST: a new object.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::decode::Decoded;
use kinds::status::Failure;
use kinds::{Kind, custom};
use serde_json::Value;

use crate::admission::Review;
use crate::call::Call;
use crate::query::WriteOptions;
use crate::registry::Written;
use crate::request::Verb;
use crate::{access, admission, definitions, guard, object, respond, strategy, verbs};

pub(crate) async fn handle(mut call: Call) -> Result<Response<Body>, Failure> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let body = call.take_body().await?;
    let decoded = kinds::decode::body(&call.path.kind, call.media_type(), &body)?;
    let stored = create(&call, decoded, options).await?;
    respond::written(StatusCode::CREATED, call.accept, &call.path.kind, stored)
}

/// Stores a new object; answers it as stored.
async fn create(call: &Call, decoded: Decoded, options: WriteOptions) -> Result<Written, Failure> {
    let mut new = verbs::checked(call, decoded, options.field_validation)?;
    place(call, &mut new)?;
    verbs::complete(call, None, &mut new);
    store(call, new, options).await
}

/// Stores a new object that has its defaults and its managers; answers it as stored.
pub(crate) async fn store(call: &Call, new: Value, options: WriteOptions) -> Result<Written, Failure> {
    let kind = &call.path.kind;
    if kind.custom().is_some_and(|version| custom::status::is_terminating(&version.definition)) {
        let message = "create not allowed while custom resource definition is terminating";
        return Err(Failure::method_not_allowed().with_message(message));
    }
    if call.verb != Verb::Create {
        access::may_also(call, &call.path, "create")?;
    }
    let mut review = Review::of_create(call, new, options.dry_run);
    admission::mutate(&mut review).await?;
    strategy::prepare_create(kind, &mut review.object, &call.context.birth());
    call.creates(object::name(&review.object));
    strategy::signing_request::identify(kind, &mut review.object, &call.user);
    admission::allocate(&mut review).await?;
    let judge = |kind: &Kind, new: &Value, _: &Value| kinds::validate::create(kind, new);
    let faults = verbs::judged(&call.context, kind, &review.object, &Value::Null, judge).await?;
    verbs::must_be_valid(kind, &review.object, faults)?;
    guard::create(call, &review.object)?;
    admission::validate(&mut review).await?;
    review.warnings.extend(kinds::warn::on_write(kind, &review.object, None));
    if options.dry_run {
        call.context.registry.must_be_free(kind, &review.object).await?;
        call.warnings.add(std::mem::take(&mut review.warnings));
        return Ok(Written::Object(review.object));
    }
    let object = std::mem::take(&mut review.object);
    let created = call.context.registry.create(kind, object).await?;
    definitions::written(&call.context, kind, &created).await?;
    call.warnings.add(review.keep());
    Ok(created)
}

/// An object goes where the path says; one that says otherwise is refused.
pub(crate) fn place(call: &Call, object: &mut Value) -> Result<(), Failure> {
    let kind = &call.path.kind;
    let (said, meant) = (object::namespace(object), call.namespace());
    if !kind.is_namespaced() {
        object::remove_metadata(object, "namespace");
        return Ok(());
    }
    if !said.is_empty() && said != meant {
        let message = format!(
            "the namespace of the provided object does not match the namespace sent on the request ({said} \
             is not {meant})"
        );
        return Err(Failure::bad_request(message));
    }
    object::set_metadata(object, "namespace", meant);
    Ok(())
}
