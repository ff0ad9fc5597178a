//! Which machines are of no use to a task: where its instances failed, or are late, while there are others.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Job, Owe, TaskIdx, WorkerId};
use crate::blame::{PATIENCE, TASKS, most_avoided};
use crate::grants::MachineId;

/// Among so many instances that wait for another machine it is looked for one that a worker may run.
pub(super) const LOOKED_AT: usize = 64;

impl Job {
    /// Where another worker of `task` would be of no use now. Never all machines.
    pub fn avoided(&self, task: TaskIdx) -> BTreeSet<MachineId> {
        let state = &self.tasks[task.0];
        if self.n_machines < 2 || state.blame.is_clean() && state.avoided.is_empty() && state.late.is_empty()
        {
            return BTreeSet::new();
        }
        let useless = self.useless(task);
        state.avoided.union(&useless).copied().collect()
    }

    /// Machines that the job as a whole has found faulty: its vote.
    pub fn blamed(&self) -> impl Iterator<Item = MachineId> + '_ {
        let needed = TASKS.min(self.tasks.len());
        let all: BTreeSet<MachineId> =
            self.tasks.iter().flat_map(|task| task.blame.avoided()).copied().collect();
        let voices = |machine: &MachineId| {
            self.tasks.iter().filter(|task| task.blame.avoided().contains(machine)).count()
        };
        all.into_iter().filter(move |machine| voices(machine) >= needed)
    }

    /// Machines that this task has found faulty, and those of its job.
    pub fn faulty(&self, task: TaskIdx) -> &BTreeSet<MachineId> {
        &self.tasks[task.0].avoided
    }

    /// Machines where nothing could run of what waits or is late: every one of these is to run elsewhere first.
    fn useless(&self, task: TaskIdx) -> BTreeSet<MachineId> {
        let state = &self.tasks[task.0];
        let again = state.instances.waiting_again();
        let n_waiting = again.len() + state.late.len();
        let n_fresh = (state.instances.n_pending() as usize).saturating_sub(again.len());
        if n_fresh > 0 || n_waiting == 0 || n_waiting > LOOKED_AT {
            return BTreeSet::new();
        }
        let of_again = again.iter().map(|index| self.barred(task, *index));
        let of_late = state.late.keys().map(|index| self.barred_to_backup(task, *index));
        of_again.chain(of_late).reduce(|common, next| &common & &next).unwrap_or_default()
    }

    /// Where an instance is not to run yet, because it failed there and another machine may take it.
    pub(super) fn barred(&self, task: TaskIdx, index: u32) -> BTreeSet<MachineId> {
        let state = &self.tasks[task.0];
        self.unless_all(task, state.blame.barred(index, self.now).collect())
    }

    /// Where the backup of a late instance is not to run yet: where it is late, and where it failed.
    fn barred_to_backup(&self, task: TaskIdx, index: u32) -> BTreeSet<MachineId> {
        let state = &self.tasks[task.0];
        let mut barred: BTreeSet<MachineId> = state.blame.barred(index, self.now).collect();
        if state.late.get(&index).is_some_and(|since| self.now < *since + PATIENCE) {
            let runners = state.instances.runners(index).filter_map(|worker| self.workers.get(&worker));
            barred.extend(runners.map(|worker| worker.machine));
        }
        self.unless_all(task, barred)
    }

    /// With those that the task avoids anyway, some machine must remain.
    fn unless_all(&self, task: TaskIdx, barred: BTreeSet<MachineId>) -> BTreeSet<MachineId> {
        let together = barred.union(&self.tasks[task.0].avoided).count();
        if together < self.n_machines as usize { barred } else { BTreeSet::new() }
    }

    pub(super) fn may_run(&self, id: WorkerId, index: u32) -> bool {
        let Some(worker) = self.workers.get(&id) else { return false };
        !self.barred(worker.task, index).contains(&worker.machine)
    }

    pub(super) fn may_back_up(&self, id: WorkerId, index: u32) -> bool {
        let Some(worker) = self.workers.get(&id) else { return false };
        !self.barred_to_backup(worker.task, index).contains(&worker.machine)
    }

    /// Whether a worker is on a machine that its task found faulty.
    pub(super) fn is_misplaced(&self, id: WorkerId) -> bool {
        self.workers
            .get(&id)
            .is_some_and(|worker| self.tasks[worker.task.0].avoided.contains(&worker.machine))
    }

    /// Whether a worker could run nothing of what waits, while one on another machine could.
    pub(super) fn is_of_no_use(&self, id: WorkerId) -> bool {
        let worker = self.workers.get(&id);
        worker.is_some_and(|worker| self.avoided(worker.task).contains(&worker.machine))
    }

    /// So many machines may be granted from now on.
    pub(super) fn set_machines(&mut self, n_machines: u32, owe: Owe<'_>) {
        let (now, owed) = owe;
        self.n_machines = n_machines;
        for task in self.dag.tasks() {
            self.review_blame(task, (now, &mut *owed));
        }
    }

    /// Decides anew which machines the tasks avoid, after something was heard of one of them. Who works on a machine that
    /// is avoided now ends what it runs, and gives back the rest.
    pub(super) fn review_blame(&mut self, task: TaskIdx, (now, owed): Owe<'_>) {
        if !self.tasks[task.0].blame.review(self.n_machines, now) {
            return;
        }
        self.changed();
        let of_job: BTreeSet<MachineId> = self.blamed().collect();
        for other in self.dag.tasks() {
            let state = &mut self.tasks[other.0];
            let own = state.blame.avoided().clone();
            let room = most_avoided(self.n_machines).saturating_sub(own.len());
            let more: Vec<MachineId> = of_job.difference(&own).take(room).copied().collect();
            state.avoided = own.into_iter().chain(more).collect();
            let misplaced = |id: &WorkerId| self.is_misplaced(*id);
            let laden: Vec<WorkerId> =
                self.tasks[other.0].crew.laden.iter().copied().filter(misplaced).collect();
            laden.into_iter().for_each(|id| self.recall_one(id, owed));
        }
    }

    /// An instance failed where `id` works.
    pub(super) fn blame(&mut self, id: WorkerId, index: u32, (now, owed): Owe<'_>) {
        let Some(worker) = self.workers.get(&id) else { return };
        let (task, machine) = (worker.task, worker.machine);
        self.blame_at((task, machine), Some(index), (now, owed));
    }

    /// An instance failed on a machine, or a worker was lost there that ran none.
    pub(super) fn blame_at(
        &mut self,
        (task, machine): (TaskIdx, MachineId),
        index: Option<u32>,
        (now, owed): (Duration, &mut Vec<super::Decision>),
    ) {
        let blame = &mut self.tasks[task.0].blame;
        match index {
            Some(index) => blame.failed(index, machine, now),
            None => blame.worker_lost(machine),
        }
        self.review_blame(task, (now, owed));
    }
}
