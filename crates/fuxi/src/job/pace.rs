//! How long the instances of a task take a worker, as its master sees it: the mean of late, the way there and back included.

use std::time::Duration;

use super::{HOLD, MAX_HELD};

/// Unknown until the first result.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace(Option<Duration>);

impl Pace {
    /// A worker ended `count` instances within `spent`.
    pub(super) fn learn(&mut self, count: usize, spent: Duration) {
        let Ok(count) = u32::try_from(count) else { return };
        let Some(each) = spent.checked_div(count) else { return };
        // The last few reports count: instances of one task may change their ways.
        self.0 = Some(self.0.map_or(each, |before| (before * 3 + each) / 4));
    }

    /// How many instances a worker should end within [`HOLD`]; one, as long as nothing is known.
    pub(super) fn depth(self) -> usize {
        let Some(each) = self.0 else { return 1 };
        let depth = HOLD.as_nanos().checked_div(each.as_nanos());
        depth.map_or(MAX_HELD, |depth| usize::try_from(depth).unwrap_or(MAX_HELD)).clamp(1, MAX_HELD)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{MAX_HELD, Pace};

    #[test]
    fn the_depth_follows_what_instances_take() {
        let mut pace = Pace::default();
        assert_eq!(pace.depth(), 1, "nothing is known");
        pace.learn(1, Duration::from_millis(10));
        assert_eq!(pace.depth(), 10);
        pace.learn(100, Duration::from_millis(100));
        assert_eq!(pace.depth(), 12, "7.75 ms each, by and by");
        pace.learn(1, Duration::from_secs(60));
        assert_eq!(pace.depth(), 1, "a long one is noticed at once");
        let mut pace = Pace::default();
        pace.learn(1000, Duration::ZERO);
        assert_eq!(pace.depth(), MAX_HELD);
    }
}
