//! From a request to its answer: documents, then objects; whatever goes wrong becomes a `Status`.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use http::Response;
use kinds::status::Failure;
use tower_http::catch_panic::CatchPanicLayer;

use crate::call::Call;
use crate::context::Context;
use crate::{access, documents, respond, verbs};

/// The whole API. Who asks is an extension of the request.
pub(crate) fn build(context: Arc<Context>) -> Router {
    Router::new().fallback(answer).with_state(context).layer(CatchPanicLayer::custom(panicked))
}

async fn answer(State(context): State<Arc<Context>>, request: Request) -> Response<Body> {
    match dispatch(context, request).await {
        Ok(response) => response,
        Err(failure) => respond::failure(&failure),
    }
}

async fn dispatch(context: Arc<Context>, request: Request) -> Result<Response<Body>, Failure> {
    let (parts, body) = request.into_parts();
    let user = access::user(&context, &parts)?;
    if let Some(document) = documents::find(&context, &parts) {
        access::may_see_path(&user, &parts)?;
        return document;
    }
    let call = Call::parse(context, user, Request::from_parts(parts, body))?;
    access::may(&call, None)?;
    verbs::handle(call).await
}

/// A bug in one request is that request's failure only.
fn panicked(cause: Box<dyn Any + Send>) -> Response<Body> {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no message");
    tracing::error!(panic = text, "Request handler panicked");
    respond::failure(&Failure::internal("the request made the server panic; this is a bug"))
}
