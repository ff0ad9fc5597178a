//! A connection to the shim's socket: lines of requests, or frames once it is attached.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use super::frame::{self, Kind};
use super::job::{Reply, Request};

/// Who reads slower than that loses the connection: the container is never held up by an onlooker.
const BACKLOG: usize = 4 << 20;
const LONGEST_REQUEST: usize = 4096;

#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    received: Vec<u8>,
    unsent: Vec<u8>,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Requests,
    Attached { stdin: bool },
    Closed,
}

/// What a client wants.
#[derive(Debug)]
pub(super) enum Wish {
    Request(Request),
    Frame(Kind, Vec<u8>),
}

impl Client {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, received: Vec::new(), unsent: Vec::new(), mode: Mode::Requests })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.mode == Mode::Closed
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// It is the one whose input the container reads.
    pub(super) fn feeds_stdin(&self) -> bool {
        self.mode == Mode::Attached { stdin: true }
    }

    pub(super) fn attach(&mut self, stdin: bool) {
        self.mode = Mode::Attached { stdin };
    }

    pub(super) fn reply(&mut self, reply: &Reply) {
        self.unsent.extend(serde_json::to_vec(reply).unwrap_or_default());
        self.unsent.push(b'\n');
        self.flush();
    }

    pub(super) fn show(&mut self, kind: Kind, bytes: &[u8]) {
        if matches!(self.mode, Mode::Attached { .. }) {
            frame::encode(kind, bytes, &mut self.unsent);
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(error) if is_transient(&error) => break,
                Err(_) => return self.close(),
            }
        }
        if self.unsent.len() > BACKLOG {
            self.close();
        }
    }

    /// Reads what is there.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) {
        match self.stream.read(buffer) {
            Ok(0) => self.close(),
            Ok(length) => self.received.extend_from_slice(&buffer[..length]),
            Err(error) if is_transient(&error) => {}
            Err(_) => self.close(),
        }
    }

    /// The next thing that was received whole. Nonsense closes the connection.
    pub(super) fn next(&mut self) -> Option<Wish> {
        match self.mode {
            Mode::Requests => self.next_request(),
            Mode::Attached { .. } => self.next_frame(),
            Mode::Closed => None,
        }
    }

    fn next_request(&mut self) -> Option<Wish> {
        let Some(end) = self.received.iter().position(|byte| *byte == b'\n') else {
            if self.received.len() > LONGEST_REQUEST {
                self.close();
            }
            return None;
        };
        let line: Vec<u8> = self.received.drain(..=end).collect();
        match serde_json::from_slice(&line) {
            Ok(request) => Some(Wish::Request(request)),
            Err(_) => {
                self.close();
                None
            }
        }
    }

    fn next_frame(&mut self) -> Option<Wish> {
        match frame::decode(&mut self.received) {
            Ok(frame) => frame.map(|(kind, payload)| Wish::Frame(kind, payload)),
            Err(_) => {
                self.close();
                None
            }
        }
    }

    fn close(&mut self) {
        self.mode = Mode::Closed;
        self.unsent.clear();
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
