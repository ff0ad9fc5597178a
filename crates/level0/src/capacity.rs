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
use crate::steady::{Steady, whole};

/// How the offer of a resource is reckoned and when it is worth telling.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Share of the capacity that is never offered. Negative overcommits on purpose.
    pub margin: f64,
    /// An amount that is never offered; where the share is more, that counts.
    pub least_margin: f64,
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
    /// What grew is told as the least of this time: what only comes and goes is no offer.
    pub telling_patience: Duration,
    /// What was told is told again after this time, if it changed at all.
    pub telling_interval: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            margin: 0.05,
            least_margin: 0.0,
            ceiling: 1.0,
            floor: 0.0,
            half_life: Duration::from_secs(3),
            growth: Duration::from_secs(1),
            stale_after: Duration::from_secs(15),
            telling_change: 0.1,
            telling_patience: Duration::from_secs(5),
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
    steady: Steady,
}

impl Offer {
    pub fn new(policy: Policy) -> Self {
        let peak = Peak::new(policy.half_life);
        Self { policy, peak, sum: Sum::default(), steady: Steady::default() }
    }

    /// Keeps to this policy from here on. That is worth telling.
    pub fn follow(&mut self, policy: Policy) {
        self.peak.follow(policy.half_life);
        self.policy = policy;
        self.steady.untell();
    }

    /// Takes what was reckoned at `now`.
    pub fn observe(&mut self, sum: Sum, now: Duration) {
        self.sum = sum;
        self.peak.observe(sum.measured, now);
        self.steady.observe(&self.policy, self.possible(), now);
    }

    fn possible(&self) -> f64 {
        let Sum { capacity, system, requested, .. } = self.sum;
        let sum = capacity - self.margin() - system - self.wanted() - requested;
        // What is never offered is not offered as a floor, either.
        let most = (capacity - self.margin()).clamp(0.0, capacity);
        let floor = (capacity * self.policy.floor.clamp(0.0, 1.0)).min(most);
        sum.min(capacity * self.policy.ceiling).max(floor)
    }

    fn margin(&self) -> f64 {
        let share = self.sum.capacity * self.policy.margin;
        if self.policy.least_margin > 0.0 { share.max(self.policy.least_margin) } else { share }
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
            margin: whole(self.margin()),
            system: whole(system),
            online_measured: whole(measured),
            online_predicted: whole(self.predicted()),
            online_requested: whole(requested),
            possible: whole(self.possible()),
            offered: self.steady.offered(&self.policy, now),
        }
    }

    /// Whether there is something worth telling at `now`; it then counts as told.
    pub fn tell(&mut self, now: Duration) -> bool {
        self.steady.tell(&self.policy, self.sum.capacity, now)
    }

    /// Whether anything was told yet.
    pub fn is_told(&self) -> bool {
        self.steady.is_told()
    }

    /// What was told last.
    pub fn told(&self) -> i64 {
        self.steady.told()
    }
}

#[cfg(test)]
mod steadiness;
#[cfg(test)]
mod tests;
