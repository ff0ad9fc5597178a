//! What goes over a stream whatever carries it: a command's or a container's input, output and end.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::terminal::Terminal;
use super::{Wanted, Wish};
use crate::engine::Engine;
use crate::engine::lifecycle::LifecycleError;
use crate::engine::shim_client::{self, ShimError};
use crate::exec::{ExecError, Io, Running};
use crate::shim::console::ConsoleSocket;
use crate::shim::frame::{self, Kind};
use crate::shim::job::Request;

const BUFFER: usize = 32 * 1024;
/// How long output may stay open past a command's end: it may have left children.
pub(crate) const DRAIN: Duration = Duration::from_secs(1);
/// The terminal's socket in a command's directory.
const CONSOLE: &str = "console.sock";

/// From the caller. The channel's end: the caller is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Stdin(Bytes),
    StdinEnd,
    Resize { columns: u16, rows: u16 },
}

/// To the caller; [`Outgoing::End`] is the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    Stdout(Bytes),
    Stderr(Bytes),
    End(Value),
}

/// A caller, whatever transport it came by.
#[derive(Debug)]
pub(super) struct Caller {
    pub incoming: mpsc::Receiver<Incoming>,
    pub outgoing: mpsc::Sender<Outgoing>,
}

#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error(transparent)]
    Container(#[from] LifecycleError),
    #[error(transparent)]
    Shim(#[from] ShimError),
    #[error("the stream broke")]
    Io(#[from] io::Error),
    #[error("the caller left")]
    Gone,
}

/// Serves the caller to the end, and tells it how that was.
pub(super) async fn run(engine: &Engine, wish: Wish, mut caller: Caller) {
    let end = match wish {
        Wish::Exec { container, command, streams } => {
            exec(engine, &container, command, streams, &mut caller).await
        }
        Wish::Attach { container, streams } => {
            attach(engine, &container, streams, &mut caller).await.map(|()| 0)
        }
        // Port forwarding has its own protocol and never comes here.
        Wish::PortForward { .. } => Err(SessionError::Gone),
    };
    let status = match end {
        Ok(code) => exit_status(code),
        Err(SessionError::Gone) => return,
        Err(error) => failure(&kit::Chain(&error).to_string()),
    };

    let _the_caller_left = caller.outgoing.send(Outgoing::End(status)).await.is_err();
}

/// The word on a command's end that Kubernetes clients understand.
fn exit_status(code: i32) -> Value {
    if code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

fn failure(message: &str) -> Value {
    json!({"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500})
}

async fn exec(
    engine: &Engine,
    container: &str,
    command: Vec<String>,
    streams: Wanted,
    caller: &mut Caller,
) -> Result<i32, SessionError> {
    let directory = engine.new_exec_dir()?;
    if !streams.tty {
        let running = engine.exec(container, command, directory, Io::Pipes { stdin: streams.stdin })?;
        return exec_pipes(running, caller).await;
    }
    let socket = ConsoleSocket::bind(&directory, CONSOLE)?;
    let mut running = engine.exec(container, command, directory, Io::Console(socket.path().to_owned()))?;
    let console = tokio::select! {
        console = socket.receive_async() => console?,
        // It failed before it came to a terminal.
        code = running.finish() => return Ok(code?),
    };
    exec_terminal(running, &Terminal::new(console)?, caller).await
}

async fn exec_pipes(mut running: Running, caller: &mut Caller) -> Result<i32, SessionError> {
    let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
    let stdin = running.child.stdin.take();
    let outgoing = caller.outgoing.clone();
    let outputs = async {
        tokio::join!(show(stdout, &outgoing, Outgoing::Stdout), show(stderr, &outgoing, Outgoing::Stderr))
    };
    tokio::select! {
        code = ended(running.finish(), outputs) => Ok(code?),
        () = feed(stdin, &mut caller.incoming) => Err(SessionError::Gone),
    }
}

async fn exec_terminal(
    mut running: Running,
    terminal: &Terminal,
    caller: &mut Caller,
) -> Result<i32, SessionError> {
    let outgoing = caller.outgoing.clone();
    let output = async {
        let mut buffer = vec![0; BUFFER];
        while let Ok(length @ 1..) = terminal.read(&mut buffer).await {
            if outgoing.send(Outgoing::Stdout(Bytes::copy_from_slice(&buffer[..length]))).await.is_err() {
                return;
            }
        }
    };
    let input = async {
        while let Some(message) = caller.incoming.recv().await {
            let done = match message {
                Incoming::Stdin(bytes) => terminal.write_all(&bytes).await,
                Incoming::Resize { columns, rows } => terminal.resize(columns, rows),
                Incoming::StdinEnd => Ok(()),
            };
            if done.is_err() {
                // The command has let go of its terminal: its end comes from elsewhere.
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        code = ended(running.finish(), output) => Ok(code?),
        () = input => Err(SessionError::Gone),
    }
}

/// The result of `finish`, once `outputs` are read to the end or have had their time.
pub(crate) async fn ended<T>(finish: impl Future<Output = T>, outputs: impl Future) -> T {
    tokio::pin!(finish, outputs);
    tokio::select! {
        _ = &mut outputs => finish.await,
        result = &mut finish => {
            let _children_hold_it = timeout(DRAIN, outputs).await.is_err();
            result
        }
    }
}

async fn show(
    stream: Option<impl AsyncRead + Unpin>,
    outgoing: &mpsc::Sender<Outgoing>,
    wrap: fn(Bytes) -> Outgoing,
) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; BUFFER];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        if outgoing.send(wrap(Bytes::copy_from_slice(&buffer[..length]))).await.is_err() {
            return;
        }
    }
}

/// Returns when the caller is gone.
async fn feed(mut stdin: Option<impl AsyncWrite + Unpin>, incoming: &mut mpsc::Receiver<Incoming>) {
    while let Some(message) = incoming.recv().await {
        match message {
            Incoming::Stdin(bytes) => {
                if let Some(writer) = &mut stdin
                    && writer.write_all(&bytes).await.is_err()
                {
                    stdin = None;
                }
            }
            Incoming::StdinEnd => stdin = None,
            Incoming::Resize { .. } => {}
        }
    }
}

async fn attach(
    engine: &Engine,
    container: &str,
    streams: Wanted,
    caller: &mut Caller,
) -> Result<(), SessionError> {
    let id = engine.running(container)?.record().id;
    let run = engine.inner.config.container_run(&id);
    let (_, shim) = shim_client::ask(&run, Request::Attach { stdin: streams.stdin }).await?;
    let early = shim.buffer().to_vec();
    let (mut reader, mut writer) = shim.into_inner().into_split();
    let outgoing = caller.outgoing.clone();
    let output = async {
        let mut received = early;
        loop {
            while let Some((kind, payload)) = frame::decode(&mut received).map_err(io::Error::other)? {
                let message = match kind {
                    Kind::Stdout if streams.stdout => Outgoing::Stdout(payload.into()),
                    Kind::Stderr if streams.stderr => Outgoing::Stderr(payload.into()),
                    _ => continue,
                };
                outgoing.send(message).await.map_err(|_| SessionError::Gone)?;
            }
            if reader.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        }
    };
    let input = async {
        while let Some(message) = caller.incoming.recv().await {
            let mut frames = Vec::new();
            match message {
                Incoming::Stdin(bytes) => frame::encode(Kind::Stdin, &bytes, &mut frames),
                Incoming::StdinEnd => frame::encode(Kind::StdinEnd, &[], &mut frames),
                Incoming::Resize { columns, rows } => {
                    frame::encode(Kind::Resize, &frame::encode_size(columns, rows), &mut frames);
                }
            }
            if writer.write_all(&frames).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        done = output => done,
        () = input => Err(SessionError::Gone),
    }
}
