//! Standard error of instances: passed on to the container's log unchanged, and its end kept for the result.

use std::io::{ErrorKind, Read, Write};
use std::process::ChildStderr;

/// A pipe that reports room has room for this much, so that a write of it does not block.
const PIPE_ATOM: usize = 4096;
/// Above this the instance has to wait for the log, as if it wrote there itself.
const MAX_WAITING: usize = 64 * 1024;

/// What waits to be written to our own standard error.
#[derive(Debug, Default)]
pub(super) struct Tee {
    waiting: Vec<u8>,
}

impl Tee {
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING
    }

    /// A line of our own.
    pub(super) fn say(&mut self, line: &str) {
        self.waiting.extend_from_slice(line.as_bytes());
        self.waiting.push(b'\n');
    }

    pub(super) fn write_some(&mut self) {
        let chunk = self.waiting.len().min(PIPE_ATOM);
        match std::io::stderr().write(&self.waiting[..chunk]) {
            Ok(n) => drop(self.waiting.drain(..n)),
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            // Nobody reads the log: what is lost here is lost for an instance that writes there itself, too.
            Err(_) => self.waiting.clear(),
        }
    }

    pub(super) fn flush(&mut self) {
        // A log that is gone is no reason not to end.
        let _gone = std::io::stderr().write_all(&self.waiting);
        self.waiting.clear();
    }

    /// Reads what is there, until `limit` bytes wait or nothing more comes. False at the end of the stream.
    pub(super) fn copy(&mut self, from: &mut ChildStderr, tail: &mut Tail) -> bool {
        let mut chunk = [0; 8 * 1024];
        while self.has_room() {
            match from.read(&mut chunk) {
                Ok(0) => return false,
                Ok(n) => {
                    self.waiting.extend_from_slice(&chunk[..n]);
                    tail.add(&chunk[..n]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }
}

/// The last bytes of a stream.
#[derive(Debug)]
pub(super) struct Tail {
    limit: usize,
    bytes: Vec<u8>,
}

impl Tail {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, bytes: Vec::new() }
    }

    fn add(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
        let surplus = self.bytes.len().saturating_sub(self.limit);
        self.bytes.drain(..surplus);
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}
