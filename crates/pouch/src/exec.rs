//! Commands in running containers: the engine's side of `shim exec`.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::time::timeout;

use crate::disk::{self, DiskError};
use crate::engine::lifecycle::LifecycleError;
use crate::engine::shim_client::{self, ShimError};
use crate::engine::{Engine, new_id};
use crate::shim::job::{EXEC_REPORT, ExecJob, ExecReport, JOB, PROCESS};
use crate::stream::session::ended;

/// More output than that of a command without a stream is dropped, as kubelet does.
const LARGEST_OUTPUT: usize = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    #[error(transparent)]
    Container(#[from] LifecycleError),
    #[error("no command is given")]
    NoCommand,
    #[error("cannot prepare the command")]
    Prepare(#[from] DiskError),
    #[error("cannot run the command's shim")]
    Shim(#[from] ShimError),
    #[error("cannot pass the command's streams")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("the command did not end within {0:?}")]
    Timeout(Duration),
    #[error("the command's shim ended without a report")]
    NoReport(#[source] DiskError),
}

/// What a command left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub code: i32,
}

/// A command on its way; its directory goes with it.
#[derive(Debug)]
pub(crate) struct Running {
    pub child: Child,
    directory: PathBuf,
}

/// Where a command's streams go.
#[derive(Debug)]
pub(crate) enum Io {
    Pipes { stdin: bool },
    Console(PathBuf),
}

impl Engine {
    pub(crate) async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        limit: Option<Duration>,
    ) -> Result<Done, ExecError> {
        let directory = self.new_exec_dir()?;
        let mut running = self.exec(id, command, directory, Io::Pipes { stdin: false })?;
        let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
        let work = async {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let outputs = async { tokio::join!(collect(stdout, &mut out), collect(stderr, &mut err)) };
            let code = ended(running.finish(), outputs).await?;
            Ok(Done { code, stdout: out, stderr: err })
        };
        let Some(limit) = limit else { return work.await };
        match timeout(limit, work).await {
            Ok(done) => done,
            Err(_) => {
                running.kill().await;
                Err(ExecError::Timeout(limit))
            }
        }
    }

    /// A directory for one command, with a name short enough for a socket in it.
    pub(crate) fn new_exec_dir(&self) -> Result<PathBuf, ExecError> {
        let directory = self.inner.config.exec_dir().join(&new_id()[..16]);
        std::fs::create_dir(&directory)?;
        Ok(directory)
    }

    /// Starts a command in a running container.
    pub(crate) fn exec(
        &self,
        id: &str,
        command: Vec<String>,
        directory: PathBuf,
        io: Io,
    ) -> Result<Running, ExecError> {
        let started = self.start_exec(id, command, &directory, io);
        match started {
            Ok(child) => Ok(Running { child, directory }),
            Err(error) => {
                let _nothing_was_there = disk::remove_dir(&directory).is_err();
                Err(error)
            }
        }
    }

    fn start_exec(
        &self,
        id: &str,
        command: Vec<String>,
        directory: &std::path::Path,
        io: Io,
    ) -> Result<Child, ExecError> {
        if command.is_empty() {
            return Err(ExecError::NoCommand);
        }
        let record = self.running(id)?.record();
        let bundle = self.inner.config.container_run(&record.id);
        let spec: serde_json::Value = disk::read(&bundle.join("config.json"))?;
        let mut process = spec["process"].clone();
        process["args"] = command.into();
        process["terminal"] = matches!(io, Io::Console(_)).into();
        // The filter of system calls is put on last, without privileges: that takes this promise.
        if spec["linux"].get("seccomp").is_some() {
            process["noNewPrivileges"] = true.into();
        }
        disk::write_fast(&directory.join(PROCESS), &process)?;
        let job = ExecJob {
            id: record.id,
            runtime: record.runtime,
            runtime_root: self.inner.config.runtime_root(),
            bundle,
            console: match &io {
                Io::Console(path) => Some(path.clone()),
                Io::Pipes { .. } => None,
            },
        };
        disk::write_fast(&directory.join(JOB), &job)?;
        let mut shim = shim_client::command(&self.inner.config.shim, "exec", directory)?;
        match io {
            Io::Pipes { stdin } => {
                shim.stdin(if stdin { Stdio::piped() } else { Stdio::null() });
                shim.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
            Io::Console(_) => {
                shim.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            }
        }
        Ok(shim.spawn()?)
    }
}

impl Running {
    /// Waits for the command's end; its exit code.
    pub(crate) async fn finish(&mut self) -> Result<i32, ExecError> {
        self.child.wait().await?;
        match disk::read(&self.directory.join(EXEC_REPORT)).map_err(ExecError::NoReport)? {
            ExecReport::Exited { code } => Ok(code),
            ExecReport::Failed { message } => Err(ExecError::Refused(message)),
        }
    }

    /// Ends the command by way of its shim, which reaps it.
    pub(crate) async fn kill(&mut self) {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ended_meanwhile = kill(Pid::from_raw(pid), Signal::SIGTERM).is_err();
        }
        let _ended_meanwhile = self.child.wait().await.is_err();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ended_meanwhile = kill(Pid::from_raw(pid), Signal::SIGTERM).is_err();
        }
        let _stays_until_the_boot = disk::remove_dir(&self.directory).is_err();
    }
}

/// Reads to the end, keeps no more than the limit.
async fn collect(stream: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> io::Result<()> {
    let Some(mut stream) = stream else { return Ok(()) };
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let room = LARGEST_OUTPUT.saturating_sub(into.len());
        into.extend_from_slice(&buffer[..length.min(room)]);
    }
}
