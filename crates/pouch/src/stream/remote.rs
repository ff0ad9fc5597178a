//! Commands and containers over SPDY: one stream each for input, output, errors, the terminal's size, the end.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::session::{self, Caller, Incoming, Outgoing};
use super::spdy::{self, SpdyError, Stream, Writer};
use super::websocket::TerminalSize;
use super::{Wanted, Wish};
use crate::engine::Engine;

/// The fourth version brings the exit code.
pub(super) const PROTOCOL: &str = "v4.channel.k8s.io";
const BACKLOG: usize = 16;
/// In this time a client must have opened its streams, and when all is said have gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client's streams by what they are for.
#[derive(Default)]
struct Opened {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

impl Opened {
    fn add(&mut self, stream: Stream) {
        let place = match stream.header("streamtype") {
            Some("error") => &mut self.error,
            Some("stdin") => &mut self.stdin,
            Some("stdout") => &mut self.stdout,
            Some("stderr") => &mut self.stderr,
            Some("resize") => &mut self.resize,
            _ => return,
        };
        *place = Some(stream);
    }

    fn has_all(&self, wanted: Wanted) -> bool {
        self.error.is_some()
            && (self.stdin.is_some() || !wanted.stdin)
            && (self.stdout.is_some() || !wanted.stdout)
            && (self.stderr.is_some() || !wanted.stderr || wanted.tty)
            && (self.resize.is_some() || !wanted.tty)
    }
}

pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite,
    engine: &Engine,
    wish: Wish,
    wanted: Wanted,
) -> Result<(), SpdyError> {
    let (sender, streams) = mpsc::channel(BACKLOG);
    let connection = spdy::serve(io, sender);
    // The incoming channel must end with the connection, and not before: this end of it is held here.
    let (to_session, incoming) = mpsc::channel(BACKLOG);
    let session = serve_streams(engine, wish, wanted, (streams, to_session.downgrade(), incoming));
    let connection = async move {
        let result = connection.await;
        drop(to_session);
        result
    };
    tokio::pin!(connection, session);
    tokio::select! {
        result = &mut connection => {
            session.await;
            result
        }
        () = &mut session => timeout(PATIENCE, connection).await.unwrap_or(Ok(())),
    }
}

type Ends = (mpsc::Receiver<Stream>, mpsc::WeakSender<Incoming>, mpsc::Receiver<Incoming>);

async fn serve_streams(engine: &Engine, wish: Wish, wanted: Wanted, ends: Ends) {
    let (mut streams, to_session, incoming) = ends;
    let mut opened = Opened::default();
    let all = async {
        while !opened.has_all(wanted) {
            match streams.recv().await {
                Some(stream) => opened.add(stream),
                None => return false,
            }
        }
        true
    };
    if !timeout(PATIENCE, all).await.unwrap_or(false) {
        return;
    }
    let stdin = take_stdin(opened.stdin.take(), to_session.clone());
    let resize = take_sizes(opened.resize.take(), to_session);
    let (outgoing, from_session) = mpsc::channel(BACKLOG);
    let write = |stream: Option<Stream>| stream.map(|stream| stream.writer);
    let show = show(from_session, write(opened.stdout), write(opened.stderr), write(opened.error));
    let session = session::run(engine, wish, Caller { incoming, outgoing });
    let inputs = async {
        tokio::join!(stdin, resize);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = async { tokio::join!(session, show) } => {}
        () = inputs => {}
    }
}

async fn take_stdin(stream: Option<Stream>, to_session: mpsc::WeakSender<Incoming>) {
    let Some(mut stream) = stream else { return };
    while let Some(bytes) = stream.reader.recv().await {
        if !pass(&to_session, Incoming::Stdin(bytes)).await {
            return;
        }
    }
    pass(&to_session, Incoming::StdinEnd).await;
}

/// Sizes follow each other as JSON, one in a frame.
async fn take_sizes(stream: Option<Stream>, to_session: mpsc::WeakSender<Incoming>) {
    let Some(mut stream) = stream else { return };
    while let Some(bytes) = stream.reader.recv().await {
        for size in sizes(&bytes) {
            pass(&to_session, Incoming::Resize { columns: size.width, rows: size.height }).await;
        }
    }
}

fn sizes(bytes: &[u8]) -> Vec<TerminalSize> {
    serde_json::Deserializer::from_slice(bytes).into_iter().map_while(Result::ok).collect()
}

async fn pass(to_session: &mpsc::WeakSender<Incoming>, message: Incoming) -> bool {
    match to_session.upgrade() {
        Some(sender) => sender.send(message).await.is_ok(),
        None => false,
    }
}

async fn show(
    mut from_session: mpsc::Receiver<Outgoing>,
    stdout: Option<Writer>,
    stderr: Option<Writer>,
    error: Option<Writer>,
) {
    while let Some(message) = from_session.recv().await {
        let (writer, bytes) = match message {
            Outgoing::Stdout(bytes) => (&stdout, bytes),
            Outgoing::Stderr(bytes) => (&stderr, bytes),
            Outgoing::End(status) => (&error, status.to_string().into()),
        };
        if let Some(writer) = writer
            && !writer.send(bytes).await
        {
            return;
        }
    }
    let writers: Vec<Writer> = [stdout, stderr, error].into_iter().flatten().collect();
    for writer in writers {
        writer.end().await;
    }
}
