//! The runtimes behind one face: the library in this binary, and programs with runc's command line.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::unistd::Pid;

use super::job::{ExecJob, RunJob, Runtime};
use super::linked::{self, LinkedError};
use super::named::{self, NamedError};

/// What a process gets as its standard streams, or where its terminal is to be sent.
#[derive(Debug)]
pub(super) enum Stdio<'a> {
    Streams { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
    Console(&'a Path),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RuntimeError {
    #[error("cannot {verb} the container with the linked-in runtime")]
    Linked { verb: &'static str, source: LinkedError },
    #[error("cannot {verb} the container with `{program}`")]
    Named { verb: &'static str, program: String, source: NamedError },
}

/// A container that exists: its first process waits to be started.
#[derive(Debug)]
pub(super) enum Created {
    Linked(Box<linked::Container>),
    Named(named::Container),
}

pub(super) fn create(job: &RunJob, stdio: Stdio<'_>) -> Result<(Created, Pid), RuntimeError> {
    match &job.runtime {
        Runtime::Linked => {
            let (container, pid) = linked::create(job, stdio).map_err(linked_error("create"))?;
            Ok((Created::Linked(Box::new(container)), pid))
        }
        Runtime::Named(program) => {
            let (container, pid) =
                named::create(program, job, stdio).map_err(named_error("create", program))?;
            Ok((Created::Named(container), pid))
        }
    }
}

/// Starts one more process in a running container. Without a terminal it gets this process's own streams.
pub(super) fn exec(job: &ExecJob, process: &Path) -> Result<Pid, RuntimeError> {
    match &job.runtime {
        Runtime::Linked => linked::exec(job, process).map_err(linked_error("run a command in")),
        Runtime::Named(program) => {
            named::exec(program, job, process).map_err(named_error("run a command in", program))
        }
    }
}

impl Created {
    pub(super) fn start(&mut self) -> Result<(), RuntimeError> {
        match self {
            Self::Linked(container) => container.start().map_err(linked_error("start")),
            Self::Named(container) => container.start().map_err(named_error("start", container.program())),
        }
    }

    /// Kills what is left of it and removes its cgroup.
    pub(super) fn delete(mut self) -> Result<(), RuntimeError> {
        match &mut self {
            Self::Linked(container) => container.delete().map_err(linked_error("delete")),
            Self::Named(container) => container.delete().map_err(named_error("delete", container.program())),
        }
    }
}

fn linked_error(verb: &'static str) -> impl FnOnce(LinkedError) -> RuntimeError {
    move |source| RuntimeError::Linked { verb, source }
}

fn named_error(verb: &'static str, program: &str) -> impl FnOnce(NamedError) -> RuntimeError {
    let program = program.to_owned();
    move |source| RuntimeError::Named { verb, program, source }
}
