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
    /// What is old enough to be forgotten.
    goal: Option<Revision>,
}

/// How often age is looked at, as a share of what is kept.
const SHARE: u32 = 16;
/// So many revisions are forgotten with one commit: to read more of them again makes all wait whose changes it carries.
const STEP: u64 = 64;
/// Of what has piled up beyond that, one commit forgets this share, so that it ends however much each commit adds.
const PILE: u64 = 8;

impl Compactor {
    pub(super) fn new(keep: Option<Keep>) -> Self {
        Self { keep, samples: VecDeque::new(), goal: None }
    }

    /// The revision to compact to, if it is worth it, for a store that is at `revision` at time `now`.
    pub(super) fn due(&mut self, revision: Revision, compacted: Revision, now: Instant) -> Option<Revision> {
        let (goal, least) = match self.keep? {
            Keep::Revisions(count) => {
                (Revision(revision.0.saturating_sub(count)), (count / u64::from(SHARE)).clamp(1, STEP))
            }
            Keep::Age(age) => {
                self.goal = self.due_by_age(age, revision, now).max(self.goal);
                (self.goal?, 1)
            }
        };
        let pile = goal.0.saturating_sub(compacted.0);
        (pile >= least).then(|| Revision(compacted.0 + pile.min(STEP.max(pile / PILE))))
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
        assert_eq!(compactor.due(Revision(92), Revision(5), after(400)), Some(Revision(69)));
    }

    #[test]
    fn one_commit_forgets_little_and_all_of_them_enough() {
        let now = kit::clock::monotonic();
        let mut compactor = Compactor::new(Some(Keep::Revisions(10_000)));
        assert_eq!(compactor.due(Revision(10_064), Revision(1), now), None);
        assert_eq!(compactor.due(Revision(10_065), Revision(1), now), Some(Revision(65)));
        assert_eq!(
            compactor.due(Revision(10_200), Revision(1), now),
            Some(Revision(65)),
            "the rest comes later"
        );
        assert_eq!(
            compactor.due(Revision(18_001), Revision(1), now),
            Some(Revision(1001)),
            "an eighth of the pile"
        );
        // Whatever a commit carries, what is kept stays bounded.
        let (mut revision, mut compacted) = (Revision(1), Revision(1));
        for _ in 0..1000 {
            revision.0 += 1024;
            compacted = compactor.due(revision, compacted, now).unwrap_or(compacted);
        }
        assert!(revision.0 - compacted.0 < 10_000 + 9 * 1024, "{revision:?} {compacted:?}");
    }

    #[test]
    fn what_is_old_is_forgotten_little_by_little() {
        let start = kit::clock::monotonic();
        let after = |seconds| -> Instant { start + Duration::from_secs(seconds) };
        let mut compactor = Compactor::new(Some(Keep::Age(Duration::from_secs(160))));
        assert_eq!(compactor.due(Revision(200), Revision(1), start), None);
        assert_eq!(compactor.due(Revision(300), Revision(1), after(161)), Some(Revision(65)));
        assert_eq!(compactor.due(Revision(301), Revision(65), after(161)), Some(Revision(129)));
        assert_eq!(compactor.due(Revision(302), Revision(129), after(161)), Some(Revision(193)));
        assert_eq!(compactor.due(Revision(303), Revision(193), after(161)), Some(Revision(200)));
        assert_eq!(compactor.due(Revision(304), Revision(200), after(161)), None);
    }

    #[test]
    fn without_a_policy_all_is_kept() {
        let now = kit::clock::monotonic();
        assert_eq!(Compactor::new(None).due(Revision(u64::MAX), Revision(1), now), None);
    }
}
