//! The connection to the master: made again for ever, with growing pauses, and never blocking.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fuxi::protocol::{FromMaster, FromWorker, MAX_LINE};
use nix::poll::PollFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Short enough that a restarted master knows all its workers in a second; a refused connect costs microseconds.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Link {
    path: PathBuf,
    pause: Duration,
    state: State,
}

enum State {
    Down { retry_at: Option<Instant> },
    Up { stream: UnixStream, inbox: Vec<u8>, outbox: Vec<u8> },
}

impl Link {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, pause: FIRST_PAUSE, state: State::Down { retry_at: None } }
    }

    /// What to wait for, while connected.
    pub(super) fn source(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let State::Up { stream, outbox, .. } = &self.state else { return None };
        let flags =
            if outbox.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLIN | PollFlags::POLLOUT };
        Some((stream.as_fd(), flags))
    }

    /// When to try again, while not connected.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Down { retry_at } => *retry_at,
            State::Up { .. } => None,
        }
    }

    /// Connects if it is time to; true if there is a new connection, which wants a hello.
    pub(super) fn try_connect(&mut self, now: Instant) -> bool {
        let State::Down { retry_at } = &self.state else { return false };
        if retry_at.is_some_and(|at| now < at) {
            return false;
        }
        match self.open() {
            Ok(stream) => {
                self.state = State::Up { stream, inbox: Vec::new(), outbox: Vec::new() };
                true
            }
            Err(_) => {
                self.reset(now);
                false
            }
        }
    }

    /// Gives the connection up; the next try follows after a pause.
    pub(super) fn reset(&mut self, now: Instant) {
        self.state = State::Down { retry_at: Some(now + self.pause) };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Sends at once as much as the socket takes. Without a connection nothing is sent: a hello will tell all.
    pub(super) fn send(&mut self, message: &FromWorker) {
        let State::Up { outbox, .. } = &mut self.state else { return };
        if let Ok(line) = serde_json::to_vec(message) {
            outbox.extend_from_slice(&line);
            outbox.push(b'\n');
        }
        // A broken connection shows when it is read next.
        self.write_some();
    }

    /// Reads what is there. A connection that ended or speaks nonsense is given up.
    pub(super) fn receive(&mut self, now: Instant) -> Vec<FromMaster> {
        self.write_some();
        let State::Up { stream, inbox, .. } = &mut self.state else { return Vec::new() };
        let is_alive = read_all(stream, inbox);
        let messages = take_lines(inbox);
        if messages.as_ref().is_some_and(|messages| !messages.is_empty()) {
            self.pause = FIRST_PAUSE;
        }
        if !is_alive || messages.is_none() {
            self.reset(now);
        }
        messages.unwrap_or_default()
    }

    fn write_some(&mut self) {
        let State::Up { stream, outbox, .. } = &mut self.state else { return };
        while !outbox.is_empty() {
            match stream.write(outbox) {
                Ok(n) => drop(outbox.drain(..n)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn open(&self) -> nix::Result<UnixStream> {
        // Not `UnixStream::connect`, which would block on a master that is alive but does not accept.
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let descriptor = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(descriptor.as_raw_fd(), &UnixAddr::new(&self.path)?)?;
        Ok(UnixStream::from(descriptor))
    }
}

/// False at the end of the connection.
fn read_all(stream: &mut UnixStream, inbox: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 16 * 1024];
    while inbox.len() <= MAX_LINE {
        match stream.read(&mut chunk) {
            Ok(0) => return false,
            Ok(n) => inbox.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
    true
}

/// Takes the whole lines out of `inbox`; `None` if one is no message, or has no end.
fn take_lines(inbox: &mut Vec<u8>) -> Option<Vec<FromMaster>> {
    let end = inbox.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let messages = inbox[..end]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).ok())
        .collect();
    inbox.drain(..end);
    if inbox.len() > MAX_LINE { None } else { messages }
}
