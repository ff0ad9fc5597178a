//! A number that shrinks at once, grows slowly, fades when nobody reckons it, and is told when it changed enough.
//!
//! ```text
//!   possible ──less──► at once ─┐
//!            └─more──► slowly ──┴► × freshness ──► offered ──less by enough: at once ───────► told
//!                                                         └─the least of late is more by enough, or all is long ago ─┘
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use crate::capacity::Policy;

/// More looks than this are not remembered.
const MOST_RECENT: usize = 64;

/// Remembers the number and what was told of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steady {
    read_at: Option<Duration>,
    smoothed: f64,
    told: Option<Told>,
    /// When it was to tell first, though nothing had been read.
    blind_since: Option<Duration>,
    /// What was offered in the last moments.
    recent: VecDeque<(Duration, i64)>,
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

    /// Whether there is something worth telling at `now`, of `capacity`; it then counts as told. What shrank is told as it
    /// is; what grew as the least of late.
    pub(crate) fn tell(&mut self, policy: &Policy, capacity: f64, now: Duration) -> bool {
        if self.is_still_to_read(policy, now) {
            return false;
        }
        let offered = self.offered(policy, now);
        self.recent.retain(|(at, _)| now.saturating_sub(*at) <= policy.telling_patience);
        // Clocks that stand still keep everything.
        if self.recent.len() >= MOST_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((now, offered));
        let least = self.recent.iter().map(|(_, offered)| *offered).min().unwrap_or(offered);
        let news = match self.told {
            None => Some(offered),
            Some(told) if offered < told.offered => {
                (offered == 0 || is_enough(policy, capacity, offered, told)).then_some(offered)
            }
            Some(told) => is_enough(policy, capacity, least, told).then_some(least),
        };
        let is_due =
            |told: Told| now.saturating_sub(told.at) >= policy.telling_interval && least != told.offered;
        let news = news.or_else(|| self.told.filter(|told| is_due(*told)).map(|_| least));
        if let Some(offered) = news {
            self.told = Some(Told { offered, at: now });
        }
        news.is_some()
    }

    /// Before the first reading there is nothing to tell, and what was told before this process stands; but not for ever.
    fn is_still_to_read(&mut self, policy: &Policy, now: Duration) -> bool {
        let since = *self.blind_since.get_or_insert(now);
        self.read_at.is_none() && now.saturating_sub(since) < 2 * policy.stale_after
    }

    pub(crate) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// What was told last.
    pub(crate) fn told(&self) -> i64 {
        self.told.map_or(0, |told| told.offered)
    }

    /// Whatever is offered next is worth telling.
    pub(crate) fn untell(&mut self) {
        self.told = None;
        self.recent.clear();
    }
}

/// Whether `offered` is enough more or less than what was `told`. A whisper above zero is not.
fn is_enough(policy: &Policy, capacity: f64, offered: i64, told: Told) -> bool {
    let change = offered.abs_diff(told.offered) as f64;
    change > policy.telling_change * told.offered.max(1) as f64
        && change > policy.telling_change * 0.1 * capacity
}

#[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, and amounts are far below 2^63")]
pub(crate) fn whole(value: f64) -> i64 {
    value.floor() as i64
}
