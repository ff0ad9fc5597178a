//! Who gets the next instance, and who is let go.

use super::{Decision, Job, Owe, Phase, TaskIdx, WorkerId};
use crate::protocol::Attempt;

impl Job {
    /// Gives every idle worker of `task` an instance, or lets it go when there is none and nothing is owed to it.
    pub(super) fn hand_out(&mut self, task: TaskIdx, (now, owed): Owe<'_>) {
        let state = &mut self.tasks[task.0];
        if now >= state.adopt_until {
            state.adopting.clear();
        }
        let (is_adopted, idle) = (state.adopting.is_empty(), state.idle.clone());
        let may_assign = is_adopted && self.may_go_on();
        for id in idle {
            let draining = self.workers.get(&id).is_some_and(|worker| worker.draining);
            let next =
                if may_assign && !draining { self.tasks[task.0].instances.next(id, now) } else { None };
            if let Some(attempt) = next {
                self.set_phase(id, Phase::Busy(attempt));
                self.changed();
                owed.push(Decision::Assign { worker: id, task, attempt });
            } else if draining || self.has_nothing_left(task) {
                self.stop_when_acknowledged(id, owed);
            }
        }
        if self.has_nothing_left(task) {
            self.stop_unneeded(task, owed);
        }
    }

    /// No instance waits, or the job is over or pauses. What still runs is tried again by its own worker if it fails.
    fn has_nothing_left(&self, task: TaskIdx) -> bool {
        !self.may_go_on() || self.tasks[task.0].instances.n_pending() == 0
    }

    fn stop_when_acknowledged(&mut self, id: WorkerId, owed: &mut Vec<Decision>) {
        let first = Attempt { index: 0, number: 0 };
        let is_owed =
            self.unacknowledged.range((id, first)..).next().is_some_and(|((worker, _), _)| *worker == id);
        if !is_owed {
            self.stop(id, owed);
        }
    }

    /// Workers on their way to a task that has no more to do, and those that run what another one has finished.
    fn stop_unneeded(&mut self, task: TaskIdx, owed: &mut Vec<Decision>) {
        let state = &self.tasks[task.0];
        let is_finished = state.instances.is_finished();
        let is_unneeded = |id: &WorkerId| match self.workers.get(id).map(|worker| worker.phase) {
            // Who was there before this master may run something.
            Some(Phase::Starting) => !state.adopting.contains(id),
            Some(Phase::Busy(_)) => is_finished,
            Some(Phase::Idle | Phase::Stopping) | None => false,
        };
        let unneeded: Vec<WorkerId> = state.workers.iter().copied().filter(is_unneeded).collect();
        for worker in unneeded {
            self.stop_when_acknowledged(worker, owed);
        }
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
        let idle = &mut self.tasks[worker.task.0].idle;
        if phase == Phase::Idle && worker.connected {
            idle.insert(id);
        } else {
            idle.remove(&id);
        }
    }
}
