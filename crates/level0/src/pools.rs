//! The CPUs that batch is kept to, where it is kept to some: a pool that grows slowly and shrinks at once.
//!
//! ```text
//!   cores that services leave ──► Pool ──► CPUs of the batch group        (never those of pinned services)
//! ```
//!
//! For hosts where the idle class alone does not keep batch out of the way: what batch runs on warms no cache for
//! services, and interrupts of services stay off CPUs that batch fills.

use std::time::Duration;

use model::CpuSet;

use crate::peak::amount;

/// How a pool follows what is left.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Share of the CPUs by which it grows in a second.
    pub growth: f64,
    /// Share of the capacity that stays outside while services use the rest.
    pub reserve: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { growth: 0.1, reserve: 0.05 }
    }
}

/// What a host's CPUs are used for, in milli-cores.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    pub capacity: f64,
    pub online: f64,
    pub system: f64,
    /// What batch may use, while it is squeezed.
    pub allowed: Option<f64>,
}

/// The pool of one host.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    cpus: CpuSet,
    last: Option<Duration>,
    /// Parts of a CPU by which it may have grown but did not yet.
    credit: f64,
}

impl Pool {
    /// The pool after a look at `load`, of the CPUs that are `usable` for batch. Never empty, as long as any is usable.
    pub fn step(&mut self, policy: &Policy, usable: &CpuSet, load: Load, now: Duration) -> CpuSet {
        let elapsed = self.last.map(|last| now.saturating_sub(last));
        self.last = Some(self.last.map_or(now, |last| last.max(now)));
        let wanted = wanted(policy, load).clamp(1, usable.len().max(1));
        self.cpus = self.cpus.common(usable);
        self.shrink_to(wanted);
        let growth = policy.growth.clamp(0.0, 1.0) * usable.len() as f64;
        self.credit += growth * elapsed.unwrap_or_default().as_secs_f64().min(10.0);
        // From the highest on: the host's own processes and interrupts tend to the lowest.
        let mut free: Vec<usize> = usable.without(&self.cpus).iter().collect();
        while self.cpus.len() < wanted && (self.cpus.is_empty() || self.credit >= 1.0) {
            let Some(cpu) = free.pop() else { break };
            if !self.cpus.is_empty() {
                self.credit -= 1.0;
            }
            self.cpus.insert(cpu);
        }
        if self.cpus.len() == wanted {
            // What was not wanted now is not saved for a leap later.
            self.credit = 0.0;
        }
        self.cpus.clone()
    }

    fn shrink_to(&mut self, wanted: usize) {
        while self.cpus.len() > wanted {
            let Some(first) = self.cpus.first() else { return };
            self.cpus.subtract(&[first].into_iter().collect());
        }
    }
}

/// Whole CPUs; part of one is one, since batch gives way on it all the same.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and amounts are not negative"
)]
fn wanted(policy: &Policy, load: Load) -> usize {
    let capacity = amount(load.capacity);
    let left = capacity * (1.0 - policy.reserve.clamp(0.0, 1.0)) - amount(load.online) - amount(load.system);
    let is_idle = amount(load.online) < 0.01 * capacity;
    // Without services there is nobody to keep a reserve for.
    let left = if is_idle { capacity } else { left.max(0.0) };
    (left.min(load.allowed.map_or(f64::INFINITY, amount)) / 1000.0).ceil() as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cpus(n_cpus: usize) -> CpuSet {
        (0..n_cpus).collect()
    }

    #[test]
    fn it_grows_by_a_tenth_a_second_and_shrinks_at_once() {
        let (policy, mut pool) = (Policy::default(), Pool::default());
        let mut seen = Vec::new();
        let loads = [19_000.0, 0.0, 0.0, 0.0, 15_000.0, 15_000.0, 0.0];
        for (second, online) in (0_u64..).zip(loads) {
            let load = Load { capacity: 20_000.0, online, ..Load::default() };
            seen.push(pool.step(&policy, &cpus(20), load, Duration::from_secs(second)).to_string());
        }
        assert_eq!(seen, ["19", "17-19", "15-19", "13-19", "16-19", "16-19", "14-19"]);
    }

    #[test]
    fn small_hosts_grow_by_whole_cpus_in_time() {
        let (policy, mut pool) = (Policy::default(), Pool::default());
        let load = Load { capacity: 2000.0, ..Load::default() };
        let sizes =
            (0..8).map(|second| pool.step(&policy, &cpus(2), load, Duration::from_secs(second)).len());
        assert_eq!(sizes.collect::<Vec<_>>(), [1, 1, 1, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn who_may_use_less_runs_on_fewer_cpus() {
        let (policy, mut pool) = (Policy { growth: 1.0, ..Policy::default() }, Pool::default());
        let allowances = [None, Some(2500.0), Some(2000.0), Some(10.0), Some(0.0), Some(f64::NAN), None];
        let sizes = (0_u64..).zip(allowances).map(|(second, allowed)| {
            let load = Load { capacity: 4000.0, allowed, ..Load::default() };
            (0..5).for_each(|_| drop(pool.step(&policy, &cpus(4), load, Duration::from_secs(second * 10))));
            pool.step(&policy, &cpus(4), load, Duration::from_secs(second * 10 + 9)).len()
        });
        assert_eq!(sizes.collect::<Vec<_>>(), [4, 3, 2, 1, 1, 1, 4]);
    }

    #[test]
    fn pinned_services_take_their_cpus_at_once() {
        let (policy, mut pool) = (Policy { growth: 1.0, ..Policy::default() }, Pool::default());
        let load = Load { capacity: 4000.0, ..Load::default() };
        for second in 0..4 {
            pool.step(&policy, &cpus(4), load, Duration::from_secs(second));
        }
        let left: CpuSet = "0-1".parse().unwrap();
        assert_eq!(pool.step(&policy, &left, load, Duration::from_secs(4)), left);
        assert!(pool.step(&policy, &CpuSet::default(), load, Duration::from_secs(5)).is_empty());
    }

    proptest! {
        #[test]
        fn it_is_never_empty_never_elsewhere_and_never_leaps(
            n_cpus in 1_usize..200,
            looks in proptest::collection::vec((-1e6..1e6_f64, 0_u64..5000, 0_usize..200), 1..80),
        ) {
            let (policy, mut pool) = (Policy::default(), Pool::default());
            let (mut now, mut before) = (Duration::ZERO, None::<CpuSet>);
            for (online, millis, pinned) in looks {
                now += Duration::from_millis(millis);
                let usable = cpus(n_cpus).without(&cpus(pinned.min(n_cpus - 1)));
                let load = Load { capacity: n_cpus as f64 * 1000.0, online, ..Load::default() };
                let after = pool.step(&policy, &usable, load, now);
                prop_assert!(!after.is_empty() && after.is_subset(&usable));
                prop_assert!(after.len() <= wanted(&policy, load).max(1));
                if let Some(before) = before {
                    let most = policy.growth * usable.len() as f64 * (millis as f64 / 1000.0) + 2.0;
                    let grown = after.len().saturating_sub(before.common(&usable).len());
                    prop_assert!(grown as f64 <= most, "{grown} above {most}");
                }
                before = Some(after);
            }
        }
    }
}
