//! The socket to which workers connect: lines in, lines out, one task per connection. It decides nothing.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use fuxi::protocol::{FromMaster, FromWorker, Hello, MAX_LINE, SOCKET};
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

async fn converse(stream: UnixStream, id: ConnectionId, inputs: &mpsc::UnboundedSender<Input>) {
    let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(MAX_LINE));
    let Ok(Some(Ok(first))) = tokio::time::timeout(HELLO_LIMIT, lines.next()).await else { return };
    let Ok(FromWorker::Hello(hello)) = serde_json::from_str(&first) else {
        tracing::debug!("Connection did not begin with a hello");
        return;
    };
    let (sender, mut replies) = mpsc::unbounded_channel();
    if inputs.send(greeting(id, sender, hello)).is_err() {
        return;
    }
    loop {
        tokio::select! {
            line = lines.next() => {
                let Some(Ok(line)) = line else { return };
                match serde_json::from_str(&line) {
                    Ok(FromWorker::Result(result)) => drop(inputs.send(Input::Said(id, result))),
                    Ok(FromWorker::Pong) => {}
                    Ok(FromWorker::Hello(_)) | Err(_) => return,
                }
            }
            reply = replies.recv() => {
                let Some(reply) = reply else { return };
                let Ok(line) = serde_json::to_string(&reply) else { return };
                if lines.send(line).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn greeting(id: ConnectionId, lines: mpsc::UnboundedSender<FromMaster>, hello: Hello) -> Input {
    Input::Hello(Connection { id, lines }, Box::new(hello))
}
