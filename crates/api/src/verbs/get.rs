//! GET of one object.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::status::Failure;

use crate::call::Call;
use crate::registry::too_large_revision;
use crate::respond;

pub(crate) async fn handle(call: &Call) -> Result<Response<Body>, Failure> {
    let kind = &call.path.kind;
    must_be_reached(call).await?;
    let entry = call.context.registry.entry(&call.path).await?;
    respond::entry(StatusCode::OK, call.accept, kind, &entry)
}

/// A client may demand an answer no older than what it has seen; reads here are always the newest there is.
async fn must_be_reached(call: &Call) -> Result<(), Failure> {
    let asked = call.query.revision()?.unwrap_or(0);
    if asked == 0 {
        return Ok(());
    }
    let current = call.context.registry.revision().await?;
    if asked > current.0 { Err(too_large_revision(asked, current)) } else { Ok(()) }
}
