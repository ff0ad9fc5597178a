//! What no scheduler can beat: every instance starts at once when its task may, on as many machines as that takes.

use std::time::Duration;

use super::{BatchError, BatchTask, Fleet, Size, Workload};

/// Until the pace of arrivals is found.
const HALVINGS: u32 = 60;
/// Arrivals are not stretched more than so, nor squeezed.
const MOST_STRETCH: f64 = 1e6;

/// When every task starts and every job ends on machines without limit, without any latency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ideal {
    /// Per job and task, after the job's arrival.
    pub starts: Vec<Vec<Duration>>,
    /// Per job, the longest chain of tasks, each as long as its longest instance.
    pub critical_paths: Vec<Duration>,
}

/// Means over time, of CPU (in thousandths of a core) and memory (in bytes).
type Demand = [f64; 2];

impl Ideal {
    pub fn of(workload: &Workload) -> Self {
        let (mut starts, mut critical_paths) = (Vec::new(), Vec::new());
        for job in &workload.jobs {
            let longest: Vec<Duration> = job
                .tasks
                .iter()
                .map(|task| task.durations.iter().max().copied().unwrap_or_default())
                .collect();
            let (start, end) = chain(&job.tasks, &longest);
            critical_paths.push(end);
            starts.push(start);
        }
        Self { starts, critical_paths }
    }

    /// How many machines there are, and what arrivals' distances are multiplied by.
    pub(super) fn fit(&self, workload: &Workload, fleet: Fleet) -> Result<(u32, f64), BatchError> {
        match fleet.size {
            Size::Machines(count) => Ok((count, 1.0)),
            Size::Load(load) => {
                let share = self.load(workload, 1.0, (fleet, 1)).ok_or(BatchError::NoSpan)?;
                Ok((ceiling(share / load).max(1), 1.0))
            }
            Size::Paced { machines, load } => {
                let stretch = self.pace(workload, (fleet, machines), load)?;
                Ok((machines, stretch))
            }
        }
    }

    fn pace(&self, workload: &Workload, machines: (Fleet, u32), load: f64) -> Result<f64, BatchError> {
        let at = |stretch: f64| self.load(workload, stretch, machines).ok_or(BatchError::NoSpan);
        // More time for the same work is less demand. Halving is done on a scale of factors.
        let (mut low, mut high) = (-MOST_STRETCH.ln(), MOST_STRETCH.ln());
        let (most, least) = (at(low.exp())?, at(high.exp())?);
        if !(least..=most).contains(&load) {
            return Err(BatchError::NoPace { percent: load * 100.0, machines: machines.1 });
        }
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if at(middle.exp())? > load {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(high.exp())
    }

    /// The mean demand from the first arrival to the last, as a share of what so many machines have: of CPU or memory,
    /// whichever is more. Nothing where all jobs come at once.
    pub(super) fn load(
        &self,
        workload: &Workload,
        stretch: f64,
        (fleet, n_machines): (Fleet, u32),
    ) -> Option<f64> {
        let [cpu, memory] = self.demand(workload, stretch)?;
        let share = |demand: f64, of_each: u64| demand / (of_each as f64 * f64::from(n_machines));
        Some(share(cpu, fleet.cpu.0).max(share(memory, fleet.memory.0)))
    }

    fn demand(&self, workload: &Workload, stretch: f64) -> Option<Demand> {
        let first = workload.jobs.first()?.arrival;
        let arrival = |at: Duration| (at - first).as_secs_f64() * stretch;
        let span = arrival(workload.jobs.last()?.arrival);
        if span <= 0.0 {
            return None;
        }
        let mut sum = [0.0, 0.0];
        for (job, starts) in workload.jobs.iter().zip(&self.starts) {
            for (task, start) in job.tasks.iter().zip(starts) {
                let left = (span - arrival(job.arrival) - start.as_secs_f64()).max(0.0);
                let seconds: f64 =
                    task.durations.iter().map(|duration| duration.as_secs_f64().min(left)).sum();
                sum[0] += seconds * task.cpu.0 as f64;
                sum[1] += seconds * task.memory.0 as f64;
            }
        }
        Some(sum.map(|sum| sum / span))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and no share is negative"
)]
fn ceiling(count: f64) -> u32 {
    count.ceil() as u32
}

/// When each task starts that takes so long, and when the last one ends.
pub(super) fn chain(tasks: &[BatchTask], longest: &[Duration]) -> (Vec<Duration>, Duration) {
    let mut start = vec![Duration::ZERO; tasks.len()];
    let parents: Vec<&[usize]> = tasks.iter().map(|task| task.parents.as_slice()).collect();
    // Parents first. The importer takes no job with a cycle.
    for task in in_order(&parents) {
        let ends = parents[task].iter().map(|parent| start[*parent] + longest[*parent]);
        start[task] = ends.max().unwrap_or_default();
    }
    let ends = start.iter().zip(longest).map(|(start, longest)| *start + *longest);
    let end = ends.max().unwrap_or_default();
    (start, end)
}

/// The tasks of a job, every parent before its children.
fn in_order(parents: &[&[usize]]) -> Vec<usize> {
    let mut children = vec![Vec::new(); parents.len()];
    let mut waits_for: Vec<usize> = parents.iter().map(|parents| parents.len()).collect();
    for (task, parents) in parents.iter().enumerate() {
        for parent in *parents {
            children[*parent].push(task);
        }
    }
    let mut order: Vec<usize> = (0..parents.len()).filter(|task| waits_for[*task] == 0).collect();
    let mut next = 0;
    while let Some(task) = order.get(next).copied() {
        next += 1;
        for child in &children[task] {
            waits_for[*child] -= 1;
            if waits_for[*child] == 0 {
                order.push(*child);
            }
        }
    }
    order
}
