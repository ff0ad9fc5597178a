//! Workers: they start on a granted place, run what they are handed, and end.

use std::collections::VecDeque;
use std::time::Duration;

use fuxi::blame::Fault;
use fuxi::grants::{Event as LedgerEvent, GrantId, MachineId};
use fuxi::job::Event;
use fuxi::protocol::{Attempt, AttemptResult, Exit};
use fuxi::{TaskIdx, WorkerId};

use super::super::agenda::{Fate, Occurrence};
use super::World;

/// SIGKILL, which ends what is killed at random.
const KILLED: i32 = 9;

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) job: usize,
    task: TaskIdx,
    grant: GrantId,
    machine: MachineId,
    /// How many times as long everything takes here.
    slowness: f64,
    /// After which share of its first attempt it is killed.
    doom: Option<f64>,
    run: Option<Run>,
    /// What it was handed beside that, and has not begun.
    queue: VecDeque<Attempt>,
    /// Nobody had told it to end.
    was_killed: bool,
    /// It ends, or has ended and nobody knows yet.
    is_ending: bool,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    attempt: Attempt,
    since: Duration,
}

impl World<'_> {
    pub(super) fn worker(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(usize::try_from(id.0).ok()?)?.as_ref()
    }

    fn worker_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers.get_mut(usize::try_from(id.0).ok()?)?.as_mut()
    }

    /// Makes a worker on a granted place.
    pub(super) fn start_worker(&mut self, (job, task): (usize, TaskIdx), grant: GrantId, machine: MachineId) {
        let shape = self.shape(job, task);
        self.meter.levels.held_cpu += shape.cpu.0;
        self.meter.levels.held_memory += shape.memory.0;
        self.tally.granted(machine, shape, self.plan.settings.fleet.capacity());
        let id = WorkerId(self.workers.len() as u64);
        let (slowness, doom) = (self.draws.slowness(machine.0), self.draws.worker(id.0));
        self.workers.push(Some(Worker {
            job,
            task,
            grant,
            machine,
            slowness,
            doom,
            run: None,
            queue: VecDeque::new(),
            was_killed: false,
            is_ending: false,
        }));
        self.by_grant.insert(grant, id);
        self.tell(job, Event::Created { worker: id, task, machine });
        let start = self.plan.settings.latencies.worker_start.mul_f64(slowness);
        self.agenda.enter(self.now + start, Occurrence::Hello { worker: id });
    }

    pub(super) fn hello(&mut self, id: WorkerId) {
        let Some(job) = self.worker(id).filter(|worker| !worker.is_ending).map(|worker| worker.job) else {
            return;
        };
        self.tell(job, Event::Hello { worker: id, held: Vec::new(), results: Vec::new(), full: false });
    }

    /// A worker is handed instances.
    pub(super) fn assign(&mut self, id: WorkerId, attempts: Vec<Attempt>) {
        let Some(worker) = self.worker_mut(id).filter(|worker| !worker.is_ending) else { return };
        worker.queue.extend(attempts);
        if worker.run.is_none() {
            self.begin_next(id, self.now + self.plan.settings.latencies.hand_over);
        }
    }

    /// Gives back what it has not begun.
    pub(super) fn recalled(&mut self, id: WorkerId) {
        let Some(worker) = self.worker_mut(id) else { return };
        let (job, attempts) = (worker.job, Vec::from(std::mem::take(&mut worker.queue)));
        self.tell(job, Event::Returned { worker: id, attempts });
    }

    fn begin_next(&mut self, id: WorkerId, since: Duration) {
        let Some(worker) = self.worker_mut(id).filter(|worker| !worker.is_ending) else { return };
        let Some(attempt) = worker.queue.pop_front() else { return };
        worker.run = Some(Run { attempt, since });
        let (job, task, slowness, doom) = (worker.job, worker.task, worker.slowness, worker.doom.take());
        let machine = worker.machine.0;
        let durations = &self.plan.workload.jobs[job].tasks[task.0].durations;
        let duration = durations.get(attempt.index as usize).copied().unwrap_or_default().mul_f64(slowness);
        let killed = || self.draws.instance(job, task.0, attempt.index).filter(|_| attempt.number == 1);
        let failed = || self.draws.machine(machine, job, (task.0, attempt));
        let (fate, share) = match (doom, killed().or_else(failed)) {
            (Some(share), _) => (Fate::DiesWithWorker, share),
            (None, Some(share)) => (Fate::Fails, share),
            (None, None) => (Fate::Succeeds, 1.0),
        };
        self.meter.levels.busy_cpu += self.shape(job, task).cpu.0;
        let released = self.jobs.get(&job).and_then(|job| job.tasks[task.0].released);
        if let Some(released) = released.filter(|_| attempt.number == 1) {
            self.tally.waits.push(since - released);
        }
        self.tally.attempts += 1;
        let ended = Occurrence::Ended { worker: id, attempt, fate };
        self.agenda.enter(since + duration.mul_f64(share), ended);
    }

    pub(super) fn ended(&mut self, id: WorkerId, attempt: Attempt, fate: Fate) {
        let runs = |worker: &&Worker| worker.run.is_some_and(|run| run.attempt == attempt);
        let Some(job) = self.worker(id).filter(runs).map(|worker| worker.job) else { return };
        match fate {
            Fate::Succeeds => self.tally.successes += 1,
            Fate::Fails => self.tally.killed_instances += 1,
            Fate::DiesWithWorker => self.tally.killed_workers += 1,
        }
        let spent = self.end_run(id, fate == Fate::Succeeds);
        let exit = match fate {
            Fate::Succeeds => Exit::Code(0),
            Fate::Fails => Exit::Signal(KILLED),
            Fate::DiesWithWorker => {
                if let Some(worker) = self.worker_mut(id) {
                    worker.was_killed = true;
                }
                self.end_worker(id);
                return;
            }
        };
        let duration_ms = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX);
        let result =
            AttemptResult { attempt, exit, duration_ms, gap_micros: None, usage: None, tail: String::new() };
        self.begin_next(id, self.now);
        self.tell(job, Event::Results { worker: id, results: vec![result] });
    }

    /// Takes note that a worker runs nothing any more; how long it did.
    fn end_run(&mut self, id: WorkerId, is_useful: bool) -> Duration {
        let now = self.now;
        let ended = self.worker_mut(id).and_then(|worker| {
            let run = worker.run.take()?;
            Some((worker.job, worker.task, run))
        });
        let Some((job, task, run)) = ended else { return Duration::ZERO };
        let (cpu, spent) = (self.shape(job, task).cpu, now.saturating_sub(run.since));
        self.meter.levels.busy_cpu -= cpu.0;
        self.tally.spent(job, super::super::cores(cpu) * spent.as_secs_f64(), is_useful);
        let instance = (job, task, run.attempt.index);
        if is_useful {
            let whole = spent + self.lost.remove(&instance).unwrap_or_default();
            if let Some(job) = self.jobs.get_mut(&job) {
                let longest = &mut job.tasks[task.0].longest;
                *longest = whole.max(*longest);
            }
        } else {
            *self.lost.entry(instance).or_default() += spent;
        }
        spent
    }

    /// It is told to kill what it runs and to end.
    pub(super) fn stop(&mut self, id: WorkerId) {
        if self.worker(id).is_some_and(|worker| !worker.is_ending) {
            self.end_run(id, false);
            self.end_worker(id);
        }
    }

    fn end_worker(&mut self, id: WorkerId) {
        if let Some(worker) = self.worker_mut(id) {
            worker.is_ending = true;
        }
        let at = self.now + self.plan.settings.latencies.worker_end;
        self.agenda.enter(at, Occurrence::Gone { worker: id });
    }

    /// A worker that does not exist any more: its place is free, and what it ran is tried again.
    pub(super) fn gone(&mut self, id: WorkerId) {
        let slot = usize::try_from(id.0).ok().and_then(|at| self.workers.get_mut(at));
        let Some(worker) = slot.and_then(Option::take) else { return };
        let shape = self.shape(worker.job, worker.task);
        self.meter.levels.held_cpu -= shape.cpu.0;
        self.meter.levels.held_memory -= shape.memory.0;
        self.tally.returned(worker.machine, shape);
        self.by_grant.remove(&worker.grant);
        let fault = if worker.was_killed { Fault::Machine } else { Fault::Nobody };
        self.tell(worker.job, Event::Gone { worker: id, reason: "ended".to_owned(), fault });
        self.tell_ledger(LedgerEvent::Return { grant: worker.grant });
        self.forget_if_over(worker.job);
    }
}
