//! The container's streams as the shim holds them: output to be read, input to be written.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use super::job::Stdin;
use super::log::{Lines, Stream};
use super::runtime::Stdio;

/// This side of a container's streams.
#[derive(Debug)]
pub(super) struct Streams {
    pub outputs: Vec<Output>,
    pub input: Input,
    /// The terminal, if the container has one.
    pub console: Option<OwnedFd>,
}

impl Streams {
    /// A terminal is one stream for all.
    pub(super) fn of_console(console: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            outputs: vec![Output::new(Stream::Stdout, console.try_clone()?)?],
            input: Input::open(console.try_clone()?)?,
            console: Some(console),
        })
    }

    /// And the container's side of them.
    pub(super) fn of_pipes(stdin: Stdin) -> io::Result<(Self, Stdio<'static>)> {
        let (stdout, given_stdout) = pipe()?;
        let (stderr, given_stderr) = pipe()?;
        let (given_stdin, input) = match stdin {
            Stdin::Closed => (rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty())?, Input::Closed),
            Stdin::Open | Stdin::Once => {
                let (reader, writer) = pipe()?;
                (reader, Input::open(writer)?)
            }
        };
        let outputs = vec![Output::new(Stream::Stdout, stdout)?, Output::new(Stream::Stderr, stderr)?];
        let given = Stdio::Streams { stdin: given_stdin, stdout: given_stdout, stderr: given_stderr };
        Ok((Self { outputs, input, console: None }, given))
    }
}

/// Reader and writer.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// One stream that the container writes.
#[derive(Debug)]
pub(super) struct Output {
    pub stream: Stream,
    pub lines: Lines,
    reader: OwnedFd,
}

impl Output {
    pub(super) fn new(stream: Stream, reader: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&reader)?;
        Ok(Self { stream, lines: Lines::new(stream), reader })
    }

    /// Bytes read into `buffer`; `None` at the stream's end. A terminal ends with EIO.
    pub(super) fn read<'a>(&self, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        match rustix::io::read(&self.reader, &mut *buffer) {
            Ok(0) => None,
            Ok(length) => Some(&buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => Some(&[]),
            Err(_) => None,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// No more is taken from those who attach while this much waits for the container to read it.
const PENDING: usize = 64 * 1024;

/// What the container reads.
#[derive(Debug)]
pub(super) enum Input {
    Closed,
    Open { writer: OwnedFd, pending: Vec<u8>, ending: bool },
}

impl Input {
    pub(super) fn open(writer: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&writer)?;
        Ok(Self::Open { writer, pending: Vec::new(), ending: false })
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if let Self::Open { pending, ending: false, .. } = self {
            pending.extend_from_slice(bytes);
        }
        self.flush();
    }

    /// Closes it once all that was pushed is written.
    pub(super) fn end(&mut self) {
        if let Self::Open { ending, .. } = self {
            *ending = true;
        }
        self.flush();
    }

    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Open { pending, .. } if pending.len() >= PENDING)
    }

    /// The descriptor to await before [`flush`](Self::flush) can do more.
    pub(super) fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Open { writer, pending, .. } if !pending.is_empty() => Some(writer.as_fd()),
            _ => None,
        }
    }

    pub(super) fn flush(&mut self) {
        let Self::Open { writer, pending, ending } = self else { return };
        while !pending.is_empty() {
            match rustix::io::write(&*writer, pending) {
                Ok(length) => drop(pending.drain(..length)),
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(_) => {
                    *self = Self::Closed;
                    return;
                }
            }
        }
        if *ending {
            *self = Self::Closed;
        }
    }
}

pub(crate) fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(&fd)?;
    Ok(fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?)
}
