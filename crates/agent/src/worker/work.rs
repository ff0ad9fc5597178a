//! What runs in a worker: one instance after another, or a program that takes them all.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::process::Process;
use super::running::Running;
use super::stream::Stream;

/// Between the polite and the final signal when the worker itself has to end.
const STOP_GRACE: Duration = Duration::from_millis(300);

/// What runs.
pub(super) enum Work {
    Exec {
        running: Option<Box<Running>>,
        /// Since when nothing has run, after something had.
        free_since: Option<Instant>,
    },
    Stream(Box<Stream>),
}

impl Work {
    pub(super) fn is_on(&self) -> bool {
        match self {
            Self::Exec { running, .. } => running.is_some(),
            Self::Stream(stream) => stream.is_on(),
        }
    }

    /// Whether something runs that was not told to end.
    pub(super) fn is_free(&self) -> bool {
        match self {
            Self::Exec { running, .. } => running.as_ref().is_some_and(|running| running.process.is_free()),
            Self::Stream(stream) => stream.is_free(),
        }
    }

    pub(super) fn process(&mut self) -> Option<&mut Process> {
        match self {
            Self::Exec { running, .. } => running.as_mut().map(|running| &mut running.process),
            Self::Stream(stream) => stream.process(),
        }
    }

    pub(super) fn stderr(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Exec { running, .. } => running.as_ref()?.process.stderr(),
            Self::Stream(stream) => stream.stderr(),
        }
    }

    /// Of a program that takes instances: its input, if something waits for it, and its output.
    pub(super) fn program_pipes(&self) -> (Option<BorrowedFd<'_>>, Option<BorrowedFd<'_>>) {
        match self {
            Self::Exec { .. } => (None, None),
            Self::Stream(stream) => (stream.stdin(), stream.stdout()),
        }
    }

    pub(super) fn due(&self, something_waits: bool) -> Option<Instant> {
        match self {
            Self::Exec { running, .. } => running.as_ref()?.process.due(),
            Self::Stream(stream) => stream.due(something_waits),
        }
    }

    pub(super) fn end(&mut self, now: Instant) {
        match self {
            Self::Exec { running, .. } => {
                if let Some(running) = running {
                    running.process.terminate(now + STOP_GRACE);
                }
            }
            Self::Stream(stream) => stream.end(now, now + STOP_GRACE),
        }
    }
}
