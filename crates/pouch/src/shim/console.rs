//! Receives a terminal from the runtime, which makes it inside the container and sends it over a socket.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::engine::sandbox::blocking;

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
        receive_from(&self.listener.accept()?.0)
    }

    /// As [`receive`](Self::receive), for tasks.
    pub(crate) async fn receive_async(&self) -> io::Result<OwnedFd> {
        self.listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(self.listener.try_clone()?)?;
        let (stream, _) = listener.accept().await?;
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        // The runtime connects when it has the terminal ready to send.
        blocking(move || receive_from(&stream)).await
    }
}

fn receive_from(stream: &UnixStream) -> io::Result<OwnedFd> {
    let mut name = [0_u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    recvmsg(stream, &mut [IoSliceMut::new(&mut name)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let received = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    received.ok_or_else(|| io::Error::other("the runtime sent no terminal"))
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
