//! The socket to which workers connect: lines in, lines out, one task per connection. It decides nothing.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use fuxi::protocol::{Attempt, AttemptResult, FromMaster, FromWorker, Hello, MAX_KEPT, MAX_LINE, SOCKET};
use tokio::net::{UnixListener, UnixStream};
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

/// Why there is no socket for workers.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot create the workers' directory `{path}`")]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot listen for workers on `{path}`")]
    Listen { path: PathBuf, source: io::Error },
}

/// Binds the socket in `folder`. Containers of any user may connect: what they must have is their job's token.
pub(super) fn bind(folder: &Path) -> Result<UnixListener, BindError> {
    // The directory itself must stay: containers have it mounted.
    std::fs::create_dir_all(folder)
        .map_err(|source| BindError::Directory { path: folder.to_owned(), source })?;
    let path = folder.join(SOCKET);
    // Made aside and moved over the one of a master that died, so that there is always something to connect to.
    let aside = folder.join(format!(".{SOCKET}.{}", std::process::id()));
    let listen = || {
        match std::fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&aside)?;
        std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o666))?;
        std::fs::rename(&aside, &path)?;
        Ok(listener)
    };
    listen().map_err(|source| BindError::Listen { path: path.clone(), source })
}

/// Accepts workers until `token` is cancelled.
pub(super) async fn serve(
    listener: UnixListener,
    inputs: mpsc::UnboundedSender<Input>,
    token: CancellationToken,
) {
    let mut next = 0;
    while let Some(accepted) = token.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                next += 1;
                let (id, inputs, token) = (ConnectionId(next), inputs.clone(), token.clone());
                kit::task::spawn("worker-connection", async move {
                    token.run_until_cancelled(converse(stream, id, &inputs)).await;
                    // The master itself is ending if it does not listen.
                    let _ending = inputs.send(Input::Closed(id));
                });
            }
            // Out of descriptors, most likely: give the others time to close.
            Err(error) => {
                tracing::warn!(error = %error, "Worker could not connect");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

type Lines = Framed<UnixStream, LinesCodec>;

async fn converse(stream: UnixStream, id: ConnectionId, inputs: &mpsc::UnboundedSender<Input>) {
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
async fn greet(lines: &mut Lines) -> Option<Greeting> {
    let FromWorker::Hello(hello) = next(lines).await? else { return None };
    let expected = usize::try_from(hello.ended.min(MAX_KEPT)).ok()?;
    let mut greeting = Greeting { hello, results: Vec::new() };
    while greeting.results.len() < expected {
        let FromWorker::Results { results } = next(lines).await? else { return None };
        greeting.results.extend(results);
    }
    Some(greeting)
}

async fn next(lines: &mut Lines) -> Option<FromWorker> {
    serde_json::from_str(&lines.next().await?.ok()?).ok()
}

/// Sends a reply, and with it those that have come meanwhile.
async fn answer(
    lines: &mut Lines,
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
