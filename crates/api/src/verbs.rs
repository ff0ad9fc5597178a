//! What can be done to objects of any kind. No verb knows a kind; what is special about kinds is in [`kinds`],
//! in `strategy` and in `admission`.

pub(crate) mod apply;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod update;
pub(crate) mod watch;

use axum::body::Body;
use http::Response;
use kinds::Kind;
use kinds::custom::Version;
use kinds::decode::Decoded;
use kinds::managed::Writer;
use kinds::status::{Failure, FieldError};
use serde_json::Value;

use crate::call::Call;
use crate::context::Context;
use crate::query::FieldValidation;
use crate::request::Verb;
use crate::{components, definitions, explanations, metrics, respond, reviews, subresources};

/// Does what the request asks; the warnings come with every answer, refusals among them.
pub(crate) async fn handle(call: Call) -> Response<Body> {
    let (warnings, encoding) = (call.warnings.clone(), call.accept.encoding);
    warnings.add(kinds::warn::on_use(&call.path.kind).map(str::to_owned));
    let response = act(call).await.unwrap_or_else(|failure| respond::failure(&failure, encoding));
    respond::with_warnings(response, &warnings.take())
}

/// What each does is kept in memory of its own: side by side they would make every request as large as the largest.
async fn act(call: Call) -> Result<Response<Body>, Failure> {
    if call.path.subresource.is_some() {
        return Box::pin(subresources::handle(call)).await;
    }
    if reviews::is_review(call.path.kind.group) {
        return Box::pin(reviews::handle(call)).await;
    }
    if call.path.kind.group == metrics::GROUP {
        return Box::pin(metrics::handle(&call)).await;
    }
    if explanations::is_explanation(call.path.kind.group, call.path.kind.plural) {
        return Box::pin(explanations::handle(&call)).await;
    }
    if components::is_status(call.path.kind.group, call.path.kind.plural) {
        return Box::pin(components::handle(&call)).await;
    }
    match call.verb {
        Verb::Get => get::handle(&call).await,
        Verb::List => Box::pin(list::handle(&call)).await,
        Verb::Watch => Box::pin(watch::handle(&call)).await,
        Verb::Create if call.path.kind.kind == "Binding" => {
            Box::pin(subresources::binding::handle_unaddressed(call)).await
        }
        Verb::Create if call.path.kind.kind == "BindingBatch" => {
            Box::pin(subresources::binding::handle_batch(call)).await
        }
        Verb::Create if call.path.kind.kind == "PreemptionBatch" => {
            Box::pin(subresources::preemption::handle(call)).await
        }
        Verb::Create if !call.path.kind.is_stored() => Err(Failure::method_not_allowed()),
        Verb::Create => Box::pin(create::handle(call)).await,
        Verb::Update => Box::pin(update::handle(call)).await,
        Verb::Patch => Box::pin(patch::handle(call)).await,
        Verb::Delete => Box::pin(delete::handle(call)).await,
        Verb::DeleteCollection => Box::pin(delete::handle_collection(call)).await,
    }
}

/// The object of a body; warns of unknown fields, or refuses them if the client asks for it.
pub(crate) fn checked(call: &Call, decoded: Decoded, validation: FieldValidation) -> Result<Value, Failure> {
    match validation {
        FieldValidation::Ignore => {}
        FieldValidation::Strict if !decoded.problems.is_empty() => {
            return Err(kinds::decode::strict_failure(&call.path.kind, &decoded.problems));
        }
        FieldValidation::Strict | FieldValidation::Warn => call.warnings.add(decoded.problems),
    }
    Ok(decoded.object)
}

/// Fills in the defaults of an object as its client wrote it, and notes who owns what the client changed.
pub(crate) fn complete(call: &Call, current: Option<&Value>, new: &mut Value) {
    let kind = &call.path.kind;
    kinds::defaults::apply(kind, new);
    kinds::defaults::fill_zeros(kind, new);
    owned(call, |writer| kinds::managed::update(kind, writer, current, new));
}

/// Does something in the name of the request's field manager.
pub(crate) fn owned<T>(call: &Call, write: impl FnOnce(&Writer<'_>) -> T) -> T {
    owned_part(call, call.path.subresource.as_deref().unwrap_or_default(), write)
}

/// The same where the request is for something else than the part that is written.
pub(crate) fn owned_part<T>(call: &Call, subresource: &str, write: impl FnOnce(&Writer<'_>) -> T) -> T {
    let manager = call.manager();
    let now = crate::object::time(call.context.now());
    write(&Writer { manager: &manager, subresource, now: &now })
}

/// Notes that the server itself wrote an object or a part of it, for a client that asked for something else.
pub(crate) fn by_server(kind: &Kind, subresource: &str, now: &str, current: Option<&Value>, new: &mut Value) {
    let writer = Writer { manager: "kube-apiserver", subresource, now };
    kinds::managed::update(kind, &writer, current, new);
}

/// The faults of an object, judged where that keeps nobody waiting if it may take long: what users write to be run.
pub(crate) async fn judged(
    context: &Context,
    kind: &Kind,
    new: &Value,
    old: &Value,
    judge: fn(&Kind, &Value, &Value) -> Vec<FieldError>,
) -> Result<Vec<FieldError>, Failure> {
    let is_slow = definitions::is_definition(kind) || kind.custom().is_some_and(Version::has_rules);
    if !is_slow {
        return Ok(judge(kind, new, old));
    }
    let (kind, new, old) = (kind.clone(), new.clone(), old.clone());
    context.dynamic.evaluate(move || judge(&kind, &new, &old)).await
}

/// 422 if the object has faults.
pub(crate) fn must_be_valid(kind: &Kind, object: &Value, faults: Vec<FieldError>) -> Result<(), Failure> {
    if faults.is_empty() { Ok(()) } else { Err(Failure::invalid(kind, crate::object::name(object), faults)) }
}
