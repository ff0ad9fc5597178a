//! Port forwarding over plain WebSocket: two channels for each port, one for its bytes, one for why it failed.
//!
//! ```text
//!   message = channel, bytes        channel 2n: the n-th port asked for        2n + 1: its errors, to the caller only
//! ```
//! The first message on each channel to the caller is the number of its port. A channel is one connection: its end is
//! the port's, and the end of all is the socket's.

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::SplitStream;
use futures::{Sink, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::forward::{self, Back, Port};
use super::websocket::{goodbye, payload};
use crate::engine::Engine;

/// Messages on their way to a port, and from all ports to the caller.
const BACKLOG: usize = 16;

pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    engine: &Engine,
    sandbox: &str,
    ports: &[u16],
) {
    let netns = forward::network(engine, sandbox);
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
    let (sender, receiver) = socket.split();
    let (to_caller, outgoing) = mpsc::channel(BACKLOG);
    let mut forwarding = JoinSet::new();
    let mut inward = Vec::new();
    for (port, channel) in ports.iter().zip((0u8..).step_by(2)) {
        let (to_port, from_caller) = mpsc::channel(BACKLOG);
        inward.push(to_port);
        let port = Port { number: *port, netns: netns.clone() };
        let caller = Caller { channel, sender: to_caller.clone() };
        forwarding.spawn(caller.forward(port, from_caller));
    }
    drop(to_caller);
    tokio::select! {
        // Ends when every port has; what they said last is sent by then.
        () = send(sender, outgoing) => {}
        // The caller left, and the connections with it.
        () = receive(receiver, inward) => {}
    }
}

/// The caller as one port sees it.
struct Caller {
    channel: u8,
    sender: mpsc::Sender<Message>,
}

impl Caller {
    async fn forward(self, port: Port, data: mpsc::Receiver<Bytes>) {
        let number = port.number.to_le_bytes();
        for channel in [self.channel, self.channel + 1] {
            if self.sender.send(message(channel, &number)).await.is_err() {
                return;
            }
        }
        if let Err(failure) = port.connect_and_copy(data, &self).await {
            let reason = kit::Chain(&failure).to_string();
            let _the_caller_left =
                self.sender.send(message(self.channel + 1, reason.as_bytes())).await.is_err();
        }
    }
}

impl Back for Caller {
    async fn tell(&self, bytes: Bytes) -> bool {
        self.sender.send(message(self.channel, &bytes)).await.is_ok()
    }
}

fn message(channel: u8, bytes: &[u8]) -> Message {
    let mut message = BytesMut::with_capacity(bytes.len() + 1);
    message.put_u8(channel);
    message.extend_from_slice(bytes);
    Message::Binary(message.freeze())
}

async fn send(mut sender: impl Sink<Message> + Unpin, mut outgoing: mpsc::Receiver<Message>) {
    while let Some(message) = outgoing.recv().await {
        if sender.send(message).await.is_err() {
            return;
        }
    }
    let _the_caller_left = sender.send(goodbye()).await.is_err();
}

/// Hands each port what is for it; what is for none is passed over.
async fn receive(
    mut receiver: SplitStream<WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>>,
    ports: Vec<mpsc::Sender<Bytes>>,
) {
    while let Some(Ok(message)) = receiver.next().await {
        let Some(bytes) = payload(message) else { return };
        let channel = bytes.first().map_or(usize::MAX, |channel| usize::from(*channel));
        if let Some(port) = ports.get(channel / 2).filter(|_| channel.is_multiple_of(2)) {
            let _the_port_closed = port.send(bytes.slice(1..)).await.is_err();
        }
    }
}
