//! Recorded batch work: Alibaba's trace of 2018 or any table of tasks in its form, and the instances' own durations where
//! there is a table of them.
//!
//! ```text
//!   tasks:      job,task_name,instances[,arrival_s][,duration_s | ,start_time,end_time][,plan_cpu][,plan_mem][,tenant]
//!   instances:  job,task_name[,duration_s | ,start_time,end_time][,status]
//! ```
//! Alibaba's own files have no header and are known by their columns. A task's name says what it waits for: `R4_2_3` is
//! task 4 and waits for tasks 2 and 3. `plan_cpu` is in hundredths of a core, `plan_mem` in hundredths of the memory of
//! the trace's largest machine.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::dagjob::check::{MAX_INSTANCES, faults};
use model::dagjob::import::{TaskName, instance_columns, parents, task_columns};
use model::dagjob::{DagJobSpec, Quantity, Task, TaskResources};
use model::{Bytes, MilliCpu};

use super::ImportError;
use super::table::{Row, Table};

/// A hundredth of the memory of the trace's machine: the trace does not say how much that is, so this is only a scale.
pub const MEMORY_PERCENT: Bytes = Bytes(1 << 30);

const SECONDS: &str = "a number of seconds, 0 or more,";
const AMOUNT: &str = "a number, 0 or more,";
const COUNT: &str = "a whole number from 1 to 1000000";
/// No duration or arrival is longer than this, some 30 years.
const MOST_SECONDS: f64 = 1e9;

/// Jobs in the order of their arrival.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The table of tasks.
    pub path: PathBuf,
    pub jobs: Vec<BatchJob>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BatchJob {
    pub name: String,
    /// On whose behalf, where the table says so.
    pub tenant: Option<String>,
    pub arrival: Duration,
    pub tasks: Vec<BatchTask>,
    /// The job as the engine is told of it; its tasks stand in the same order.
    pub spec: DagJobSpec,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BatchTask {
    pub name: String,
    /// Where the table of tasks speaks of it.
    pub line: u64,
    /// The tasks that it waits for, by their places in the job.
    pub parents: Vec<usize>,
    /// Of each instance.
    pub cpu: MilliCpu,
    pub memory: Bytes,
    /// Of each instance, how long it runs.
    pub durations: Vec<Duration>,
}

/// A row of the table of tasks, before its job is whole.
#[derive(Debug)]
struct TaskRow {
    name: String,
    line: u64,
    arrival: Duration,
    tenant: Option<String>,
    instances: u32,
    duration: Option<Duration>,
    cpu: MilliCpu,
    memory: Bytes,
    /// What the table of instances says.
    durations: Vec<Duration>,
}

/// Rows by job, and each job's tasks by name.
#[derive(Debug, Default)]
struct Rows {
    jobs: Vec<(String, Vec<TaskRow>)>,
    by_name: BTreeMap<String, (usize, BTreeMap<String, usize>)>,
}

/// Reads a table of tasks, and one of their instances where there is one.
pub fn read(tasks: &Path, instances: Option<&Path>) -> Result<Workload, ImportError> {
    let mut rows = Rows::default();
    Table::scan(tasks, task_columns, &["job", "task_name", "instances"], |row| rows.add(row))?;
    if let Some(path) = instances {
        Table::scan(path, instance_columns, &["job", "task_name"], |row| rows.add_instance(row))?;
    }
    let jobs = rows.jobs.into_iter().map(|(name, rows)| job(tasks, name, rows));
    let mut jobs = jobs.collect::<Result<Vec<_>, _>>()?;
    jobs.sort_by_key(|job| job.arrival);
    Ok(Workload { path: tasks.to_owned(), jobs })
}

impl Rows {
    fn add(&mut self, row: Row<'_>) -> Result<(), ImportError> {
        let (job, task) = (row.text("job"), task_row(row)?);
        let place = self.by_name.entry(job.to_owned()).or_insert_with(|| {
            self.jobs.push((job.to_owned(), Vec::new()));
            (self.jobs.len() - 1, BTreeMap::new())
        });
        let tasks = &mut self.jobs[place.0].1;
        if place.1.insert(task.name.clone(), tasks.len()).is_some() {
            return Err(row.repeated(&format!("{job} {}", task.name)));
        }
        tasks.push(task);
        Ok(())
    }

    fn add_instance(&mut self, row: Row<'_>) -> Result<(), ImportError> {
        // What failed there was tried again, and stands in another row.
        if !matches!(row.text("status"), "" | "Terminated") {
            return Ok(());
        }
        let found = self.by_name.get(row.text("job")).and_then(|(job, tasks)| {
            let task = *tasks.get(row.text("task_name"))?;
            self.jobs[*job].1.get_mut(task)
        });
        let Some(task) = found else {
            return Err(row.fault("task_name", "a task that the table of tasks has in this job"));
        };
        let duration = duration(row)?;
        let duration = duration.ok_or_else(|| row.fault("duration_s", SECONDS))?;
        if task.durations.len() == task.instances as usize {
            return Err(row.fault("task_name", "no more instances than the table of tasks says"));
        }
        task.durations.push(duration);
        Ok(())
    }
}

fn task_row(row: Row<'_>) -> Result<TaskRow, ImportError> {
    let instances: u32 = row.value("instances", COUNT)?;
    if instances == 0 || instances > MAX_INSTANCES {
        return Err(row.fault("instances", COUNT));
    }
    let arrival = if row.text("arrival_s").is_empty() { "start_time" } else { "arrival_s" };
    let tenant = row.text("tenant");
    let memory = amount(row, "plan_mem", 0.0)? * MEMORY_PERCENT.0 as f64;
    Ok(TaskRow {
        name: row.text("task_name").to_owned(),
        line: row.line(),
        arrival: seconds(row, arrival)?.unwrap_or_default(),
        tenant: (!tenant.is_empty()).then(|| tenant.to_owned()),
        instances,
        duration: duration(row)?,
        cpu: MilliCpu(whole(amount(row, "plan_cpu", 100.0)? * 10.0)),
        memory: Bytes(whole(memory)),
        durations: Vec::new(),
    })
}

/// Nothing is less than one: the engine counts whatever runs.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded, and rounded before")]
fn whole(amount: f64) -> u64 {
    amount.round().max(1.0) as u64
}

fn amount(row: Row<'_>, column: &str, absent: f64) -> Result<f64, ImportError> {
    let amount: f64 = row.value_or(column, absent, AMOUNT)?;
    if (0.0..=1e6).contains(&amount) { Ok(amount) } else { Err(row.fault(column, AMOUNT)) }
}

fn seconds(row: Row<'_>, column: &str) -> Result<Option<Duration>, ImportError> {
    if row.text(column).is_empty() {
        return Ok(None);
    }
    let seconds: f64 = row.value(column, SECONDS)?;
    if !(0.0..=MOST_SECONDS).contains(&seconds) {
        return Err(row.fault(column, SECONDS));
    }
    Ok(Some(Duration::from_secs_f64(seconds)))
}

/// How long it ran, if the row says so.
fn duration(row: Row<'_>) -> Result<Option<Duration>, ImportError> {
    if let Some(duration) = seconds(row, "duration_s")? {
        return Ok(Some(duration));
    }
    let (start, end) = (seconds(row, "start_time")?, seconds(row, "end_time")?);
    // What had not ended when the trace was taken has an end at 0.
    let (Some(start), Some(end)) = (start, end.filter(|end| !end.is_zero())) else { return Ok(None) };
    end.checked_sub(start).map(Some).ok_or_else(|| row.fault("end_time", "a time after `start_time`"))
}

fn job(path: &Path, name: String, rows: Vec<TaskRow>) -> Result<BatchJob, ImportError> {
    let first_line = rows[0].line;
    let fault =
        |line: u64, why: String| ImportError::Job { path: path.to_owned(), line, job: name.clone(), why };
    let arrival = rows.iter().map(|row| row.arrival).min().unwrap_or_default();
    let tenant = rows.iter().find_map(|row| row.tenant.clone());
    let names: Vec<TaskName> = rows.iter().map(|row| TaskName::parse(&row.name)).collect();
    let labels = labels(&names);
    let (mut tasks, mut specs) = (Vec::new(), Vec::new());
    for ((index, row), task_name) in rows.into_iter().enumerate().zip(&names) {
        let parents = parents(task_name, &names)
            .map_err(|unknown| fault(row.line, format!("task `{}`: {unknown}", row.name)))?;
        let missing = row.instances as usize - row.durations.len();
        if missing > 0 && row.duration.is_none() {
            let why = format!(
                "nothing says how long the instances of task `{}` run: give `duration_s` or `start_time` and \
                 `end_time`, or leave the job out",
                row.name
            );
            return Err(fault(row.line, why));
        }
        specs.push(Task {
            name: labels[index].clone(),
            depends_on: parents.iter().map(|parent| labels[*parent].clone()).collect(),
            ..spec(&row)
        });
        let mut durations = row.durations;
        durations.extend(row.duration.into_iter().cycle().take(missing));
        let (cpu, memory) = (row.cpu, row.memory);
        tasks.push(BatchTask { name: row.name, line: row.line, parents, cpu, memory, durations });
    }
    let spec = DagJobSpec { tasks: specs, ..DagJobSpec::default() };
    if let Some(found) = faults(&spec).into_iter().next() {
        return Err(fault(first_line, found.message));
    }
    Ok(BatchJob { name, tenant, arrival, tasks, spec })
}

/// What a job says of a task, but for names.
fn spec(row: &TaskRow) -> Task {
    Task {
        instances: row.instances,
        image: "trace".to_owned(),
        command: vec!["instance".to_owned()],
        resources: TaskResources {
            cpu: Quantity(format!("{}m", row.cpu.0)),
            memory: Quantity(row.memory.0.to_string()),
            ..TaskResources::default()
        },
        max_attempts: 3,
        ..Task::default()
    }
}

/// Names that a job may give its tasks: those of the trace as far as they may be, and all different.
fn labels(names: &[TaskName]) -> Vec<String> {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for name in names {
        *counts.entry(name.label()).or_default() += 1;
    }
    let label = |(index, name): (usize, &TaskName)| match name.label() {
        label if !label.is_empty() && counts[&label] == 1 => label,
        _ => format!("task-number-{index}"),
    };
    names.iter().enumerate().map(label).collect()
}
