//! What is going to happen, in the order of time; at the same moment, in the order in which it was entered.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use fuxi::WorkerId;
use fuxi::protocol::Attempt;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Occurrence {
    Arrival {
        job: usize,
    },
    Hello {
        worker: WorkerId,
    },
    Ended {
        worker: WorkerId,
        attempt: Attempt,
        fate: Fate,
    },
    /// It is asked to give back what it has not begun.
    Recalled {
        worker: WorkerId,
    },
    Gone {
        worker: WorkerId,
    },
    Write {
        job: usize,
    },
    Stored {
        job: usize,
        version: u64,
    },
    Tick,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    Succeeds,
    /// Its process is killed, and its worker lives.
    Fails,
    /// It ends with its worker.
    DiesWithWorker,
}

#[derive(Debug, Default)]
pub(super) struct Agenda {
    entries: BinaryHeap<Reverse<(Duration, u64, Occurrence)>>,
    entered: u64,
}

impl Agenda {
    pub(super) fn enter(&mut self, at: Duration, occurrence: Occurrence) {
        self.entered += 1;
        self.entries.push(Reverse((at, self.entered, occurrence)));
    }

    pub(super) fn next(&mut self) -> Option<(Duration, Occurrence)> {
        self.entries.pop().map(|Reverse((at, _, occurrence))| (at, occurrence))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
