//! Late instances: found at every tick, begun again by who is idle on another machine where there is one, and the worker
//! stopped that was outrun.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Decision, Job, Owe, Phase, Recall, TaskIdx, Worker, WorkerId};
use crate::protocol::Attempt;

impl Worker {
    /// Since when it runs the oldest of what it holds. Large objects take long to come and go, and that would be no
    /// faster elsewhere: meanwhile it runs nothing.
    fn runs_since(&self, has_objects: bool) -> Option<Duration> {
        let oldest = self.held.front()?;
        let told = self.command.filter(|(attempt, _)| attempt == oldest).map(|(_, since)| since);
        if has_objects { told } else { Some(self.since) }
    }
}

impl Job {
    /// Looks which instances of a task are late. Only the oldest of what a worker holds runs for certain.
    pub(super) fn find_late(&mut self, task: TaskIdx, now: Duration) {
        let state = &self.tasks[task.0];
        if !state.backs_up {
            return;
        }
        let done = (state.instances.n_finished(), state.instances.count());
        let moment = state.typical.limit(done).and_then(|limit| now.checked_sub(limit));
        let late = |moment: Duration| -> BTreeMap<u32, Duration> {
            let busy = state.crew.busy.iter().filter_map(|id| self.workers.get(id));
            let slow =
                busy.filter(|worker| worker.runs_since(state.has_objects).is_some_and(|at| at <= moment));
            let indexes = slow.filter_map(|worker| Some(worker.held.front()?.index));
            let late = indexes.filter(|index| state.instances.may_be_backed_up(*index));
            late.map(|index| (index, state.late.get(&index).copied().unwrap_or(now))).collect()
        };
        let late = moment.map(late).unwrap_or_default();
        self.tasks[task.0].late = late;
    }

    pub(super) fn note_command(&mut self, id: WorkerId, (attempt, runs): (Attempt, bool)) {
        let now = self.now;
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.command = runs.then_some((attempt, now));
        }
    }

    /// Gives an idle worker an instance that is late elsewhere; false if there is none.
    pub(super) fn back_up(&mut self, id: WorkerId, (now, owed): Owe<'_>) -> bool {
        let Some(worker) = self.workers.get(&id) else { return false };
        if worker.draining
            || self.is_misplaced(id)
            || !worker.connected
            || worker.phase != Phase::Ready
            || worker.is_busy()
        {
            return false;
        }
        let task = worker.task;
        let late: Vec<u32> = self.tasks[task.0].late.keys().copied().collect();
        let usable = late.into_iter().filter(|index| self.may_back_up(id, *index)).collect::<Vec<_>>();
        let state = &mut self.tasks[task.0];
        let attempt = usable.into_iter().find_map(|index| state.instances.back_up(index, id));
        let Some(attempt) = attempt else { return false };
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        state.late.remove(&attempt.index);
        (worker.since, worker.recall) = (now, Recall::Never);
        worker.held.push_back(attempt);
        self.place(id);
        self.changed();
        owed.push(Decision::Assign { worker: id, task, attempts: vec![attempt] });
        true
    }

    /// Takes note of who else runs what `id` has just ended well.
    pub(super) fn note_outrun(&mut self, id: WorkerId, task: TaskIdx, attempt: Attempt) {
        let state = &mut self.tasks[task.0];
        state.late.remove(&attempt.index);
        let others: Vec<WorkerId> =
            state.instances.runners(attempt.index).filter(|other| *other != id).collect();
        for other in &others {
            self.note_slow(*other, (task, attempt), id);
        }
        self.tasks[task.0].crew.outrun.extend(others);
    }

    /// Who began an instance before `winner` and has not ended it may be on a machine that is at fault.
    fn note_slow(&mut self, slow: WorkerId, (task, attempt): (TaskIdx, Attempt), winner: WorkerId) {
        let (Some(slow), Some(winner)) = (self.workers.get(&slow), self.workers.get(&winner)) else { return };
        let began_before =
            slow.held.iter().any(|held| held.index == attempt.index && held.number < attempt.number);
        if began_before && slow.machine != winner.machine {
            self.tasks[task.0].blame.outrun(attempt.index, slow.machine);
        }
    }

    /// Stops workers that run what somebody else has ended, once their own results are stored.
    pub(super) fn stop_outrun(&mut self, task: TaskIdx, owed: &mut Vec<Decision>) {
        for id in std::mem::take(&mut self.tasks[task.0].crew.outrun) {
            let instances = &self.tasks[task.0].instances;
            let worker = self.workers.get(&id);
            let runs_in_vain = worker
                .and_then(|worker| worker.held.front())
                .is_some_and(|attempt| instances.has_finished(attempt.index));
            if !runs_in_vain {
                continue;
            }
            if self.is_owed(id) {
                self.tasks[task.0].crew.outrun.insert(id);
            } else {
                self.stop(id, owed);
            }
        }
    }
}
