//! A watch over WebSocket: each event is a message. Clients on the JVM (fabric8, and with it Spark) ask for this first,
//! and take an ordinary answer for one that has an end.

use axum::body::Body;
use bytes::Bytes;
use futures::{SinkExt, Stream, StreamExt};
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use http::{Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use kinds::status::Failure;
use kit::tunnel::Over;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

/// A client's wish to go on in WebSocket.
#[derive(Debug)]
pub(super) struct Wish {
    accept: HeaderValue,
    /// The one protocol that the client offers, if it offers any: what it calls a watch is its own business.
    protocol: Option<HeaderValue>,
    upgrade: OnUpgrade,
}

impl Wish {
    /// `None`: the client is content with an ordinary answer.
    pub(super) fn find(headers: &HeaderMap, upgrade: Option<OnUpgrade>) -> Result<Option<Self>, Failure> {
        let asks =
            headers.get(UPGRADE).is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"));
        if !asks {
            return Ok(None);
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
        let accept = key.and_then(|key| HeaderValue::from_str(&key).ok());
        let (Some(accept), Some(upgrade)) = (accept, upgrade) else {
            return Err(Failure::bad_request("this connection cannot be switched to WebSocket"));
        };
        let offered = headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
        let first = offered.and_then(|offered| offered.split(',').next()).map(str::trim);
        let protocol = first.and_then(|first| HeaderValue::from_str(first).ok());
        Ok(Some(Self { accept, protocol, upgrade }))
    }

    /// Switches, and sends what `events` has line by line until it ends or the client leaves.
    pub(super) fn grant(self, events: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
        let Self { accept, protocol, upgrade } = self;
        let over = CancellationToken::new();
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(Over(over.clone()));
        kit::task::spawn("watch over websocket", async move {
            let _over = over.drop_guard();
            match upgrade.await {
                Ok(upgraded) => send(upgraded, events).await,
                Err(error) => tracing::debug!(%error, "A watcher did not complete its upgrade"),
            }
        });
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(protocol) = protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        response
    }
}

async fn send(upgraded: Upgraded, events: impl Stream<Item = Bytes>) {
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let (mut sender, mut receiver) = socket.split();
    let told = async {
        let mut events = std::pin::pin!(events);
        while let Some(bytes) = events.next().await {
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let Ok(text) = Utf8Bytes::try_from(bytes.slice_ref(line)) else { return };
                if sender.send(Message::Text(text)).await.is_err() {
                    return;
                }
            }
        }
        let end = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        let _the_client_left = sender.send(Message::Close(Some(end))).await.is_err();
    };
    // A watcher has nothing to say; reading answers its pings and notices its end.
    let left = async {
        while let Some(Ok(message)) = receiver.next().await {
            if message.is_close() {
                return;
            }
        }
    };
    tokio::select! {
        () = told => {}
        () = left => {}
    }
}
