//! Serves HTTP/1.1 and HTTP/2 on a bound socket, over TLS or plainly, until told to stop.
//!
//! ```text
//!   accept ─► (TLS handshake) ─► one task per connection ─► service, once per request
//!   token cancelled ─► no more accepts ─► connections finish their requests ─► drain time over: closed
//! ```
//! ```text
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:6443").await?;
//! let options = kit::serve::Options { tls: Some(kit::tls::server(&pair, Some(&ca))?), ..Default::default() };
//! kit::serve::serve(listener, router, options, token).await;
//! ```
//! A request from a peer with a verified certificate carries [`PeerIdentity`](crate::tls::PeerIdentity) as an
//! extension. Upgrades (WebSocket, SPDY) work through `hyper::upgrade::on`.

mod guests;
mod listener;

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::util::Oneshot;
use tower::{Service, ServiceExt};

pub use self::listener::Listener;

use self::guests::{Guest, Guests};
use self::listener::Socket;
use crate::tls::{self, PeerIdentity};

/// How connections are treated.
#[derive(Clone, Debug)]
pub struct Options {
    /// `None` serves plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    /// How long a peer may take for its TLS handshake, for its first request, and for the head of each. It is also
    /// how long an HTTP/1.1 connection may idle between requests.
    pub header_timeout: Duration,
    /// Connections beyond this wait in the kernel's queue until another ends.
    pub max_connections: usize,
    /// Connections beyond this from one address are closed as soon as they are made.
    pub max_connections_per_address: usize,
    /// How long requests may go on after the token was cancelled.
    pub drain: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls: None,
            header_timeout: Duration::from_secs(30),
            max_connections: 4096,
            max_connections_per_address: 4096 / 2,
            drain: Duration::from_secs(5),
        }
    }
}

/// All headers of a request together; what Kubernetes' clients send is far below.
const MAX_HEADER_BYTES: u32 = 64 << 10;
/// Requests at a time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 250;
/// Requests that a peer may take back before they were looked at. One that takes back more is only making work.
const MAX_RESETS: usize = 50;
/// A peer that is silent for so long on HTTP/2 is asked whether it is still there.
const PING_AFTER: Duration = Duration::from_secs(30);
/// How long to wait before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What TLS begins with; anything else on a TLS port is most likely plain HTTP.
const TLS_HANDSHAKE: u8 = 0x16;
const NOT_TLS: &[u8] = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
    Client sent an HTTP request to an HTTPS server.\n";

/// Serves `service` (such as an `axum::Router`) on a bound `TcpListener` or `UnixListener` until `token` is
/// cancelled, then lets requests finish for as long as the options say.
pub async fn serve<S, B>(
    listener: impl Into<Listener>,
    service: S,
    options: Options,
    token: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = listener.into();
    let slots = Arc::new(Semaphore::new(options.max_connections.min(Semaphore::MAX_PERMITS)));
    let guests = Guests::new(options.max_connections_per_address);
    let tracker = TaskTracker::new();
    while let Some((socket, slot)) = next(&listener, &slots, &token).await {
        let guest = match socket.address().map(|address| (address, guests.admit(address))) {
            Some((address, None)) => {
                tracing::debug!(%address, "Closed a connection: its address has enough of them");
                continue;
            }
            Some((_, guest)) => guest,
            None => None,
        };
        let connection = Connection { options: options.clone(), token: token.clone(), place: (slot, guest) };
        let served = connection.serve(socket, service.clone());
        crate::task::spawn("connection", tracker.track_future(served));
    }
    // Those who connect from now on are refused by the kernel instead of waiting in vain.
    drop(listener);
    tracker.close();
    tracker.wait().await;
}

/// The next connection and its slot; `None` once the token is cancelled.
async fn next(
    listener: &Listener,
    slots: &Arc<Semaphore>,
    token: &CancellationToken,
) -> Option<(Socket, OwnedSemaphorePermit)> {
    token
        .run_until_cancelled(async {
            let slot = slots.clone().acquire_owned().await.ok()?;
            loop {
                match listener.accept().await {
                    Ok(socket) => return Some((socket, slot)),
                    // The peer gave up before it was accepted: its matter, not ours.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        tracing::warn!(error = %crate::Chain(&error), "Cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        })
        .await?
}

/// What one connection needs besides its socket.
struct Connection {
    options: Options,
    token: CancellationToken,
    /// Held for as long as the connection is served.
    place: (OwnedSemaphorePermit, Option<Guest>),
}

impl Connection {
    async fn serve<S, B>(self, socket: Socket, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match (&self.options.tls, socket) {
            (Some(config), Socket::Tcp(mut stream, _)) => {
                let handshake = async {
                    if !begins_with_tls(&stream).await? {
                        stream.write_all(NOT_TLS).await?;
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    TlsAcceptor::from(config.clone()).accept(stream).await
                };
                let handshake = tokio::time::timeout(self.options.header_timeout, handshake);
                match self.token.run_until_cancelled(handshake).await {
                    Some(Ok(Ok(stream))) => {
                        let (_, session) = stream.get_ref();
                        let identity = session
                            .peer_certificates()
                            .and_then(<[_]>::first)
                            .map(|certificate| tls::identity(certificate));
                        let is_http2 = session.alpn_protocol() == Some(b"h2");
                        self.drive(stream, is_http2, Identified::new(identity, service)).await;
                    }
                    Some(Ok(Err(error))) => {
                        tracing::debug!(error = %crate::Chain(&error), "TLS handshake failed");
                    }
                    Some(Err(_)) | None => tracing::debug!("TLS handshake not finished in time"),
                }
            }
            (_, Socket::Tcp(stream, _)) => self.drive(stream, false, Identified::new(None, service)).await,
            (_, Socket::Unix(stream)) => self.drive(stream, false, Identified::new(None, service)).await,
        }
    }

    async fn drive<I, S, B>(self, stream: I, is_http2: bool, service: Identified<S>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // The handshake has settled the version; hyper-util's automatic builder would wait for the first bytes
        // without a time limit to find out.
        let (stream, has_begun) = (TokioIo::new(stream), service.has_begun.clone());
        let outcome = if is_http2 {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_AFTER)
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(MAX_HEADER_BYTES)
                .max_pending_accept_reset_streams(MAX_RESETS)
                .serve_connection(stream, service);
            self.finish(pin!(connection), &has_begun, |connection| connection.graceful_shutdown()).await
        } else {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.options.header_timeout)
                .max_buf_size(MAX_HEADER_BYTES as usize)
                .serve_connection(stream, service)
                .with_upgrades();
            self.finish(pin!(connection), &has_begun, |connection| connection.graceful_shutdown()).await
        };
        if let Err(error) = outcome {
            tracing::debug!(error = %crate::Chain(&error), "Connection ended");
        }
        drop(self.place);
    }

    /// Serves to the end: the peer's, that of its patience with an empty connection, or that of the drain time.
    async fn finish<C>(
        &self,
        mut connection: Pin<&mut C>,
        has_begun: &AtomicBool,
        shut_down: impl FnOnce(Pin<&mut C>),
    ) -> hyper::Result<()>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let too_long_idle = async {
            tokio::time::sleep(self.options.header_timeout).await;
            if has_begun.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            outcome = connection.as_mut() => return outcome,
            // HTTP/2 itself sets no limit to how long a peer may take for its first request.
            () = too_long_idle => return Ok(()),
            () = self.token.cancelled() => {}
        }
        shut_down(connection.as_mut());
        tokio::time::timeout(self.options.drain, connection).await.unwrap_or(Ok(()))
    }
}

/// Looks at the first byte without taking it.
async fn begins_with_tls(stream: &tokio::net::TcpStream) -> io::Result<bool> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0] == TLS_HANDSHAKE),
    }
}

/// A service whose requests are told who the peer is.
struct Identified<S> {
    identity: Option<PeerIdentity>,
    /// Whether the connection has brought a request yet.
    has_begun: Arc<AtomicBool>,
    service: S,
}

impl<S> Identified<S> {
    fn new(identity: Option<PeerIdentity>, service: S) -> Self {
        Self { identity, has_begun: Arc::default(), service }
    }
}

impl<S> hyper::service::Service<Request<Incoming>> for Identified<S>
where
    S: Service<Request<Incoming>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Oneshot<S, Request<Incoming>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.has_begun.store(true, Ordering::Relaxed);
        if let Some(identity) = &self.identity {
            request.extensions_mut().insert(identity.clone());
        }
        self.service.clone().oneshot(request)
    }
}

#[cfg(test)]
mod tests;
