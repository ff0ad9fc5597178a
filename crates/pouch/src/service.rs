//! CRI's two services over the engine: requests are checked and translated here, nothing is decided.

use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::engine::Engine;
use crate::engine::create::CreateError;
use crate::engine::lifecycle::LifecycleError;
use crate::engine::sandbox::SandboxError;
use crate::engine::shim_client::ShimError;
use crate::exec::ExecError;
use crate::spec::SpecError;

mod images;
mod runtime;
mod views;

/// Both services.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    engine: Engine,
    /// What would go on for ever ends with it.
    token: CancellationToken,
}

impl Service {
    pub(crate) fn new(engine: Engine, token: CancellationToken) -> Self {
        Self { engine, token }
    }
}

/// A failure with all its causes, as callers of CRI expect it: one line.
fn status(code: Code, error: &(dyn std::error::Error + 'static)) -> Status {
    Status::new(code, kit::Chain(error).to_string())
}

impl From<SandboxError> for Status {
    fn from(error: SandboxError) -> Self {
        let code = match &error {
            SandboxError::Runtime(_)
            | SandboxError::NoConfig
            | SandboxError::Port(_)
            | SandboxError::Bandwidth(_)
            | SandboxError::HostIp(_) => Code::InvalidArgument,
            SandboxError::File { .. }
            | SandboxError::Record(_)
            | SandboxError::Namespaces(_)
            | SandboxError::Network(_)
            | SandboxError::Container(_) => Code::Internal,
        };
        status(code, &error)
    }
}

impl From<CreateError> for Status {
    fn from(error: CreateError) -> Self {
        let code = match &error {
            CreateError::NoSandbox(_) | CreateError::NoImage(_) => Code::NotFound,
            CreateError::NotReady(_) => Code::FailedPrecondition,
            CreateError::Spec(SpecError::SharedPid) => Code::Unimplemented,
            CreateError::NoConfig | CreateError::Spec(_) => Code::InvalidArgument,
            CreateError::Shim(ShimError::Create(_)) => Code::Unknown,
            CreateError::Image(_)
            | CreateError::Snapshot(_)
            | CreateError::WorkingDir { .. }
            | CreateError::Directory { .. }
            | CreateError::Record(_)
            | CreateError::Shim(_) => Code::Internal,
        };
        status(code, &error)
    }
}

impl From<LifecycleError> for Status {
    fn from(error: LifecycleError) -> Self {
        let code = match &error {
            LifecycleError::NoContainer(_) => Code::NotFound,
            LifecycleError::NotRunning(_) | LifecycleError::AlreadyStarted(_) => Code::FailedPrecondition,
            LifecycleError::Start(_)
            | LifecycleError::Reopen(_)
            | LifecycleError::Signal(_)
            | LifecycleError::Stuck(_)
            | LifecycleError::Cgroup(_)
            | LifecycleError::Snapshot(_)
            | LifecycleError::Directory { .. }
            | LifecycleError::Record(_)
            | LifecycleError::Limits(_) => Code::Internal,
        };
        status(code, &error)
    }
}

impl From<ExecError> for Status {
    fn from(error: ExecError) -> Self {
        match error {
            ExecError::Container(source) => source.into(),
            ExecError::NoCommand => status(Code::InvalidArgument, &error),
            ExecError::Timeout(_) => status(Code::DeadlineExceeded, &error),
            ExecError::Refused(_) => status(Code::Unknown, &error),
            ExecError::Prepare(_) | ExecError::Io(_) | ExecError::Shim(_) | ExecError::NoReport(_) => {
                status(Code::Internal, &error)
            }
        }
    }
}
