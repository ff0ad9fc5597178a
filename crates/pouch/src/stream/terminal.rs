//! A terminal's controlling side, read and written by tasks.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::shim::{output, run};
use crate::sys;

#[derive(Debug)]
pub(super) struct Terminal(AsyncFd<OwnedFd>);

impl Terminal {
    pub(super) fn new(console: OwnedFd) -> io::Result<Self> {
        output::set_nonblocking(&console)?;
        Ok(Self(sys::await_ready(console, Interest::READABLE | Interest::WRITABLE)?))
    }

    /// Fails with EIO once nobody has the other side open.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(result) = ready.try_io(|fd| Ok(rustix::io::read(fd, &mut *buffer)?)) {
                return result;
            }
        }
    }

    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            if let Ok(result) = ready.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)) {
                bytes = &bytes[result?..];
            }
        }
        Ok(())
    }

    pub(super) fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        run::resize(self.0.get_ref(), (columns, rows))
    }
}
