//! Parts of objects with paths of their own: status, scale, binding, eviction, log, exec and their kin.

mod binding;
mod connect;
mod eviction;
mod finalize;
mod scale;

use axum::body::Body;
use http::Response;
use kinds::status::Failure;

use crate::call::Call;
use crate::request::Verb;
use crate::strategy::Part;
use crate::verbs;

pub(crate) async fn handle(call: Call) -> Result<Response<Body>, Failure> {
    match (call.path.subresource.as_deref().unwrap_or_default(), call.verb) {
        ("status", Verb::Get) => verbs::get::handle(&call).await,
        ("status", Verb::Update) => verbs::update::handle_part(call, Part::Status).await,
        ("status", Verb::Patch) => verbs::patch::handle_part(call, Part::Status).await,
        ("scale", _) => scale::handle(call).await,
        ("binding", Verb::Create) => binding::handle(call).await,
        ("eviction", Verb::Create) => eviction::handle(call).await,
        ("finalize", Verb::Update) => finalize::handle(call).await,
        ("log" | "exec" | "attach" | "portforward", _) => connect::handle(call).await,
        _ => Err(Failure::no_such_path()),
    }
}
