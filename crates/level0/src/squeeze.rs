//! How hard batch is held back on a host, decided every 100 ms.
//!
//! ```text
//!              pressure: halve at once                  quiet for `patience`: give back step by step
//!   Free ───────────────────────────────► Held(limit) ───────────────────────────────────────────► Free
//!                                          │    ▲ pressure again: halve, remember the limit that hurt,
//!                                          └────┘ and be twice as patient before passing it again
//! ```
//!
//! Batch runs in the kernel's idle class as long as that exists, so it yields to online on its own; the quota is
//! for what the class cannot prevent (shared caches, wake-up delays). Without the class, the quota also follows
//! online use directly.
//!
//! Pressure is felt by two signals: how long online's threads wait for a CPU, and where services tell it, their own
//! latency. What stays when batch has been at its floor for long is not batch's doing, and no longer counts.

use std::time::Duration;

use model::MilliCpu;

use crate::peak::{Peak, amount};
use crate::signal::Signal;
use crate::told::{News, Services};

/// How the host behaves under pressure.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Scheduling delay of online (waiting over waiting plus running) at which batch is squeezed.
    pub high: f64,
    /// Delay below which batch may have more again.
    pub low: f64,
    /// Latency of a service, as a share of its objective, at which batch is squeezed.
    pub latency_high: f64,
    /// Latency below which batch may have more again.
    pub latency_low: f64,
    /// For so long a latency that was told counts.
    pub latency_lasts: Duration,
    /// Batch always keeps this share of the capacity, or it would hold locks and memory for ever.
    pub floor: f64,
    /// Share of the capacity that is given back per tick.
    pub step: f64,
    /// Quiet time before anything is given back.
    pub patience: Duration,
    /// Longest quiet time before the limit that hurt is passed again.
    pub longest_patience: Duration,
    /// Share of the capacity that stays free of batch when online fills the rest.
    pub reserve: f64,
    /// What persists for this long with batch at its floor is not batch's doing.
    pub acquittal: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            high: 0.25,
            low: 0.15,
            latency_high: 1.0,
            latency_low: 0.9,
            latency_lasts: Duration::from_secs(3),
            floor: 0.05,
            step: 0.02,
            patience: Duration::from_millis(500),
            longest_patience: Duration::from_secs(60),
            reserve: 0.05,
            acquittal: Duration::from_secs(5),
        }
    }
}

/// What a host can do to a group of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The kernel's idle class: batch runs only where nothing else wants to.
    Idle,
    /// The smallest weight: batch still gets a sliver, and delays wake-ups.
    Weight,
}

/// One look at the host.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample<'a> {
    pub now: Duration,
    /// All milli-cores of the host.
    pub capacity: f64,
    /// Milli-cores used since the last sample, by class.
    pub online: f64,
    pub batch: f64,
    pub system: f64,
    /// Share of the time in which online's threads wanted to run but waited: 0 to 1. `None` where it is unknown.
    pub online_delay: Option<f64>,
    /// What services have told since the last sample.
    pub news: &'a [News<'a>],
}

/// What to do to batch from now on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Squeeze {
    /// `None` is no limit.
    pub quota: Option<MilliCpu>,
    pub idle: bool,
    /// What online suffers, as a multiple of what it may; `None` where no signal tells.
    pub suffering: Option<f64>,
    /// The worst that services have told last, while it counts.
    pub latency: Option<f64>,
}

/// The state machine of one host.
#[derive(Clone, Debug)]
pub struct Squeezer {
    policy: Policy,
    class: Class,
    hold: Hold,
    online: Peak,
    delay: Signal,
    services: Services,
    floor_since: Option<Duration>,
    applied: Option<f64>,
    last: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Hold {
    Free { since: Duration, patience: Duration },
    Held(Held),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    limit: f64,
    /// The limit under which online suffered last.
    hurt: f64,
    patience: Duration,
    /// When pressure was last felt or `hurt` was last passed.
    quiet_since: Duration,
}

impl Squeezer {
    pub fn new(policy: Policy, class: Class) -> Self {
        let patience = policy.patience;
        let delay = Signal::new(policy.high, policy.low);
        Self {
            policy,
            class,
            hold: Hold::Free { since: Duration::ZERO, patience },
            online: Peak::new(Duration::from_secs(1)),
            delay,
            services: Services::default(),
            floor_since: None,
            applied: None,
            last: Duration::ZERO,
        }
    }

    /// Keeps to this policy from here on; what is held stays held until it is quiet.
    pub fn follow(&mut self, policy: Policy) {
        self.delay.follow(policy.high, policy.low);
        self.services.follow(policy.latency_high, policy.latency_low);
        self.policy = policy;
    }

    /// The decision after `sample`.
    pub fn step(&mut self, sample: Sample<'_>) -> Squeeze {
        let sample = self.cleaned(sample);
        self.online.observe(sample.online, sample.now);
        let marks = (self.policy.latency_high, self.policy.latency_low);
        self.services.hear(sample.news, marks, self.policy.latency_lasts, sample.now);
        self.learn(&sample);
        let suffering = self.suffering(&sample);
        self.hold =
            if self.suffers(suffering, &sample) { self.tightened(&sample) } else { self.relaxed(&sample) };
        let limit = self.limit(&sample);
        self.applied = self.with_dead_band(limit, &sample);
        self.floor_since = match self.applied {
            Some(applied) if applied <= self.floor(&sample) => self.floor_since.or(Some(sample.now)),
            _ => None,
        };
        Squeeze {
            quota: self.applied.map(milli),
            idle: self.class == Class::Idle,
            suffering,
            latency: self.services.worst(),
        }
    }

    /// Who was to blame is another, or one of batch who is held back: the others are not wary of what hurt.
    pub fn pardon(&mut self) {
        if let Hold::Held(held) = self.hold {
            self.hold = Hold::Held(Held { hurt: f64::INFINITY, patience: self.policy.patience, ..held });
        }
    }

    /// Broken counters read as zero, and time never runs backwards.
    fn cleaned<'a>(&mut self, sample: Sample<'a>) -> Sample<'a> {
        self.last = self.last.max(sample.now);
        Sample {
            now: self.last,
            capacity: amount(sample.capacity),
            online: amount(sample.online),
            batch: amount(sample.batch),
            system: amount(sample.system),
            online_delay: sample.online_delay.map(|delay| amount(delay).min(1.0)),
            news: sample.news,
        }
    }

    /// What stays although batch is at its floor comes from elsewhere: batch must not pay for it for ever.
    fn learn(&mut self, sample: &Sample<'_>) {
        let is_acquitted =
            self.floor_since.is_some_and(|since| sample.now.saturating_sub(since) >= self.policy.acquittal);
        if is_acquitted && !self.is_quiet(sample) {
            // Nor was what hurt on the way to the floor: there is nothing to be wary of.
            self.pardon();
        }
        if let Some(delay) = sample.online_delay {
            self.delay.learn(delay, is_acquitted);
        }
        self.services.learn(is_acquitted);
    }

    fn suffering(&self, sample: &Sample<'_>) -> Option<f64> {
        let delay = sample.online_delay.map(|delay| self.delay.suffering(delay));
        delay.into_iter().chain(self.services.suffering(sample.now)).reduce(f64::max)
    }

    fn suffers(&self, suffering: Option<f64>, sample: &Sample<'_>) -> bool {
        let hurts = suffering.is_some_and(|suffering| suffering > 1.0 && sample.batch > 0.0);
        let full = sample.online + sample.system > sample.capacity * (1.0 - self.policy.reserve);
        hurts || full && sample.online > sample.system
    }

    fn is_quiet(&self, sample: &Sample<'_>) -> bool {
        sample.online_delay.is_none_or(|delay| self.delay.is_quiet(delay)) && self.services.are_quiet()
    }

    fn tightened(&self, sample: &Sample<'_>) -> Hold {
        let now = sample.now;
        let current = match self.hold {
            Hold::Free { .. } => sample.capacity,
            Hold::Held(held) => held.limit,
        };
        // Half of what batch really uses: a limit above its use would change nothing.
        let used = if sample.batch > 0.0 { sample.batch } else { current };
        let limit = (current.min(used) / 2.0).max(self.floor(sample));
        let (hurt, patience) = match self.hold {
            Hold::Held(held) if limit >= held.limit => (held.hurt, held.patience),
            Hold::Held(held) => (held.limit.min(used), self.longer(held.patience)),
            Hold::Free { since, patience } => (current.min(used), self.patience_after(since, patience, now)),
        };
        Hold::Held(Held { limit, hurt, patience, quiet_since: now })
    }

    fn longer(&self, patience: Duration) -> Duration {
        (patience * 2).min(self.policy.longest_patience)
    }

    /// A long time of freedom forgives; a short one did not pay.
    fn patience_after(&self, since: Duration, patience: Duration, now: Duration) -> Duration {
        let long_free = now.saturating_sub(since) > self.policy.longest_patience * 4;
        if long_free { self.policy.patience } else { self.longer(patience) }
    }

    fn relaxed(&self, sample: &Sample<'_>) -> Hold {
        let Hold::Held(held) = self.hold else { return self.hold };
        let now = sample.now;
        if !self.is_quiet(sample) {
            return Hold::Held(Held { quiet_since: now, ..held });
        }
        let quiet = now.saturating_sub(held.quiet_since);
        if quiet < self.policy.patience {
            return self.hold;
        }
        let raised = held.limit + self.policy.step * sample.capacity;
        let wary = held.hurt - 2.0 * self.policy.step * sample.capacity;
        if raised > wary && quiet < held.patience {
            // Just below what hurt: stay there until patience is through.
            return Hold::Held(Held { limit: held.limit.max(wary.min(raised)), ..held });
        }
        if raised >= sample.capacity {
            return Hold::Free { since: now, patience: held.patience };
        }
        Hold::Held(Held { limit: raised, ..held })
    }

    fn floor(&self, sample: &Sample<'_>) -> f64 {
        self.policy.floor * sample.capacity
    }

    fn limit(&self, sample: &Sample<'_>) -> Option<f64> {
        let held = match self.hold {
            Hold::Free { .. } => None,
            Hold::Held(held) => Some(held.limit),
        };
        let limit = match self.class {
            Class::Idle => held,
            Class::Weight => Some(held.unwrap_or(f64::INFINITY).min(self.left_by_online(sample))),
        };
        limit.map(|limit| limit.max(self.floor(sample))).filter(|limit| *limit < sample.capacity)
    }

    fn left_by_online(&self, sample: &Sample<'_>) -> f64 {
        let left = sample.capacity * (1.0 - self.policy.reserve) - sample.system - self.online.value();
        // Nothing but the reserve is taken: then there is no one to protect.
        if self.online.value() < 0.01 * sample.capacity { f64::INFINITY } else { left }
    }

    /// Small steps are not worth a write: the kernel restarts the period on each. The one to the floor is, as what stays
    /// after it is not batch's doing.
    fn with_dead_band(&self, limit: Option<f64>, sample: &Sample<'_>) -> Option<f64> {
        match (limit, self.applied) {
            (Some(limit), _) if limit <= self.floor(sample) => Some(limit),
            (Some(limit), Some(applied)) if (limit - applied).abs() < 0.01 * sample.capacity => Some(applied),
            (limit, _) => limit,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "limits are finite and not negative"
)]
fn milli(value: f64) -> MilliCpu {
    // A quota of zero is no quota at all in cgroup files.
    MilliCpu((value.round() as u64).max(10))
}

#[cfg(test)]
mod tests;
