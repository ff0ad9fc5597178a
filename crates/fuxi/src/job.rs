//! The master of one job: brings its tasks, instances and workers together.
//!
//! ```text
//!   worker:  starting ──hello──► ready, and holds   ──assign──► more        gone, from anywhere: what it
//!                │               nothing or some  ◄──results── fewer       held is tried again
//!                │                │             ◄──returned── those it had not begun, when they are recalled
//!                └──not needed────┴──► stopping    when nothing is left for it, or an attempt was given up
//! ```
//! A worker holds more than it runs, so that it need not wait for us between two instances: as much as it should end within
//! [`HOLD`], going by what the task's instances took so far. Nobody idles while another holds what it has not begun: that
//! is recalled.
//!
//! Two rules make kill -9 harmless at any moment. A result is acknowledged only when the status that contains it is
//! stored ([`Event::Stored`]), and the worker keeps it until then. A task's children start only when its completion is
//! stored. After a restart nothing is handed out before all known workers have said what they run, or had time to.
//!
//! An instance is begun at least once, and counts once; that it is begun just once nobody can promise. Who is not heard of
//! within [`ADOPTION_GRACE`], whose Pod is deleted by whoever may, or whose machine is lost, may have begun what is then
//! begun again. Outputs are moved to their place as a whole, so that this harms nobody.

mod backups;
mod crew;
mod elsewhere;
mod ends;
mod hand_out;
mod listing;
mod measures;
mod pace;
mod results;
mod workers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crew::Crew;
use model::dagjob::{
    DagJobSpec, DagJobStatus, DesiredState, InputStatus, JobPhase, Mode, SuccessPolicy, TaskStatus,
};

use crate::blame::{Blame, Fault};
use crate::dag::{Dag, InvalidJob, TaskIdx};
use crate::grants::MachineId;
use crate::instances::Instances;
use crate::protocol::{self, Attempt, AttemptResult, OBJECTS_LIMIT, READY_LIMIT};
use crate::stragglers::Typical;
use listing::List;
use measures::Measures;
use pace::Pace;

/// How long a restarted master waits for workers that were there before it, once they can be heard.
pub const ADOPTION_GRACE: Duration = Duration::from_secs(10);
/// How long after its time limit an attempt is given up with its worker, which should have ended it.
pub const TIMEOUT_SLACK: Duration = Duration::from_secs(30);
/// A worker is given as much as it should end within this time.
pub const HOLD: Duration = Duration::from_millis(100);
/// The most that a worker holds, however fast it is.
pub const MAX_HELD: usize = 4096;
/// A worker whose results wait for the store gets no more above this many of them: it has to keep them all.
const MAX_UNSTORED: usize = protocol::MAX_KEPT as usize / 2;
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
        machine: MachineId,
    },
    /// After a restart: a worker that was there before and may run anything.
    Found {
        worker: WorkerId,
        task: TaskIdx,
        machine: MachineId,
    },
    /// Hellos are heard from now on: what they need is there.
    Listening,
    /// It is connected, holds just these, and has ended others without being told that this is durable.
    Hello {
        worker: WorkerId,
        held: Vec<Attempt>,
        results: Vec<AttemptResult>,
        /// Its disk is full: a master before this one may have heard that with a result.
        full: bool,
    },
    Results {
        worker: WorkerId,
        results: Vec<AttemptResult>,
    },
    /// It will not run these, as it was asked to give back what it had not begun.
    Returned {
        worker: WorkerId,
        attempts: Vec<Attempt>,
    },
    /// Of a task with objects: the command of an attempt has begun, or has ended and its output is on its way.
    Command {
        worker: WorkerId,
        attempt: Attempt,
        runs: bool,
    },
    Disconnected {
        worker: WorkerId,
    },
    /// Its place was revoked: it may end what it runs and gets nothing more. Who was found is told before its hello, so that
    /// it gets nothing with that either.
    Drain {
        worker: WorkerId,
    },
    /// It does not exist any more.
    Gone {
        worker: WorkerId,
        reason: String,
        fault: Fault,
    },
    /// The input list that a task's first attempt has taken is kept for good.
    Listed {
        task: TaskIdx,
        worker: WorkerId,
        attempt: Attempt,
        list: Listed,
    },
    /// Of a task something is lost without which the job cannot go on.
    Lost {
        task: TaskIdx,
        message: String,
    },
    /// So many machines take new workers. As long as it is not told, there is one.
    Machines(u32),
    /// What the job's owner wants of it now.
    Want(DesiredState),
    /// The status of this version is durable.
    Stored {
        version: u64,
    },
    Tick,
}

/// A list that is kept, and how many instances it makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    pub input: InputStatus,
    pub count: u32,
}

/// What the edge owes the workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Assign {
        worker: WorkerId,
        task: TaskIdx,
        attempts: Vec<Attempt>,
    },
    /// It shall give back what it has not begun.
    Recall {
        worker: WorkerId,
    },
    Ack {
        worker: WorkerId,
        attempts: Vec<Attempt>,
    },
    Stop {
        worker: WorkerId,
    },
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
    n_machines: u32,
    now: Duration,
    outcome: Option<Outcome>,
    desired: DesiredState,
    /// Grows with every change that the status shows.
    version: u64,
    stored: u64,
    /// At this version a task or the job ended and waits for the store to go on.
    urgent_at: u64,
}

#[derive(Clone, Debug)]
struct Task {
    name: String,
    parallelism: u32,
    /// How long a worker may hold something without ending anything.
    patience: Option<Duration>,
    max_attempts: u32,
    policy: SuccessPolicy,
    instances: Instances,
    list: List,
    /// All instances finished as of this version.
    finished_at: Option<u64>,
    /// As of which versions so many instances were finished as others wait for.
    reached_at: Vec<(u64, u32)>,
    crew: Crew,
    pace: Pace,
    measures: Measures,
    /// Whether late instances are begun a second time.
    backs_up: bool,
    /// Whether its workers fetch and put objects beside the commands that they run.
    has_objects: bool,
    typical: Typical,
    /// Instances that are late and have no backup, as of the last tick, and since when.
    late: BTreeMap<u32, Duration>,
    blame: Blame,
    /// Machines that it found faulty, and those that its job did.
    avoided: BTreeSet<MachineId>,
}

#[derive(Clone, Debug)]
struct Worker {
    task: TaskIdx,
    machine: MachineId,
    phase: Phase,
    connected: bool,
    draining: bool,
    /// What it was given and has not ended, oldest first. It begins them in this order.
    held: VecDeque<Attempt>,
    /// Since when it is busy with what it holds: its last result, or its first assignment after it held nothing.
    since: Duration,
    /// Which command runs, and since when, as far as it has told.
    command: Option<(Attempt, Duration)>,
    recall: Recall,
    /// Reports that wait for the version that contains them to be stored.
    unacknowledged: VecDeque<(u64, Attempt)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    /// It was there before this master, and has not said yet what it runs.
    Found,
    Ready,
    Stopping,
}

/// Whether a worker may hold what it has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recall {
    /// It may.
    Never,
    Asked,
    /// It gave everything back that it had not begun, and got nothing since.
    Done,
}

impl Job {
    /// The master of a job that stands as `status` says; the default status for a new one.
    pub fn try_new(spec: &DagJobSpec, status: &DagJobStatus) -> Result<Self, InvalidJob> {
        let dag = Dag::try_new(spec)?;
        let none = TaskStatus::default();
        let task = |task: &model::dagjob::Task| Task {
            name: task.name.clone(),
            parallelism: task.parallelism.unwrap_or(u32::MAX),
            patience: patience(task),
            max_attempts: task.max_attempts,
            policy: task.success_policy.clone().unwrap_or_default(),
            instances: listing::restored(task, status.tasks.get(&task.name).unwrap_or(&none)),
            list: List::restored(task, status.tasks.get(&task.name).unwrap_or(&none)),
            measures: Measures::restored_of(status.tasks.get(&task.name).unwrap_or(&none)),
            finished_at: None,
            reached_at: Vec::new(),
            crew: Crew::default(),
            pace: Pace::default(),
            backs_up: task.backup,
            has_objects: task.mode == Mode::Exec && n_transfers(task) > 0,
            typical: Typical::default(),
            late: BTreeMap::new(),
            blame: Blame::default(),
            avoided: BTreeSet::new(),
        };
        let tasks = spec.tasks.iter().map(task).collect();
        let mut job = Self {
            dag,
            tasks,
            workers: BTreeMap::new(),
            n_machines: 1,
            now: Duration::ZERO,
            outcome: None,
            desired: DesiredState::Running,
            version: 1,
            stored: 0,
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
            if !state.is_listing() {
                self.dag.set_count(task, state.instances.count());
            }
            self.dag.reach(task, state.n_done());
            if state.instances.is_finished() && state.is_well() {
                state.finished_at = Some(0);
                self.dag.complete(task);
            } else if state.is_lost() {
                let message = state.why_lost();
                self.outcome.get_or_insert(Outcome::Failed { task, message });
            }
        }
        if self.dag.all_done() {
            self.outcome = Some(Outcome::Succeeded);
        }
    }

    /// The state after `event`; what is owed is added to the answer in the order in which it must be done.
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Decision> {
        let mut owed = Vec::new();
        self.now = now;
        match event {
            Event::Created { worker, task, machine } => self.expect(worker, (task, machine)),
            Event::Found { worker, task, machine } => self.find(worker, (task, machine)),
            Event::Listening => self.listen(now),
            Event::Hello { worker, held, results, full } => {
                self.hello(worker, (held, results, full), (now, &mut owed));
            }
            Event::Results { worker, results } => self.results(worker, results, (now, &mut owed)),
            Event::Returned { worker, attempts } => self.returned(worker, &attempts, (now, &mut owed)),
            Event::Command { worker, attempt, runs } => self.note_command(worker, (attempt, runs)),
            Event::Disconnected { worker } => self.disconnected(worker),
            Event::Drain { worker } => self.drain(worker, (now, &mut owed)),
            Event::Gone { worker, reason, fault } => self.gone(worker, (&reason, fault), (now, &mut owed)),
            Event::Machines(count) => self.set_machines(count, (now, &mut owed)),
            Event::Listed { task, worker, attempt, list } => {
                self.listed((task, worker, attempt), list, (now, &mut owed));
            }
            Event::Lost { task, message } => self.fail(task, message, &mut owed),
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
        let late = u32::try_from(state.late.len()).unwrap_or(u32::MAX);
        let wanted = state.instances.n_unfinished().saturating_add(late);
        state.parallelism.min(wanted).saturating_sub(held)
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
        self.tasks.iter().map(|task| (task.name.clone(), self.status_of(task))).collect()
    }

    fn status_of(&self, task: &Task) -> TaskStatus {
        // What a worker holds beside what it runs does not run.
        let running = match self.outcome {
            None => u32::try_from(task.crew.busy.len()).unwrap_or(u32::MAX),
            Some(_) => 0,
        };
        let (usage, input) = (task.measures.status(), task.list.status());
        TaskStatus {
            running,
            usage,
            input,
            took_millis: task.measures.took_millis(),
            ..task.instances.status()
        }
    }

    fn changed(&mut self) {
        // The status of a job whose end is stored is not written again.
        if self.outcome.is_none() || !self.is_stored() {
            self.version += 1;
        }
    }
}

/// The longest time that a worker may hold an attempt without ending one.
fn patience(task: &model::dagjob::Task) -> Option<Duration> {
    let limit = Duration::from_secs(u64::from(task.timeout_seconds?));
    let start = if task.mode == Mode::Stream { READY_LIMIT } else { Duration::ZERO };
    // The limit is for the command alone.
    Some(limit + start + OBJECTS_LIMIT * n_transfers(task) + TIMEOUT_SLACK)
}

/// How often objects of an instance are moved: its input is fetched, its output is put.
fn n_transfers(task: &model::dagjob::Task) -> u32 {
    let is_fetched = task.input.as_ref().is_some_and(|input| input.objects.is_some());
    let is_put = task.output.as_ref().is_some_and(|output| !output.objects.url.is_empty());
    u32::from(is_fetched) + u32::from(is_put)
}

impl Task {
    /// How many of its instances may fail.
    fn tolerated(&self) -> u32 {
        if self.is_listing() { 0 } else { self.policy.tolerated(self.instances.count()) }
    }

    /// Whether no more instances have failed than may.
    fn is_well(&self) -> bool {
        self.instances.n_failed() <= self.tolerated()
    }

    /// Whether it has failed: with one instance too many, or when the last has ended.
    fn is_lost(&self) -> bool {
        !self.is_well() && (self.policy.fails_fast() || self.instances.is_finished())
    }

    /// Instances that ended well, or failed and may.
    fn n_done(&self) -> u32 {
        self.instances.n_finished() + self.instances.n_failed().min(self.tolerated())
    }

    fn why_lost(&self) -> String {
        let status = self.instances.status();
        let last = status.last_failure.unwrap_or_default();
        if self.policy == SuccessPolicy::default() || self.is_listing() {
            return last;
        }
        let (failed, count) = (status.failed, status.instances);
        let percent = self.policy.max_failed_percent;
        shortened(format!(
            "{failed} of {count} instances failed, and successPolicy.maxFailedPercent {percent} allows {}; the last: {last}",
            self.tolerated()
        ))
    }
}

/// The time, and where to put what is owed.
type Owe<'a> = (Duration, &'a mut Vec<Decision>);

fn shortened(mut text: String) -> String {
    if text.len() > MAX_FAILURE_TEXT {
        text.truncate(text.floor_char_boundary(MAX_FAILURE_TEXT));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
