//! Alibaba's published traces of batch jobs: what their columns are, and what a task's name says. `R4_2_3` is task 4, a
//! reduce, after tasks 2 and 3.

/// The columns of Alibaba's `batch_task` of 2018, whose file has no header.
const BATCH_TASK: [&str; 9] = [
    "task_name",
    "instances",
    "job",
    "task_type",
    "status",
    "start_time",
    "end_time",
    "plan_cpu",
    "plan_mem",
];
/// Those of an excerpt of it, in the order of arrival.
const TASK_EXCERPT: [&str; 7] =
    ["arrival_s", "job", "task_name", "duration_s", "plan_cpu", "plan_mem", "instances"];
/// The columns of `batch_instance`.
const BATCH_INSTANCE: [&str; 14] = [
    "instance",
    "task_name",
    "job",
    "task_type",
    "status",
    "start_time",
    "end_time",
    "machine",
    "sequence",
    "sequences",
    "cpu_avg",
    "cpu_max",
    "mem_avg",
    "mem_max",
];
const INSTANCE_EXCERPT: [&str; 7] =
    ["arrival_s", "job", "task_name", "instance", "duration_s", "cpu_avg", "mem_avg"];

fn is_number(cells: &[&str], index: usize) -> bool {
    cells.get(index).is_some_and(|cell| cell.parse::<f64>().is_ok())
}

/// The names of the columns of a table of tasks, and whether `first`, its first line, is what names them.
pub fn task_columns<'a>(first: &[&'a str]) -> (Vec<&'a str>, bool) {
    match first.len() {
        9 if is_number(first, 1) && is_number(first, 5) => (BATCH_TASK.to_vec(), false),
        7 if is_number(first, 0) && is_number(first, 6) => (TASK_EXCERPT.to_vec(), false),
        _ => (named(first), true),
    }
}

/// As [`task_columns`] for a table of instances.
pub fn instance_columns<'a>(first: &[&'a str]) -> (Vec<&'a str>, bool) {
    match first.len() {
        14 if is_number(first, 5) => (BATCH_INSTANCE.to_vec(), false),
        7 if is_number(first, 0) && is_number(first, 4) => (INSTANCE_EXCERPT.to_vec(), false),
        _ => (named(first), true),
    }
}

/// A header, whichever of two names it gives a column.
fn named<'a>(header: &[&'a str]) -> Vec<&'a str> {
    let name = |name: &&'a str| match *name {
        "job_name" => "job",
        "instance_num" => "instances",
        "instance_name" => "instance",
        other => other,
    };
    header.iter().map(name).collect()
}

/// A task's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskName {
    name: String,
    /// The task's number; `None` for a name of another form, which depends on nothing.
    number: Option<u32>,
    after: Vec<u32>,
}

/// A task waits for one that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it waits for task {number}, and no task has this number")]
pub struct UnknownTask {
    number: u32,
}

impl TaskName {
    /// Letters, the task's number, and after each `_` the number of a task that it waits for. Any other name is taken as
    /// it is.
    pub fn parse(name: &str) -> Self {
        let other = || Self { name: name.to_owned(), number: None, after: Vec::new() };
        let mut parts = name.split('_');
        let own = parts.next().unwrap_or_default();
        let digits = own.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
        let is_lettered = digits.len() < own.len();
        let Some(number) = digits.parse().ok().filter(|_| is_lettered) else { return other() };
        // What follows and is no number says nothing of dependencies: `M1_Stg2`.
        let after = parts.filter_map(|part| part.parse().ok()).collect();
        Self { name: name.to_owned(), number: Some(number), after }
    }

    /// A name that a task of a job may have: `r4` of `R4_2_3`.
    pub fn label(&self) -> String {
        let text = match self.number {
            Some(_) => self.name.split('_').next().unwrap_or_default(),
            None => &self.name,
        };
        let text: String = text
            .to_ascii_lowercase()
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
            .take(40)
            .collect();
        text.trim_matches('-').to_owned()
    }
}

/// The labels of the tasks that `task` waits for, among `all` of its job.
pub fn depends_on(task: &TaskName, all: &[TaskName]) -> Result<Vec<String>, UnknownTask> {
    Ok(parents(task, all)?.into_iter().map(|parent| all[parent].label()).collect())
}

/// The places among `all` tasks of its job of those that `task` waits for.
pub fn parents(task: &TaskName, all: &[TaskName]) -> Result<Vec<usize>, UnknownTask> {
    let place = |number: &u32| {
        let found = all.iter().position(|other| other.number == Some(*number));
        found.ok_or(UnknownTask { number: *number })
    };
    task.after.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::{TaskName, UnknownTask, depends_on};

    #[test]
    fn names_say_what_they_wait_for() {
        let names = ["M1", "R2_1", "J3_1_2", "task_Nzg3", "M4_Stg5"].map(TaskName::parse);
        let labels: Vec<String> = names.iter().map(TaskName::label).collect();
        assert_eq!(labels, ["m1", "r2", "j3", "task-nzg3", "m4"]);
        let after = |index: usize| depends_on(&names[index], &names).unwrap();
        assert_eq!([after(0), after(3), after(4)], [const { Vec::<String>::new() }; 3]);
        assert_eq!((after(1), after(2)), (vec!["m1".to_owned()], vec!["m1".to_owned(), "r2".to_owned()]));
    }

    #[test]
    fn a_task_that_is_not_there_is_named() {
        let name = TaskName::parse("R2_9");
        assert_eq!(depends_on(&name, std::slice::from_ref(&name)), Err(UnknownTask { number: 9 }));
    }
}
