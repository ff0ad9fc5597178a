//! The HTTP server: takes an address's secret, agrees on a protocol, hands the connection over.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::header::{CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::spdy::SpdyError;
use super::{Wanted, Wish, channels, forward, remote, websocket};
use crate::engine::Engine;

const SPDY: &str = "SPDY/3.1";
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// A caller that has not sent its request by then is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// What both sides will speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreed {
    /// Port forwarding needs no name for its protocol: those who offer none get channels.
    WebSocket(Option<&'static str>),
    Spdy(&'static str),
}

pub(super) async fn accept(listener: TcpListener, engine: Engine) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let engine = engine.clone();
                kit::task::spawn("stream connection", serve(stream, engine));
            }
            // Out of descriptors, most likely: those that end give some back.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve(stream: TcpStream, engine: Engine) {
    // Keystrokes must not wait for each other.
    let _only_slower = stream.set_nodelay(true).is_err();
    let service = service_fn(move |request| {
        let engine = engine.clone();
        async move { Ok::<_, Infallible>(answer(request, &engine)) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "A stream's connection broke");
    }
}

fn answer(mut request: Request<Incoming>, engine: &Engine) -> Response<Full<Bytes>> {
    let token = request.uri().path().rsplit('/').next().unwrap_or_default();
    let Some(wish) = engine.inner.streams.take(token, kit::clock::monotonic()) else {
        return refuse(StatusCode::NOT_FOUND, "this address is not, or no longer, good for anything");
    };
    let forwards = matches!(wish, Wish::PortForward { .. });
    let Some(agreed) = agree(request.headers(), forwards) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "ask for an upgrade to WebSocket or SPDY/3.1 with a known protocol",
        );
    };
    let response = switch(request.headers(), agreed);
    let (engine, upgrade) = (engine.clone(), hyper::upgrade::on(&mut request));
    kit::task::spawn("stream", async move {
        let done = match upgrade.await {
            Ok(upgraded) => run(TokioIo::new(upgraded), &engine, wish, agreed).await,
            Err(error) => {
                tracing::debug!(%error, "A caller did not complete its upgrade");
                return;
            }
        };
        if let Err(error) = done {
            tracing::debug!(error = %kit::Chain(&error), "A stream broke");
        }
    });
    response
}

async fn run(
    io: TokioIo<hyper::upgrade::Upgraded>,
    engine: &Engine,
    wish: Wish,
    agreed: Agreed,
) -> Result<(), SpdyError> {
    match (agreed, wish) {
        (Agreed::WebSocket(Some(websocket::TUNNEL)), Wish::PortForward { sandbox, .. }) => {
            forward::serve(websocket::tunnel(io).await, engine, &sandbox).await
        }
        (Agreed::WebSocket(_), Wish::PortForward { sandbox, ports }) => {
            channels::serve(io, engine, &sandbox, &ports).await;
            Ok(())
        }
        (Agreed::Spdy(_), Wish::PortForward { sandbox, .. }) => forward::serve(io, engine, &sandbox).await,
        (Agreed::WebSocket(_), wish) => {
            websocket::serve(io, engine, wish).await;
            Ok(())
        }
        (Agreed::Spdy(_), wish) => {
            let wanted = wanted(&wish);
            remote::serve(io, engine, wish, wanted).await
        }
    }
}

fn wanted(wish: &Wish) -> Wanted {
    match wish {
        Wish::Exec { streams, .. } | Wish::Attach { streams, .. } => *streams,
        Wish::PortForward { .. } => Wanted { stdin: false, stdout: false, stderr: false, tty: false },
    }
}

/// The best protocol that both sides know.
fn agree(headers: &HeaderMap, forwards: bool) -> Option<Agreed> {
    let upgrade = headers.get(UPGRADE)?.to_str().ok()?;
    if upgrade.eq_ignore_ascii_case("websocket") && headers.contains_key(SEC_WEBSOCKET_KEY) {
        let known: &[&'static str] =
            if forwards { &websocket::FORWARD_PROTOCOLS } else { &websocket::STREAM_PROTOCOLS };
        if forwards && !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
            return Some(Agreed::WebSocket(None));
        }
        return choose(headers, &SEC_WEBSOCKET_PROTOCOL, known).map(|known| Agreed::WebSocket(Some(known)));
    }
    if upgrade.eq_ignore_ascii_case(SPDY) {
        let known = if forwards { forward::PROTOCOL } else { remote::PROTOCOL };
        return choose(headers, &STREAM_PROTOCOL, &[known]).map(Agreed::Spdy);
    }
    None
}

fn choose(headers: &HeaderMap, name: &HeaderName, known: &[&'static str]) -> Option<&'static str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    known.iter().copied().find(|protocol| offered.contains(protocol))
}

fn switch(request: &HeaderMap, agreed: Agreed) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    match agreed {
        Agreed::WebSocket(protocol) => {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            if let Some(protocol) = protocol {
                headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
            }
            let key = request.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
            if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key)) {
                headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
            }
        }
        Agreed::Spdy(protocol) => {
            headers.insert(UPGRADE, HeaderValue::from_static(SPDY));
            headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
        }
    }
    response
}

fn refuse(status: StatusCode, message: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(message));
    *response.status_mut() = status;
    response
}
