//! `GET /crest/backup`: everything in the store, at one revision, while the server goes on.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::status::Failure;

use crate::authentication::{MASTERS, User};
use crate::context::Context;
use crate::respond;

pub(crate) const PATH: &str = "/crest/backup";

/// Streams a backup to an administrator. It holds everything, so no rule can allow it to others; Secrets are in it as
/// the store has them, and can be read only with the key that encrypted them.
pub(crate) async fn handle(context: &Context, user: &User) -> Result<Response<Body>, Failure> {
    if !user.is_in(MASTERS) {
        let message = format!("forbidden: User \"{}\" cannot get path \"{PATH}\"", user.name);
        return Err(Failure::new(403, "Forbidden", message));
    }
    let page = context.registry.snapshot().await?;
    let chunks = store::backup::chunks(page).map(Ok::<_, std::convert::Infallible>);
    let body = Body::from_stream(futures::stream::iter(chunks));
    Ok(respond::bytes_of(StatusCode::OK, "application/octet-stream", body))
}
