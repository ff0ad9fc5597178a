//! What a host offers to the mid tier: what services requested and, by what is known of their peaks, will not use.
//!
//! ```text
//!   reclaimable = min( sum of (request - peak),  requests - system - peaks,  capacity - peaks )
//!   offered     = min( min(reclaimable, unused) + unallocated × share,  capacity × ceiling )
//! ```
//!
//! Batch lives from moment to moment on what is idle; the mid tier on what stays idle for days. So only who is known
//! counts: a Pod whose app has no history yet, or whose CPUs are its own, will use all that it requested. What batch uses
//! counts as unused, since batch yields; what the mid tier uses is what is offered here.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::capacity;
use crate::peak::amount;
use crate::reckon::Host;
use crate::steady::{Steady, whole};

/// How much of what is there may be offered.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Share of what no service requested that counts, too.
    pub unallocated: f64,
    /// The most that is offered, as a share of the capacity.
    pub ceiling: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { unallocated: 0.0, ceiling: 1.0 }
    }
}

/// The terms, of one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    pub capacity: f64,
    /// What services requested and will not use.
    pub reclaimable: f64,
    /// What neither they nor the system use now.
    pub unused: f64,
    /// What no service requested.
    pub unallocated: f64,
}

/// Adds up what services leave for good.
pub fn reckon(host: &Host, system: f64) -> Sum {
    let capacity = amount(host.capacity);
    let (mut requested, mut peaks, mut used, mut left) = (0.0, 0.0, 0.0, 0.0);
    for pod in host.online.iter().filter(|pod| !pod.is_mid) {
        let request = amount(pod.request);
        let measured = pod.measured.map(amount);
        let known = pod.predicted.filter(|_| !pod.is_pinned).map(amount);
        // One that uses more than it ever did is not known, either.
        let peak = known.unwrap_or(request).max(measured.unwrap_or(0.0));
        requested += request;
        peaks += peak;
        used += measured.unwrap_or(request.max(amount(pod.while_new)));
        left += (request - peak).max(0.0);
    }
    let system = amount(system);
    Sum {
        capacity,
        reclaimable: left.min(requested - system - peaks).min(capacity - peaks).max(0.0),
        unused: (capacity - system - used).max(0.0),
        unallocated: (capacity - requested).max(0.0),
    }
}

/// The terms of an offer, so that it can be checked by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub reclaimable: i64,
    pub unused: i64,
    /// Of what is unallocated, the share that counts.
    pub unallocated: i64,
    pub possible: i64,
    pub offered: i64,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "min({} reclaimable, {} unused)", self.reclaimable, self.unused)?;
        write!(f, " + {} unallocated", self.unallocated)?;
        write!(f, " = {} possible, {} offered", self.possible, self.offered)
    }
}

/// Keeps the offer of one resource.
#[derive(Clone, Debug)]
pub struct Offer {
    policy: Policy,
    /// How fast it grows and fades, and when it is worth telling: as what batch is offered.
    pace: capacity::Policy,
    sum: Sum,
    steady: Steady,
}

impl Offer {
    pub fn new(policy: Policy, pace: capacity::Policy) -> Self {
        Self { policy, pace, sum: Sum::default(), steady: Steady::default() }
    }

    /// Keeps to these from here on. That is worth telling.
    pub fn follow(&mut self, policy: Policy, pace: capacity::Policy) {
        (self.policy, self.pace) = (policy, pace);
        self.steady.untell();
    }

    /// Takes what was reckoned at `now`.
    pub fn observe(&mut self, sum: Sum, now: Duration) {
        self.sum = sum;
        self.steady.observe(&self.pace, self.possible(), now);
    }

    fn unallocated(&self) -> f64 {
        self.sum.unallocated * self.policy.unallocated
    }

    fn possible(&self) -> f64 {
        let Sum { capacity, reclaimable, unused, .. } = self.sum;
        (reclaimable.min(unused) + self.unallocated()).min(capacity * self.policy.ceiling).max(0.0)
    }

    /// The offer at `now`, with its terms.
    pub fn explain(&self, now: Duration) -> Explanation {
        Explanation {
            reclaimable: whole(self.sum.reclaimable),
            unused: whole(self.sum.unused),
            unallocated: whole(self.unallocated()),
            possible: whole(self.possible()),
            offered: self.steady.offered(&self.pace, now),
        }
    }

    /// Whether there is something worth telling at `now`; it then counts as told.
    pub fn tell(&mut self, now: Duration) -> bool {
        self.steady.tell(&self.pace, self.sum.capacity, now)
    }

    /// What was told last.
    pub fn told(&self) -> i64 {
        self.steady.told()
    }
}

#[cfg(test)]
mod tests;
