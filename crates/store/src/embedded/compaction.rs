//! When history is forgotten without anyone asking. Decided at a commit, so an idle store does nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::Revision;

/// How much history to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// At least the last so many revisions.
    Revisions(u64),
    /// At least what happened within so long; age is counted from when the store was opened.
    Age(Duration),
}

/// Watches the store grow and tells what may be forgotten.
#[derive(Debug)]
pub(super) struct Compactor {
    keep: Option<Keep>,
    /// Where the store was at some moments of the past, oldest first.
    samples: VecDeque<(Instant, Revision)>,
}

/// How much is forgotten at once, as a share of what is kept: rarely enough to cost little, and little enough
/// that no single commit takes long.
const SHARE: u32 = 16;

impl Compactor {
    pub(super) fn new(keep: Option<Keep>) -> Self {
        Self { keep, samples: VecDeque::new() }
    }

    /// The revision to compact to, if it is worth it, for a store that is at `revision` at time `now`.
    pub(super) fn due(&mut self, revision: Revision, compacted: Revision, now: Instant) -> Option<Revision> {
        match self.keep? {
            Keep::Revisions(count) => {
                let upto = Revision(revision.0.saturating_sub(count));
                let step = (count / u64::from(SHARE)).max(1);
                (upto.0 >= compacted.0.saturating_add(step)).then_some(upto)
            }
            Keep::Age(age) => self.due_by_age(age, revision, now).filter(|upto| *upto > compacted),
        }
    }

    fn due_by_age(&mut self, age: Duration, revision: Revision, now: Instant) -> Option<Revision> {
        let is_sample_due =
            self.samples.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= age / SHARE);
        if is_sample_due {
            self.samples.push_back((now, revision));
        }
        let mut upto = None;
        while let Some((_, revision)) =
            self.samples.pop_front_if(|(at, _)| now.saturating_duration_since(*at) >= age)
        {
            upto = Some(revision);
        }
        upto
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Compactor, Keep};
    use crate::Revision;

    #[test]
    fn revisions_are_kept_and_forgotten_in_steps() {
        let now = kit::clock::monotonic();
        let mut compactor = Compactor::new(Some(Keep::Revisions(160)));
        assert_eq!(compactor.due(Revision(160), Revision(1), now), None);
        assert_eq!(compactor.due(Revision(170), Revision(1), now), None);
        assert_eq!(compactor.due(Revision(171), Revision(1), now), Some(Revision(11)));
        assert_eq!(compactor.due(Revision(172), Revision(11), now), None);
    }

    #[test]
    fn age_is_counted_by_samples() {
        let start = kit::clock::monotonic();
        let after = |seconds| -> Instant { start + Duration::from_secs(seconds) };
        let mut compactor = Compactor::new(Some(Keep::Age(Duration::from_secs(160))));
        assert_eq!(compactor.due(Revision(5), Revision(1), start), None);
        assert_eq!(compactor.due(Revision(50), Revision(1), after(100)), None);
        assert_eq!(compactor.due(Revision(90), Revision(1), after(161)), Some(Revision(5)));
        assert_eq!(compactor.due(Revision(91), Revision(5), after(162)), None);
        assert_eq!(compactor.due(Revision(92), Revision(5), after(400)), Some(Revision(90)));
    }

    #[test]
    fn without_a_policy_all_is_kept() {
        let now = kit::clock::monotonic();
        assert_eq!(Compactor::new(None).due(Revision(u64::MAX), Revision(1), now), None);
    }
}
