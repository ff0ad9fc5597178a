//! Port forwarding: pairs of SPDY streams, one for a connection into a sandbox, one for why it failed.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nix::sched::{CloneFlags, setns};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::spdy::{self, SpdyError, Stream, Writer};
use crate::engine::Engine;
use crate::engine::sandbox::blocking;
use crate::spawn::in_thread;

pub(super) const PROTOCOL: &str = "portforward.k8s.io";
const BACKLOG: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    #[error("the stream names no port")]
    Port,
    #[error("the sandbox is gone")]
    Sandbox,
    #[error("cannot connect to port {port} in the sandbox")]
    Connect { port: u16, source: io::Error },
    #[error("the connection to port {port} broke")]
    Copy { port: u16, source: io::Error },
}

pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite,
    engine: &Engine,
    sandbox: &str,
) -> Result<(), SpdyError> {
    let (sender, streams) = mpsc::channel(BACKLOG);
    let (result, ()) = tokio::join!(spdy::serve(io, sender), pair(streams, network(engine, sandbox)));
    result
}

/// The sandbox's network, which the host's can be; `None` where there is no such sandbox.
pub(super) fn network(engine: &Engine, sandbox: &str) -> Option<Option<PathBuf>> {
    engine.sandbox(sandbox).map(|sandbox| sandbox.record().namespaces.get("network").cloned())
}

/// Brings the two streams of each request together; ends with the connection, and the forwarding with it.
async fn pair(mut streams: mpsc::Receiver<Stream>, netns: Option<Option<PathBuf>>) {
    let mut errors: HashMap<String, Stream> = HashMap::new();
    let mut forwarding = JoinSet::new();
    while let Some(stream) = streams.recv().await {
        while forwarding.try_join_next().is_some() {}
        // The oldest clients have one pair per port and give no number.
        let request = stream.header("requestid").or(stream.header("port")).unwrap_or_default().to_owned();
        match stream.header("streamtype") {
            Some("error") => drop(errors.insert(request, stream)),
            Some("data") => {
                let error = errors.remove(&request);
                forwarding.spawn(forward(stream, error, netns.clone()));
            }
            _ => {}
        }
    }
}

async fn forward(data: Stream, error: Option<Stream>, netns: Option<Option<PathBuf>>) {
    let writer = data.writer.clone();
    let result = connect_and_copy(data, netns).await;
    if let Some(error) = error {
        let reason = result.err().map(|failure| kit::Chain(&failure).to_string());
        if let Some(reason) = reason {
            error.writer.send(Bytes::from(reason)).await;
        }
        error.writer.end().await;
    }
    writer.end().await;
}

async fn connect_and_copy(data: Stream, netns: Option<Option<PathBuf>>) -> Result<(), ForwardError> {
    let number: u16 = data.header("port").and_then(|port| port.parse().ok()).ok_or(ForwardError::Port)?;
    Port { number, netns }.connect_and_copy(data.reader, &data.writer).await
}

/// The way back to whoever asked for a port.
pub(super) trait Back {
    /// `false`: nobody is there any more.
    fn tell(&self, bytes: Bytes) -> impl Future<Output = bool> + Send;
}

impl Back for Writer {
    fn tell(&self, bytes: Bytes) -> impl Future<Output = bool> + Send {
        self.send(bytes)
    }
}

/// A port in a sandbox.
pub(super) struct Port {
    pub number: u16,
    pub netns: Option<Option<PathBuf>>,
}

impl Port {
    pub(super) async fn connect_and_copy(
        self,
        data: mpsc::Receiver<Bytes>,
        back: &impl Back,
    ) -> Result<(), ForwardError> {
        let port = self.number;
        let netns = self.netns.ok_or(ForwardError::Sandbox)?;
        let connected = blocking(move || in_thread(|| connect(netns, port))).await;
        let stream = connected
            .and_then(|stream| {
                stream.set_nonblocking(true)?;
                tokio::net::TcpStream::from_std(stream)
            })
            .map_err(|source| ForwardError::Connect { port, source })?;
        copy(stream, data, back).await.map_err(|source| ForwardError::Copy { port, source })
    }
}

/// On a thread that goes into the sandbox's network and never comes back.
fn connect(netns: Option<PathBuf>, port: u16) -> io::Result<TcpStream> {
    if let Some(path) = netns {
        setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
    }
    let connect = |address: SocketAddr| TcpStream::connect_timeout(&address, PATIENCE);
    connect((Ipv4Addr::LOCALHOST, port).into())
        .or_else(|error| connect((Ipv6Addr::LOCALHOST, port).into()).map_err(|_| error))
}

async fn copy(
    stream: tokio::net::TcpStream,
    mut data: mpsc::Receiver<Bytes>,
    back: &impl Back,
) -> io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let inward = async {
        while let Some(bytes) = data.recv().await {
            writer.write_all(&bytes).await?;
        }
        writer.shutdown().await
    };
    let outward = async {
        loop {
            let mut buffer = BytesMut::with_capacity(32 * 1024);
            if reader.read_buf(&mut buffer).await? == 0 || !back.tell(buffer.freeze()).await {
                return Ok(());
            }
        }
    };
    // The service's end of the connection is the end: a client that has said all still wants the answer.
    tokio::pin!(inward, outward);
    tokio::select! {
        done = &mut outward => done,
        done = &mut inward => {
            done?;
            outward.await
        }
    }
}
