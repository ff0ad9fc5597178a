//! The world around a job's master: workers with their own state, connections that break, a store, and killings.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use model::dagjob::{DagJobSpec, DagJobStatus, DesiredState, InputStatus};

use super::act::Act;
use super::{Decision, Event, Job, Listed, Outcome, WorkerId};
use crate::blame::Fault;
use crate::dag::TaskIdx;
use crate::grants::MachineId;
use crate::instances::MAX_LOSSES;
use crate::protocol::{Attempt, AttemptResult, Exit, LISTING};
use crate::ranges::Ranges;

/// So many entries has the input list of each task that has one.
const ENTRIES: u32 = 9;

/// So many does a worker run at once, as one with a program that takes a stream does.
const BEGUN: usize = 2;

#[derive(Clone, Debug)]
enum Up {
    Hello(Vec<Attempt>, Vec<AttemptResult>),
    Results(Vec<AttemptResult>),
    Returned(Vec<Attempt>),
}

#[derive(Clone, Debug, Default)]
struct Worker {
    task: usize,
    machine: u32,
    connected: bool,
    /// What it has not ended, oldest first; it has begun the first [`BEGUN`].
    held: VecDeque<Attempt>,
    results: Vec<AttemptResult>,
    up: VecDeque<Up>,
    down: VecDeque<Decision>,
}

pub(super) struct World {
    spec: DagJobSpec,
    n_machines: u32,
    pub(super) job: Job,
    durable: DagJobStatus,
    workers: BTreeMap<WorkerId, Worker>,
    next_worker: u64,
    now: Duration,
    /// How often each (task, instance) was really started.
    pub(super) runs: BTreeMap<(usize, u32), u32>,
    /// How often each really failed, and how often it was lost with its worker.
    failures: BTreeMap<(usize, u32), u32>,
    losses: BTreeMap<(usize, u32), u32>,
    broken: Vec<String>,
}

impl World {
    pub(super) fn new(spec: DagJobSpec, n_machines: u32) -> Self {
        let mut job = Job::try_new(&spec, &DagJobStatus::default()).unwrap();
        job.step(Event::Machines(n_machines), Duration::ZERO);
        Self {
            spec,
            n_machines,
            job,
            durable: DagJobStatus::default(),
            workers: BTreeMap::new(),
            next_worker: 1,
            now: Duration::ZERO,
            runs: BTreeMap::new(),
            failures: BTreeMap::new(),
            losses: BTreeMap::new(),
            broken: Vec::new(),
        }
    }

    pub(super) fn verdict(&self) -> Result<(), String> {
        if let Some(broken) = self.broken.first() {
            return Err(broken.clone());
        }
        match self.job.outcome() {
            None => Err("the job did not end".to_owned()),
            Some(Outcome::Succeeded) => {
                let all = (0..self.spec.tasks.len()).all(|task| {
                    let name = &self.spec.tasks[task].name;
                    let status = &self.durable.tasks[name];
                    status.succeeded + status.failed == self.count(task)
                        && u64::from(status.succeeded) == self.finished(name).len()
                        && u64::from(status.failed) == self.failed(name).len()
                        && status.failed <= self.tolerated(task)
                });
                if all { Ok(()) } else { Err("succeeded without all instances".to_owned()) }
            }
            Some(Outcome::Failed { .. }) => {
                let has_reason = (0..self.spec.tasks.len()).any(|task| {
                    let listing = self.is_given_up(task, LISTING);
                    let given_up = (0..self.count(task)).filter(|index| self.is_given_up(task, *index));
                    listing || given_up.count() > self.tolerated(task) as usize
                });
                if has_reason { Ok(()) } else { Err("failed without enough failures".to_owned()) }
            }
            Some(Outcome::Cancelled) => Err("nobody cancelled it".to_owned()),
        }
    }

    fn count(&self, task: usize) -> u32 {
        self.spec.tasks[task].count().unwrap_or(ENTRIES)
    }

    fn tolerated(&self, task: usize) -> u32 {
        let policy = self.spec.tasks[task].success_policy.clone().unwrap_or_default();
        policy.tolerated(self.count(task))
    }

    /// Whether an instance really failed as often as it may, or was lost so often.
    fn is_given_up(&self, task: usize, index: u32) -> bool {
        let has = |all: &BTreeMap<(usize, u32), u32>, least: u32| {
            all.get(&(task, index)).is_some_and(|n| *n >= least)
        };
        has(&self.failures, 3) || has(&self.losses, MAX_LOSSES)
    }

    /// Lets everything arrive and end well until the job is over and stored.
    pub(super) fn settle(&mut self) {
        self.perform(&Act::Want(DesiredState::Running));
        for _ in 0..300 {
            for task in 0..self.spec.tasks.len() {
                self.perform(&Act::Create(task));
            }
            for worker in 0..self.workers.len() {
                self.perform(&Act::Connect(worker));
                self.perform(&Act::ToMaster(worker, false));
                self.perform(&Act::ToWorker(worker));
                self.perform(&Act::Finish { worker, which: 0, ok: true });
            }
            self.perform(&Act::Store);
            self.perform(&Act::Wait);
            if self.job.outcome().is_some() && self.job.is_stored() {
                return;
            }
        }
    }

    pub(super) fn perform(&mut self, act: &Act) {
        match act {
            Act::Create(pick) => self.create(pick % self.spec.tasks.len()),
            Act::ToWorker(pick) => self.deliver_down(*pick),
            Act::ToMaster(pick, twice) => self.deliver_up(*pick, *twice),
            Act::Finish { worker, which, ok } => self.finish(*worker, *which, *ok),
            Act::Disconnect(pick) => self.disconnect(*pick),
            Act::Connect(pick) => self.connect(*pick),
            Act::Kill(pick) => self.kill(*pick),
            Act::Drain(pick) => {
                if let Some(worker) = self.pick(*pick) {
                    self.tell(Event::Drain { worker });
                }
            }
            Act::Store => {
                let version = self.store();
                self.tell(Event::Stored { version });
            }
            Act::Restart(after_store) => self.restart(*after_store),
            Act::Want(desired) => {
                self.spec.desired_state = *desired;
                self.tell(Event::Want(*desired));
            }
            Act::Machines(count) => {
                self.n_machines = *count;
                self.tell(Event::Machines(*count));
            }
            Act::Wait => {
                self.now += Duration::from_secs(1);
                self.tell(Event::Tick);
            }
        }
    }

    fn pick(&self, pick: usize) -> Option<WorkerId> {
        self.workers.keys().nth(pick % self.workers.len().max(1)).copied()
    }

    fn create(&mut self, task: usize) {
        if self.job.n_missing_workers(TaskIdx(task)) > 0 {
            let worker = WorkerId(self.next_worker);
            self.next_worker += 1;
            let avoided = self.job.avoided(TaskIdx(task));
            let machines = (0..self.n_machines).filter(|machine| !avoided.contains(&MachineId(*machine)));
            let Some(machine) = machines.min_by_key(|machine| (worker.0 + u64::from(*machine)) % 7) else {
                self.broken.push(format!("all machines are avoided: {avoided:?}"));
                return;
            };
            self.workers.insert(worker, Worker { task, machine, ..Worker::default() });
            self.tell(Event::Created { worker, task: TaskIdx(task), machine: MachineId(machine) });
        }
    }

    fn deliver_down(&mut self, pick: usize) {
        let Some(id) = self.pick(pick) else { return };
        let Some(worker) = self.workers.get_mut(&id) else { return };
        match worker.down.pop_front() {
            Some(Decision::Assign { attempts, .. }) => {
                for attempt in attempts {
                    if worker.held.contains(&attempt) {
                        self.broken.push(format!("{id:?} got {attempt:?} twice"));
                    }
                    worker.held.push_back(attempt);
                    *self.runs.entry((worker.task, attempt.index)).or_default() += 1;
                }
            }
            Some(Decision::Recall { .. }) => {
                let back: Vec<Attempt> = worker.held.drain(BEGUN.min(worker.held.len())..).collect();
                for attempt in &back {
                    *self.runs.entry((worker.task, attempt.index)).or_default() -= 1;
                }
                worker.up.push_back(Up::Returned(back));
            }
            Some(Decision::Ack { attempts, .. }) => {
                worker.results.retain(|result| !attempts.contains(&result.attempt))
            }
            Some(Decision::Stop { .. }) => {
                if !worker.results.is_empty() && self.job.outcome() == Some(&Outcome::Succeeded) {
                    self.broken.push(format!("{id:?} was stopped before its results were stored"));
                }
                self.remove(id);
            }
            None => {}
        }
    }

    fn deliver_up(&mut self, pick: usize, twice: bool) {
        let Some(worker) = self.pick(pick) else { return };
        let Some(message) = self.workers.get_mut(&worker).and_then(|state| state.up.pop_front()) else {
            return;
        };
        for _ in 0..=u8::from(twice) {
            match message.clone() {
                Up::Hello(mut held, mut results) => {
                    let lists = lists_in(&mut results);
                    held.extend(&lists);
                    self.tell(Event::Hello { worker, held, results, full: false });
                    self.keep_lists(worker, &lists);
                }
                Up::Results(mut results) => {
                    let lists = lists_in(&mut results);
                    self.tell(Event::Results { worker, results });
                    self.keep_lists(worker, &lists);
                }
                Up::Returned(attempts) => self.tell(Event::Returned { worker, attempts }),
            }
            if matches!(message, Up::Hello(..)) {
                return;
            }
        }
    }

    /// Does as the edge does: a list is stored before the job hears of it.
    fn keep_lists(&mut self, worker: WorkerId, lists: &[Attempt]) {
        let Some(task) = self.workers.get(&worker).map(|state| TaskIdx(state.task)) else { return };
        for attempt in lists {
            let input = InputStatus { entries: ENTRIES, list: "list".to_owned(), parts: 1 };
            let list = Listed { input, count: ENTRIES };
            self.tell(Event::Listed { task, worker, attempt: *attempt, list });
        }
    }

    fn finish(&mut self, pick: usize, which: usize, ok: bool) {
        let Some(id) = self.pick(pick) else { return };
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(attempt) = worker.held.remove(which % BEGUN.min(worker.held.len()).max(1)) else { return };
        let exit = match attempt.index {
            LISTING if ok => Exit::Listed { list: String::new() },
            _ => Exit::Code(i32::from(!ok)),
        };
        let result = AttemptResult {
            attempt,
            exit,
            duration_ms: 1,
            gap_micros: None,
            usage: None,
            tail: String::new(),
        };
        if !ok {
            *self.failures.entry((worker.task, attempt.index)).or_default() += 1;
        }
        worker.results.push(result.clone());
        if worker.connected {
            // Some reports go together.
            match worker.up.back_mut() {
                Some(Up::Results(results)) => results.push(result),
                _ => worker.up.push_back(Up::Results(vec![result])),
            }
        }
    }

    fn disconnect(&mut self, pick: usize) {
        let Some(worker) = self.pick(pick) else { return };
        self.cut(worker);
        self.tell(Event::Disconnected { worker });
    }

    fn cut(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.connected = false;
            worker.up.clear();
            worker.down.clear();
        }
    }

    fn connect(&mut self, pick: usize) {
        let Some(id) = self.pick(pick) else { return };
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| !worker.connected) else { return };
        worker.connected = true;
        worker.up.push_back(Up::Hello(worker.held.iter().copied().collect(), worker.results.clone()));
    }

    fn kill(&mut self, pick: usize) {
        if let Some(id) = self.pick(pick) {
            self.remove(id);
        }
    }

    fn remove(&mut self, worker: WorkerId) {
        if let Some(state) = self.workers.remove(&worker) {
            for attempt in state.held {
                *self.losses.entry((state.task, attempt.index)).or_default() += 1;
            }
        }
        self.tell(Event::Gone { worker, reason: "killed".to_owned(), fault: Fault::Machine });
    }

    fn store(&mut self) -> u64 {
        let version = self.job.version();
        self.durable = DagJobStatus {
            phase: self.job.phase(),
            tasks: self.job.task_status(),
            ..DagJobStatus::default()
        };
        version
    }

    fn restart(&mut self, after_store: bool) {
        if after_store {
            self.store();
        }
        self.job = Job::try_new(&self.spec, &self.durable).unwrap();
        self.tell(Event::Machines(self.n_machines));
        let ids: Vec<WorkerId> = self.workers.keys().copied().collect();
        for worker in ids {
            self.cut(worker);
            let Worker { task, machine, .. } = self.workers[&worker];
            self.tell(Event::Found { worker, task: TaskIdx(task), machine: MachineId(machine) });
        }
        self.tell(Event::Listening);
        // Where a grace ends too early an instance may run twice; that is tested elsewhere.
        for index in 0..self.workers.len() {
            self.connect(index);
            self.deliver_up(index, false);
        }
    }

    fn finished(&self, task: &str) -> Ranges {
        self.durable.tasks.get(task).map(|status| status.finished.parse().unwrap()).unwrap_or_default()
    }

    fn failed(&self, task: &str) -> Ranges {
        self.durable
            .tasks
            .get(task)
            .map(|status| status.failed_instances.parse().unwrap())
            .unwrap_or_default()
    }

    fn has_list(&self, task: &str) -> bool {
        self.durable.tasks.get(task).is_some_and(|status| status.input.is_some())
    }

    fn tell(&mut self, event: Event) {
        for decision in self.job.step(event, self.now) {
            self.examine(&decision);
            let (Decision::Assign { worker, .. }
            | Decision::Recall { worker }
            | Decision::Ack { worker, .. }
            | Decision::Stop { worker }) = &decision;
            if let Some(state) = self.workers.get_mut(worker) {
                // A worker without a connection is ended by other means.
                if state.connected || matches!(decision, Decision::Stop { .. }) {
                    state.down.push_back(decision);
                }
            }
        }
    }

    /// What must hold of every decision, whatever happened before.
    fn examine(&mut self, decision: &Decision) {
        match decision {
            Decision::Assign { worker, task, attempts } => {
                self.examine_start(*task);
                for attempt in attempts {
                    self.examine_assignment(*worker, *task, *attempt);
                }
            }
            Decision::Ack { worker, attempts } => {
                let Some(state) = self.workers.get(worker) else { return };
                let finished = self.finished(&self.spec.tasks[state.task].name);
                for result in state.results.iter().filter(|result| attempts.contains(&result.attempt)) {
                    if result.exit.is_success() && !finished.contains(result.attempt.index) {
                        self.broken.push(format!("{result:?} was acknowledged before it was durable"));
                    }
                    if result.attempt.index == LISTING
                        && result.exit != Exit::Code(1)
                        && !self.has_list(&self.spec.tasks[state.task].name)
                        && self.job.outcome().is_none()
                    {
                        self.broken.push("a list was acknowledged before it was durable".to_owned());
                    }
                }
            }
            Decision::Recall { .. } | Decision::Stop { .. } => {}
        }
    }

    fn examine_start(&mut self, task: TaskIdx) {
        let definition = &self.spec.tasks[task.0];
        if self.spec.desired_state != DesiredState::Running {
            self.broken.push(format!("{} was handed out while the job pauses", definition.name));
        }
        for parent in &definition.depends_on {
            let at = self.spec.tasks.iter().position(|task| task.name == *parent).unwrap();
            let failed = self.failed(parent).len().min(u64::from(self.tolerated(at)));
            if self.finished(parent).len() + failed < u64::from(definition.needs_of(self.count(at))) {
                let text = format!("{} started before {parent} was durably far enough", definition.name);
                self.broken.push(text);
            }
        }
    }

    fn examine_assignment(&mut self, worker: WorkerId, task: TaskIdx, attempt: Attempt) {
        let definition = &self.spec.tasks[task.0];
        if definition.input.is_some() && (attempt.index == LISTING) == self.has_list(&definition.name) {
            self.broken.push(format!("{attempt:?} and the list do not go together"));
        }
        if self.failed(&definition.name).contains(attempt.index) {
            self.broken.push(format!("{attempt:?} failed for good and was handed out again"));
        }
        if self.finished(&definition.name).contains(attempt.index) {
            self.broken.push(format!("{attempt:?} is finished and was handed out again"));
        }
        let runs_it = |state: &Worker| state.held.iter().any(|held| held.index == attempt.index);
        let elsewhere =
            |(id, state): (&WorkerId, &Worker)| *id != worker && state.task == task.0 && runs_it(state);
        let n_elsewhere = self.workers.iter().filter(|each| elsewhere(*each)).count();
        if n_elsewhere > usize::from(self.spec.tasks[task.0].backup) {
            self.broken.push(format!("{attempt:?} runs already"));
        }
    }
}

/// Takes the input lists out of results.
fn lists_in(results: &mut Vec<AttemptResult>) -> Vec<Attempt> {
    results
        .extract_if(.., |result| matches!(result.exit, Exit::Listed { .. }))
        .map(|result| result.attempt)
        .collect()
}
