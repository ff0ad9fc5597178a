//! A number that shrinks at once, grows slowly, fades when nobody reckons it, and is told when it changed enough.
//!
//! ```text
//!   possible ──less──► at once ─┐
//!            └─more──► slowly ──┴► × freshness ──► offered ──changed enough, emptied, or long ago──► told
//! ```

use std::time::Duration;

use crate::capacity::Policy;

/// Remembers the number and what was told of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steady {
    read_at: Option<Duration>,
    smoothed: f64,
    told: Option<Told>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    offered: i64,
    at: Duration,
}

impl Steady {
    /// Takes what was found possible at `now`.
    pub(crate) fn observe(&mut self, policy: &Policy, possible: f64, now: Duration) {
        self.smoothed = match self.read_at {
            // The first reading is all there is to know: waiting would only delay the first job.
            None => possible,
            Some(before) => self.grown(policy, possible, now.saturating_sub(before)),
        };
        self.read_at = Some(self.read_at.map_or(now, |before| before.max(now)));
    }

    fn grown(&self, policy: &Policy, possible: f64, elapsed: Duration) -> f64 {
        if possible <= self.smoothed {
            return possible;
        }
        let share = 1.0 - (-elapsed.as_secs_f64() / policy.growth.as_secs_f64().max(1e-9)).exp();
        self.smoothed + (possible - self.smoothed) * share
    }

    /// What is offered at `now`.
    pub(crate) fn offered(&self, policy: &Policy, now: Duration) -> i64 {
        whole(self.smoothed * self.freshness(policy, now))
    }

    /// 1 while the last reading is fresh, then falling to 0.
    fn freshness(&self, policy: &Policy, now: Duration) -> f64 {
        let Some(read_at) = self.read_at else { return 0.0 };
        let limit = policy.stale_after.as_secs_f64().max(1e-9);
        (2.0 - now.saturating_sub(read_at).as_secs_f64() / limit).clamp(0.0, 1.0)
    }

    /// Whether what is offered at `now`, of `capacity`, is worth telling; it then counts as told.
    pub(crate) fn tell(&mut self, policy: &Policy, capacity: f64, now: Duration) -> bool {
        let offered = self.offered(policy, now);
        let is_news = self.is_news(policy, capacity, offered, now);
        if is_news {
            self.told = Some(Told { offered, at: now });
        }
        is_news
    }

    /// Whatever is offered next is worth telling.
    pub(crate) fn untell(&mut self) {
        self.told = None;
    }

    fn is_news(&self, policy: &Policy, capacity: f64, offered: i64, now: Duration) -> bool {
        let Some(told) = self.told else { return true };
        if offered == told.offered {
            return false;
        }
        let change = offered.abs_diff(told.offered) as f64;
        let threshold = policy.telling_change * told.offered.max(1) as f64;
        // Reaching zero is always news; a whisper above zero is not.
        let smallest = policy.telling_change * 0.1 * capacity;
        let emptied = offered == 0;
        emptied
            || (change > threshold && change > smallest)
            || now.saturating_sub(told.at) >= policy.telling_interval
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, and amounts are far below 2^63")]
pub(crate) fn whole(value: f64) -> i64 {
    value.floor() as i64
}
