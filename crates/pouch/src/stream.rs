//! Streams to commands, containers and ports: an HTTP server on loopback whose addresses are single-use secrets.

mod channels;
mod forward;
mod remote;
mod server;
pub(crate) mod session;
mod spdy;
mod terminal;
mod websocket;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, new_id};

/// An address that nobody came to is void after that.
const PATIENCE: Duration = Duration::from_secs(60);
/// As many may be waited for at once.
const MOST_OFFERS: usize = 1000;

/// Which of a process's streams a caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the four are independent, as in the interface")]
pub(crate) struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// What an address stands for.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Exec {
        container: String,
        command: Vec<String>,
        streams: Wanted,
    },
    Attach {
        container: String,
        streams: Wanted,
    },
    PortForward {
        sandbox: String,
        /// Those that are known beforehand; SPDY names its ports stream by stream.
        ports: Vec<u16>,
    },
}

/// The addresses given out.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    address: OnceLock<SocketAddr>,
    offers: Mutex<HashMap<String, (Wish, Instant)>>,
}

impl Streams {
    /// A new address for `wish`; `None` if the server does not run.
    pub(crate) fn offer(&self, wish: Wish, now: Instant) -> Option<String> {
        let address = self.address.get()?;
        let verb = match &wish {
            Wish::Exec { .. } => "exec",
            Wish::Attach { .. } => "attach",
            Wish::PortForward { .. } => "portforward",
        };
        let token = new_id();
        let mut offers = self.offers.lock();
        offers.retain(|_, (_, made)| now.duration_since(*made) < PATIENCE);
        if offers.len() >= MOST_OFFERS {
            return None;
        }
        offers.insert(token.clone(), (wish, now));
        Some(format!("http://{address}/{verb}/{token}"))
    }

    /// What the secret stands for; it then stands for nothing.
    pub(crate) fn take(&self, token: &str, now: Instant) -> Option<Wish> {
        let (wish, made) = self.offers.lock().remove(token)?;
        (now.duration_since(made) < PATIENCE).then_some(wish)
    }
}

/// Begins to serve in the background, until `token` is cancelled.
pub(crate) async fn serve(engine: Engine, token: CancellationToken) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let _first_server = engine.inner.streams.address.set(address).is_ok();
    kit::task::spawn("streams", async move {
        tokio::select! {
            () = server::accept(listener, engine) => {}
            () = token.cancelled() => {}
        }
    });
    Ok(())
}
