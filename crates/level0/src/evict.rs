//! Who has to go when memory runs short: batch, then the mid tier; of each, lowest priority first, then
//! who is furthest beyond what it asked for, then the largest.

use std::cmp::Reverse;
use std::collections::BTreeMap;
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
    /// What one who was told to go holds counts as free for so long: a budget may keep it, or it is slow to end.
    pub patience: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        let (pause, patience) = (Duration::from_secs(4), Duration::from_secs(12));
        Self { low: 0.06, enough: 0.12, pause, patience }
    }
}

/// A Pod that lives on what is lent, as a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<Id> {
    pub id: Id,
    /// Whether it goes only when nobody of batch is left.
    pub is_mid: bool,
    pub priority: i32,
    /// `None` where the kernel does not tell.
    pub memory: Option<u64>,
    /// What it asked for.
    pub request: u64,
}

impl<Id> Candidate<Id> {
    /// Those who come first go first; who cannot be measured, and so may give nothing back, goes last.
    fn rank(&self) -> impl Ord + use<Id> {
        let memory = self.memory.unwrap_or(0);
        let wasted = memory.saturating_sub(self.request);
        (self.memory.is_none(), self.is_mid, self.priority, Reverse(wasted), Reverse(memory))
    }
}

/// One that has to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim<Id> {
    pub id: Id,
    /// Whether it was told so before, and is still there.
    pub is_told: bool,
}

/// Remembers when it last evicted, and whom.
#[derive(Clone, Debug)]
pub struct Evictor<Id> {
    policy: Policy,
    last: Option<Duration>,
    /// When candidates were listed last.
    listed: Duration,
    /// When those who are still there were told first.
    told: BTreeMap<Id, Duration>,
}

impl<Id: Clone + Ord> Evictor<Id> {
    pub fn new(policy: Policy) -> Self {
        Self { policy, last: None, listed: Duration::ZERO, told: BTreeMap::new() }
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
    pub fn choose(
        &mut self,
        available: u64,
        capacity: u64,
        mut candidates: Vec<Candidate<Id>>,
        now: Duration,
    ) -> Vec<Victim<Id>> {
        if now.saturating_sub(self.listed) > self.policy.patience {
            // That was another shortage.
            self.told.clear();
        }
        self.listed = now;
        let paused = self.last.is_some_and(|last| now.saturating_sub(last) < self.policy.pause);
        if paused || !self.is_short(available, capacity) {
            return Vec::new();
        }
        self.told.retain(|id, _| candidates.iter().any(|candidate| candidate.id == *id));
        candidates.sort_by_key(Candidate::rank);
        let mut missing = self.policy.enough * capacity as f64 - available as f64;
        let mut victims = Vec::new();
        for Candidate { id, memory, .. } in candidates {
            if missing <= 0.0 {
                break;
            }
            let told = self.told.get(&id).copied();
            if told.is_none_or(|told| now.saturating_sub(told) < self.policy.patience) {
                missing -= memory.unwrap_or(0) as f64;
            }
            self.told.entry(id.clone()).or_insert(now);
            victims.push(Victim { id, is_told: told.is_some() });
        }
        if !victims.is_empty() {
            self.last = Some(now);
        }
        victims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(available: u64, pods: &[(&str, i32, u64)], expected: &[&str]) {
        let candidates = pods.iter().map(|(id, priority, memory)| Candidate {
            id: *id,
            is_mid: id.starts_with("mid"),
            priority: *priority,
            memory: Some(*memory),
            request: 2,
        });
        let mut evictor = Evictor::new(Policy { low: 0.1, enough: 0.2, ..Policy::default() });
        let chosen = evictor.choose(available, 100, candidates.collect(), Duration::ZERO);
        let ids: Vec<&str> = chosen.iter().map(|victim| victim.id).collect();
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
    fn of_one_priority_who_wastes_goes_first_and_who_is_not_measured_last() {
        let candidate = |id, memory, request| Candidate { id, is_mid: false, priority: 0, memory, request };
        let candidates = vec![
            candidate("unknown", None, 0),
            candidate("within", Some(15), 16),
            candidate("beyond", Some(14), 1),
            Candidate { is_mid: true, ..candidate("mid", Some(5), 0) },
        ];
        let chosen = |available: u64| {
            let mut evictor = Evictor::new(Policy { low: 0.1, enough: 0.2, ..Policy::default() });
            let victims = evictor.choose(available, 100, candidates.clone(), Duration::ZERO);
            victims.into_iter().map(|victim| victim.id).collect::<Vec<_>>()
        };
        assert_eq!(chosen(9), ["beyond"]);
        assert_eq!(chosen(0), ["beyond", "within"]);
        let mut evictor = Evictor::new(Policy { low: 0.1, enough: 0.9, ..Policy::default() });
        let all = evictor.choose(0, 100, candidates.clone(), Duration::ZERO);
        assert_eq!(all.last().map(|victim| victim.id), Some("unknown"));
    }

    #[test]
    fn eviction_waits_for_its_own_effect() {
        let mut evictor = Evictor::new(Policy::default());
        let one = || vec![Candidate { id: 1, is_mid: false, priority: 0, memory: Some(50), request: 0 }];
        assert_eq!(evictor.choose(0, 100, one(), Duration::from_secs(10)).len(), 1);
        assert_eq!(evictor.choose(0, 100, one(), Duration::from_secs(13)).len(), 0);
        assert_eq!(evictor.choose(0, 100, one(), Duration::from_secs(14)).len(), 1);
        assert_eq!(evictor.choose(0, 0, one(), Duration::from_secs(99)).len(), 0);
    }

    #[test]
    fn who_cannot_go_shields_nobody_for_long() {
        let mut evictor = Evictor::new(Policy::default());
        let candidate =
            |id, priority| Candidate { id, is_mid: false, priority, memory: Some(50), request: 0 };
        let mut chosen = |second: u64, there: &[Candidate<&'static str>]| {
            let victims = evictor.choose(0, 100, there.to_vec(), Duration::from_secs(second));
            let told = |victim: &Victim<&str>| if victim.is_told { "again " } else { "" };
            victims.iter().map(|victim| told(victim).to_owned() + victim.id).collect::<Vec<_>>().join(", ")
        };
        let both = [candidate("kept", 0), candidate("free", 1)];
        assert_eq!(chosen(0, &both), "kept");
        assert_eq!(chosen(4, &both), "again kept");
        assert_eq!(chosen(12, &both), "again kept, free");
        assert_eq!(chosen(16, &both[..1]), "again kept");
        // Another of its name is another.
        assert_eq!(chosen(20, &[]), "");
        assert_eq!(chosen(24, &both), "kept");
        // Who was told at a shortage that is over is not past patience at the next.
        assert_eq!(chosen(3600, &both), "kept");
    }
}
