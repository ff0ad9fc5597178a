//! What is reported of a run, and how it is reckoned.

use std::time::Duration;

use fuxi::grants::{MachineId, Resources};
use serde::Serialize;

use super::faults::Faults;
use super::meter::{Meter, Sums};
use super::{MEMORY_PERCENT, Plan, cores};

/// No job is taken to need less when its slowdown is reckoned: shorter ones are only overhead.
const LEAST_SECONDS: f64 = 1.0;
/// A distribution is told by so many points at most.
const CURVE_POINTS: usize = 200;

/// A run of the work, in numbers. Times are in seconds, CPU in cores, memory in percent of the trace's machine, shares
/// between 0 and 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchReport {
    pub seed: u64,
    pub jobs: usize,
    pub tasks: usize,
    pub instances: u64,
    pub machines: u32,
    pub cores_per_machine: f64,
    pub memory_per_machine: f64,
    /// Mean demand from the first arrival to the last, if every instance ran as soon as it may, as a share of all machines.
    pub load: Option<f64>,
    /// Jobs that ended well.
    pub succeeded: usize,
    /// From the first arrival to the end of the last job.
    pub makespan: f64,
    /// The same on machines without limit.
    pub least_makespan: f64,
    /// Of a job, from its arrival until its end is stored.
    pub completion: Spread,
    /// The longest chain of a job's tasks, each as long as its longest instance: what completion cannot be below.
    pub critical_path: Spread,
    /// The critical path of what really ran, in which an instance is as long as all its attempts: what completion cannot
    /// be below when these faults happen.
    pub critical_path_with_faults: Spread,
    /// The mean completion as a multiple of the mean critical path, unless no instance takes any time.
    pub ratio: Option<f64>,
    /// Each job's completion as a multiple of its critical path, which counts for at least a second.
    pub slowdown: Spread,
    /// Of an instance, from when it may run until it does.
    pub waiting: Spread,
    pub use_while_jobs_come: Use,
    pub use_in_all: Use,
    /// While anybody waited for a place, which was so for so many seconds.
    pub use_while_any_wait: Use,
    pub seconds_with_any_waiting: f64,
    /// Jain's index of the jobs' slowdowns: 1 where all are slowed down alike, 1/n where one bears all.
    pub fairness: f64,
    /// The same of the tenants' mean slowdowns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fairness_of_tenants: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<Tenant>,
    pub grants: u64,
    pub revokes: u64,
    pub attempts: u64,
    pub killed_instances: u64,
    pub killed_workers: u64,
    /// Core seconds of instances that ended well, and of others.
    pub useful_core_seconds: f64,
    pub lost_core_seconds: f64,
    /// What the faults have cost beside the same run without them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth: Option<Growth>,
    pub timeline: Vec<Moment>,
    /// Of each job, in the order of their arrival.
    #[serde(skip)]
    pub completions: Vec<f64>,
    /// Share, completion and critical path: so many of the jobs need no longer.
    pub distribution: Vec<(f64, f64, f64)>,
    /// No machine ever held more than it has, and every instance counts once.
    pub sound: bool,
}

/// A distribution, by its mean and some of its ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

/// Mean shares of all there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Use {
    /// Held by workers.
    pub cpu: f64,
    pub memory: f64,
    /// Held by workers that run an instance.
    pub busy_cpu: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    pub name: String,
    pub jobs: usize,
    pub core_seconds: f64,
    pub mean_completion: f64,
    pub mean_slowdown: f64,
}

/// How much more time there is with faults: 0.1 is a tenth more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Growth {
    /// Of the mean completion.
    pub completion: f64,
    /// Of the mean critical path, by what is run again: no scheduler can avoid it.
    pub critical_path: f64,
    /// The mean of each job's own growth.
    pub each_job: f64,
    pub makespan: f64,
    pub completion_without: f64,
    pub makespan_without: f64,
}

/// How it is from this moment until the next one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moment {
    pub at: f64,
    #[serde(flatten)]
    pub level: Use,
    /// Places that are waited for.
    pub waiting: f64,
}

impl Growth {
    pub(super) fn of(with: &BatchReport, without: &BatchReport) -> Self {
        let pairs = with.completions.iter().zip(&without.completions);
        let growths: Vec<f64> =
            pairs.map(|(with, without)| with.max(LEAST_SECONDS) / without.max(LEAST_SECONDS) - 1.0).collect();
        let paths = [with, without].map(|report| report.critical_path_with_faults.mean);
        Self {
            completion: with.completion.mean / without.completion.mean - 1.0,
            critical_path: if paths[1] > 0.0 { paths[0] / paths[1] - 1.0 } else { 0.0 },
            each_job: mean(&growths),
            makespan: with.makespan / without.makespan - 1.0,
            completion_without: without.completion.mean,
            makespan_without: without.makespan,
        }
    }
}

impl Spread {
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        // The least value that so many percent do not exceed.
        let rank = |percent: usize| {
            let index = (values.len() * percent).div_ceil(100).max(1) - 1;
            values.get(index).copied().unwrap_or_default()
        };
        Self { mean: mean(&values), p50: rank(50), p90: rank(90), p99: rank(99), max: rank(100) }
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobEnd {
    pub(super) at: Duration,
    pub(super) succeeded: bool,
    /// The longest chain of its tasks, each as long as all attempts of the instance that took longest.
    pub(super) critical_path: Duration,
}

/// What is counted while the work runs.
#[derive(Debug)]
pub(super) struct Tally {
    /// Per job.
    ends: Vec<Option<JobEnd>>,
    n_ended: usize,
    /// What the machines hold.
    held: Vec<Resources>,
    /// Whether any machine ever held more than it has.
    overfull: bool,
    /// Core seconds of each job.
    core_seconds: Vec<f64>,
    useful_core_seconds: f64,
    lost_core_seconds: f64,
    /// Instances that the jobs have counted.
    counted: u64,
    grants: u64,
    pub(super) revokes: u64,
    pub(super) attempts: u64,
    pub(super) successes: u64,
    pub(super) killed_instances: u64,
    pub(super) killed_workers: u64,
    pub(super) waits: Vec<Duration>,
    pub(super) until_last_arrival: (Duration, Sums),
}

impl Tally {
    pub(super) fn new(n_jobs: usize, n_machines: u32) -> Self {
        Self {
            ends: vec![None; n_jobs],
            n_ended: 0,
            held: vec![Resources::default(); n_machines as usize],
            overfull: false,
            core_seconds: vec![0.0; n_jobs],
            useful_core_seconds: 0.0,
            lost_core_seconds: 0.0,
            counted: 0,
            grants: 0,
            revokes: 0,
            attempts: 0,
            successes: 0,
            killed_instances: 0,
            killed_workers: 0,
            waits: Vec::new(),
            until_last_arrival: (Duration::ZERO, Sums::default()),
        }
    }

    pub(super) fn n_ended(&self) -> usize {
        self.n_ended
    }

    /// A job's end is stored; so many of its instances count as done.
    pub(super) fn job_ended(&mut self, job: usize, end: JobEnd, counted: u64) {
        self.ends[job] = Some(end);
        self.n_ended += 1;
        self.counted += counted;
    }

    pub(super) fn granted(&mut self, machine: MachineId, shape: Resources, capacity: Resources) {
        self.grants += 1;
        let held = &mut self.held[machine.0 as usize];
        *held = held.plus(shape);
        self.overfull |= !held.fits_in(capacity);
    }

    pub(super) fn returned(&mut self, machine: MachineId, shape: Resources) {
        let held = &mut self.held[machine.0 as usize];
        *held = held.minus(shape);
    }

    pub(super) fn spent(&mut self, job: usize, core_seconds: f64, is_useful: bool) {
        self.core_seconds[job] += core_seconds;
        let sum = if is_useful { &mut self.useful_core_seconds } else { &mut self.lost_core_seconds };
        *sum += core_seconds;
    }
}

/// A job's times.
struct JobTimes {
    completion: f64,
    critical_path: f64,
    path_with_faults: f64,
}

impl JobTimes {
    fn slowdown(&self) -> f64 {
        self.completion.max(LEAST_SECONDS) / self.critical_path.max(LEAST_SECONDS)
    }
}

/// The report of a run in which all jobs have ended.
pub(super) fn of(plan: &Plan<'_>, (faults, tally): (Faults, Tally), meter: &Meter) -> BatchReport {
    let (settings, jobs) = (plan.settings, &plan.workload.jobs);
    let ends = tally.ends.iter().zip(&plan.arrivals).zip(&plan.ideal.critical_paths);
    let times: Vec<JobTimes> = ends
        .map(|((end, arrival), path)| JobTimes {
            completion: end.map_or(0.0, |end| (end.at - *arrival).as_secs_f64()),
            critical_path: path.as_secs_f64(),
            path_with_faults: end.map_or(0.0, |end| end.critical_path.as_secs_f64()),
        })
        .collect();
    let of_all = |value: fn(&JobTimes) -> f64| Spread::of(times.iter().map(value).collect());
    let (completion, critical_path) = (of_all(|times| times.completion), of_all(|times| times.critical_path));
    let least = plan.arrivals.iter().zip(&plan.ideal.critical_paths).map(|(arrival, path)| *arrival + *path);
    let makespan = tally.ends.iter().flatten().map(|end| end.at).max().unwrap_or_default();
    let slowdowns: Vec<f64> = times.iter().map(JobTimes::slowdown).collect();
    let tenants = tenants(plan, &times, &tally);
    let of_tenants: Vec<f64> = tenants.iter().map(|tenant| tenant.mean_slowdown).collect();
    let succeeded = tally.ends.iter().flatten().filter(|end| end.succeeded).count();
    let is_faultless = !faults.any();
    let all_counted = tally.counted == plan.n_instances();
    BatchReport {
        seed: settings.seed,
        jobs: jobs.len(),
        tasks: jobs.iter().map(|job| job.tasks.len()).sum(),
        instances: plan.n_instances(),
        machines: plan.n_machines,
        cores_per_machine: cores(settings.fleet.cpu),
        memory_per_machine: settings.fleet.memory.0 as f64 / MEMORY_PERCENT.0 as f64,
        load: plan.load,
        succeeded,
        makespan: makespan.as_secs_f64(),
        least_makespan: least.max().unwrap_or_default().as_secs_f64(),
        completion,
        critical_path,
        critical_path_with_faults: of_all(|times| times.path_with_faults),
        ratio: (critical_path.mean > 0.0).then(|| completion.mean / critical_path.mean),
        fairness: jain(&slowdowns),
        slowdown: Spread::of(slowdowns),
        waiting: Spread::of(tally.waits.iter().map(Duration::as_secs_f64).collect()),
        use_while_jobs_come: used(plan, tally.until_last_arrival.1, tally.until_last_arrival.0.as_secs_f64()),
        use_while_any_wait: used(plan, meter.contended.1, meter.contended.0),
        seconds_with_any_waiting: meter.contended.0,
        use_in_all: used(plan, meter.totals(), makespan.as_secs_f64()),
        fairness_of_tenants: (!tenants.is_empty()).then(|| jain(&of_tenants)),
        tenants,
        grants: tally.grants,
        revokes: tally.revokes,
        attempts: tally.attempts,
        killed_instances: tally.killed_instances,
        killed_workers: tally.killed_workers,
        useful_core_seconds: tally.useful_core_seconds,
        lost_core_seconds: tally.lost_core_seconds,
        growth: None,
        timeline: meter.line().map(|(at, means)| moment(plan, at, means)).collect(),
        completions: times.iter().map(|times| times.completion).collect(),
        distribution: distribution(&times),
        sound: !tally.overfull
            && (all_counted || succeeded < jobs.len())
            && (!is_faultless || succeeded == jobs.len()),
    }
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Jain's index of fairness: the square of the sum beside the sum of the squares.
pub(super) fn jain(values: &[f64]) -> f64 {
    let (sum, squares) =
        values.iter().fold((0.0, 0.0), |(sum, squares), value| (sum + value, squares + value * value));
    if squares > 0.0 { sum * sum / (values.len() as f64 * squares) } else { 1.0 }
}

fn used(plan: &Plan<'_>, [held_cpu, busy_cpu, held_memory, _]: Sums, seconds: f64) -> Use {
    let fleet = plan.settings.fleet;
    let share = |sum: f64, of_each: u64| {
        let all = of_each as f64 * f64::from(plan.n_machines) * seconds;
        if all > 0.0 { sum / all } else { 0.0 }
    };
    Use {
        cpu: share(held_cpu, fleet.cpu.0),
        memory: share(held_memory, fleet.memory.0),
        busy_cpu: share(busy_cpu, fleet.cpu.0),
    }
}

fn moment(plan: &Plan<'_>, at: f64, means: Sums) -> Moment {
    Moment { at, level: used(plan, means, 1.0), waiting: means[3] }
}

fn tenants(plan: &Plan<'_>, times: &[JobTimes], tally: &Tally) -> Vec<Tenant> {
    let tenant = |(number, name): (usize, &String)| {
        let jobs: Vec<usize> = (0..times.len()).filter(|job| plan.tenant_of[*job] == Some(number)).collect();
        let mean_of = |value: fn(&JobTimes) -> f64| {
            mean(&jobs.iter().map(|job| value(&times[*job])).collect::<Vec<_>>())
        };
        Tenant {
            name: name.clone(),
            jobs: jobs.len(),
            core_seconds: jobs.iter().map(|job| tally.core_seconds[*job]).sum(),
            mean_completion: mean_of(|times| times.completion),
            mean_slowdown: mean_of(JobTimes::slowdown),
        }
    };
    plan.tenants.iter().enumerate().map(tenant).collect()
}

fn distribution(times: &[JobTimes]) -> Vec<(f64, f64, f64)> {
    let sorted = |value: fn(&JobTimes) -> f64| {
        let mut values: Vec<f64> = times.iter().map(value).collect();
        values.sort_unstable_by(f64::total_cmp);
        values
    };
    let (completions, paths) = (sorted(|times| times.completion), sorted(|times| times.critical_path));
    let n_points = times.len().min(CURVE_POINTS);
    let point = |number: usize| {
        let rank = times.len() * number / n_points;
        (rank as f64 / times.len() as f64, completions[rank - 1], paths[rank - 1])
    };
    (1..=n_points).map(point).collect()
}
