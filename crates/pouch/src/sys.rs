//! The only unsafe code: two calls of the kernel that the safe wrappers leave unsafe.
#![expect(unsafe_code, reason = "fork and signal dispositions have no safe wrapper")]

use std::io;

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::unistd::{ForkResult, fork};

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
