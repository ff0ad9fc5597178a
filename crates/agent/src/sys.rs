//! The agent's one place for what the compiler cannot check.
#![expect(unsafe_code, reason = "registering a descriptor with the reactor is a promise about its life")]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Wakes its holder when `fd` has something to read.
pub(crate) fn await_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is one open descriptor until it is dropped, and the AsyncFd owns it from here on.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}
