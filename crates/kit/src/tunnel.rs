//! A reverse proxy for one request: ordinary answers are streamed, upgraded connections are copied byte for byte.
//!
//! ```text
//!   client ──request──► forward ──HTTP/1.1──► upstream
//!          ◄─response──         ◄───────────
//!          ◄═══ after 101: bytes both ways ═══►
//! ```
//! It knows nothing of what is spoken after an upgrade, so WebSocket and SPDY/3.1 pass alike. From a handler:
//!
//! ```text
//! *request.uri_mut() = format!("/exec/{namespace}/{pod}/{container}?{query}").parse()?;
//! let upstream = Upstream { host: node_ip, port: 10250, tls: Some(client_config) };
//! let response = kit::tunnel::forward(request, &upstream).await?;   // Response<hyper::body::Incoming>
//! Ok(response.map(axum::body::Body::new))
//! ```
//! The handler's request must be the very one that the server was given, for its extensions hold the upgrade.

pub mod switch;

use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

/// In the extensions of an answer that switches protocols: cancelled once nothing goes to and fro any more.
#[derive(Clone, Debug)]
pub struct Over(pub CancellationToken);

/// Where requests are forwarded to.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// A name or an IP address; with TLS, the server's certificate must name it.
    pub host: String,
    pub port: u16,
    /// `None` speaks plain HTTP.
    pub tls: Option<Arc<ClientConfig>>,
}

/// Why a request was not forwarded. The upstream's own refusals are responses, not errors.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error("cannot connect to `{host}:{port}`")]
    Connect { host: String, port: u16, source: std::io::Error },
    #[error("`{host}:{port}` does not answer")]
    Timeout { host: String, port: u16 },
    #[error("`{host}` is no name that a TLS server can have")]
    ServerName { host: String, source: rustls_pki_types::InvalidDnsNameError },
    #[error("`{host}:{port}` did not answer the request")]
    Exchange { host: String, port: u16, source: hyper::Error },
    #[error("`{host}:{port}` switched protocols, but the client's connection cannot be switched")]
    NotUpgradable { host: String, port: u16 },
}

/// How long a connection to the upstream may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long the other direction may go on when one has ended: the last words of a command still arrive, but a
/// peer that never notices keeps nothing open.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Headers that concern one connection only, besides `connection` and `upgrade` themselves.
const HOP_BY_HOP: [HeaderName; 6] = [
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];

/// Sends `request` to `upstream` by its path and query, and returns the answer as it begins; the body streams.
/// If the upstream answers 101, the two connections are joined in the background once the caller has passed the
/// answer on. Credentials of the client are not passed on: the upstream knows us by our certificate.
pub async fn forward<B>(
    mut request: Request<B>,
    upstream: &Upstream,
) -> Result<Response<Incoming>, ForwardError>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let is_upgrade = request.headers().contains_key(header::UPGRADE);
    let client_side = request.extensions_mut().remove::<OnUpgrade>();
    prepare(&mut request, upstream, is_upgrade);
    let mut sender = tokio::time::timeout(CONNECT_LIMIT, connect(upstream))
        .await
        .map_err(|_elapsed| ForwardError::Timeout { host: upstream.host.clone(), port: upstream.port })??;
    let mut response = sender.send_request(request).await.map_err(|source| exchange(upstream, source))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        strip(response.headers_mut(), false);
        return Ok(response);
    }
    let upstream_side = hyper::upgrade::on(&mut response);
    let Some(client_side) = client_side else {
        return Err(ForwardError::NotUpgradable { host: upstream.host.clone(), port: upstream.port });
    };
    let over = CancellationToken::new();
    response.extensions_mut().insert(Over(over.clone()));
    crate::task::spawn("tunnel", async move {
        let _over = over.drop_guard();
        join(client_side, upstream_side).await;
    });
    Ok(response)
}

/// Rewrites the request for a connection of its own.
fn prepare<B>(request: &mut Request<B>, upstream: &Upstream, is_upgrade: bool) {
    *request.version_mut() = Version::HTTP_11;
    // Through HTTP/2 the URI comes whole; HTTP/1.1 wants the path only.
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = Uri::try_from(path).unwrap_or_default();
    let headers = request.headers_mut();
    strip(headers, is_upgrade);
    headers.remove(header::AUTHORIZATION);
    headers.remove(header::COOKIE);
    let host = if upstream.host.contains(':') {
        format!("[{}]:{}", upstream.host, upstream.port)
    } else {
        format!("{}:{}", upstream.host, upstream.port)
    };
    if let Ok(host) = HeaderValue::from_str(&host) {
        headers.insert(header::HOST, host);
    }
}

fn strip(headers: &mut HeaderMap, is_upgrade: bool) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(header::CONNECTION);
    if is_upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    } else {
        headers.remove(header::UPGRADE);
    }
}

async fn connect<B>(upstream: &Upstream) -> Result<SendRequest<B>, ForwardError>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (host, port) = (upstream.host.clone(), upstream.port);
    let refused = |source| ForwardError::Connect { host: upstream.host.clone(), port, source };
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(refused)?;
    stream.set_nodelay(true).map_err(refused)?;
    let Some(config) = &upstream.tls else { return handshake(stream, upstream).await };
    let name =
        ServerName::try_from(host.clone()).map_err(|source| ForwardError::ServerName { host, source })?;
    let stream = TlsConnector::from(config.clone()).connect(name, stream).await.map_err(refused)?;
    handshake(stream, upstream).await
}

async fn handshake<I, B>(stream: I, upstream: &Upstream) -> Result<SendRequest<B>, ForwardError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|source| exchange(upstream, source))?;
    crate::task::spawn("tunnel-upstream", async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(error = %crate::Chain(&error), "Connection to the upstream ended");
        }
    });
    Ok(sender)
}

fn exchange(upstream: &Upstream, source: hyper::Error) -> ForwardError {
    ForwardError::Exchange { host: upstream.host.clone(), port: upstream.port, source }
}

/// Copies bytes both ways once both connections have switched.
async fn join(client_side: OnUpgrade, upstream_side: OnUpgrade) {
    match tokio::try_join!(client_side, upstream_side) {
        Ok((client, upstream)) => copy(TokioIo::new(client), TokioIo::new(upstream)).await,
        Err(error) => tracing::debug!(error = %crate::Chain(&error), "Upgrade not completed"),
    }
}

/// Copies bytes both ways until one side ends, and for a moment longer the other way.
pub async fn copy<A, B>(one: A, other: B)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (mut one_reader, mut one_writer) = tokio::io::split(one);
    let (mut other_reader, mut other_writer) = tokio::io::split(other);
    let forth = async {
        let copied = tokio::io::copy(&mut one_reader, &mut other_writer).await;
        copied.and(other_writer.shutdown().await)
    };
    let back = async {
        let copied = tokio::io::copy(&mut other_reader, &mut one_writer).await;
        copied.and(one_writer.shutdown().await)
    };
    let (mut forth, mut back) = (std::pin::pin!(forth), std::pin::pin!(back));
    let first = tokio::select! {
        ended = forth.as_mut() => ended.map(|()| true),
        ended = back.as_mut() => ended.map(|()| false),
    };
    let ended = match first {
        Err(error) => Err(error),
        Ok(true) => tokio::time::timeout(LAST_WORDS, back).await.unwrap_or(Ok(())),
        Ok(false) => tokio::time::timeout(LAST_WORDS, forth).await.unwrap_or(Ok(())),
    };
    if let Err(error) = ended {
        tracing::debug!(error = %crate::Chain(&error), "Tunnel broke");
    }
}

#[cfg(test)]
mod tests;
