//! Receives a terminal from the runtime, which makes it inside the container and sends it over a socket.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// The socket at which a runtime delivers one terminal.
#[derive(Debug)]
pub(crate) struct ConsoleSocket {
    path: PathBuf,
    listener: UnixListener,
}

impl ConsoleSocket {
    pub(crate) fn bind(directory: &Path, name: &str) -> io::Result<Self> {
        let listener = UnixListener::bind(Short::of(directory, name)?.path())?;
        Ok(Self { path: directory.join(name), listener })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the terminal's controlling side.
    pub(crate) fn receive(self) -> io::Result<OwnedFd> {
        let (stream, _) = self.listener.accept()?;
        let mut name = [0_u8; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        recvmsg(&stream, &mut [IoSliceMut::new(&mut name)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        let received = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        received.ok_or_else(|| io::Error::other("the runtime sent no terminal"))
    }
}

/// A socket's path that fits an address however deep the directory lies.
#[derive(Debug)]
pub(crate) struct Short {
    path: PathBuf,
    _directory: OwnedFd,
}

impl Short {
    pub(crate) fn of(directory: &Path, name: &str) -> io::Result<Self> {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory, flags, rustix::fs::Mode::empty())?;
        let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()).into();
        Ok(Self { path, _directory: directory })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_file(&self.path);
    }
}
