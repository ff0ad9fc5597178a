//! How instances of one task ended on one machine lately.

use std::collections::VecDeque;
use std::time::Duration;

use super::{FORGIVEN_AFTER, LEAST_SHARE, MULTIPLE, RECENT, WELL, WITNESSES};

/// What one end says of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Well,
    /// This instance failed here, and so far nowhere else.
    Failed(u32),
    /// A worker was lost that ran nothing.
    WorkerLost,
}

#[derive(Clone, Debug)]
pub(super) enum Standing {
    Trusted,
    /// And so many have ended well there in a row since.
    Avoided {
        since: Duration,
        well: usize,
    },
}

/// The ends on a machine, or on several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) failed: usize,
    pub(super) all: usize,
}

impl Sums {
    pub(super) fn minus(self, other: Self) -> Self {
        Self { failed: self.failed - other.failed, all: self.all - other.all }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    recent: VecDeque<Seen>,
    pub(super) sums: Sums,
    pub(super) standing: Standing,
}

impl Default for Record {
    fn default() -> Self {
        Self { recent: VecDeque::new(), sums: Sums::default(), standing: Standing::Trusted }
    }
}

impl Record {
    pub(super) fn see(&mut self, seen: Seen) {
        // One instance is one witness, however often it fails here.
        if matches!(seen, Seen::Failed(_)) && self.recent.contains(&seen) {
            return;
        }
        if self.recent.len() == RECENT
            && let Some(oldest) = self.recent.pop_front()
        {
            self.discount(oldest);
        }
        self.recent.push_back(seen);
        self.sums.all += 1;
        self.sums.failed += usize::from(seen != Seen::Well);
        if let Standing::Avoided { well, .. } = &mut self.standing {
            *well = if seen == Seen::Well { *well + 1 } else { 0 };
        }
    }

    fn discount(&mut self, seen: Seen) {
        self.sums.all -= 1;
        self.sums.failed -= usize::from(seen != Seen::Well);
    }

    /// An instance is no witness any more: it fails elsewhere, too.
    pub(super) fn dismiss(&mut self, index: u32) {
        let witness = Seen::Failed(index);
        if let Some(position) = self.recent.iter().position(|seen| *seen == witness) {
            self.recent.remove(position);
            self.discount(witness);
        }
    }

    /// Whether so much fails here, and so much less elsewhere, that the machine must be the reason.
    pub(super) fn is_at_fault(&self, elsewhere: Sums) -> bool {
        let Sums { failed, all } = self.sums;
        failed >= WITNESSES
            && failed * LEAST_SHARE >= all
            && elsewhere.all - elsewhere.failed >= WITNESSES
            && failed * elsewhere.all >= MULTIPLE * elsewhere.failed * all
    }

    /// Whether it is to be tried again: its time is over, or all is well.
    pub(super) fn is_forgiven(&self, now: Duration) -> bool {
        match self.standing {
            Standing::Trusted => false,
            Standing::Avoided { since, well } => well >= WELL || now >= since + FORGIVEN_AFTER,
        }
    }

    /// From now on it stands like this, whatever was before.
    pub(super) fn begin(&mut self, standing: Standing) {
        self.recent.clear();
        self.sums = Sums::default();
        self.standing = standing;
    }
}
