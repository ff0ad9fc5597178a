//! The only unsafe code: what the kernel offers and no safe wrapper covers.
#![expect(
    unsafe_code,
    reason = "fork, signal dispositions, wait4 and polling of a descriptor have no safe wrapper"
)]

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::sys::wait::WaitStatus;
use nix::unistd::{ForkResult, Pid, fork};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Which of the two processes the caller is after [`split`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Parent,
    Child,
}

/// Makes a second process that goes on from here. Refuses if the process has more than one thread.
pub(crate) fn split() -> io::Result<Side> {
    let n_threads = std::fs::read_dir("/proc/self/task")?.count();
    if n_threads != 1 {
        return Err(io::Error::other(format!("a process with {n_threads} threads cannot be split")));
    }
    // SAFETY: fork leaves only the calling thread in the child; there is no other, as just counted, so no lock is
    // left held by a thread that no longer exists.
    match unsafe { fork() }? {
        ForkResult::Parent { .. } => Ok(Side::Parent),
        ForkResult::Child => Ok(Side::Child),
    }
}

/// A child that has ended.
#[derive(Clone, Copy, Debug)]
pub struct EndedChild {
    pub status: WaitStatus,
    /// The processor time of it and of those of its children that it waited for.
    pub cpu: Duration,
    /// The most memory that one of them held at once, in KiB.
    pub max_rss_kib: u64,
}

/// Collects a child that has ended; `None` if all that there are live. Without children it fails with `ECHILD`.
pub fn collect_child() -> nix::Result<Option<EndedChild>> {
    let mut status = 0;
    // SAFETY: all fields are numbers, for which zeros are valid.
    let mut usage: nix::libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to variables of the types that the call fills in, and live until it returns.
    let pid = unsafe { nix::libc::wait4(-1, &raw mut status, nix::libc::WNOHANG, &raw mut usage) };
    if Errno::result(pid)? == 0 {
        return Ok(None);
    }
    let time = |time: nix::libc::timeval| {
        let micros = time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_usec);
        Duration::from_micros(micros.try_into().unwrap_or_default())
    };
    Ok(Some(EndedChild {
        status: WaitStatus::from_raw(Pid::from_raw(pid), status)?,
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        max_rss_kib: usage.ru_maxrss.try_into().unwrap_or_default(),
    }))
}

/// Gives back what a program expects of its parent: no blocked signal, and death by SIGPIPE.
///
/// Rust's start-up ignores SIGPIPE and the shim blocks SIGCHLD; both would pass through exec into the container.
pub(crate) fn reset_signals() -> nix::Result<()> {
    // SAFETY: SIG_DFL installs no function of ours, so nothing can run in a signal's context.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// Lets tasks await that `fd` is ready.
pub(crate) fn await_ready(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor stays the same and open for as long as the OwnedFd lives, which the AsyncFd now owns.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}
