//! What must hold of a `DagJobSpec`, with a field path and a way out in every fault.

mod input;
mod objects;
mod output;
mod tolerations;

use std::collections::{BTreeMap, BTreeSet};

use super::{DagJobSpec, Task};
use crate::Quantity;

/// The largest number of instances of one task.
pub const MAX_INSTANCES: u32 = 1_000_000;

/// What kind of fault it is, in the words of Kubernetes' field errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    Required,
    Invalid,
    Duplicate,
    NotFound,
}

/// One fault: where, what, why, how to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    /// For example `spec.tasks[1].dependsOn[0]`.
    pub field: String,
    /// The offending value; empty when there is none.
    pub value: String,
    pub message: String,
}

impl Fault {
    fn new(kind: FaultKind, field: impl Into<String>, value: &str, message: impl Into<String>) -> Self {
        Self { kind, field: field.into(), value: value.to_owned(), message: message.into() }
    }
}

/// All faults of `spec` at once, in the order of the document; none means it can run.
pub fn faults(spec: &DagJobSpec) -> Vec<Fault> {
    let mut found = Vec::new();
    if spec.tasks.is_empty() {
        found.push(Fault::new(FaultKind::Required, "spec.tasks", "", "a job needs at least one task"));
    }
    parameter_faults(spec, &mut found);
    tolerations::faults(&spec.tolerations, &mut found);
    if let Some(quota) = spec.quota.as_ref().filter(|quota| quota.is_empty()) {
        let message = "name a BatchQuota, or leave the field out";
        found.push(Fault::new(FaultKind::Invalid, "spec.quota", quota, message));
    }
    let names: BTreeSet<&str> = spec.tasks.iter().map(|task| task.name.as_str()).collect();
    let mut seen = BTreeSet::new();
    for (index, task) in spec.tasks.iter().enumerate() {
        let path = format!("spec.tasks[{index}]");
        if !seen.insert(task.name.as_str()) {
            let message = "another task has this name; names are unique within a job";
            found.push(Fault::new(FaultKind::Duplicate, format!("{path}.name"), &task.name, message));
        }
        name_faults(&path, task, &names, &mut found);
        count_faults(&path, task, &mut found);
        program_faults(&path, task, &mut found);
        output::faults(&path, task, &spec.volumes, &mut found);
    }
    output::shared(spec, &mut found);
    if let Some(cycle) = cycle(&spec.tasks) {
        let cycle = cycle.join(" -> ");
        let message = format!("these tasks wait for each other: {cycle}; remove one of the dependencies");
        found.push(Fault::new(FaultKind::Invalid, "spec.tasks", &cycle, message));
    }
    found
}

fn parameter_faults(spec: &DagJobSpec, found: &mut Vec<Fault>) {
    for name in spec.parameters.keys() {
        let starts = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
        let sound = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let message = if !starts || !name.chars().all(sound) {
            "a parameter is named as a variable of the environment: letters, digits and '_', no digit first"
        } else if name.starts_with("CREST_") {
            "names that begin with CREST_ are what Crest itself tells an instance"
        } else {
            continue;
        };
        found.push(Fault::new(FaultKind::Invalid, format!("spec.parameters[{name}]"), name, message));
    }
}

fn name_faults(path: &str, task: &Task, names: &BTreeSet<&str>, found: &mut Vec<Fault>) {
    if !is_label(&task.name) {
        let message = "a task's name is 1 to 40 lower-case letters, digits and '-', \
                       and begins and ends with a letter or digit";
        found.push(Fault::new(FaultKind::Invalid, format!("{path}.name"), &task.name, message));
    }
    for (index, parent) in task.depends_on.iter().enumerate() {
        if !names.contains(parent.as_str()) {
            let known = names.iter().copied().collect::<Vec<_>>().join(", ");
            let message = format!("no task has this name; the job's tasks are: {known}");
            let field = format!("{path}.dependsOn[{index}]");
            found.push(Fault::new(FaultKind::NotFound, field, parent, message));
        }
    }
}

fn count_faults(path: &str, task: &Task, found: &mut Vec<Fault>) {
    if let Some(policy) = task.success_policy.as_ref().filter(|policy| policy.max_failed_percent > 100) {
        let (value, message) =
            (policy.max_failed_percent.to_string(), "a share of the instances: between 0 and 100");
        let field = format!("{path}.successPolicy.maxFailedPercent");
        found.push(Fault::new(FaultKind::Invalid, field, &value, message));
    }
    if let Some(input) = &task.input {
        input::faults(path, task, input, found);
    } else if task.instances == 0 || task.instances > MAX_INSTANCES {
        let message = format!("must be between 1 and {MAX_INSTANCES}");
        let value = task.instances.to_string();
        found.push(Fault::new(FaultKind::Invalid, format!("{path}.instances"), &value, message));
    }
    let positive = [
        ("parallelism", task.parallelism),
        ("minParallelism", task.min_parallelism),
        ("maxAttempts", Some(task.max_attempts)),
        ("timeoutSeconds", task.timeout_seconds),
    ];
    if task.start_at_percent.is_some_and(|percent| !(1..=100).contains(&percent)) {
        let value = task.start_at_percent.unwrap_or_default().to_string();
        let message = "a share of the instances before it: between 1 and 100";
        found.push(Fault::new(FaultKind::Invalid, format!("{path}.startAtPercent"), &value, message));
    }
    let most = task.parallelism.unwrap_or(u32::MAX).min(task.count().unwrap_or(u32::MAX));
    if let Some(least) = task.min_parallelism.filter(|least| *least > most) {
        let message = format!("must be at most the instances that may run at once, which are {most}");
        let field = format!("{path}.minParallelism");
        found.push(Fault::new(FaultKind::Invalid, field, &least.to_string(), message));
    }
    for (name, count) in positive {
        if count == Some(0) {
            found.push(Fault::new(FaultKind::Invalid, format!("{path}.{name}"), "0", "must be at least 1"));
        }
    }
}

fn program_faults(path: &str, task: &Task, found: &mut Vec<Fault>) {
    if task.image.is_empty() {
        let message = "name the image that the instances run in";
        found.push(Fault::new(FaultKind::Required, format!("{path}.image"), "", message));
    }
    if task.command.is_empty() {
        let message = "name the command that an instance runs";
        found.push(Fault::new(FaultKind::Required, format!("{path}.command"), "", message));
    }
    let resources = &task.resources;
    for (name, text) in [
        ("cpu", &resources.cpu),
        ("memory", &resources.memory),
        ("ephemeral-storage", &resources.ephemeral_storage),
    ] {
        let message = match Quantity::parse(&text.0) {
            Ok(quantity) if quantity.to_milli() > 0 => continue,
            Ok(_) => "must be greater than zero".to_owned(),
            Err(error) => error.to_string(),
        };
        found.push(Fault::new(FaultKind::Invalid, format!("{path}.resources.{name}"), &text.0, message));
    }
}

fn is_label(name: &str) -> bool {
    let bytes = name.as_bytes();
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=40).contains(&bytes.len())
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
}

/// A cycle by its tasks' names, the first one repeated at the end; `None` when there is none.
fn cycle(tasks: &[Task]) -> Option<Vec<String>> {
    let parents: BTreeMap<&str, &[String]> =
        tasks.iter().map(|task| (task.name.as_str(), task.depends_on.as_slice())).collect();
    let mut walk =
        Walk { parents: &parents, done: BTreeSet::new(), open: BTreeSet::new(), trail: Vec::new() };
    tasks.iter().find_map(|task| walk.from(&task.name))
}

/// A depth-first walk with an explicit trail: a chain of a hundred thousand tasks must not end the process.
struct Walk<'a> {
    parents: &'a BTreeMap<&'a str, &'a [String]>,
    /// Tasks from which no cycle can be reached.
    done: BTreeSet<&'a str>,
    /// The tasks on the trail, for a quick look-up.
    open: BTreeSet<&'a str>,
    /// From the start to here: each task with the number of its parents that were followed.
    trail: Vec<(&'a str, usize)>,
}

impl<'a> Walk<'a> {
    fn from(&mut self, start: &'a str) -> Option<Vec<String>> {
        self.enter(start);
        while let Some((name, next)) = self.trail.last_mut() {
            let Some(parent) = self.parents.get(*name).and_then(|list| list.get(*next)) else {
                self.open.remove(*name);
                self.done.insert(*name);
                self.trail.pop();
                continue;
            };
            *next += 1;
            if self.open.contains(parent.as_str()) {
                return Some(self.loop_back_to(parent));
            }
            self.enter(parent);
        }
        None
    }

    fn enter(&mut self, name: &'a str) {
        // A parent that does not exist is a fault of its own and cannot be on a cycle.
        if self.parents.contains_key(name) && !self.done.contains(name) {
            self.open.insert(name);
            self.trail.push((name, 0));
        }
    }

    fn loop_back_to(&self, name: &str) -> Vec<String> {
        let on_cycle = self.trail.iter().map(|(open, _)| *open).skip_while(|open| *open != name);
        on_cycle.chain([name]).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests;
