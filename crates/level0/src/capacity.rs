//! What one resource of a host offers to batch, and the sum that says why.
//!
//! ```text
//!   offered = capacity - margin - system - max(measured, predicted) online use - online by request
//! ```
//!
//! The offer shrinks at once and grows slowly, so that it neither jitters nor lies. Without fresh readings it
//! fades to zero: a host that cannot see cannot promise.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::peak::Peak;
use crate::reckon::Sum;

/// How the offer of a resource is reckoned and when it is worth telling.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Share of the capacity that is never offered. Negative overcommits on purpose.
    pub margin: f64,
    /// Most that may be offered, as a share of the capacity.
    pub ceiling: f64,
    /// Least that is offered while readings are fresh, as a share of the capacity. For CPU a little can always be
    /// lent, since batch yields it at once, and a job on a busy host must not wait for ever. Memory that was lent
    /// cannot be taken back without killing: there it is zero.
    pub floor: f64,
    /// Half-life of the remembered peak of online use.
    pub half_life: Duration,
    /// Time in which the offer grows by two thirds of the way to a higher value.
    pub growth: Duration,
    /// Readings older than this no longer carry the offer, which then fades within as long again.
    pub stale_after: Duration,
    /// A change by less than this share of what was told is not worth telling.
    pub telling_change: f64,
    /// What was told is told again after this time, if it changed at all.
    pub telling_interval: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            margin: 0.05,
            ceiling: 1.0,
            floor: 0.0,
            half_life: Duration::from_secs(20),
            growth: Duration::from_secs(5),
            stale_after: Duration::from_secs(15),
            telling_change: 0.1,
            telling_interval: Duration::from_secs(300),
        }
    }
}

/// The terms of an offer, so that it can be checked by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub capacity: i64,
    pub margin: i64,
    pub system: i64,
    pub online_measured: i64,
    /// The highest of late, or what is known of the apps' peaks, if that is more.
    pub online_predicted: i64,
    /// Of Pods that lend nothing, or were not measured yet.
    #[serde(default)]
    pub online_requested: i64,
    /// What the sum gives at this moment, between the floor and the ceiling.
    pub possible: i64,
    /// What is offered: `possible`, or less while the offer still grows or readings are stale.
    pub offered: i64,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} capacity - {} margin - {} system", self.capacity, self.margin, self.system)?;
        write!(f, " - max({} measured, {} predicted) online", self.online_measured, self.online_predicted)?;
        write!(f, " - {} online by request", self.online_requested)?;
        write!(f, " = {} possible, {} offered", self.possible, self.offered)
    }
}

/// Keeps the offer of one resource.
#[derive(Clone, Debug)]
pub struct Offer {
    policy: Policy,
    peak: Peak,
    sum: Sum,
    read_at: Option<Duration>,
    smoothed: f64,
    told: Option<Told>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    offered: i64,
    at: Duration,
}

impl Offer {
    pub fn new(policy: Policy) -> Self {
        let peak = Peak::new(policy.half_life);
        Self { policy, peak, sum: Sum::default(), read_at: None, smoothed: 0.0, told: None }
    }

    /// Takes what was reckoned at `now`.
    pub fn observe(&mut self, sum: Sum, now: Duration) {
        self.sum = sum;
        self.peak.observe(sum.measured, now);
        let possible = self.possible();
        self.smoothed = match self.read_at {
            // The first reading is all there is to know: waiting would only delay the first job.
            None => possible,
            Some(before) => self.grown(possible, now.saturating_sub(before)),
        };
        self.read_at = Some(self.read_at.map_or(now, |before| before.max(now)));
    }

    fn grown(&self, possible: f64, elapsed: Duration) -> f64 {
        if possible <= self.smoothed {
            return possible;
        }
        let share = 1.0 - (-elapsed.as_secs_f64() / self.policy.growth.as_secs_f64().max(1e-9)).exp();
        self.smoothed + (possible - self.smoothed) * share
    }

    fn possible(&self) -> f64 {
        let Sum { capacity, system, requested, .. } = self.sum;
        let sum = capacity - capacity * self.policy.margin - system - self.wanted() - requested;
        sum.min(capacity * self.policy.ceiling).max(capacity * self.policy.floor.clamp(0.0, 1.0))
    }

    /// What those who count by use may want.
    fn wanted(&self) -> f64 {
        self.sum.measured.max(self.predicted())
    }

    fn predicted(&self) -> f64 {
        self.sum.predicted.max(self.peak.value())
    }

    /// The offer at `now`, with its terms.
    pub fn explain(&self, now: Duration) -> Explanation {
        let Sum { capacity, system, measured, requested, .. } = self.sum;
        Explanation {
            capacity: whole(capacity),
            margin: whole(capacity * self.policy.margin),
            system: whole(system),
            online_measured: whole(measured),
            online_predicted: whole(self.predicted()),
            online_requested: whole(requested),
            possible: whole(self.possible()),
            offered: whole(self.smoothed * self.freshness(now)),
        }
    }

    /// 1 while the last reading is fresh, then falling to 0.
    fn freshness(&self, now: Duration) -> f64 {
        let Some(read_at) = self.read_at else { return 0.0 };
        let limit = self.policy.stale_after.as_secs_f64().max(1e-9);
        (2.0 - now.saturating_sub(read_at).as_secs_f64() / limit).clamp(0.0, 1.0)
    }

    /// The offer if it is worth telling at `now`; it then counts as told.
    pub fn tell(&mut self, now: Duration) -> Option<Explanation> {
        let explanation = self.explain(now);
        if !self.is_news(explanation.offered, now) {
            return None;
        }
        self.told = Some(Told { offered: explanation.offered, at: now });
        Some(explanation)
    }

    /// Forgets what was told, as when telling failed.
    pub fn untell(&mut self) {
        self.told = None;
    }

    fn is_news(&self, offered: i64, now: Duration) -> bool {
        let Some(told) = self.told else { return true };
        if offered == told.offered {
            return false;
        }
        let change = offered.abs_diff(told.offered) as f64;
        let threshold = self.policy.telling_change * told.offered.max(1) as f64;
        // Reaching zero is always news; a whisper above zero is not.
        let smallest = self.policy.telling_change * 0.1 * self.sum.capacity;
        let emptied = offered == 0;
        emptied
            || (change > threshold && change > smallest)
            || now.saturating_sub(told.at) >= self.policy.telling_interval
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, and amounts are far below 2^63")]
fn whole(value: f64) -> i64 {
    value.floor() as i64
}

#[cfg(test)]
mod tests;
