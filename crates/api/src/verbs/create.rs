//! POST: a new object.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::decode::Decoded;
use kinds::status::Failure;
use serde_json::Value;

use crate::admission::Review;
use crate::call::Call;
use crate::query::WriteOptions;
use crate::request::Verb;
use crate::verbs::update::Written;
use crate::{access, admission, guard, object, respond, strategy, verbs};

pub(crate) async fn handle(mut call: Call) -> Result<Response<Body>, Failure> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let body = call.take_body().await?;
    let decoded = kinds::decode::body(call.path.kind, call.media_type(), &body)?;
    let (stored, warnings) = create(&call, decoded, options).await?;
    let response = respond::object(StatusCode::CREATED, call.accept, call.path.kind, stored)?;
    Ok(respond::with_warnings(response, &warnings))
}

/// Stores a new object; answers it as stored, with the warnings for the client.
pub(crate) async fn create(
    call: &Call,
    decoded: Decoded,
    options: WriteOptions,
) -> Result<(Value, Vec<String>), Failure> {
    let kind = call.path.kind;
    let (mut new, mut warnings) = verbs::checked(kind, decoded, options.field_validation)?;
    place(call, &mut new)?;
    verbs::complete(call, None, &mut new);
    let written = store(call, new, options).await?;
    warnings.extend(written.warnings);
    Ok((written.object, warnings))
}

/// Stores a new object that has its defaults and its managers; answers it as stored.
pub(crate) async fn store(call: &Call, new: Value, options: WriteOptions) -> Result<Written, Failure> {
    let kind = call.path.kind;
    if call.verb != Verb::Create {
        access::may_also(call, "create")?;
    }
    let mut review = Review::of_create(call, new, options.dry_run);
    admission::mutate(&mut review).await?;
    strategy::prepare_create(kind, &mut review.object, &call.context.birth());
    strategy::signing_request::identify(kind, &mut review.object, &call.user);
    admission::allocate(&mut review).await?;
    verbs::must_be_valid(kind, &review.object, kinds::validate::create(kind, &review.object))?;
    guard::create(call, &review.object)?;
    admission::validate(&mut review).await?;
    review.warnings.extend(kinds::warn::on_write(kind, &review.object));
    if options.dry_run {
        call.context.registry.must_be_free(kind, &review.object).await?;
        let warnings = std::mem::take(&mut review.warnings);
        return Ok(Written { object: review.object, warnings });
    }
    let object = call.context.registry.create(kind, &review.object).await?;
    Ok(Written { object, warnings: review.keep() })
}

/// An object goes where the path says; one that says otherwise is refused.
pub(crate) fn place(call: &Call, object: &mut Value) -> Result<(), Failure> {
    let kind = call.path.kind;
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
