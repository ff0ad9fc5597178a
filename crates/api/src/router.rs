//! From a request to its answer: documents, then objects; whatever goes wrong becomes a `Status`.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_LENGTH, UPGRADE};
use http::request::Parts;
use http::{Method, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kinds::flow::Flow;
use kinds::status::Failure;
use tower::{BoxError, Layer, Service};
use tower_http::CompressionLevel;
use tower_http::compression::predicate::Predicate;
use tower_http::compression::{Compression, CompressionLayer};

use crate::accept::{Accept, Encoding};
use crate::attributes::Attributes;
use crate::audit;
use crate::call::Call;
use crate::context::Context;
use crate::flow::Held;
use crate::{access, backup, deadline, documents, flow, impersonation, respond, verbs};

/// A request waits at most for this part of the time that it may take.
const WAITING_PART: u32 = 4;

/// As much as a body may have: the limit of Kubernetes.
const MAX_BODY: usize = 3 << 20;

/// What is smaller is sent as it is: packing it would cost more time than it saves.
const COMPRESSED_FROM: u64 = 128 << 10;

/// Whole answers of some size are compressed for those who accept it; streams such as watches never are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IsLarge;

impl Predicate for IsLarge {
    fn should_compress<B: http_body::Body>(&self, response: &Response<B>) -> bool {
        response.body().size_hint().exact().is_some_and(|size| size >= COMPRESSED_FROM)
    }
}

/// The whole API, to be served.
pub(crate) type Router = Compression<Api, IsLarge>;

pub(crate) fn build(context: &Arc<Context>) -> Router {
    let gzip = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(IsLarge);
    gzip.layer(Api { context: Arc::clone(context) })
}

/// The whole API. Who asks is an extension of the request. Paths are a matter of what is served at the time, so there
/// is no table of routes.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    context: Arc<Context>,
}

impl<B> Service<http::Request<B>> for Api
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (context, request) = (Arc::clone(&self.context), request.map(Body::new));
        let is_head = request.method() == Method::HEAD;
        Box::pin(async move {
            let answered = AssertUnwindSafe(answer(context, request)).catch_unwind().await;
            let response = answered.unwrap_or_else(panicked);
            Ok(if is_head { head_of(response) } else { response })
        })
    }
}

/// A response that says how long it would be, without what it would say.
fn head_of(response: Response<Body>) -> Response<Body> {
    let length = response.body().size_hint().exact();
    let mut response = response.map(|_said| Body::empty());
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response
}

async fn answer(context: Arc<Context>, request: Request) -> Response<Body> {
    let header = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let encoding = Accept::parse(header).unwrap_or_default().encoding;
    let path = request.uri().path().to_owned();
    let mut known = Known::default();
    let mut response = match dispatch(&context, request, &mut known).await {
        Ok(response) => response,
        Err(failure) if failure.is_no_such_path() && !is_of_group(&context, &path).await => {
            documents::not_found()
        }
        Err(failure) => respond::failure(&failure, encoding),
    };
    if let Some(flow) = &known.flow {
        flow::mark(&mut response, flow);
    }
    response
}

/// Whether a path is below a group that is served, where refusals are objects.
async fn is_of_group(context: &Context, path: &str) -> bool {
    // Where it cannot be told what is served, an object is the safer answer.
    context.served().await.map_or(true, |served| documents::is_of_group(&served, path))
}

/// What became known of a request while it was answered.
#[derive(Debug, Default)]
struct Known {
    audited: Option<audit::Request>,
    flow: Option<Flow>,
}

async fn dispatch(
    context: &Arc<Context>,
    request: Request,
    known: &mut Known,
) -> Result<Response<Body>, Failure> {
    let longest = context.limits.request_timeout;
    let Ok(read) = tokio::time::timeout(longest, read_whole(request)).await else {
        return Err(Failure::new(408, "Timeout", "the body of the request did not arrive in time"));
    };
    let (mut parts, body) = read?;
    let attributes = Arc::new(Attributes::of(&parts));
    known.audited = audit::Request::begin(context, &parts, &body, &attributes);
    if let Some(audited) = &known.audited {
        parts.extensions.insert(audited.notes());
    }
    let request = Request::from_parts(parts, body.into());
    let outcome = timed(context, request, &attributes, known).await;
    match known.audited.take() {
        Some(audited) => audited.end(outcome).await,
        None => outcome,
    }
}

/// The answer, or a refusal if it takes too long.
async fn timed(
    context: &Arc<Context>,
    request: Request,
    attributes: &Attributes,
    known: &mut Known,
) -> Result<Response<Body>, Failure> {
    let (parts, body) = request.into_parts();
    let limit = deadline::of(&parts, attributes, context.limits.request_timeout)?;
    let answer = admitted(context, Request::from_parts(parts, body), attributes, known);
    match limit {
        Some(limit) => tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(deadline::passed())),
        None => answer.await,
    }
}

/// The gates, then the answer.
async fn admitted(
    context: &Arc<Context>,
    request: Request,
    attributes: &Attributes,
    known: &mut Known,
) -> Result<Response<Body>, Failure> {
    let (parts, body) = request.into_parts();
    let user = access::authenticate(context, &parts).await?;
    if let Some(audited) = &mut known.audited {
        audited.sent_by(&user);
    }
    let user = impersonation::impersonated(&context.authorizer, user, &parts.headers, attributes)?;
    if let Some(audited) = &mut known.audited {
        audited.acts_as(&user);
    }
    let flow = known.flow.insert(context.gate.classify(&user, attributes));
    let width = context.gate.width(&parts, attributes);
    let seat = context.gate.enter(flow, width, context.limits.request_timeout / WAITING_PART).await?;
    if seat.is_limited() {
        // Those whose requests have come, too, get to the desk before the work begins: it is there that turns are fair, not
        // where tasks wait for a core.
        tokio::task::yield_now().await;
    }
    let seat = Held::new(Some(seat));
    access::authorize(context, &user, attributes).await?;
    if parts.uri.path() == backup::PATH {
        return backup::handle(context, &user).await;
    }
    let served = context.served().await?;
    if let Some(document) = documents::find(context, &served, &parts) {
        return document.map(|response| seat.until_sent(response));
    }
    let call = Call::parse(Arc::clone(context), &served, user, Request::from_parts(parts, body))?;
    Ok(seat.clone().until_sent(verbs::handle(call.with_seat(seat)).await))
}

/// Reads the body before anything is refused: a connection with an unread body cannot be used again, and clients
/// keep theirs. What is upgraded has no end to wait for.
async fn read_whole(request: Request) -> Result<(Parts, Bytes), Failure> {
    let (parts, mut body) = request.into_parts();
    if parts.headers.contains_key(UPGRADE) && !parts.headers.contains_key(CONTENT_LENGTH) {
        return Ok((parts, Bytes::new()));
    }
    let said = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if said.is_some_and(|length: usize| length > MAX_BODY) {
        discard(&mut body).await;
        return Err(Failure::too_large(MAX_BODY));
    }
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok((parts, collected.to_bytes())),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(Failure::too_large(MAX_BODY)),
        Err(error) => Err(Failure::bad_request(format!("the body of the request broke off: {error}"))),
    }
}

/// Reads on for a while, keeping nothing, so that a client that sends before it listens hears the refusal.
async fn discard(body: &mut Body) {
    let mut left = 8 * MAX_BODY;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// A bug in one request is that request's failure only.
fn panicked(cause: Box<dyn Any + Send>) -> Response<Body> {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no message");
    tracing::error!(panic = text, "Request handler panicked");
    let failure = Failure::internal("the request made the server panic; this is a bug");
    respond::failure(&failure, Encoding::Json)
}
