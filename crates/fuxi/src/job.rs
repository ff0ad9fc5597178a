//! The master of one job: brings its tasks, instances and workers together.
//!
//! ```text
//!   worker:  starting ──hello──► idle ◄──result── busy         gone, from anywhere: what it ran is tried again
//!                │                │ └───assign────►│
//!                └──not needed────┴──► stopping ◄──┘ only when the job has ended or the attempt was given up
//! ```
//! Two rules make kill -9 harmless at any moment. A result is acknowledged only when the status that contains it is
//! stored ([`Event::Stored`]), and the worker keeps it until then. A task's children start only when its completion is
//! stored. After a restart nothing is handed out before all known workers have said what they run, or had time to.

mod crew;
mod ends;
mod hand_out;

use std::collections::BTreeMap;
use std::time::Duration;

use crew::Crew;
use model::dagjob::{DagJobSpec, DagJobStatus, DesiredState, JobPhase, TaskStatus};

use crate::dag::{Dag, InvalidJob, TaskIdx};
use crate::instances::{Failure, Instances};
use crate::protocol::{Attempt, AttemptResult};

/// How long a restarted master waits for workers that were there before it.
pub const ADOPTION_GRACE: Duration = Duration::from_secs(10);
/// How long after its time limit an attempt is given up with its worker, which should have ended it.
pub const TIMEOUT_SLACK: Duration = Duration::from_secs(30);
/// The longest `lastFailure`, so that a status stays small.
const MAX_FAILURE_TEXT: usize = 1024;

/// A worker of a job, as the edge numbers them. Numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u64);

/// What a job's master is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new worker is on its way; it cannot run anything yet.
    Created {
        worker: WorkerId,
        task: TaskIdx,
    },
    /// After a restart: a worker that was there before and may run anything.
    Found {
        worker: WorkerId,
        task: TaskIdx,
    },
    Hello {
        worker: WorkerId,
        running: Option<Attempt>,
        results: Vec<AttemptResult>,
    },
    Result {
        worker: WorkerId,
        result: AttemptResult,
    },
    Disconnected {
        worker: WorkerId,
    },
    /// Its place was revoked: it may end what it runs and gets nothing more.
    Drain {
        worker: WorkerId,
    },
    /// It does not exist any more.
    Gone {
        worker: WorkerId,
        reason: String,
    },
    /// What the job's owner wants of it now.
    Want(DesiredState),
    /// The status of this version is durable.
    Stored {
        version: u64,
    },
    Tick,
}

/// What the edge owes the workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Assign { worker: WorkerId, task: TaskIdx, attempt: Attempt },
    Ack { worker: WorkerId, attempts: Vec<Attempt> },
    Stop { worker: WorkerId },
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Failed { task: TaskIdx, message: String },
    Cancelled,
}

/// The state of one job.
#[derive(Clone, Debug)]
pub struct Job {
    dag: Dag,
    tasks: Vec<Task>,
    workers: BTreeMap<WorkerId, Worker>,
    outcome: Option<Outcome>,
    desired: DesiredState,
    /// Grows with every change that the status shows.
    version: u64,
    stored: u64,
    /// Reports that wait for the version that contains them to be stored.
    unacknowledged: BTreeMap<(WorkerId, Attempt), u64>,
    /// At this version a task or the job ended and waits for the store to go on.
    urgent_at: u64,
}

#[derive(Clone, Debug)]
struct Task {
    name: String,
    parallelism: u32,
    timeout: Option<Duration>,
    instances: Instances,
    /// All instances finished as of this version.
    finished_at: Option<u64>,
    /// As of which versions so many instances were finished as others wait for.
    reached_at: Vec<(u64, u32)>,
    crew: Crew,
}

#[derive(Clone, Debug)]
struct Worker {
    task: TaskIdx,
    phase: Phase,
    connected: bool,
    draining: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Idle,
    Busy(Attempt),
    Stopping,
}

impl Job {
    /// The master of a job that stands as `status` says; the default status for a new one.
    pub fn try_new(spec: &DagJobSpec, status: &DagJobStatus) -> Result<Self, InvalidJob> {
        let dag = Dag::try_new(spec)?;
        let none = TaskStatus::default();
        let task = |task: &model::dagjob::Task| Task {
            name: task.name.clone(),
            parallelism: task.parallelism.unwrap_or(u32::MAX),
            timeout: task.timeout_seconds.map(|seconds| Duration::from_secs(u64::from(seconds))),
            instances: Instances::restore(
                task.instances,
                task.max_attempts,
                status.tasks.get(&task.name).unwrap_or(&none),
            ),
            finished_at: None,
            reached_at: Vec::new(),
            crew: Crew::default(),
        };
        let tasks = spec.tasks.iter().map(task).collect();
        let mut job = Self {
            dag,
            tasks,
            workers: BTreeMap::new(),
            outcome: None,
            desired: DesiredState::Running,
            version: 1,
            stored: 0,
            unacknowledged: BTreeMap::new(),
            urgent_at: 1,
        };
        job.restore_progress();
        job.want(spec.desired_state, (Duration::ZERO, &mut Vec::new()));
        Ok(job)
    }

    /// What was read from the store is durable: children of finished tasks may start.
    fn restore_progress(&mut self) {
        for task in self.dag.tasks() {
            let state = &mut self.tasks[task.0];
            self.dag.reach(task, state.instances.n_finished());
            if state.instances.is_finished() {
                state.finished_at = Some(0);
                self.dag.complete(task);
            }
        }
        if self.dag.all_done() {
            self.outcome = Some(Outcome::Succeeded);
        }
    }

    /// The state after `event`; what is owed is added to the answer in the order in which it must be done.
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Decision> {
        let mut owed = Vec::new();
        match event {
            Event::Created { worker, task } => self.expect(worker, task),
            Event::Found { worker, task } => self.find(worker, task, now),
            Event::Hello { worker, running, results } => {
                self.hello(worker, running, results, (now, &mut owed))
            }
            Event::Result { worker, result } => self.result(worker, result, (now, &mut owed)),
            Event::Disconnected { worker } => self.disconnected(worker),
            Event::Drain { worker } => self.drain(worker, (now, &mut owed)),
            Event::Gone { worker, reason } => self.gone(worker, reason, (now, &mut owed)),
            Event::Want(desired) => self.want(desired, (now, &mut owed)),
            Event::Stored { version } => self.stored(version, (now, &mut owed)),
            Event::Tick => self.tick((now, &mut owed)),
        }
        owed
    }

    /// How many more workers `task` could use now.
    pub fn n_missing_workers(&self, task: TaskIdx) -> u32 {
        let state = &self.tasks[task.0];
        if !self.may_go_on() || !self.dag.may_start(task) {
            return 0;
        }
        let held = u32::try_from(state.crew.len()).unwrap_or(u32::MAX);
        state.parallelism.min(state.instances.n_unfinished()).saturating_sub(held)
    }

    /// Grows with every change that the status shows.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether the store should not be made to wait for more.
    pub fn is_urgent(&self) -> bool {
        self.urgent_at > self.stored
    }

    pub fn is_stored(&self) -> bool {
        self.version == self.stored
    }

    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    pub fn tasks(&self) -> impl Iterator<Item = TaskIdx> + use<> {
        self.dag.tasks()
    }

    pub fn n_workers(&self) -> usize {
        self.workers.len()
    }

    pub fn phase(&self) -> JobPhase {
        match self.outcome {
            Some(Outcome::Succeeded) => JobPhase::Succeeded,
            Some(Outcome::Failed { .. }) => JobPhase::Failed,
            Some(Outcome::Cancelled) => JobPhase::Cancelled,
            None if self.desired == DesiredState::Paused => JobPhase::Paused,
            None if self.tasks.iter().any(|task| task.instances.was_touched()) => JobPhase::Running,
            None => JobPhase::Pending,
        }
    }

    /// The tasks' part of the job's status, as of [`Self::version`].
    pub fn task_status(&self) -> BTreeMap<String, TaskStatus> {
        self.tasks.iter().map(|task| (task.name.clone(), task.instances.status())).collect()
    }

    fn changed(&mut self) {
        self.version += 1;
    }

    fn expect(&mut self, worker: WorkerId, task: TaskIdx) {
        let state = Worker { task, phase: Phase::Starting, connected: false, draining: false };
        if self.workers.insert(worker, state).is_none() {
            self.tasks[task.0].crew.expect(worker);
        }
    }

    fn find(&mut self, worker: WorkerId, task: TaskIdx, now: Duration) {
        self.expect(worker, task);
        self.tasks[task.0].crew.adopt(worker, now + ADOPTION_GRACE);
    }

    fn hello(&mut self, id: WorkerId, running: Option<Attempt>, results: Vec<AttemptResult>, owe: Owe<'_>) {
        let (now, owed) = owe;
        let Some(worker) = self.workers.get_mut(&id) else {
            owed.push(Decision::Stop { worker: id });
            return;
        };
        worker.connected = true;
        let (task, before) = (worker.task, worker.phase);
        self.tasks[task.0].crew.heard_of(id);
        for result in results {
            self.record(id, result, owed);
        }
        if before == Phase::Stopping
            || matches!(self.outcome, Some(Outcome::Failed { .. } | Outcome::Cancelled))
        {
            self.set_phase(id, Phase::Stopping);
            owed.push(Decision::Stop { worker: id });
            return;
        }
        let instances = &mut self.tasks[task.0].instances;
        if let Phase::Busy(attempt) = before
            && running != Some(attempt)
        {
            // Unless its result was among the others, the assignment was lost with the old connection.
            instances.withdraw(id, attempt);
        }
        if let Some(attempt) = running {
            instances.adopt(id, attempt, now);
        }
        self.set_phase(id, running.map_or(Phase::Idle, Phase::Busy));
        self.changed();
        self.hand_out(task, (now, owed));
    }

    fn result(&mut self, id: WorkerId, result: AttemptResult, owe: Owe<'_>) {
        let (now, owed) = owe;
        let Some(task) = self.workers.get(&id).map(|worker| worker.task) else { return };
        let attempt = result.attempt;
        self.record(id, result, owed);
        if self.workers.get(&id).is_some_and(|worker| worker.phase == Phase::Busy(attempt)) {
            self.set_phase(id, Phase::Idle);
            self.hand_out(task, (now, owed));
        }
    }

    /// Counts a result once, however often and by whomever it is told.
    fn record(&mut self, id: WorkerId, result: AttemptResult, owed: &mut Vec<Decision>) {
        let Some(task) = self.workers.get(&id).map(|worker| worker.task) else { return };
        let state = &mut self.tasks[task.0];
        let attempt = result.attempt;
        if result.exit.is_success() {
            if state.instances.succeed(attempt) {
                self.changed();
                self.note_finished(task);
            }
        } else {
            let text = describe(&result);
            match state.instances.fail(id, attempt, text.clone()) {
                Failure::Stale => {}
                Failure::Again => self.changed(),
                Failure::Exhausted => self.fail(task, text, owed),
            }
        }
        self.acknowledge(id, attempt, owed);
    }

    fn acknowledge(&mut self, worker: WorkerId, attempt: Attempt, owed: &mut Vec<Decision>) {
        if self.is_stored() {
            owed.push(Decision::Ack { worker, attempts: vec![attempt] });
        } else {
            self.unacknowledged.insert((worker, attempt), self.version);
        }
    }

    fn note_finished(&mut self, task: TaskIdx) {
        let version = self.version;
        let state = &mut self.tasks[task.0];
        let count = state.instances.n_finished();
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
            self.outcome = Some(Outcome::Succeeded);
        }
    }

    fn disconnected(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.connected = false;
            self.tasks[worker.task.0].crew.cut(id);
        }
    }

    fn drain(&mut self, id: WorkerId, owe: Owe<'_>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.draining = true;
        match worker.phase {
            Phase::Starting => self.stop(id, owe.1),
            Phase::Idle => {
                let task = worker.task;
                self.hand_out(task, owe);
            }
            Phase::Busy(_) | Phase::Stopping => {}
        }
    }

    fn gone(&mut self, id: WorkerId, reason: String, owe: Owe<'_>) {
        let (now, owed) = owe;
        let Some(worker) = self.workers.remove(&id) else { return };
        let task = worker.task;
        self.tasks[task.0].crew.forget(id);
        for attempt in self.unacknowledged_of(id).collect::<Vec<_>>() {
            self.unacknowledged.remove(&(id, attempt));
        }
        if let Phase::Busy(attempt) = worker.phase {
            let text =
                format!("instance {} attempt {}: lost its worker: {reason}", attempt.index, attempt.number);
            self.lose(id, task, attempt, (text, owed));
        }
        self.hand_out(task, (now, owed));
    }

    fn lose(
        &mut self,
        id: WorkerId,
        task: TaskIdx,
        attempt: Attempt,
        (text, owed): (String, &mut Vec<Decision>),
    ) {
        match self.tasks[task.0].instances.lose(id, attempt, shortened(text.clone())) {
            Failure::Stale => {}
            Failure::Again => self.changed(),
            Failure::Exhausted => self.fail(task, text, owed),
        }
    }

    fn stored(&mut self, version: u64, owe: Owe<'_>) {
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
        let mut durable: BTreeMap<WorkerId, Vec<Attempt>> = BTreeMap::new();
        self.unacknowledged.retain(|(worker, attempt), version| {
            let keep = *version > stored;
            if !keep {
                durable.entry(*worker).or_default().push(*attempt);
            }
            keep
        });
        for worker in durable.keys() {
            self.reconsider(*worker);
        }
        owed.extend(durable.into_iter().map(|(worker, attempts)| Decision::Ack { worker, attempts }));
    }

    fn tick(&mut self, owe: Owe<'_>) {
        let (now, owed) = owe;
        for task in self.dag.tasks() {
            let state = &self.tasks[task.0];
            let overdue = state
                .timeout
                .and_then(|timeout| now.checked_sub(timeout + TIMEOUT_SLACK))
                .map(|moment| state.instances.running_since_before(moment))
                .unwrap_or_default();
            for (worker, attempt) in overdue {
                let text =
                    format!("instance {} attempt {}: did not end in time", attempt.index, attempt.number);
                self.lose(worker, task, attempt, (text, owed));
                self.stop(worker, owed);
            }
            self.hand_out(task, (now, owed));
        }
    }
}

/// The time, and where to put what is owed.
type Owe<'a> = (Duration, &'a mut Vec<Decision>);

fn describe(result: &AttemptResult) -> String {
    let Attempt { index, number } = result.attempt;
    let tail = result.tail.trim();
    let separator = if tail.is_empty() { "" } else { ": " };
    shortened(format!("instance {index} attempt {number}: {}{separator}{tail}", result.exit))
}

fn shortened(mut text: String) -> String {
    if text.len() > MAX_FAILURE_TEXT {
        text.truncate(text.floor_char_boundary(MAX_FAILURE_TEXT));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
