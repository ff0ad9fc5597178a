//! Streams over WebSocket, as Kubernetes has them: the first byte of each message says which stream it belongs to.

use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::Wish;
use super::session::{self, Caller, Incoming, Outgoing};
use crate::engine::Engine;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Since the fifth version: the stream named by the next byte has ended.
const CLOSE: u8 = 255;

/// In order of preference. The fifth version can end the input alone.
pub(super) const STREAM_PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// Port forwarding in SPDY frames inside binary messages.
pub(super) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// In order of preference. The second has channels, as `channels` tells.
pub(super) const FORWARD_PROTOCOLS: [&str; 2] = [TUNNEL, "v4.channel.k8s.io"];

/// Messages on their way in each direction.
const BACKLOG: usize = 16;
/// How long a caller may take to answer a goodbye.
const LINGER: Duration = Duration::from_secs(2);

/// The size of a terminal as clients send it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    engine: &Engine,
    wish: Wish,
) {
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
    let (mut sender, mut receiver) = socket.split();
    let (to_session, incoming) = mpsc::channel(BACKLOG);
    let (outgoing, mut from_session) = mpsc::channel(BACKLOG);
    let receive = async move {
        while let Some(Ok(message)) = receiver.next().await {
            let Some(payload) = payload(message) else { return };
            if let Some(incoming) = parse(&payload) {
                // After the session's end only the caller's goodbye is of interest.
                let _the_session_ended = to_session.send(incoming).await.is_err();
            }
        }
    };
    let send = async move {
        while let Some(outgoing) = from_session.recv().await {
            let (channel, payload) = match outgoing {
                Outgoing::Stdout(bytes) => (STDOUT, bytes),
                Outgoing::Stderr(bytes) => (STDERR, bytes),
                Outgoing::End(status) => (ERROR, Bytes::from(status.to_string())),
            };
            let mut message = BytesMut::with_capacity(payload.len() + 1);
            message.put_u8(channel);
            message.extend_from_slice(&payload);
            if sender.send(Message::Binary(message.freeze())).await.is_err() {
                return;
            }
        }
        let _the_caller_left = sender.send(goodbye()).await.is_err();
    };
    let session = session::run(engine, wish, Caller { incoming, outgoing });
    let (mut receive, mut finish) = (pin!(receive), pin!(async { tokio::join!(session, send) }));
    tokio::select! {
        // Closing before the caller has read the goodbye could cost it the last bytes.
        _ = &mut finish => { let _in_time = tokio::time::timeout(LINGER, receive).await.is_ok(); }
        // The receiving half ends with the caller, and thereby the session.
        () = &mut receive => { finish.await; }
    }
}

/// Clients take an end without this code for a broken connection.
pub(super) fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() }))
}

/// What a message carries, nothing if it is none of the stream's; `None` when the caller leaves.
///
/// Some clients send as text whatever they have as text: what counts is the bytes.
pub(super) fn payload(message: Message) -> Option<Bytes> {
    match message {
        Message::Binary(bytes) => Some(bytes),
        Message::Text(text) => Some(text.into()),
        Message::Close(_) => None,
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Some(Bytes::new()),
    }
}

/// Messages that make no sense are passed over.
fn parse(message: &Bytes) -> Option<Incoming> {
    match (*message.first()?, message.slice(1..)) {
        (STDIN, bytes) => Some(Incoming::Stdin(bytes)),
        (RESIZE, bytes) => {
            let size: TerminalSize = serde_json::from_slice(&bytes).ok()?;
            Some(Incoming::Resize { columns: size.width, rows: size.height })
        }
        (CLOSE, bytes) if bytes.first() == Some(&STDIN) => Some(Incoming::StdinEnd),
        _ => None,
    }
}

/// A WebSocket as a stream of bytes: what binary messages carry, one after another.
pub(super) async fn tunnel(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> tokio::io::DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
    kit::task::spawn("websocket tunnel", async move {
        let _the_caller_left = copy(socket, theirs).await.is_err();
    });
    ours
}

async fn copy(
    socket: WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>,
    bytes: tokio::io::DuplexStream,
) -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut sender, mut receiver) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(bytes);
    let inward = async {
        while let Some(Ok(message)) = receiver.next().await {
            let Some(payload) = payload(message) else { break };
            writer.write_all(&payload).await?;
        }
        writer.shutdown().await
    };
    let outward = async {
        loop {
            let mut buffer = BytesMut::with_capacity(32 * 1024);
            if reader.read_buf(&mut buffer).await? == 0 {
                return sender.send(goodbye()).await.map_err(io::Error::other);
            }
            sender.send(Message::Binary(buffer.freeze())).await.map_err(io::Error::other)?;
        }
    };
    tokio::select! {
        done = inward => done,
        done = outward => done,
    }
}
