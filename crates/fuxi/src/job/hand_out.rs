//! Who gets the next instances, who gives some back, and who is let go.

use std::time::Duration;

use super::elsewhere::LOOKED_AT;
use super::{Decision, Job, MAX_UNSTORED, Owe, Phase, Recall, TaskIdx, WorkerId};
use crate::protocol::Attempt;

impl Job {
    /// How many instances of a task have not ended well.
    pub fn n_unfinished(&self, task: TaskIdx) -> u32 {
        self.tasks[task.0].instances.n_unfinished()
    }

    /// Gives every idle worker of `task` something to do, if need be from what others have not begun, or lets it go when
    /// there is nothing and nothing is owed to it.
    pub(super) fn hand_out(&mut self, task: TaskIdx, (now, owed): Owe<'_>) {
        self.give_up_adopting(task, now);
        if !self.tasks[task.0].crew.is_adopting() && self.may_go_on() {
            self.call_back(task);
        }
        let mut waiting = Vec::new();
        for id in std::mem::take(&mut self.tasks[task.0].crew.idle) {
            if !self.feed(id, (now, owed)) {
                waiting.push(id);
            }
        }
        if !self.may_go_on() || waiting.iter().any(|id| !self.is_draining(*id)) {
            self.recall(task, owed);
        }
        for id in waiting {
            if self.may_go_on() && self.back_up(id, (now, owed)) {
                continue;
            }
            if self.has_nothing_left(task) || self.is_draining(id) || self.is_of_no_use(id) {
                self.let_go(id, task, owed);
            } else {
                self.tasks[task.0].crew.idle.insert(id);
            }
        }
        self.stop_outrun(task, owed);
        if self.has_nothing_left(task) {
            self.stop_unneeded(task, owed);
        }
    }

    pub(super) fn is_draining(&self, id: WorkerId) -> bool {
        self.workers.get(&id).is_some_and(|worker| worker.draining)
    }

    /// Who has not been heard of by now runs nothing, as far as this master knows.
    fn give_up_adopting(&mut self, task: TaskIdx, now: Duration) {
        for id in self.tasks[task.0].crew.stop_adopting(now) {
            if self.workers.get(&id).is_some_and(|worker| worker.phase == Phase::Found) {
                self.place(id);
            }
        }
    }

    /// Gives a worker as much as it should hold, if it holds notably less; false if it gets nothing.
    pub(super) fn feed(&mut self, id: WorkerId, (now, owed): Owe<'_>) -> bool {
        let Some(worker) = self.workers.get(&id) else { return false };
        let task = worker.task;
        let may_get = worker.connected
            && worker.phase == Phase::Ready
            && !worker.draining
            && !self.is_misplaced(id)
            && worker.unacknowledged.len() < MAX_UNSTORED;
        let depth = self.depth(task);
        // Not for each result one: few messages for many instances.
        let is_low = worker.held.len() <= depth - depth.div_ceil(4);
        let is_settled = self.tasks[task.0].is_settled(self.stored);
        if !may_get || !is_low || !is_settled || self.tasks[task.0].crew.is_adopting() || !self.may_go_on() {
            return false;
        }
        let room = depth - worker.held.len();
        let attempts = self.next_for(id, task, room);
        let Some(worker) = self.workers.get_mut(&id).filter(|_| !attempts.is_empty()) else { return false };
        if !worker.is_busy() {
            worker.since = now;
        }
        worker.held.extend(&attempts);
        worker.recall = Recall::Never;
        self.place(id);
        self.changed();
        owed.push(Decision::Assign { worker: id, task, attempts });
        true
    }

    /// Up to so many instances that a worker may run: those that failed elsewhere, then fresh ones.
    fn next_for(&mut self, id: WorkerId, task: TaskIdx, count: usize) -> Vec<Attempt> {
        let again = self.tasks[task.0].instances.waiting_again();
        let looked_at: Vec<u32> = again.iter().copied().take(LOOKED_AT.max(count)).collect();
        let usable = looked_at.into_iter().filter(|index| self.may_run(id, *index));
        let usable: Vec<u32> = usable.take(count).collect();
        let instances = &mut self.tasks[task.0].instances;
        let mut attempts: Vec<Attempt> =
            usable.into_iter().filter_map(|index| instances.next_again(index, id)).collect();
        let fresh = std::iter::from_fn(|| instances.next_fresh(id));
        attempts.extend(fresh.take(count - attempts.len()));
        attempts
    }

    /// How much a worker of `task` should hold: what it ends in a moment, and towards the end no more than its share.
    fn depth(&self, task: TaskIdx) -> usize {
        let state = &self.tasks[task.0];
        let pending = usize::try_from(state.instances.n_pending()).unwrap_or(usize::MAX);
        let share = pending / (2 * state.crew.len().max(1));
        state.pace.depth().min(share).max(1)
    }

    /// While some idle or the job pauses, nobody keeps what it has not begun.
    fn recall(&mut self, task: TaskIdx, owed: &mut Vec<Decision>) {
        let state = &self.tasks[task.0];
        if self.may_go_on() && state.instances.n_pending() > 0 {
            return;
        }
        let laden: Vec<WorkerId> = state.crew.laden.iter().copied().collect();
        for id in laden {
            self.recall_one(id, owed);
        }
    }

    pub(super) fn recall_one(&mut self, id: WorkerId, owed: &mut Vec<Decision>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if self.tasks[worker.task.0].crew.laden.contains(&id) {
            worker.recall = Recall::Asked;
            owed.push(Decision::Recall { worker: id });
            self.place(id);
        }
    }

    /// Makes idle again who was to leave, as far as there are instances for them again.
    fn call_back(&mut self, task: TaskIdx) {
        let state = &self.tasks[task.0];
        let n_wanted = state.instances.n_pending() as usize + state.late.len();
        let n_wanted = n_wanted.saturating_sub(state.crew.idle.len());
        let staying =
            state.crew.leaving.iter().filter(|id| !self.is_draining(**id) && !self.is_of_no_use(**id));
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

    /// No instance waits, is late or may come back from who has not begun it, or the job is over or pauses. What still runs is
    /// tried again by its own worker if it fails.
    fn has_nothing_left(&self, task: TaskIdx) -> bool {
        let state = &self.tasks[task.0];
        let is_served = state.instances.n_pending() == 0 && state.late.is_empty();
        !self.may_go_on() || (is_served && state.crew.recalled.is_empty())
    }

    pub(super) fn is_owed(&self, id: WorkerId) -> bool {
        self.workers.get(&id).is_some_and(|worker| !worker.unacknowledged.is_empty())
    }

    /// Lets an idle worker go, now or when its results are stored.
    fn let_go(&mut self, id: WorkerId, task: TaskIdx, owed: &mut Vec<Decision>) {
        if self.is_owed(id) {
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
            if !self.is_owed(worker) {
                self.stop(worker, owed);
            }
        }
    }

    pub(super) fn stop(&mut self, id: WorkerId, owed: &mut Vec<Decision>) {
        if self.workers.get(&id).is_some_and(|worker| worker.phase != Phase::Stopping) {
            self.set_phase(id, Phase::Stopping);
            owed.push(Decision::Stop { worker: id });
        }
    }

    pub(super) fn set_phase(&mut self, id: WorkerId, phase: Phase) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.phase = phase;
            self.place(id);
        }
    }

    /// Keeps the crew's lists in line with what a worker does.
    pub(super) fn place(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get(&id) {
            self.tasks[worker.task.0].crew.place(id, worker);
        }
    }
}
