//! The runtime library that is linked into this binary.

use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::default::DefaultExecutor;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::unistd::Pid;
use oci_spec::runtime::{LinuxSeccomp, Spec};

use super::job::{ExecJob, RunJob};
use super::runtime::Stdio;
use crate::sys;

#[derive(Debug, thiserror::Error)]
pub(super) enum LinkedError {
    #[error(transparent)]
    Library(#[from] LibcontainerError),
    #[error("cannot read the container's configuration `{path}`")]
    Spec { path: PathBuf, source: oci_spec::OciSpecError },
    #[error("the runtime tells no process")]
    NoProcess,
}

/// A container of the library.
pub(super) struct Container(libcontainer::container::Container);

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Container").field(&self.0.id()).finish()
    }
}

pub(super) fn create(job: &RunJob, stdio: Stdio<'_>) -> Result<(Container, Pid), LinkedError> {
    let builder = ContainerBuilder::new(job.id.clone(), SyscallType::default())
        .with_root_path(&job.runtime_root)?
        .with_executor(Workload { seccomp: None });
    let builder = match stdio {
        Stdio::Streams { stdin, stdout, stderr } => {
            builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr)
        }
        Stdio::Console(socket) => builder.with_console_socket(Some(socket)),
    };
    let container = builder.as_init(&job.bundle).with_systemd(false).with_detach(true).build()?;
    let pid = container.pid().ok_or(LinkedError::NoProcess)?;
    Ok((Container(container), Pid::from_raw(pid.as_raw())))
}

pub(super) fn exec(job: &ExecJob, process: &Path) -> Result<Pid, LinkedError> {
    let path = job.bundle.join("config.json");
    let spec = Spec::load(&path).map_err(|source| LinkedError::Spec { path, source })?;
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().clone());
    let pid = ContainerBuilder::new(job.id.clone(), SyscallType::default())
        .with_root_path(&job.runtime_root)?
        .with_executor(Workload { seccomp })
        .with_console_socket(job.console.as_ref())
        .as_tenant()
        .with_detach(true)
        .with_process(Some(process))
        .build()?;
    Ok(Pid::from_raw(pid.as_raw()))
}

impl Container {
    pub(super) fn start(&mut self) -> Result<(), LinkedError> {
        Ok(self.0.start()?)
    }

    pub(super) fn delete(&mut self) -> Result<(), LinkedError> {
        Ok(self.0.delete(true)?)
    }
}

/// The last step before the container's program takes over.
#[derive(Clone)]
struct Workload {
    /// The library filters the calls of a container's first process only; that of further ones is ours to set.
    seccomp: Option<LinuxSeccomp>,
}

impl Executor for Workload {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        sys::reset_signals()
            .map_err(|errno| ExecutorError::Other(format!("cannot reset signals: {errno}")))?;
        if let Some(seccomp) = &self.seccomp {
            libcontainer::seccomp::initialize_seccomp(seccomp)
                .map_err(|error| ExecutorError::Other(format!("cannot filter system calls: {error}")))?;
        }
        DefaultExecutor {}.exec(spec)
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        DefaultExecutor {}.validate(spec)
    }
}
