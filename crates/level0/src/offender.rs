//! Who among batch makes a service suffer, and what is done to that one before all of batch pays for it.
//!
//! ```text
//!   Free ──suspected──► Capped for `cap_time` ──over──► Free ──again: twice as long──► Capped ──`caps`th time──► moved
//! ```
//! One that is to be moved and stays, as a disruption budget keeps it, stays capped as long as the last time, and is told to go
//! when it offends again.
//!
//! Who is suspected is told by correlation, with the formula of Google's CPI2 (EuroSys 2013, section 4.2): a unit of batch
//! that works while the service suffers gains, one that works while it does not loses. Where the service's own measure
//! stands in for cycles per instruction, and work is counted as a share of what batch was allowed at the time: else all that
//! was done before the squeeze would weigh more than what came after. One is capped at a time, and the effect is waited for.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use model::MilliCpu;

use crate::peak::amount;

/// When a unit of batch is an offender, and what follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Samples that are looked at.
    pub window: usize,
    /// Of a unit that was there in fewer, nothing is said.
    pub fewest: usize,
    /// Of those, so many have to show suffering.
    pub fewest_bad: usize,
    /// Correlation from which a unit is suspected: CPI2 found 0.35 to be right in 70% of the cases.
    pub suspicion: f64,
    /// Of those who are suspected nearly as much as the one who is most, the largest is chosen.
    pub nearly: f64,
    /// Of what it used, a capped unit keeps this share.
    pub keeps: f64,
    /// And never less than this, as it may hold locks.
    pub floor: MilliCpu,
    /// For how long a unit is capped at first; each time after that, twice as long.
    pub cap_time: Duration,
    /// A unit that was capped so many times is moved at the next.
    pub caps: u32,
    /// A unit that gave no cause for so long has never been capped.
    pub forgiven_after: Duration,
    /// After so long without a look, the ones before say nothing.
    pub stale_after: Duration,
    /// Between two decisions: the effect of the first has to show.
    pub pause: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            window: 100,
            fewest: 10,
            fewest_bad: 3,
            suspicion: 0.35,
            nearly: 0.1,
            keeps: 0.1,
            floor: MilliCpu(50),
            cap_time: Duration::from_secs(30),
            caps: 3,
            forgiven_after: Duration::from_secs(600),
            stale_after: Duration::from_secs(5),
            pause: Duration::from_secs(2),
        }
    }
}

/// What is to be done to one unit.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<Id> {
    /// Holds it to so much CPU.
    Cap {
        id: Id,
        quota: MilliCpu,
        correlation: f64,
        until: Duration,
    },
    Uncap {
        id: Id,
    },
    /// Ends it here: capping it did not help for long. Until it has gone, or where it may not go, it is held to so much CPU.
    Move {
        id: Id,
        quota: MilliCpu,
        correlation: f64,
        caps: u32,
    },
}

/// Remembers who did what while the service suffered.
#[derive(Clone, Debug)]
pub struct Offenders<Id> {
    policy: Policy,
    window: VecDeque<Sample<Id>>,
    records: BTreeMap<Id, Record>,
    decided: Option<Duration>,
    last: Duration,
}

#[derive(Clone, Debug)]
struct Sample<Id> {
    /// What the service suffers, as a multiple of what it may.
    suffering: f64,
    /// Milli-cores.
    used: BTreeMap<Id, f64>,
    /// Milli-cores that all of batch might have used.
    allowance: f64,
}

/// A stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Look<Id> {
    /// What the service that suffered most suffered, as a multiple of what it may; `None` where nobody can tell.
    pub suffering: Option<f64>,
    /// Milli-cores that each unit of batch that is there used.
    pub used: BTreeMap<Id, f64>,
    /// Milli-cores that all of batch might have used.
    pub allowance: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Record {
    state: State,
    caps: u32,
    /// When it was capped last.
    at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Free,
    Capped { until: Duration },
}

/// How much a unit is suspected.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Suspect {
    correlation: f64,
    /// Milli-cores over the window: the mean, and the most in one look.
    used: f64,
    most: f64,
}

impl<Id: Clone + Ord> Offenders<Id> {
    pub fn new(policy: Policy) -> Self {
        let (window, records) = (VecDeque::new(), BTreeMap::new());
        Self { policy, window, records, decided: None, last: Duration::ZERO }
    }

    /// What follows from one more look.
    pub fn observe(&mut self, look: Look<Id>, now: Duration) -> Vec<Action<Id>> {
        if now.saturating_sub(self.last) > self.policy.stale_after {
            self.window.clear();
        }
        self.last = self.last.max(now);
        let now = self.last;
        self.records.retain(|id, _| look.used.contains_key(id));
        let mut actions = self.uncap(now);
        let Some(suffering) = look.suffering.map(amount) else { return actions };
        let used = look.used.into_iter().map(|(id, used)| (id, amount(used))).collect();
        // An allowance that cannot be is none that was kept to.
        let allowance = amount(look.allowance).max(1.0);
        self.window.push_back(Sample { suffering, used, allowance });
        while self.window.len() > self.policy.window {
            self.window.pop_front();
        }
        let paused = self.decided.is_some_and(|at| now.saturating_sub(at) < self.policy.pause);
        if suffering > 1.0 && !paused {
            actions.extend(self.decide(now));
        }
        actions
    }

    /// One that was to be held back could not be: as if it had not been decided.
    pub fn acquit(&mut self, id: &Id) {
        self.records.remove(id);
    }

    /// Those who are held back now.
    pub fn capped(&self) -> impl Iterator<Item = &Id> {
        let capped = self.records.iter().filter(|(_, record)| matches!(record.state, State::Capped { .. }));
        capped.map(|(id, _)| id)
    }

    /// Whether a unit was there for long enough, and while a service suffered.
    fn was_seen(&self, id: &Id) -> bool {
        let seen = || self.window.iter().filter(|sample| sample.used.contains_key(id));
        let bad = seen().filter(|sample| sample.suffering > 1.0).count();
        seen().count() >= self.policy.fewest && bad >= self.policy.fewest_bad
    }

    fn uncap(&mut self, now: Duration) -> Vec<Action<Id>> {
        let mut actions = Vec::new();
        for (id, record) in &mut self.records {
            if let State::Capped { until } = record.state
                && until <= now
            {
                record.state = State::Free;
                actions.push(Action::Uncap { id: id.clone() });
            }
        }
        let forgiven = |record: &Record| {
            record.state == State::Free && now.saturating_sub(record.at) >= self.policy.forgiven_after
        };
        self.records.retain(|_, record| !forgiven(record));
        actions
    }

    /// The worst of the suspects who are not held back yet.
    fn decide(&mut self, now: Duration) -> Option<Action<Id>> {
        let present = self.window.back()?.used.keys();
        let free = present.filter(|id| self.was_seen(id) && !self.capped().any(|capped| capped == *id));
        let suspects = free.map(|id| (id.clone(), self.suspect(id)));
        // Who never did more than a capped unit may is no suspect.
        let does_enough = |suspect: &Suspect| suspect.most >= self.policy.floor.0 as f64;
        let suspected = suspects
            .filter(|(_, suspect)| suspect.correlation >= self.policy.suspicion && does_enough(suspect));
        let suspected: Vec<(Id, Suspect)> = suspected.collect();
        let most = suspected.iter().map(|(_, suspect)| suspect.correlation).fold(0.0, f64::max);
        let nearly = |suspect: &Suspect| suspect.correlation >= most - self.policy.nearly;
        let worst = suspected.into_iter().filter(|(_, suspect)| nearly(suspect));
        let (id, suspect) = worst.max_by(|(_, a), (_, b)| a.used.total_cmp(&b.used))?;
        self.decided = Some(now);
        // What was seen before is no witness to what comes after.
        self.window.clear();
        Some(self.punish(id, suspect, now))
    }

    fn punish(&mut self, id: Id, suspect: Suspect, now: Duration) -> Action<Id> {
        let before = self.records.get(&id).map_or(0, |record| record.caps);
        let correlation = suspect.correlation;
        let until = now + self.policy.cap_time * 2_u32.saturating_pow(before);
        let quota = whole(suspect.used * self.policy.keeps).max(self.policy.floor);
        let caps = (before + 1).min(self.policy.caps);
        self.records.insert(id.clone(), Record { state: State::Capped { until }, caps, at: now });
        if before >= self.policy.caps {
            return Action::Move { id, quota, correlation, caps: before };
        }
        Action::Cap { id, quota, correlation, until }
    }

    fn suspect(&self, id: &Id) -> Suspect {
        let used = |sample: &Sample<Id>| sample.used.get(id).copied().unwrap_or(0.0);
        let share = |sample: &Sample<Id>| used(sample) / sample.allowance;
        let sum: f64 = self.window.iter().map(share).sum();
        if sum <= 0.0 {
            return Suspect { correlation: 0.0, used: 0.0, most: 0.0 };
        }
        let gained = self.window.iter().map(|sample| share(sample) / sum * blame(sample.suffering));
        let mean = self.window.iter().map(used).sum::<f64>() / self.window.len().max(1) as f64;
        Suspect {
            correlation: gained.sum(),
            used: mean,
            most: self.window.iter().map(used).fold(0.0, f64::max),
        }
    }
}

/// What who works at that moment gains: 0 where the service has just what it may, towards 1 the more it suffers, and
/// towards -1 the less.
fn blame(suffering: f64) -> f64 {
    if suffering > 1.0 { 1.0 - 1.0 / suffering } else { suffering - 1.0 }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "amounts are finite and not negative"
)]
fn whole(value: f64) -> MilliCpu {
    MilliCpu(value.round() as u64)
}

#[cfg(test)]
mod tests;
