//! Lines of a log file in CRI's format, and which of them a reader wants. Pure.
//!
//! `2026-01-02T03:04:05.000000006Z stdout F text`: a line marked `P` goes on in the next.

use jiff::Timestamp;

/// What a reader wants of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) timestamps: bool,
    pub(super) tail_lines: Option<u64>,
    pub(super) limit_bytes: Option<u64>,
    pub(super) since: Option<Timestamp>,
    pub(super) stream: Option<Stream>,
}

/// One of the two that a container writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// Turns raw lines into what the reader gets, and stops when the reader has had enough.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    options: Options,
    left: Option<u64>,
    /// The last line was not whole: what follows belongs to it.
    continued: bool,
}

impl Filter {
    pub(super) fn new(options: Options) -> Self {
        Self { options, left: options.limit_bytes, continued: false }
    }

    pub(super) fn is_satisfied(&self) -> bool {
        self.left == Some(0)
    }

    /// Adds what the reader gets of `raw`, a line without its end.
    pub(super) fn push(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        let Some((time, stream, partial, text)) = parse(raw) else { return };
        if self.options.stream.is_some_and(|wanted| wanted != stream) {
            return;
        }
        let too_old =
            self.options.since.is_some_and(|since| time.parse::<Timestamp>().is_ok_and(|time| time < since));
        if too_old {
            return;
        }
        let start = out.len();
        if self.options.timestamps && !self.continued {
            out.extend_from_slice(time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(text);
        if !partial {
            out.push(b'\n');
        }
        self.continued = partial;
        if let Some(left) = &mut self.left {
            let added = (out.len() - start) as u64;
            let kept = added.min(*left);
            *left -= kept;
            out.truncate(start + usize::try_from(kept).unwrap_or(usize::MAX));
        }
    }
}

/// Time, stream, whether the line goes on, and text.
fn parse(raw: &[u8]) -> Option<(&str, Stream, bool, &[u8])> {
    let mut parts = raw.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = if parts.next()? == b"stderr" { Stream::Stderr } else { Stream::Stdout };
    let tag = parts.next()?;
    Some((time, stream, tag.first() == Some(&b'P'), parts.next().unwrap_or_default()))
}
