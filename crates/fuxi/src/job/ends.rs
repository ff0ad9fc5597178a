//! How a job ends before its last instance does: a task fails, or its owner wants it so; and how it pauses.

use model::dagjob::DesiredState;

use super::{Decision, Job, Outcome, Owe, TaskIdx, WorkerId};

impl Job {
    pub(super) fn fail(&mut self, task: TaskIdx, message: String, owed: &mut Vec<Decision>) {
        self.end(Outcome::Failed { task, message }, owed);
    }

    /// Ends the job at once, whatever is unfinished. The first end stands.
    fn end(&mut self, outcome: Outcome, owed: &mut Vec<Decision>) {
        self.changed();
        self.urgent_at = self.version;
        self.outcome.get_or_insert(outcome);
        for task in &mut self.tasks {
            task.instances.halt();
        }
        let workers: Vec<WorkerId> = self.workers.keys().copied().collect();
        for worker in workers {
            self.stop(worker, owed);
        }
    }

    /// Whether instances may be handed out.
    pub(super) fn may_go_on(&self) -> bool {
        self.outcome.is_none() && self.desired == DesiredState::Running
    }

    pub(super) fn want(&mut self, desired: DesiredState, owe: Owe<'_>) {
        if self.outcome.is_some() || desired == self.desired {
            return;
        }
        self.desired = desired;
        if desired == DesiredState::Cancelled {
            self.end(Outcome::Cancelled, owe.1);
            return;
        }
        self.changed();
        for task in self.dag.tasks() {
            self.hand_out(task, (owe.0, &mut *owe.1));
        }
    }
}
