//! Processes named so that no later one is mistaken for them, and awaited without being their parent.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::shim::job::Process;
use crate::sys;

/// The field of `/proc/PID/stat` that tells when the process began, counted behind the name's closing bracket.
const START_FIELD: usize = 19;

/// The process that has the id now; `None` if there is none, or only its zombie.
pub(crate) fn identify(pid: i32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
    if matches!(fields.first(), Some(&("Z" | "X"))) {
        return None;
    }
    Some(Process { pid, start: fields.get(START_FIELD)?.parse().ok()? })
}

/// A handle that stays with one process whatever becomes of its id.
#[derive(Debug)]
pub(crate) struct Handle {
    pidfd: AsyncFd<OwnedFd>,
}

impl Handle {
    /// `None` if the process is gone.
    pub(crate) fn open(process: Process) -> io::Result<Option<Self>> {
        let Some(pidfd) = open(process)? else { return Ok(None) };
        Ok(Some(Self { pidfd: sys::await_ready(pidfd, Interest::READABLE)? }))
    }

    /// Returns when the process has ended.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        self.pidfd.readable().await.map(drop)
    }
}

/// Sends `signal` if the very process still runs; says whether it did.
pub(crate) fn kill(process: Process, signal: Signal) -> io::Result<bool> {
    let Some(pidfd) = open(process)? else { return Ok(false) };
    match pidfd_send_signal(pidfd, signal) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The start time is compared after the handle is open: from then on the id cannot pass to another process.
fn open(process: Process) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(process.pid) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) if identify(process.pid) == Some(process) => Ok(Some(pidfd)),
        Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
