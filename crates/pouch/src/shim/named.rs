//! A runtime program by name: runc, crun, or any other with their command line.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as Inherit};

use nix::unistd::Pid;

use super::job::{ExecJob, RunJob};
use super::runtime::Stdio;

#[derive(Debug, thiserror::Error)]
pub(super) enum NamedError {
    #[error("cannot run it")]
    Run { source: io::Error },
    #[error("{0}")]
    Refused(String),
    #[error("it left no process id in `{path}`")]
    NoProcess { path: PathBuf },
}

/// A container of a runtime program.
#[derive(Debug)]
pub(super) struct Container {
    program: String,
    root: PathBuf,
    log: PathBuf,
    id: String,
}

pub(super) fn create(program: &str, job: &RunJob, stdio: Stdio<'_>) -> Result<(Container, Pid), NamedError> {
    let container = Container {
        program: program.to_owned(),
        root: job.runtime_root.join(program),
        log: job.bundle.join("runtime.log"),
        id: job.id.clone(),
    };
    let pid_file = job.bundle.join("init.pid");
    let mut command = container.command();
    command.arg("create").arg("--bundle").arg(&job.bundle).arg("--pid-file").arg(&pid_file);
    match stdio {
        Stdio::Streams { stdin, stdout, stderr } => {
            command.stdin(stdin).stdout(stdout).stderr(stderr);
        }
        Stdio::Console(socket) => {
            command.arg("--console-socket").arg(socket);
        }
    }
    command.arg(&container.id);
    container.finish(&mut command)?;
    let pid = read_pid(pid_file)?;
    Ok((container, pid))
}

/// The program detaches and ends; its child comes to this process, which reaps for its descendants.
pub(super) fn exec(program: &str, job: &ExecJob, process: &Path) -> Result<Pid, NamedError> {
    let directory = process.parent().unwrap_or(Path::new("/"));
    let container = Container {
        program: program.to_owned(),
        root: job.runtime_root.join(program),
        log: directory.join("runtime.log"),
        id: job.id.clone(),
    };
    let pid_file = directory.join("exec.pid");
    let mut command = container.command();
    command.arg("exec").arg("--detach").arg("--process").arg(process).arg("--pid-file").arg(&pid_file);
    if let Some(console) = &job.console {
        command.arg("--console-socket").arg(console);
    }
    command.arg(&container.id);
    container.finish(&mut command)?;
    read_pid(pid_file)
}

impl Container {
    pub(super) fn program(&self) -> &str {
        &self.program
    }

    pub(super) fn start(&self) -> Result<(), NamedError> {
        self.finish(self.quiet_command().arg("start").arg(&self.id))
    }

    pub(super) fn delete(&self) -> Result<(), NamedError> {
        self.finish(self.quiet_command().arg("delete").arg("--force").arg(&self.id))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Its own failures go to a file: its standard error is the container's.
        command.arg("--root").arg(&self.root).arg("--log").arg(&self.log).arg("--log-format").arg("json");
        command
    }

    fn quiet_command(&self) -> Command {
        let mut command = self.command();
        command.stdin(Inherit::null()).stdout(Inherit::null()).stderr(Inherit::null());
        command
    }

    fn finish(&self, command: &mut Command) -> Result<(), NamedError> {
        let status = command.status().map_err(|source| NamedError::Run { source })?;
        if status.success() {
            return Ok(());
        }
        Err(NamedError::Refused(self.last_words().unwrap_or_else(|| status.to_string())))
    }

    fn last_words(&self) -> Option<String> {
        let log = std::fs::read_to_string(&self.log).ok()?;
        let entries =
            log.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let error = entries.into_iter().find(|entry| entry["level"] == "error")?;
        error["msg"].as_str().map(str::to_owned)
    }
}

fn read_pid(path: PathBuf) -> Result<Pid, NamedError> {
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    match text.trim().parse() {
        Ok(pid) => Ok(Pid::from_raw(pid)),
        Err(_) => Err(NamedError::NoProcess { path }),
    }
}
