//! Which running instances are so late that they are begun a second time, on another worker: whoever ends first counts.
//!
//! A late instance is worth a second place only where all three hold: nearly all of its task are done, so that it keeps
//! others waiting; it has run for a multiple of what the others took; and for long enough that a second one can be there
//! before it. Each has one backup at most: where that is as slow, it is the work that takes long, not the place.

use std::time::Duration;

/// So much of a task must have ended well, in percent.
const MOST_DONE: u64 = 90;
/// So many times the mean an instance must have run.
const MULTIPLE: u32 = 3;
/// And so long in any case: a worker has to be found and started for it.
const LEAST: Duration = Duration::from_secs(5);

/// What the instances of a task took that ended well, as far as this master has heard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Typical {
    count: u32,
    total: Duration,
}

impl Typical {
    pub(crate) fn learn(&mut self, took: Duration) {
        self.count = self.count.saturating_add(1);
        self.total = self.total.saturating_add(took);
    }

    /// From which time on an instance is late, where `done` of `all` have ended well; `None` while none is.
    pub(crate) fn limit(self, (done, all): (u32, u32)) -> Option<Duration> {
        let mean = self.total.checked_div(self.count)?;
        let most_are_done = u64::from(done) * 100 >= u64::from(all) * MOST_DONE;
        most_are_done.then(|| (mean.saturating_mul(MULTIPLE)).max(LEAST))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Typical;

    #[test]
    fn late_is_who_runs_on_when_nearly_all_are_done() {
        let mut typical = Typical::default();
        assert_eq!(typical.limit((9, 10)), None, "nothing to compare with");
        typical.learn(Duration::from_secs(2));
        typical.learn(Duration::from_secs(4));
        let check = |done: u32, seconds: Option<u64>| {
            assert_eq!(typical.limit((done, 10)), seconds.map(Duration::from_secs));
        };
        check(8, None);
        check(9, Some(9));
        let mut short = Typical::default();
        short.learn(Duration::from_millis(10));
        assert_eq!(short.limit((10, 10)), Some(Duration::from_secs(5)));
    }
}
