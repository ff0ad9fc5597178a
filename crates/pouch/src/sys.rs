//! The only unsafe code: what the kernel offers and no safe wrapper covers.
#![expect(unsafe_code, reason = "fork, signal dispositions and polling of a descriptor have no safe wrapper")]

use std::io;
use std::os::fd::OwnedFd;

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::unistd::{ForkResult, fork};
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
