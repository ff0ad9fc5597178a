//! Who gets the next instance, and who is let go.

use std::time::Duration;

use super::{Decision, Job, Owe, Phase, TaskIdx, WorkerId};
use crate::protocol::Attempt;

impl Job {
    /// How many instances of a task have not ended well.
    pub fn n_unfinished(&self, task: TaskIdx) -> u32 {
        self.tasks[task.0].instances.n_unfinished()
    }

    /// Gives every idle worker of `task` an instance, or lets it go when there is none and nothing is owed to it.
    pub(super) fn hand_out(&mut self, task: TaskIdx, (now, owed): Owe<'_>) {
        self.give_up_adopting(task, now);
        let may_assign = !self.tasks[task.0].crew.is_adopting() && self.may_go_on();
        if may_assign {
            self.call_back(task);
        }
        for id in std::mem::take(&mut self.tasks[task.0].crew.idle) {
            let draining = self.is_draining(id);
            let next =
                if may_assign && !draining { self.tasks[task.0].instances.next(id, now) } else { None };
            if let Some(attempt) = next {
                self.set_phase(id, Phase::Busy(attempt));
                self.changed();
                owed.push(Decision::Assign { worker: id, task, attempt });
            } else if draining || self.has_nothing_left(task) {
                self.let_go(id, task, owed);
            } else {
                self.tasks[task.0].crew.idle.insert(id);
            }
        }
        if self.has_nothing_left(task) {
            self.stop_unneeded(task, owed);
        }
    }

    fn is_draining(&self, id: WorkerId) -> bool {
        self.workers.get(&id).is_some_and(|worker| worker.draining)
    }

    /// Who has not been heard of by now runs nothing, as far as this master knows.
    fn give_up_adopting(&mut self, task: TaskIdx, now: Duration) {
        for id in self.tasks[task.0].crew.stop_adopting(now) {
            if self.workers.get(&id).is_some_and(|worker| worker.phase == Phase::Starting) {
                self.set_phase(id, Phase::Starting);
            }
        }
    }

    /// Makes idle again who was to leave, as far as there are instances for them again.
    fn call_back(&mut self, task: TaskIdx) {
        let state = &self.tasks[task.0];
        let n_wanted = state.instances.n_pending() as usize;
        let n_wanted = n_wanted.saturating_sub(state.crew.idle.len());
        let staying = state.crew.leaving.iter().filter(|id| !self.is_draining(**id));
        let called: Vec<WorkerId> = staying.take(n_wanted).copied().collect();
        let crew = &mut self.tasks[task.0].crew;
        for id in called {
            crew.leaving.remove(&id);
            crew.idle.insert(id);
        }
    }

    /// Looks again at a worker of which something was stored.
    pub(super) fn reconsider(&mut self, id: WorkerId) {
        let Some(task) = self.workers.get(&id).map(|worker| worker.task) else { return };
        let crew = &mut self.tasks[task.0].crew;
        if crew.leaving.remove(&id) {
            crew.idle.insert(id);
        }
    }

    /// No instance waits, or the job is over or pauses. What still runs is tried again by its own worker if it fails.
    fn has_nothing_left(&self, task: TaskIdx) -> bool {
        !self.may_go_on() || self.tasks[task.0].instances.n_pending() == 0
    }

    /// Lets an idle worker go, now or when its results are stored.
    fn let_go(&mut self, id: WorkerId, task: TaskIdx, owed: &mut Vec<Decision>) {
        if self.unacknowledged_of(id).next().is_some() {
            self.tasks[task.0].crew.leaving.insert(id);
        } else {
            self.stop(id, owed);
        }
    }

    /// Workers on their way to a task that has no more to do, and those that run what another one has finished.
    fn stop_unneeded(&mut self, task: TaskIdx, owed: &mut Vec<Decision>) {
        let state = &self.tasks[task.0];
        let mut unneeded: Vec<WorkerId> = state.crew.starting.iter().copied().collect();
        if state.instances.is_finished() {
            unneeded.extend(&state.crew.busy);
        }
        for worker in unneeded {
            if self.unacknowledged_of(worker).next().is_none() {
                self.stop(worker, owed);
            }
        }
    }

    /// What was told by `worker` and is not stored yet.
    pub(super) fn unacknowledged_of(&self, worker: WorkerId) -> impl Iterator<Item = Attempt> {
        let first = (worker, Attempt { index: 0, number: 0 });
        let last = (worker, Attempt { index: u32::MAX, number: u32::MAX });
        self.unacknowledged.range(first..=last).map(|((_, attempt), _)| *attempt)
    }

    pub(super) fn stop(&mut self, id: WorkerId, owed: &mut Vec<Decision>) {
        if self.workers.get(&id).is_some_and(|worker| worker.phase != Phase::Stopping) {
            self.set_phase(id, Phase::Stopping);
            owed.push(Decision::Stop { worker: id });
        }
    }

    pub(super) fn set_phase(&mut self, id: WorkerId, phase: Phase) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.phase = phase;
        self.tasks[worker.task.0].crew.place(id, phase, worker.connected);
    }
}
