//! The latest changes of one resource, bounded by number and by size.

use std::collections::VecDeque;
use std::sync::Arc;

use store::{Change, Revision};

use super::{Ended, Seen};

/// Enough for a watcher to fall some seconds behind under load.
const MAX_CHANGES: usize = 4096;
/// The values that changes keep alive, at most.
const MAX_BYTES: usize = 8 << 20;
/// How many changes a watcher takes at a time.
const BATCH: usize = 32;

/// Changes in revision order: all after `from`, up to `upto`.
#[derive(Debug)]
pub(super) struct Ring {
    from: Revision,
    upto: Revision,
    changes: VecDeque<Arc<Seen>>,
    bytes: usize,
    is_closed: bool,
}

impl Ring {
    pub(super) fn new(from: Revision) -> Self {
        Self { from, upto: from, changes: VecDeque::new(), bytes: 0, is_closed: false }
    }

    pub(super) fn push(&mut self, change: Seen) {
        self.upto = self.upto.max(change.revision());
        self.bytes += size(&change);
        self.changes.push_back(Arc::new(change));
        while self.changes.len() > MAX_CHANGES || (self.bytes > MAX_BYTES && self.changes.len() > 1) {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= size(&oldest);
            self.from = oldest.revision();
        }
    }

    pub(super) fn progress(&mut self, revision: Revision) {
        self.upto = self.upto.max(revision);
    }

    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    pub(super) fn upto(&self) -> Revision {
        self.upto
    }

    /// Whether every change after `after` is, or will be, here.
    pub(super) fn reaches(&self, after: Revision) -> bool {
        self.from <= after
    }

    /// The changes after `after`, some at a time.
    pub(super) fn after(&self, after: Revision) -> Result<Vec<Arc<Seen>>, Ended> {
        if self.is_closed {
            return Err(Ended::Closed);
        }
        if !self.reaches(after) {
            return Err(Ended::Expired);
        }
        let start = self.changes.partition_point(|change| change.revision() <= after);
        Ok(self.changes.range(start..).take(BATCH).cloned().collect())
    }
}

/// What a change keeps in memory; the previous state is mostly the one before in the ring.
fn size(change: &Change) -> usize {
    match change {
        Change::Put { entry, .. } => entry.value.len(),
        Change::Delete { previous, .. } => previous.value.len(),
    }
}

#[cfg(test)]
mod tests;
