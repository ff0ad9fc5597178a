//! The conversation with workers: lines in, lines out, one task per connection, whether the worker came to the socket here
//! or to that of another host. It decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use fuxi::protocol::{Attempt, AttemptResult, FromMaster, FromWorker, Hello, MAX_KEPT, MAX_LINE};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_util::codec::{Framed, LinesCodec};
use tokio_util::sync::CancellationToken;

use super::Input;

/// How long a connection may stay silent before its hello.
const HELLO_LIMIT: Duration = Duration::from_secs(10);

/// One connection, in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ConnectionId(u64);

/// A connection that has said hello. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    lines: mpsc::UnboundedSender<FromMaster>,
}

impl Connection {
    /// A message to a worker that is just going away is lost; its next hello tells so.
    pub(super) fn send(&self, message: FromMaster) {
        let _closed = self.lines.send(message);
    }
}

/// A worker's hello with the results that belong to it.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) hello: Hello,
    pub(super) results: Vec<AttemptResult>,
}

/// What a worker says after its hello.
#[derive(Debug)]
pub(super) enum Said {
    Results(Vec<AttemptResult>),
    Returned(Vec<Attempt>),
}

/// Where connections come in, from whichever side.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    inputs: mpsc::UnboundedSender<Input>,
    pub(super) token: CancellationToken,
    last: Arc<AtomicU64>,
}

impl Entrance {
    pub(super) fn new(inputs: mpsc::UnboundedSender<Input>, token: CancellationToken) -> Self {
        Self { inputs, token, last: Arc::default() }
    }

    /// Serves a connection until it ends.
    pub(super) fn admit(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let id = ConnectionId(self.last.fetch_add(1, Ordering::Relaxed));
        let Self { inputs, token, .. } = self.clone();
        kit::task::spawn("worker-connection", async move {
            token.run_until_cancelled(converse(stream, id, &inputs)).await;
            // The master itself is ending if it does not listen.
            let _ending = inputs.send(Input::Closed(id));
        });
    }
}

/// Accepts workers of this host until the entrance closes.
pub(super) async fn serve(listener: UnixListener, entrance: Entrance) {
    while let Some(accepted) = entrance.token.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => entrance.admit(stream),
            // Out of descriptors, most likely: give the others time to close.
            Err(error) => {
                tracing::warn!(error = %error, "Worker could not connect");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

type Lines<S> = Framed<S, LinesCodec>;

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    id: ConnectionId,
    inputs: &mpsc::UnboundedSender<Input>,
) {
    let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(MAX_LINE));
    let Ok(Some(greeting)) = tokio::time::timeout(HELLO_LIMIT, greet(&mut lines)).await else {
        tracing::debug!("Connection did not begin with a hello");
        return;
    };
    let (sender, mut replies) = mpsc::unbounded_channel();
    let connection = Connection { id, lines: sender };
    if inputs.send(Input::Hello(connection, Box::new(greeting))).is_err() {
        return;
    }
    loop {
        tokio::select! {
            line = lines.next() => {
                let Some(Ok(line)) = line else { return };
                let said = match serde_json::from_str(&line) {
                    Ok(FromWorker::Results { results }) => Said::Results(results),
                    Ok(FromWorker::Returned { attempts }) => Said::Returned(attempts),
                    Ok(FromWorker::Pong) => continue,
                    Ok(FromWorker::Hello(_)) | Err(_) => return,
                };
                // The loop is ending if it does not listen.
                let _ending = inputs.send(Input::Said(id, said));
            }
            reply = replies.recv() => {
                let Some(reply) = reply else { return };
                if answer(&mut lines, reply, &mut replies).await.is_none() {
                    return;
                }
            }
        }
    }
}

/// The first line, and the results that it announces.
async fn greet<S: AsyncRead + Unpin>(lines: &mut Lines<S>) -> Option<Greeting> {
    let FromWorker::Hello(hello) = next(lines).await? else { return None };
    let expected = usize::try_from(hello.ended.min(MAX_KEPT)).ok()?;
    let mut greeting = Greeting { hello, results: Vec::new() };
    while greeting.results.len() < expected {
        let FromWorker::Results { results } = next(lines).await? else { return None };
        greeting.results.extend(results);
    }
    Some(greeting)
}

async fn next<S: AsyncRead + Unpin>(lines: &mut Lines<S>) -> Option<FromWorker> {
    serde_json::from_str(&lines.next().await?.ok()?).ok()
}

/// Sends a reply, and with it those that have come meanwhile.
async fn answer<S: AsyncWrite + Unpin>(
    lines: &mut Lines<S>,
    first: FromMaster,
    more: &mut mpsc::UnboundedReceiver<FromMaster>,
) -> Option<()> {
    let mut reply = Some(first);
    while let Some(message) = reply {
        lines.feed(serde_json::to_string(&message).ok()?).await.ok()?;
        reply = more.try_recv().ok();
    }
    SinkExt::<String>::flush(lines).await.ok()
}
