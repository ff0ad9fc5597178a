//! The engine's side of a shim: starting one, and asking it.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;

use super::record::Processes;
use crate::shim::console::Short;
use crate::shim::job::{Reply, Request, RunReport};
use crate::shim::run::SOCKET;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ShimError {
    #[error("no command is configured for shims")]
    NoCommand,
    #[error("cannot start a shim by `{command}`")]
    Spawn { command: String, source: io::Error },
    #[error("the shim ended without a report ({status})")]
    NoReport { status: std::process::ExitStatus },
    #[error("{0}")]
    Create(String),
    #[error("cannot talk to the container's shim")]
    Talk(#[source] io::Error),
    #[error("{0}")]
    Refused(String),
}

/// The command that runs a shim in `directory`, with nothing of this process's environment but the search path.
pub(crate) fn command(shim: &[OsString], verb: &str, directory: &Path) -> Result<Command, ShimError> {
    let [program, arguments @ ..] = shim else { return Err(ShimError::NoCommand) };
    let mut command = Command::new(program);
    command.args(arguments).arg(verb).arg(directory).env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    Ok(command)
}

/// Starts a shim that makes the container described in `directory`.
pub(crate) async fn create(shim: &[OsString], directory: &Path) -> Result<Processes, ShimError> {
    let mut command = command(shim, "run", directory)?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let attempt = async {
        let mut child = command.spawn()?;
        let mut report = Vec::new();
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_end(&mut report).await?;
        }
        Ok((child.wait().await?, report))
    };
    let (status, report) = attempt.await.map_err(|source| ShimError::Spawn {
        command: shim.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default(),
        source,
    })?;
    match serde_json::from_slice(&report) {
        Ok(RunReport::Created { shim, init }) => Ok(Processes { shim, init }),
        Ok(RunReport::Failed { message }) => Err(ShimError::Create(message)),
        Err(_) => Err(ShimError::NoReport { status }),
    }
}

/// Sends one request to the shim in `directory`; yields when the container was started, if it was, and the connection.
pub(crate) async fn ask(
    directory: &Path,
    request: Request,
) -> Result<(Option<i64>, BufReader<UnixStream>), ShimError> {
    let attempt = async {
        let mut stream = UnixStream::connect(Short::of(directory, SOCKET)?.path()).await?;
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).await?;
        Ok((serde_json::from_slice(&line)?, stream))
    };
    match attempt.await.map_err(ShimError::Talk)? {
        (Reply::Done { started_at }, stream) => Ok((started_at, stream)),
        (Reply::Refused { message }, _) => Err(ShimError::Refused(message)),
    }
}
