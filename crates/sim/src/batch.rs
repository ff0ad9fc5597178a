//! Recorded batch work under virtual time: real job masters and the real ledger, in a world that costs nothing to run.
//!
//! ```text
//!   Workload ──► World: arrivals, workers, faults, a store ◄──► fuxi::Job (one per job), fuxi::grants::Ledger (one)
//!      │           │  next occurrence, in the order of time
//!      │           ▼
//!      └─► Ideal ► BatchReport: completion times beside the critical path, utilisation, waiting, fairness
//! ```
//! Workers take as long to start as real ones do and instances as long as was recorded; which of them fail, and when, the
//! seed decides. What is not simulated: the network, images, and what instances do to each other on one machine.

mod agenda;
mod faults;
mod ideal;
mod meter;
mod page;
mod report;
mod world;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use fuxi::grants::{InvalidTree, Resources};
use model::{Bytes, MilliCpu};
use serde::Serialize;

pub use crate::import::batch::{BatchJob, BatchTask, MEMORY_PERCENT, Workload, read};
pub use faults::Faults;
pub use ideal::Ideal;
pub use page::page;
pub use report::{BatchReport, Growth, Spread, Tenant, Use};
use world::World;

/// What the work is to run on, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub fleet: Fleet,
    pub latencies: Latencies,
    pub faults: Faults,
    /// Deal the jobs out to so many tenants in turn, each sure of an equal part of the cores. Without it the table's own
    /// tenants are, if it names any.
    pub tenants: Option<u32>,
    /// Whether machines that are found faulty are avoided, as a live cluster does.
    pub avoidance: Avoidance,
    pub seed: u64,
}

/// What is done about machines that are found faulty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Avoidance {
    #[default]
    On,
    /// Every job believes that its machine is the only one.
    Off,
}

/// The machines, all alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fleet {
    pub size: Size,
    pub cpu: MilliCpu,
    pub memory: Bytes,
    /// No machine runs more workers than this.
    pub workers: u64,
}

/// How many machines there are for the work that comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    Machines(u32),
    /// As many as make the mean demand this share of what they have.
    Load(f64),
    /// So many, and jobs come faster or slower than was recorded until the mean demand is this share of what they have.
    Paced {
        machines: u32,
        load: f64,
    },
}

/// How long what happens around the engines takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latencies {
    /// From a granted place to a worker that says hello.
    pub worker_start: Duration,
    /// From a worker's end, ordered or not, to its place being free.
    pub worker_end: Duration,
    /// From the end of an instance to the beginning of the next on the same worker.
    pub hand_over: Duration,
    /// One write of a job's status.
    pub store: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        let millis = Duration::from_millis;
        Self { worker_start: millis(100), worker_end: millis(50), hand_over: millis(1), store: millis(5) }
    }
}

/// Why the work cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("there are no jobs")]
    NoJobs,
    #[error("there are no machines: at least one is needed")]
    NoMachines,
    #[error(
        "{place}: an instance of {task} asks for {asked}, and no machine has more than {has}: give larger machines, or \
         leave the job out"
    )]
    TooLarge { place: String, task: String, asked: String, has: String },
    #[error(
        "all jobs come at the same moment, so that there is no mean demand to choose machines or a pace by: say how \
         many machines there are, and no load"
    )]
    NoSpan,
    #[error(
        "no pace of arrivals makes the mean demand {percent:.1}% of {machines} machines: choose other numbers"
    )]
    NoPace { percent: f64, machines: u32 },
    #[error("the tenants' quotas are no tree")]
    Quotas { source: InvalidTree },
    #[error(
        "{count} jobs, `{job}` among them, wait for something that never comes: this is a fault of the engine; please \
         report it with your input"
    )]
    Stuck { count: usize, job: String },
}

/// How many of all instances have ended, for a progress bar.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Progress {
    pub done: u64,
    pub all: u64,
}

/// Runs the work to its end. Where there are faults it is run without them as well, for what they cost.
pub fn run(
    workload: &Workload,
    settings: &Settings,
    mut progress: impl FnMut(Progress),
) -> Result<BatchReport, BatchError> {
    let plan = Plan::try_new(workload, settings)?;
    let mut report = World::new(&plan, settings.faults)?.run(&mut progress)?;
    if settings.faults.any() {
        let plain = World::new(&plan, Faults::default())?.run(&mut progress)?;
        report.growth = Some(Growth::of(&report, &plain));
    }
    Ok(report)
}

/// What all runs of the same work have in common.
#[derive(Debug)]
struct Plan<'a> {
    workload: &'a Workload,
    settings: &'a Settings,
    ideal: Ideal,
    n_machines: u32,
    /// After the first one, in the order of the jobs.
    arrivals: Vec<Duration>,
    /// Mean demand over the time in which jobs come, as a share of what there is.
    load: Option<f64>,
    /// In the order of their numbers; empty where nobody has a quota.
    tenants: Vec<String>,
    tenant_of: Vec<Option<usize>>,
}

impl<'a> Plan<'a> {
    fn try_new(workload: &'a Workload, settings: &'a Settings) -> Result<Self, BatchError> {
        let first = workload.jobs.first().ok_or(BatchError::NoJobs)?.arrival;
        let ideal = Ideal::of(workload);
        let fleet = settings.fleet;
        if matches!(fleet.size, Size::Machines(0) | Size::Paced { machines: 0, .. }) {
            return Err(BatchError::NoMachines);
        }
        check_shapes(workload, fleet)?;
        let (n_machines, stretch) = ideal.fit(workload, fleet)?;
        let load = ideal.load(workload, stretch, (fleet, n_machines));
        let arrivals = workload.jobs.iter().map(|job| (job.arrival - first).mul_f64(stretch)).collect();
        let (tenants, tenant_of) = tenants(workload, settings.tenants);
        Ok(Self { workload, settings, ideal, n_machines, arrivals, load, tenants, tenant_of })
    }

    fn n_instances(&self) -> u64 {
        let tasks = self.workload.jobs.iter().flat_map(|job| &job.tasks);
        tasks.map(|task| task.durations.len() as u64).sum()
    }
}

impl BatchTask {
    /// What one worker of it holds.
    fn shape(&self) -> Resources {
        Resources { cpu: self.cpu, memory: self.memory, workers: 1, ..Resources::default() }
    }
}

impl Fleet {
    fn capacity(&self) -> Resources {
        let Self { cpu, memory, workers, .. } = *self;
        Resources { cpu, memory, workers, ..Resources::default() }
    }
}

fn check_shapes(workload: &Workload, fleet: Fleet) -> Result<(), BatchError> {
    let show = |cpu: MilliCpu, memory: Bytes| {
        format!("{} cores and {} of memory", cores(cpu), memory_percent(memory.0 as f64))
    };
    let mut tasks = workload.jobs.iter().flat_map(|job| job.tasks.iter().map(move |task| (job, task)));
    match tasks.find(|(_, task)| !task.shape().fits_in(fleet.capacity())) {
        None => Ok(()),
        Some((job, task)) => Err(BatchError::TooLarge {
            place: format!("{}:{}", workload.path.display(), task.line),
            task: format!("task `{}` of job `{}`", task.name, job.name),
            asked: show(task.cpu, task.memory),
            has: show(fleet.cpu, fleet.memory),
        }),
    }
}

fn cores(cpu: MilliCpu) -> f64 {
    cpu.0 as f64 / 1000.0
}

fn memory_percent(bytes: f64) -> String {
    format!("{:.1}%", bytes / MEMORY_PERCENT.0 as f64)
}

fn tenants(workload: &Workload, dealt: Option<u32>) -> (Vec<String>, Vec<Option<usize>>) {
    if let Some(count) = dealt.filter(|count| *count > 0) {
        let names = (1..=count).map(|number| format!("tenant-{number}")).collect();
        return (names, (0..workload.jobs.len()).map(|job| Some(job % count as usize)).collect());
    }
    let named: BTreeSet<&String> = workload.jobs.iter().filter_map(|job| job.tenant.as_ref()).collect();
    let names: Vec<String> = named.into_iter().cloned().collect();
    let place = |job: &BatchJob| names.binary_search(job.tenant.as_ref()?).ok();
    let of_jobs = workload.jobs.iter().map(place).collect();
    (names, of_jobs)
}
