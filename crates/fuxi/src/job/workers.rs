//! Workers as they come, connect, break off, are to end, and go.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::{
    ADOPTION_GRACE, Decision, Job, Outcome, Owe, Phase, Recall, TIMEOUT_SLACK, TaskIdx, Worker, WorkerId,
    shortened,
};
use crate::blame::Fault;
use crate::grants::MachineId;
use crate::instances::Failure;
use crate::protocol::{Attempt, AttemptResult, LIST_LIMIT};

impl Worker {
    pub(super) fn is_busy(&self) -> bool {
        !self.held.is_empty()
    }
}

impl Job {
    pub(super) fn expect(&mut self, worker: WorkerId, (task, machine): (TaskIdx, MachineId)) {
        let state = Worker {
            task,
            machine,
            phase: Phase::Starting,
            connected: false,
            draining: false,
            held: VecDeque::new(),
            since: Duration::ZERO,
            command: None,
            recall: Recall::Never,
            unacknowledged: VecDeque::new(),
        };
        if self.workers.insert(worker, state).is_none() {
            self.tasks[task.0].crew.expect(worker);
        }
    }

    pub(super) fn find(&mut self, worker: WorkerId, (task, machine): (TaskIdx, MachineId)) {
        self.expect(worker, (task, machine));
        self.set_phase(worker, Phase::Found);
        self.tasks[task.0].crew.adopt(worker);
    }

    /// Who was found can say what it runs from now on, and has a while for it.
    pub(super) fn listen(&mut self, now: Duration) {
        for task in &mut self.tasks {
            task.crew.adopt_until(now + ADOPTION_GRACE);
        }
    }

    pub(super) fn hello(
        &mut self,
        id: WorkerId,
        (held, results, full): (Vec<Attempt>, Vec<AttemptResult>, bool),
        (now, owed): Owe<'_>,
    ) {
        let Some(worker) = self.workers.get_mut(&id) else {
            owed.push(Decision::Stop { worker: id });
            return;
        };
        worker.connected = true;
        (worker.recall, worker.since) = (Recall::Never, now);
        // It tells anew all that it keeps, and what it is at.
        worker.unacknowledged.clear();
        worker.command = None;
        let (task, before) = (worker.task, worker.phase);
        self.tasks[task.0].crew.heard_of(id);
        let is_full = full || results.iter().any(AttemptResult::tells_of_a_full_disk);
        for result in results {
            self.take(id, result.attempt);
            self.record(id, result, (now, &mut *owed));
        }
        if before == Phase::Stopping
            || matches!(self.outcome, Some(Outcome::Failed { .. } | Outcome::Cancelled))
        {
            self.set_phase(id, Phase::Stopping);
            owed.push(Decision::Stop { worker: id });
            return;
        }
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let instances = &mut self.tasks[task.0].instances;
        let told: BTreeSet<Attempt> = held.iter().copied().collect();
        for attempt in std::mem::replace(&mut worker.held, held.into()) {
            if !told.contains(&attempt) {
                // The assignment was lost with the old connection, or its return was.
                instances.withdraw(id, attempt);
            }
        }
        for attempt in told {
            instances.adopt(id, attempt);
        }
        self.set_phase(id, Phase::Ready);
        self.changed();
        if is_full {
            self.give_up_full(id, owed);
        }
        if !self.may_go_on() || self.is_draining(id) {
            self.recall_one(id, owed);
        }
        self.hand_out(task, (now, owed));
    }

    pub(super) fn returned(&mut self, id: WorkerId, attempts: &[Attempt], owe: Owe<'_>) {
        let (now, owed) = owe;
        for attempt in attempts {
            if self.take(id, *attempt)
                && let Some(worker) = self.workers.get(&id)
            {
                self.tasks[worker.task.0].instances.withdraw(id, *attempt);
            }
        }
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let task = worker.task;
        if worker.recall == Recall::Asked {
            worker.recall = Recall::Done;
        }
        self.changed();
        self.place(id);
        self.hand_out(task, (now, owed));
    }

    pub(super) fn disconnected(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.connected = false;
            self.tasks[worker.task.0].crew.cut(id);
        }
    }

    pub(super) fn drain(&mut self, id: WorkerId, owe: Owe<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.draining = true;
        match worker.phase {
            Phase::Starting => self.stop(id, owe.1),
            Phase::Ready => {
                let task = worker.task;
                self.recall_one(id, owe.1);
                self.hand_out(task, owe);
            }
            // It may run anything, and is let go once it has said that it has ended it.
            Phase::Found | Phase::Stopping => {}
        }
    }

    /// What was written goes with the worker, and only so: it gets nothing more, and gives back what it will not begin,
    /// were it just one.
    pub(super) fn give_up_full(&mut self, id: WorkerId, owed: &mut Vec<Decision>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.draining = true;
        if worker.is_busy() && worker.recall != Recall::Asked {
            worker.recall = Recall::Asked;
            owed.push(Decision::Recall { worker: id });
        }
        self.place(id);
    }

    pub(super) fn gone(&mut self, id: WorkerId, (reason, fault): (&str, Fault), owe: Owe<'_>) {
        let (now, owed) = owe;
        let Some(mut worker) = self.workers.remove(&id) else { return };
        let task = worker.task;
        self.tasks[task.0].crew.forget(id);
        let held = std::mem::take(&mut worker.held);
        // Who was told to go is not lost.
        if fault == Fault::Machine && !worker.draining && worker.phase != Phase::Stopping {
            let index = held.front().map(|attempt| attempt.index);
            self.blame_at((task, worker.machine), index, (now, &mut *owed));
        }
        self.lose(id, (task, held), (&format!("lost its worker: {reason}"), owed));
        self.hand_out(task, (now, owed));
    }

    /// What a worker held when it was lost, or given up. It began the oldest, which counts as tried.
    fn lose(
        &mut self,
        id: WorkerId,
        (task, mut held): (TaskIdx, VecDeque<Attempt>),
        (reason, owed): (&str, &mut Vec<Decision>),
    ) {
        let Some(attempt) = held.pop_front() else { return };
        let text = format!("{attempt}: {reason}");
        let instances = &mut self.tasks[task.0].instances;
        for other in held {
            instances.withdraw(id, other);
        }
        match instances.lose(id, attempt, shortened(text)) {
            Failure::Stale => {}
            Failure::Again => self.changed(),
            Failure::Exhausted => {
                self.changed();
                self.note_ended(task, owed);
            }
        }
    }

    pub(super) fn tick(&mut self, owe: Owe<'_>) {
        let (now, owed) = owe;
        for task in self.dag.tasks() {
            for id in self.overdue(task, now) {
                if let Some(held) = self.workers.get_mut(&id).map(|worker| std::mem::take(&mut worker.held)) {
                    if let Some(attempt) = held.front() {
                        self.blame(id, attempt.index, (now, &mut *owed));
                    }
                    self.lose(id, (task, held), ("did not end in time", owed));
                }
                self.stop(id, owed);
            }
            self.find_late(task, now);
            self.review_blame(task, (now, &mut *owed));
            self.hand_out(task, (now, owed));
        }
    }

    /// Workers that hold something and have ended nothing for longer than any instance may take.
    fn overdue(&self, task: TaskIdx, now: Duration) -> Vec<WorkerId> {
        let state = &self.tasks[task.0];
        let patience = if state.is_listing() { Some(LIST_LIMIT + TIMEOUT_SLACK) } else { state.patience };
        let Some(moment) = patience.and_then(|patience| now.checked_sub(patience)) else {
            return Vec::new();
        };
        let is_overdue = |id: &WorkerId| {
            let worker = self.workers.get(id);
            worker.is_some_and(|worker| worker.since < moment)
        };
        state.crew.busy.iter().copied().filter(is_overdue).collect()
    }
}
