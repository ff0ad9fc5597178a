//! Parts of objects with paths of their own: status, scale, binding, eviction, log, exec and their kin.

mod batch;
pub(crate) mod binding;
mod connect;
mod eviction;
mod finalize;
mod log;
pub(crate) mod preemption;
mod proxy;
pub(crate) mod scale;
mod token;

use axum::body::Body;
use http::Response;
use kinds::status::Failure;

use crate::call::Call;
use crate::request::Verb;
use crate::strategy::Part;
use crate::verbs;

pub(crate) use connect::agent;

pub(crate) async fn handle(call: Call) -> Result<Response<Body>, Failure> {
    let subresource = call.path.subresource.as_deref().unwrap_or_default();
    match (subresource, call.verb) {
        ("scale", _) => scale::handle(call).await,
        ("binding", Verb::Create) => binding::handle(call).await,
        ("eviction", Verb::Create) => eviction::handle(call).await,
        ("token", Verb::Create) => token::handle(call).await,
        ("finalize", Verb::Update) => finalize::handle(call).await,
        ("proxy", _) => proxy::handle(call).await,
        ("log" | "exec" | "attach" | "portforward", _) => connect::handle(call).await,
        (subresource, verb) => match (part(subresource), verb) {
            (Some(_), Verb::Get) => verbs::get::handle(&call).await,
            (Some(part), Verb::Update) => verbs::update::handle_part(call, part).await,
            (Some(part), Verb::Patch) => verbs::patch::handle_part(call, part).await,
            _ => Err(Failure::no_such_path()),
        },
    }
}

/// The part of its object that a subresource is, where it is one.
fn part(subresource: &str) -> Option<Part> {
    match subresource {
        "status" => Some(Part::Status),
        "ephemeralcontainers" => Some(Part::EphemeralContainers),
        "resize" => Some(Part::Resize),
        "approval" => Some(Part::Approval),
        _ => None,
    }
}
