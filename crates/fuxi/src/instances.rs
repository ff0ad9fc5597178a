//! The instances of one task: who runs which, what is finished, what is to be tried again.
//!
//! ```text
//!   fresh ──next──► running ──succeed──► finished (for good)
//!                    ▲   │ (late: beside it one more)
//!                    │   ├─fail, lost──► again ──next──┐
//!                    └───┼────────────────────────────┘
//!                        └─fail for the last time──► failed, for good unless a lost worker still tells of its success
//! ```
//! An instance is in exactly one of these sets. `finished`, `failed` and `tries` are what a restart needs to know.
//!
//! Where the number of instances is known only from an input list, taking that list is what is handed out first: one
//! instance with an index of its own.

use std::collections::{BTreeMap, BTreeSet};

use model::dagjob::{InstanceFailure, TaskStatus};

use crate::job::WorkerId;
use crate::protocol::{Attempt, LISTING};
use crate::ranges::Ranges;

/// An instance whose worker was lost this often is given up, so that one that kills its host does not do so for ever.
pub const MAX_LOSSES: u32 = 20;

/// So many failed instances are told with what they said.
const MAX_FAILURES: usize = 10;
/// The most that is told of each.
const MAX_MESSAGE: usize = 256;

/// The state of one task's instances.
#[derive(Clone, Debug)]
pub struct Instances {
    first: u32,
    count: u32,
    max_attempts: u32,
    finished: Ranges,
    failed: Ranges,
    failures: Vec<InstanceFailure>,
    /// Every instance below this is finished, failed, running or in `again`.
    cursor: u32,
    again: BTreeSet<u32>,
    /// Unfinished instances that were tried before.
    tries: BTreeMap<u32, Tries>,
    running: BTreeMap<u32, Running>,
    /// Second attempts beside running ones that are late.
    backups: BTreeMap<u32, Running>,
    n_backups: u32,
    failed_attempts: u32,
    last_failure: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tries {
    /// The number of the last attempt that ended.
    used: u32,
    /// How many of them failed by themselves; the others were lost with their worker.
    failed: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Running {
    worker: WorkerId,
    number: u32,
}

/// What became of a report that an attempt ended badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Counted before, or overtaken by another attempt: nothing changed.
    Stale,
    /// Counted; the instance will be tried again.
    Again,
    /// Counted; it was the last attempt that the instance had.
    Exhausted,
}

impl Instances {
    /// `count` instances of which none was tried.
    pub fn new(count: u32, max_attempts: u32) -> Self {
        Self {
            first: 0,
            count,
            max_attempts: max_attempts.max(1),
            finished: Ranges::new(),
            failed: Ranges::new(),
            failures: Vec::new(),
            cursor: 0,
            again: BTreeSet::new(),
            tries: BTreeMap::new(),
            running: BTreeMap::new(),
            backups: BTreeMap::new(),
            n_backups: 0,
            failed_attempts: 0,
            last_failure: None,
        }
    }

    /// The one that takes the input list, of which a stored status may tell how often it was tried.
    pub fn listing(max_attempts: u32, status: &TaskStatus) -> Self {
        let mut instances = Self { first: LISTING, cursor: LISTING, ..Self::new(1, max_attempts) };
        instances.restore_tries(status);
        instances
    }

    /// The instances as a stored status tells. What cannot be read counts as not done: it is run again, never skipped.
    pub fn restore(count: u32, max_attempts: u32, status: &TaskStatus) -> Self {
        let mut instances = Self::new(count, max_attempts);
        if let Ok(finished) = status.finished.parse::<Ranges>() {
            instances.finished.extend_below(&finished, count);
        }
        if let Ok(failed) = status.failed_instances.parse::<Ranges>() {
            let below =
                failed.runs().flat_map(|(first, last)| first..=last).take_while(|index| *index < count);
            for index in below {
                if !instances.finished.contains(index) {
                    instances.failed.insert(index);
                }
            }
            instances.failures.clone_from(&status.failures);
        }
        instances.restore_tries(status);
        instances
    }

    fn restore_tries(&mut self, status: &TaskStatus) {
        self.failed_attempts = status.failed_attempts;
        self.n_backups = status.backups;
        self.last_failure.clone_from(&status.last_failure);
        for (index, tries) in status.retries.split(',').filter_map(parse_tries) {
            if self.has(index) && !self.has_ended(index) {
                self.tries.insert(index, tries);
                self.again.insert(index);
            }
        }
    }

    /// Whether it is one of these instances.
    fn has(&self, index: u32) -> bool {
        index.checked_sub(self.first).is_some_and(|position| position < self.count)
    }

    /// Whether an instance will not be handed out again.
    fn has_ended(&self, index: u32) -> bool {
        self.finished.contains(index) || self.failed.contains(index)
    }

    /// The hard state and the counts, for the job's status.
    pub fn status(&self) -> TaskStatus {
        let retries: Vec<String> = self
            .tries
            .iter()
            .map(|(index, tries)| format!("{index}:{}/{}", tries.failed, tries.used))
            .collect();
        if self.first == LISTING {
            let (retries, last_failure) = (retries.join(","), self.last_failure.clone());
            let failed_attempts = self.failed_attempts;
            return TaskStatus { retries, last_failure, failed_attempts, ..TaskStatus::default() };
        }
        TaskStatus {
            instances: self.count,
            running: u32::try_from(self.running.len()).unwrap_or(u32::MAX),
            succeeded: self.n_finished(),
            failed: self.n_failed(),
            failed_attempts: self.failed_attempts,
            backups: self.n_backups,
            finished: self.finished.to_string(),
            failed_instances: self.failed.to_string(),
            failures: self.failures.clone(),
            input: None,
            retries: retries.join(","),
            last_failure: self.last_failure.clone(),
            usage: None,
            took_millis: None,
            avoided_nodes: Vec::new(),
            obstacle: None,
        }
    }

    /// How many instances have neither ended nor run.
    pub fn n_pending(&self) -> u32 {
        self.n_unfinished().saturating_sub(u32::try_from(self.running.len()).unwrap_or(u32::MAX))
    }

    /// How many instances have not ended.
    pub fn n_unfinished(&self) -> u32 {
        self.count - self.n_finished() - self.n_failed()
    }

    /// How many instances had all their attempts and failed.
    pub fn n_failed(&self) -> u32 {
        u32::try_from(self.failed.len()).unwrap_or(u32::MAX)
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether one instance has ended well.
    pub fn has_finished(&self, index: u32) -> bool {
        self.finished.contains(index)
    }

    /// Whether all have ended, however.
    pub fn is_finished(&self) -> bool {
        self.n_unfinished() == 0
    }

    /// Whether any instance was ever handed out.
    pub fn was_touched(&self) -> bool {
        !self.running.is_empty() || !self.finished.is_empty() || self.failed_attempts > 0
    }

    /// The job is over: nothing counts as running any more.
    pub fn halt(&mut self) {
        self.running.clear();
        self.backups.clear();
    }

    /// How many instances ended well.
    pub fn n_finished(&self) -> u32 {
        u32::try_from(self.finished.len()).unwrap_or(u32::MAX).min(self.count)
    }

    /// What was tried before and waits to be tried again.
    pub fn waiting_again(&self) -> &BTreeSet<u32> {
        &self.again
    }

    /// Hands an instance to `worker` that [waits](Self::waiting_again). These go first: a command that cannot work is found
    /// out early.
    pub fn next_again(&mut self, index: u32, worker: WorkerId) -> Option<Attempt> {
        self.again.remove(&index).then(|| self.hand(index, worker))
    }

    /// Hands an instance to `worker` that was not tried before.
    pub fn next_fresh(&mut self, worker: WorkerId) -> Option<Attempt> {
        loop {
            let index = self.finished.first_gap(self.cursor).filter(|index| self.has(*index))?;
            self.cursor = index + 1;
            if !self.running.contains_key(&index)
                && !self.failed.contains(index)
                && !self.again.contains(&index)
            {
                return Some(self.hand(index, worker));
            }
        }
    }

    fn hand(&mut self, index: u32, worker: WorkerId) -> Attempt {
        let number = self.tries.get(&index).map_or(0, |tries| tries.used).saturating_add(1);
        self.running.insert(index, Running { worker, number });
        Attempt { index, number }
    }

    /// A worker that was not known to run anything says that it runs `attempt`. False if that is not needed: it is
    /// finished, was counted as ended, is no instance of this task, or runs elsewhere.
    pub fn adopt(&mut self, worker: WorkerId, attempt: Attempt) -> bool {
        let Attempt { index, number } = attempt;
        let used = self.tries.get(&index).map_or(0, |tries| tries.used);
        if !self.has(index) || self.has_ended(index) || number <= used {
            return false;
        }
        if let Some(running) = self.running.get(&index) {
            let is_backup = running.worker != worker && running.number != number;
            if is_backup && !self.backups.contains_key(&index) {
                self.backups.insert(index, Running { worker, number });
            }
            return self.runs(worker, attempt);
        }
        self.again.remove(&index);
        self.running.insert(index, Running { worker, number });
        true
    }

    /// Begins an instance a second time, on `worker`, beside the attempt that runs: once while that runs.
    pub fn back_up(&mut self, index: u32, worker: WorkerId) -> Option<Attempt> {
        let running = self.running.get(&index).filter(|running| running.worker != worker)?;
        if self.backups.contains_key(&index) {
            return None;
        }
        let used = self.tries.get(&index).map_or(0, |tries| tries.used);
        let number = running.number.max(used).saturating_add(1);
        self.backups.insert(index, Running { worker, number });
        self.n_backups = self.n_backups.saturating_add(1);
        Some(Attempt { index, number })
    }

    /// Whether an instance runs that has no second attempt and never had one that failed.
    pub fn may_be_backed_up(&self, index: u32) -> bool {
        let used = self.tries.get(&index).map_or(0, |tries| tries.used);
        self.running.get(&index).is_some_and(|running| running.number > used)
            && !self.backups.contains_key(&index)
    }

    /// The workers that run an instance, of which only one is waited for.
    pub fn runners(&self, index: u32) -> impl Iterator<Item = WorkerId> + '_ {
        [&self.running, &self.backups].into_iter().filter_map(move |all| Some(all.get(&index)?.worker))
    }

    /// An attempt ended well. True if the instance was not finished before, whoever ran it.
    pub fn succeed(&mut self, attempt: Attempt) -> bool {
        let index = attempt.index;
        if !self.has(index) || !self.finished.insert(index) {
            return false;
        }
        if self.failed.remove(index) {
            self.failures.retain(|failure| failure.index != index);
        }
        self.running.remove(&index);
        self.backups.remove(&index);
        self.again.remove(&index);
        self.tries.remove(&index);
        true
    }

    /// An attempt ended badly on `worker`. While the instance runs elsewhere, it is not its last.
    pub fn fail(&mut self, worker: WorkerId, attempt: Attempt, reason: String) -> Failure {
        if !self.end(worker, attempt) {
            return Failure::Stale;
        }
        self.last_failure = Some(reason);
        let tries = self.tries.entry(attempt.index).or_default();
        tries.failed += 1;
        let is_spent = tries.failed >= self.max_attempts;
        self.give_up(attempt.index, is_spent)
    }

    /// The worker of a running attempt is gone, and nobody knows how far it came.
    pub fn lose(&mut self, worker: WorkerId, attempt: Attempt, reason: String) -> Failure {
        if !self.runs(worker, attempt) || !self.end(worker, attempt) {
            return Failure::Stale;
        }
        self.last_failure = Some(reason);
        let tries = self.tries.entry(attempt.index).or_default();
        let is_spent = tries.used.saturating_sub(tries.failed) >= MAX_LOSSES;
        self.give_up(attempt.index, is_spent)
    }

    /// What an instance is now that has failed once more; not the end while it runs elsewhere.
    fn give_up(&mut self, index: u32, is_spent: bool) -> Failure {
        if !is_spent || self.running.contains_key(&index) {
            return Failure::Again;
        }
        self.again.remove(&index);
        self.tries.remove(&index);
        self.failed.insert(index);
        if self.failures.len() < MAX_FAILURES {
            let mut message = self.last_failure.clone().unwrap_or_default();
            message.truncate(message.floor_char_boundary(MAX_MESSAGE));
            self.failures.push(InstanceFailure { index, message });
        }
        Failure::Exhausted
    }

    /// An assignment that never reached its worker: not an attempt.
    pub fn withdraw(&mut self, worker: WorkerId, attempt: Attempt) {
        if self.take(worker, attempt) {
            self.await_again(attempt.index);
        }
    }

    fn runs(&self, worker: WorkerId, attempt: Attempt) -> bool {
        let is_it = |all: &BTreeMap<u32, Running>| {
            let found = all.get(&attempt.index);
            found.is_some_and(|running| running.worker == worker && running.number == attempt.number)
        };
        is_it(&self.running) || is_it(&self.backups)
    }

    /// Takes an attempt from those that run; if it has a backup, that is the attempt from now on.
    fn take(&mut self, worker: WorkerId, attempt: Attempt) -> bool {
        if !self.runs(worker, attempt) {
            return false;
        }
        let backup = self.backups.remove(&attempt.index);
        let is_backup = backup.is_some_and(|backup| backup.number == attempt.number);
        if !is_backup {
            self.running.remove(&attempt.index);
            self.running.extend(backup.map(|backup| (attempt.index, backup)));
        }
        true
    }

    /// Unless it runs elsewhere.
    fn await_again(&mut self, index: u32) {
        if !self.running.contains_key(&index) {
            self.again.insert(index);
        }
    }

    /// Moves an attempt that ended badly to `again`; false if that was known or does not matter any more.
    fn end(&mut self, worker: WorkerId, attempt: Attempt) -> bool {
        let Attempt { index, number } = attempt;
        if !self.has(index) || self.has_ended(index) {
            return false;
        }
        let used = self.tries.get(&index).map_or(0, |tries| tries.used);
        let is_known = self.take(worker, attempt);
        if !is_known && (self.running.contains_key(&index) || number <= used) {
            return false;
        }
        self.await_again(index);
        self.tries.entry(index).or_default().used = used.max(number);
        self.failed_attempts = self.failed_attempts.saturating_add(1);
        true
    }
}

/// Reads `index:failed/used`.
fn parse_tries(text: &str) -> Option<(u32, Tries)> {
    let (index, tries) = text.split_once(':')?;
    let (failed, used) = tries.split_once('/')?;
    let failed: u32 = failed.parse().ok()?;
    let used: u32 = used.parse().ok()?;
    Some((index.parse().ok()?, Tries { used: used.max(failed), failed }))
}

#[cfg(test)]
mod tests;
