//! Results on their way from a worker into the job's status, and the acknowledgements back, once that is stored.

use std::time::Duration;

use super::{Decision, Job, Owe, Phase, TaskIdx, WorkerId, shortened};
use crate::instances::Failure;
use crate::protocol::{Attempt, AttemptResult, MAX_KEPT};

impl Job {
    pub(super) fn results(&mut self, id: WorkerId, results: Vec<AttemptResult>, owe: Owe<'_>) {
        let (now, owed) = owe;
        let Some(task) = self.workers.get(&id).map(|worker| worker.task) else { return };
        let mut ended = 0;
        let is_full = results.iter().any(AttemptResult::tells_of_a_full_disk);
        for result in results {
            if self.take(id, result.attempt) {
                ended += 1;
                self.tasks[task.0].measures.add(&result);
            }
            self.record(id, result, (now, &mut *owed));
        }
        self.learn(id, ended, now);
        if is_full {
            self.give_up_full(id, owed);
        }
        if self.workers.get(&id).is_some_and(|worker| worker.phase == Phase::Ready) {
            self.place(id);
            self.feed(id, (now, owed));
            self.hand_out(task, (now, owed));
        }
    }

    /// Takes an attempt from what a worker holds; false if it held no such thing.
    pub(super) fn take(&mut self, id: WorkerId, attempt: Attempt) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        // Usually one of the oldest.
        let position = worker.held.iter().position(|held| *held == attempt);
        position.is_some_and(|position| worker.held.remove(position).is_some())
    }

    /// Takes note of how long `ended` instances took.
    fn learn(&mut self, id: WorkerId, ended: usize, now: Duration) {
        let Some(worker) = self.workers.get_mut(&id).filter(|_| ended > 0) else { return };
        self.tasks[worker.task.0].pace.learn(ended, now.saturating_sub(worker.since));
        worker.since = now;
    }

    /// Counts a result once, however often and by whomever it is told.
    pub(super) fn record(&mut self, id: WorkerId, result: AttemptResult, (now, owed): Owe<'_>) {
        let Some(worker) = self.workers.get(&id) else { return };
        let (task, machine) = (worker.task, worker.machine);
        let attempt = result.attempt;
        if result.exit.is_success() {
            self.note_outrun(id, task, attempt);
            let state = &mut self.tasks[task.0];
            if state.instances.succeed(attempt) {
                state.blame.succeeded(attempt.index, machine);
                state.typical.learn(Duration::from_millis(result.duration_ms));
                self.changed();
                self.note_ended(task, owed);
            }
        } else {
            let text = describe(&result);
            match self.tasks[task.0].instances.fail(id, attempt, text.clone()) {
                Failure::Stale => {}
                Failure::Again => {
                    self.blame(id, attempt.index, (now, &mut *owed));
                    self.changed();
                }
                Failure::Exhausted => {
                    self.changed();
                    self.note_ended(task, owed);
                }
            }
        }
        self.acknowledge(id, attempt, owed);
    }

    pub(super) fn acknowledge(&mut self, id: WorkerId, attempt: Attempt, owed: &mut Vec<Decision>) {
        let version = self.version;
        if self.is_stored() {
            owed.push(Decision::Ack { worker: id, attempts: vec![attempt] });
        } else if let Some(worker) = self.workers.get_mut(&id) {
            // It keeps no more than that: who tells more makes them up.
            if worker.unacknowledged.len() < MAX_KEPT as usize {
                worker.unacknowledged.push_back((version, attempt));
            }
        }
    }

    /// Looks what it means for a task, and for others, that an instance of it has ended.
    pub(super) fn note_ended(&mut self, task: TaskIdx, owed: &mut Vec<Decision>) {
        let version = self.version;
        let state = &mut self.tasks[task.0];
        if state.is_lost() {
            let message = state.why_lost();
            self.fail(task, message, owed);
            return;
        }
        let count = state.n_done();
        if self.dag.is_awaited(task, count) {
            state.reached_at.push((version, count));
            self.urgent_at = version;
        }
        if !state.instances.is_finished() || state.finished_at.is_some() {
            return;
        }
        state.finished_at = Some(version);
        self.urgent_at = version;
        if self.outcome.is_none() && self.tasks.iter().all(|task| task.finished_at.is_some()) {
            self.outcome = Some(super::Outcome::Succeeded);
        }
    }

    pub(super) fn stored(&mut self, version: u64, owe: Owe<'_>) {
        let (now, owed) = owe;
        self.stored = self.stored.max(version.min(self.version));
        self.send_acknowledgements(owed);
        for task in self.dag.tasks() {
            let stored = self.stored;
            for (_, count) in self.tasks[task.0].reached_at.extract_if(.., |(at, _)| *at <= stored) {
                self.dag.reach(task, count);
            }
            if self.tasks[task.0].finished_at.is_some_and(|at| at <= self.stored) {
                self.dag.complete(task);
            }
            self.hand_out(task, (now, owed));
        }
    }

    fn send_acknowledgements(&mut self, owed: &mut Vec<Decision>) {
        let stored = self.stored;
        let mut told = Vec::new();
        for (id, worker) in &mut self.workers {
            let durable = worker.unacknowledged.partition_point(|(version, _)| *version <= stored);
            if durable > 0 {
                let attempts = worker.unacknowledged.drain(..durable).map(|(_, attempt)| attempt).collect();
                owed.push(Decision::Ack { worker: *id, attempts });
                told.push(*id);
            }
        }
        for id in told {
            self.reconsider(id);
        }
    }
}

fn describe(result: &AttemptResult) -> String {
    let tail = result.tail.trim();
    let separator = if tail.is_empty() { "" } else { ": " };
    shortened(format!("{}: {}{separator}{tail}", result.attempt, result.exit))
}
