//! POST: a new object.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::decode::Decoded;
use kinds::status::Failure;
use serde_json::Value;

use crate::call::Call;
use crate::query::WriteOptions;
use crate::request::Verb;
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
    let (mut new, warnings) = verbs::checked(kind, decoded, options.field_validation)?;
    place(call, &mut new)?;
    verbs::complete(call, None, &mut new);
    Ok((store(call, new, options).await?, warnings))
}

/// Stores a new object that has its defaults and its managers; answers it as stored.
pub(crate) async fn store(call: &Call, mut new: Value, options: WriteOptions) -> Result<Value, Failure> {
    let kind = call.path.kind;
    if call.verb != Verb::Create {
        access::may_also(call, "create")?;
    }
    strategy::prepare_create(kind, &mut new, &call.context.birth());
    let claim = admission::create(&call.context, kind, &mut new).await?;
    verbs::must_be_valid(kind, &new, kinds::validate::create(kind, &new))?;
    guard::create(call, &new)?;
    if options.dry_run {
        call.context.registry.must_be_free(kind, &new).await?;
        return Ok(new);
    }
    let stored = call.context.registry.create(kind, &new).await?;
    claim.keep();
    Ok(stored)
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
