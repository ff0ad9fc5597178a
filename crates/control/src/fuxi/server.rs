//! The conversation with workers: lines in, lines out, one task per connection, whether the worker came to the socket here
//! or to that of another host. It decides nothing.
//!
//! ```text
//!   stranger ──first line──► knocks ──its token is right──► greets with its results ──► connected
//!      └── too many of its origin: closed    └── wrong: closed       └── too much text: without it
//! ```
//! Any batch container can come to the socket and say anything: nobody of whom nothing is known may take more than a little
//! of what all share. And a worker that has proved to be one is read no further while the loop has much of it before it: what
//! it floods it with waits in its own connection, and others go on.

mod strangers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use fuxi::WorkerId;
use fuxi::protocol::{
    Attempt, AttemptResult, Exit, FromMaster, FromWorker, Hello, MAX_HELLO, MAX_KEPT, MAX_LINE,
};
use kit::clock::monotonic;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::codec::{Framed, LinesCodec};
use tokio_util::sync::CancellationToken;

use super::Input;
pub(super) use strangers::Origin;
use strangers::{Strangers, Visit};

/// How long the first line of a connection may take, and how long the results that belong to it.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// The most bytes of text that the results of one hello may hold: the words of what failed.
const MAX_WORDS: usize = 16 << 20;
/// How long a worker of another host may say nothing.
const PATIENCE: Patience = Patience { ping: Duration::from_secs(30), silence: Duration::from_secs(300) };

/// What of one connection may wait for the loop, in bytes. A longer line waits alone.
const SHARE: u32 = 1 << 20;
/// A message takes no less of it, however short it is.
const LEAST: u32 = 16 << 10;

#[derive(Clone, Copy, Debug)]
struct Patience {
    /// Who says nothing for so long is asked whether it is there.
    ping: Duration,
    /// And is not, if it does not answer for so long. One that writes a large output to its disk answers late.
    silence: Duration,
}

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

/// Somebody wants to speak as a worker.
#[derive(Debug)]
pub(super) struct Knock {
    pub(super) worker: String,
    pub(super) token: String,
    /// Dropped where the token is wrong.
    pub(super) reply: oneshot::Sender<Admission>,
}

/// What becomes of somebody who has knocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    As(WorkerId),
    /// Nobody needs such a worker any more.
    Stop,
}

/// A worker's hello with the results that belong to it.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) hello: Hello,
    pub(super) results: Vec<AttemptResult>,
    pub(super) visit: Arc<Visit>,
}

/// What its connection may not say anew before it is dropped.
pub(super) type Share = Arc<OwnedSemaphorePermit>;

/// What a worker says after its hello.
#[derive(Debug)]
pub(super) enum Said {
    Results(Vec<AttemptResult>),
    Returned(Vec<Attempt>),
    Command { attempt: Attempt, runs: bool },
}

/// Where connections come in, from whichever side.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    inputs: mpsc::UnboundedSender<Input>,
    pub(super) token: CancellationToken,
    last: Arc<AtomicU64>,
    strangers: Strangers,
    patience: Patience,
}

impl Entrance {
    pub(super) fn new(inputs: mpsc::UnboundedSender<Input>, token: CancellationToken) -> Self {
        Self { inputs, token, last: Arc::default(), strangers: Strangers::default(), patience: PATIENCE }
    }

    /// Serves a connection until it ends. One too many is closed; a worker comes again.
    pub(super) fn admit(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        origin: &Origin,
    ) {
        let Some(visit) = self.strangers.enter(origin) else {
            tracing::debug!(?origin, "Too many connections without a hello");
            return;
        };
        let id = ConnectionId(self.last.fetch_add(1, Ordering::Relaxed));
        let Self { inputs, token, patience, .. } = self.clone();
        // What is on this host cannot vanish without its socket.
        let ping = matches!(origin, Origin::Node(_)).then_some(patience.ping);
        let heard = Heard { ping, silence: patience.silence };
        kit::task::spawn("worker-connection", async move {
            let conversation = async {
                let greeted = greet(stream, (id, Arc::new(visit)), &inputs).await;
                if let Some((lines, replies)) = greeted {
                    converse(lines, replies, (id, heard, &inputs)).await;
                }
            };
            token.run_until_cancelled(conversation).await;
            // The master itself is ending if it does not listen.
            let _ending = inputs.send(Input::Closed(id));
        });
    }
}

/// Accepts workers of this host until the entrance closes.
pub(super) async fn serve(listener: UnixListener, entrance: Entrance) {
    while let Some(accepted) = entrance.token.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                let origin = Origin::of(&stream);
                entrance.admit(stream, &origin);
            }
            // Out of descriptors, most likely: give the others time to close.
            Err(error) => {
                tracing::warn!(error = %error, "Worker could not connect");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// How it is known that a worker is there still.
#[derive(Clone, Copy, Debug)]
struct Heard {
    /// `None` asks never.
    ping: Option<Duration>,
    silence: Duration,
}

type Lines<S> = Framed<S, LinesCodec>;
type Replies = mpsc::UnboundedReceiver<FromMaster>;

/// Hears who it is and what belongs to its hello, and tells that, once it is admitted.
async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    (id, visit): (ConnectionId, Arc<Visit>),
    inputs: &mpsc::UnboundedSender<Input>,
) -> Option<(Lines<S>, Replies)> {
    let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(MAX_HELLO));
    let first = tokio::time::timeout(HELLO_LIMIT, next(&mut lines)).await;
    let Ok(Some(FromWorker::Hello(hello))) = first else {
        tracing::debug!("Connection did not begin with a hello");
        return None;
    };
    let (reply, admission) = oneshot::channel();
    let knock = Knock { worker: hello.worker.clone(), token: hello.token.clone(), reply };
    inputs.send(Input::Knock(knock)).ok()?;
    // That may take as long as it takes to read the job's token.
    let Admission::As(worker) = admission.await.ok()? else {
        let _gone = answer(&mut lines, FromMaster::Stop, None).await;
        return None;
    };
    let mut lines = lines.map_codec(|_| LinesCodec::new_with_max_length(MAX_LINE));
    let results = tokio::time::timeout(HELLO_LIMIT, results_of(&hello, &mut lines)).await.ok()??;
    let (sender, replies) = mpsc::unbounded_channel();
    let connection = Connection { id, lines: sender };
    // It is no stranger once that is heard.
    inputs.send(Input::Hello(worker, connection, Box::new(Greeting { hello, results, visit }))).ok()?;
    Some((lines, replies))
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut lines: Lines<S>,
    mut replies: Replies,
    (id, Heard { ping, silence }, inputs): (ConnectionId, Heard, &mpsc::UnboundedSender<Input>),
) {
    let shares = Arc::new(Semaphore::new(SHARE as usize));
    let mut heard = monotonic();
    let mut turn = tokio::time::interval(ping.unwrap_or(silence));
    loop {
        tokio::select! {
            line = lines.next() => {
                let Some(Ok(line)) = line else { return };
                heard = monotonic();
                let said = match serde_json::from_str(&line) {
                    Ok(FromWorker::Results { results }) => Said::Results(results),
                    Ok(FromWorker::Returned { attempts }) => Said::Returned(attempts),
                    Ok(FromWorker::Command { attempt, runs }) => Said::Command { attempt, runs },
                    Ok(FromWorker::Pong) => continue,
                    Ok(FromWorker::Hello(_)) | Err(_) => return,
                };
                let size = u32::try_from(line.len()).unwrap_or(SHARE).clamp(LEAST, SHARE);
                let Ok(share) = Arc::clone(&shares).acquire_many_owned(size).await else { return };
                // The loop is ending if it does not listen.
                let _ending = inputs.send(Input::Said(id, said, Arc::new(share)));
            }
            reply = replies.recv() => {
                let Some(reply) = reply else { return };
                // A host without power takes nothing, and does not say so.
                let told = tokio::time::timeout(silence, answer(&mut lines, reply, Some(&mut replies)));
                if !matches!(told.await, Ok(Some(()))) {
                    return;
                }
            }
            _ = turn.tick(), if ping.is_some() => {
                let silent = heard.elapsed();
                if ping.is_some_and(|ping| silent < ping) {
                    continue;
                }
                let told = tokio::time::timeout(silence, answer(&mut lines, FromMaster::Ping, None));
                if silent > silence || !matches!(told.await, Ok(Some(()))) {
                    return;
                }
            }
        }
    }
}

/// The results that a hello announces. They are kept until the last has come, so of too many words some are left out.
async fn results_of<S: AsyncRead + Unpin>(hello: &Hello, lines: &mut Lines<S>) -> Option<Vec<AttemptResult>> {
    let expected = usize::try_from(hello.ended.min(MAX_KEPT)).ok()?;
    let (mut kept, mut words) = (Vec::new(), 0);
    while kept.len() < expected {
        let FromWorker::Results { results } = next(lines).await? else { return None };
        for result in results {
            words += result.words_len();
            kept.push(if words > MAX_WORDS { without_words(result)? } else { result });
        }
    }
    Some(kept)
}

/// A result with nothing but how it ended; none of one that is nothing without.
fn without_words(result: AttemptResult) -> Option<AttemptResult> {
    let exit = match result.exit {
        Exit::Listed { .. } => return None,
        Exit::Failed { .. } => Exit::Failed { message: "it failed".to_owned() },
        Exit::NotStarted { code, .. } => Exit::NotStarted { code, message: "it could not start".to_owned() },
        exit => exit,
    };
    Some(AttemptResult { exit, tail: String::new(), ..result })
}

async fn next<S: AsyncRead + Unpin>(lines: &mut Lines<S>) -> Option<FromWorker> {
    serde_json::from_str(&lines.next().await?.ok()?).ok()
}

/// Sends a reply, and with it those that have come meanwhile.
async fn answer<S: AsyncWrite + Unpin>(
    lines: &mut Lines<S>,
    first: FromMaster,
    mut more: Option<&mut Replies>,
) -> Option<()> {
    let mut reply = Some(first);
    while let Some(message) = reply {
        lines.feed(serde_json::to_string(&message).ok()?).await.ok()?;
        reply = more.as_mut().and_then(|more| more.try_recv().ok());
    }
    SinkExt::<String>::flush(lines).await.ok()
}

#[cfg(test)]
mod tests;
