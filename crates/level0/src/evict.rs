//! Who has to go when memory runs short: batch, then the mid tier; of each, lowest priority first, then the largest.

use std::time::Duration;

/// When memory is short and how much room eviction makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Evict when less than this share of the memory is available.
    pub low: f64,
    /// Make room until this share is available.
    pub enough: f64,
    /// Time for ended Pods to give their memory back before others are chosen.
    pub pause: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { low: 0.06, enough: 0.12, pause: Duration::from_secs(4) }
    }
}

/// A Pod that lives on what is lent, as a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<Id> {
    pub id: Id,
    /// Whether it goes only when nobody of batch is left.
    pub is_mid: bool,
    pub priority: i32,
    pub memory: u64,
}

/// Remembers when it last evicted.
#[derive(Clone, Debug)]
pub struct Evictor {
    policy: Policy,
    last: Option<Duration>,
}

impl Evictor {
    pub fn new(policy: Policy) -> Self {
        Self { policy, last: None }
    }

    /// Keeps to this policy from here on.
    pub fn follow(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Whether memory is short: asked often, so that candidates are listed only when it matters.
    pub fn is_short(&self, available: u64, capacity: u64) -> bool {
        capacity > 0 && (available as f64) < self.policy.low * capacity as f64
    }

    /// Those of `candidates` that have to go now.
    pub fn choose<Id>(
        &mut self,
        available: u64,
        capacity: u64,
        candidates: Vec<Candidate<Id>>,
        now: Duration,
    ) -> Vec<Candidate<Id>> {
        let paused = self.last.is_some_and(|last| now.saturating_sub(last) < self.policy.pause);
        if paused || !self.is_short(available, capacity) {
            return Vec::new();
        }
        let victims = until_enough(candidates, self.policy.enough * capacity as f64 - available as f64);
        if !victims.is_empty() {
            self.last = Some(now);
        }
        victims
    }
}

fn until_enough<Id>(mut candidates: Vec<Candidate<Id>>, need: f64) -> Vec<Candidate<Id>> {
    candidates
        .sort_by_key(|candidate| (candidate.is_mid, candidate.priority, std::cmp::Reverse(candidate.memory)));
    let mut freed = 0.0;
    candidates
        .into_iter()
        .take_while(|candidate| {
            let wanted = freed < need;
            freed += candidate.memory as f64;
            wanted
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(available: u64, pods: &[(&str, i32, u64)], expected: &[&str]) {
        let candidates = pods.iter().map(|(id, priority, memory)| Candidate {
            id: *id,
            is_mid: id.starts_with("mid"),
            priority: *priority,
            memory: *memory,
        });
        let mut evictor = Evictor::new(Policy { low: 0.1, enough: 0.2, ..Policy::default() });
        let chosen = evictor.choose(available, 100, candidates.collect(), Duration::ZERO);
        let ids: Vec<&str> = chosen.iter().map(|candidate| candidate.id).collect();
        assert_eq!(ids, expected);
    }

    #[test]
    fn lowest_priority_goes_first_then_the_largest() {
        let pods = [("a", 10, 50), ("b", 0, 3), ("c", 0, 6), ("d", 5, 5)];
        check(15, &pods, &[]);
        check(9, &pods, &["c", "b", "d"]);
        check(0, &pods, &["c", "b", "d", "a"]);
        check(9, &[], &[]);
        check(9, &[("mid-a", -5, 50), ("mid-b", -6, 4), ("b", 9, 8)], &["b", "mid-b"]);
    }

    #[test]
    fn eviction_waits_for_its_own_effect() {
        let mut evictor = Evictor::new(Policy::default());
        let one = || vec![Candidate { id: 1, is_mid: false, priority: 0, memory: 50 }];
        assert_eq!(evictor.choose(0, 100, one(), Duration::from_secs(10)).len(), 1);
        assert_eq!(evictor.choose(0, 100, one(), Duration::from_secs(13)).len(), 0);
        assert_eq!(evictor.choose(0, 100, one(), Duration::from_secs(14)).len(), 1);
        assert_eq!(evictor.choose(0, 0, one(), Duration::from_secs(99)).len(), 0);
    }
}
