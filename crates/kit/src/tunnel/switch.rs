//! The two ends of a switched connection, for those who speak there themselves instead of passing on what others say.
//!
//! ```text
//!   ask ──request, Upgrade──► Switchable ──► splice with a stream at hand
//!       ◄────── 101 ─────────
//!       ◄═══ bytes both ways ═══►
//! ```

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::{CONNECT_LIMIT, ForwardError, Upstream, connect, copy, exchange, prepare};

/// What a server said to a request for another protocol.
#[derive(Debug)]
pub enum Answer {
    Switched(TokioIo<Upgraded>),
    Other(Response<Incoming>),
}

/// Asks `upstream` to switch to the protocol that `request` names in its `Upgrade`.
pub async fn ask(mut request: Request<Empty<Bytes>>, upstream: &Upstream) -> Result<Answer, ForwardError> {
    prepare(&mut request, upstream, true);
    let mut sender = tokio::time::timeout(CONNECT_LIMIT, connect(upstream))
        .await
        .map_err(|_elapsed| ForwardError::Timeout { host: upstream.host.clone(), port: upstream.port })??;
    let response = sender.send_request(request).await.map_err(|source| exchange(upstream, source))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Answer::Other(response));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|source| exchange(upstream, source))?;
    Ok(Answer::Switched(TokioIo::new(upgraded)))
}

/// The client's side of a request that asks for a protocol which is spoken here.
#[derive(Debug)]
pub struct Switchable {
    client_side: OnUpgrade,
    protocol: &'static str,
}

impl Switchable {
    /// `None` if the request asks for another protocol or none, or came over a connection that cannot be switched.
    pub fn of<B>(request: &mut Request<B>, protocol: &'static str) -> Option<Self> {
        if request.headers().get(UPGRADE)?.as_bytes() != protocol.as_bytes() {
            return None;
        }
        Some(Self { client_side: request.extensions_mut().remove::<OnUpgrade>()?, protocol })
    }

    /// The answer; once the caller has given it, bytes are copied both ways until a side ends or `token` is cancelled.
    pub fn splice<S>(self, stream: S, token: CancellationToken) -> Response<()>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let client_side = self.client_side;
        crate::task::spawn("splice", async move {
            let spliced = async {
                match client_side.await {
                    Ok(client) => copy(TokioIo::new(client), stream).await,
                    Err(error) => tracing::debug!(error = %crate::Chain(&error), "Upgrade not completed"),
                }
            };
            token.run_until_cancelled(spliced).await;
        });
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static(self.protocol));
        response
    }
}
