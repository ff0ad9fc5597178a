//! Batch workers of this host whose master is on another: they connect to a socket here, and the master's request,
//! which waits for the next of them, becomes their connection.
//!
//! ```text
//!   master ──POST /crest/workers──►  waits  ◄──connects── worker
//!          ◄──────── 101 ──────────────┘
//!          ◄══════ bytes both ways ══════════════════════►
//! ```
//! Who asked last is served: an earlier request may be that of a master which is gone. When another master asks, the
//! connections of the one before end, so that workers greet the new one. Until somebody asks, workers wait in the
//! socket's queue.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use fuxi::protocol::{SOCKET, remote};
use http::StatusCode;
use kit::door::{self, BindError};
use kit::tunnel::switch::Switchable;
use parking_lot::Mutex;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::{Refusal, Server};

/// A request is answered after this time even if nobody came, so that both sides know that the other is there.
const PATIENCE: Duration = Duration::from_secs(20);

/// The socket, and who is served.
#[derive(Debug)]
pub struct Workers {
    listener: UnixListener,
    open: CancellationToken,
    patience: Duration,
    served: Mutex<Served>,
}

/// The tokens that end what was begun.
#[derive(Debug, Default)]
struct Served {
    master: String,
    /// All of this master.
    connections: CancellationToken,
    /// Its request that waits.
    waiting: CancellationToken,
}

impl Workers {
    /// Binds the socket in `folder`.
    pub fn bind(folder: &Path) -> Result<Self, BindError> {
        Ok(Self {
            listener: door::bind(folder, SOCKET)?,
            open: CancellationToken::new(),
            patience: PATIENCE,
            served: Mutex::default(),
        })
    }

    /// Ends all connections, and what waits.
    pub fn close(&self) {
        self.open.cancel();
    }

    /// A request of `master` takes the place of those before it.
    fn turn(&self, master: &str) -> (CancellationToken, CancellationToken) {
        let mut served = self.served.lock();
        if served.master == master {
            served.waiting.cancel();
        } else {
            served.connections.cancel();
            *served = Served {
                master: master.to_owned(),
                connections: self.open.child_token(),
                waiting: CancellationToken::new(),
            };
        }
        served.waiting = served.connections.child_token();
        (served.connections.clone(), served.waiting.clone())
    }

    /// The next worker, and until when it is this master's; or why there is none.
    async fn next(&self, master: &str) -> Result<(UnixStream, CancellationToken), Refusal> {
        let (connections, waiting) = self.turn(master);
        tokio::select! {
            biased;
            () = waiting.cancelled() => Err(Refusal {
                code: StatusCode::CONFLICT,
                message: "another request waits for workers".to_owned(),
            }),
            accepted = self.listener.accept() => {
                let (stream, _) = accepted.map_err(|error| Refusal::internal(&error))?;
                Ok((stream, connections))
            }
            () = tokio::time::sleep(self.patience) => {
                Err(Refusal { code: StatusCode::NO_CONTENT, message: String::new() })
            }
        }
    }
}

/// Answers a master that waits for workers of this host.
pub(super) async fn workers(
    State(server): State<Arc<Server>>,
    mut request: Request,
) -> Result<Response, Refusal> {
    let workers = server.workers.as_ref().ok_or_else(|| Refusal::not_found("this node has no workers"))?;
    answer(workers, &mut request).await
}

async fn answer(workers: &Workers, request: &mut Request) -> Result<Response, Refusal> {
    let master = request.headers().get(remote::MASTER_HEADER).and_then(|value| value.to_str().ok());
    let master = master.map(str::to_owned).ok_or_else(|| {
        Refusal::bad_request(format!("header `{}` must name the master", remote::MASTER_HEADER))
    })?;
    let switchable = Switchable::of(request, remote::UPGRADE).ok_or_else(|| {
        Refusal::bad_request(format!("the request must ask to upgrade to `{}`", remote::UPGRADE))
    })?;
    let (stream, connections) = workers.next(&master).await?;
    Ok(switchable.splice(stream, connections).map(|()| Body::empty()))
}

#[cfg(test)]
mod tests;
