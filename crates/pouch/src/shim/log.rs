//! The container's log in CRI format: `TIME STREAM P|F TEXT`, where P marks a line that goes on in the next entry.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Longer lines are cut into entries of this size, so that neither memory nor a reader's buffer need be larger.
const LONGEST: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// Cuts a stream of bytes into log entries; holds what has no newline yet.
#[derive(Debug)]
pub(super) struct Lines {
    stream: Stream,
    pending: Vec<u8>,
    closed: bool,
}

impl Lines {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, pending: Vec::new(), closed: false }
    }

    /// Appends to `entries` all that is complete with `bytes`.
    pub(super) fn push(&mut self, bytes: &[u8], now: jiff::Timestamp, entries: &mut Vec<u8>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, complete) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            self.pending.extend_from_slice(text);
            self.emit_long(now, entries);
            if complete {
                self.emit(b'F', self.pending.len(), now, entries);
            }
        }
    }

    /// The stream has ended: what is pending is all there will be of its line.
    pub(super) fn close(&mut self, now: jiff::Timestamp, entries: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            self.emit(b'P', self.pending.len(), now, entries);
        }
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    fn emit_long(&mut self, now: jiff::Timestamp, entries: &mut Vec<u8>) {
        while self.pending.len() > LONGEST {
            self.emit(b'P', LONGEST, now, entries);
        }
    }

    fn emit(&mut self, tag: u8, length: usize, now: jiff::Timestamp, entries: &mut Vec<u8>) {
        let stream = match self.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        entries.extend(format!("{now:.9} {stream} {} ", char::from(tag)).bytes());
        entries.extend(self.pending.drain(..length));
        entries.push(b'\n');
    }
}

/// The file; a container without one logs to nowhere.
#[derive(Debug)]
pub(super) struct Log {
    path: Option<PathBuf>,
    file: Option<File>,
}

impl Log {
    pub(super) fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let mut log = Self { path, file: None };
        log.reopen()?;
        Ok(log)
    }

    /// Begins a new file at the old path, after someone moved the old one away.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.file = Some(open_append(path)?);
        }
        Ok(())
    }

    /// A full disk must not stop the container: entries that cannot be written are lost, later ones may fit again.
    pub(super) fn write(&mut self, entries: &[u8]) {
        if let Some(file) = &mut self.file {
            let _lost = file.write_all(entries).is_err();
        }
    }
}

fn open_append(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(writes: &[&str], expect: &Expect) {
        let mut lines = Lines::new(Stream::Stdout);
        let mut entries = Vec::new();
        for write in writes {
            lines.push(write.as_bytes(), jiff::Timestamp::UNIX_EPOCH, &mut entries);
        }
        lines.close(jiff::Timestamp::UNIX_EPOCH, &mut entries);
        expect.assert_eq(&String::from_utf8(entries).unwrap());
    }

    #[test]
    fn whole_lines() {
        check(
            &["one\ntwo\n", "\n"],
            &expect![[r#"
                1970-01-01T00:00:00.000000000Z stdout F one
                1970-01-01T00:00:00.000000000Z stdout F two
                1970-01-01T00:00:00.000000000Z stdout F 
            "#]],
        );
    }

    #[test]
    fn a_line_in_parts_is_one_entry_and_the_last_without_newline_is_partial() {
        check(
            &["he", "llo\nbye"],
            &expect![[r#"
                1970-01-01T00:00:00.000000000Z stdout F hello
                1970-01-01T00:00:00.000000000Z stdout P bye
            "#]],
        );
    }

    #[test]
    fn a_long_line_is_cut() {
        let mut lines = Lines::new(Stream::Stderr);
        let mut entries = Vec::new();
        lines.push(&[b'x'; LONGEST + 1], jiff::Timestamp::UNIX_EPOCH, &mut entries);
        lines.push(b"\n", jiff::Timestamp::UNIX_EPOCH, &mut entries);
        let text = String::from_utf8(entries).unwrap();
        let tags: Vec<_> = text.lines().map(|line| (&line[31..39], line.len())).collect();
        assert_eq!(tags, [("stderr P", 40 + LONGEST), ("stderr F", 41)]);
    }
}
