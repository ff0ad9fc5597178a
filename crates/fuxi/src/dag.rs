//! Progress through the graph of tasks: which may start, now that others are done.

use std::collections::BTreeMap;

use model::dagjob::DagJobSpec;
use model::dagjob::check::{Fault, faults};

/// A task by its place in `spec.tasks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskIdx(pub usize);

/// Why a job cannot run at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job cannot run: {}", .faults.iter().map(|f| format!("{}: {}", f.field, f.message)).collect::<Vec<_>>().join("; "))]
pub struct InvalidJob {
    pub faults: Vec<Fault>,
}

/// The graph, and how far it has come.
#[derive(Clone, Debug)]
pub struct Dag {
    children: Vec<Vec<TaskIdx>>,
    /// Per task, how many parents are not done.
    waits_for: Vec<usize>,
    done: Vec<bool>,
}

impl Dag {
    /// The graph of a job that passes all checks.
    pub fn try_new(spec: &DagJobSpec) -> Result<Self, InvalidJob> {
        let faults = faults(spec);
        if !faults.is_empty() {
            return Err(InvalidJob { faults });
        }
        let by_name: BTreeMap<&str, TaskIdx> =
            spec.tasks.iter().enumerate().map(|(index, task)| (task.name.as_str(), TaskIdx(index))).collect();
        let mut children = vec![Vec::new(); spec.tasks.len()];
        let mut waits_for = vec![0; spec.tasks.len()];
        for (index, task) in spec.tasks.iter().enumerate() {
            // A parent may be named twice and is waited for once.
            let mut parents: Vec<TaskIdx> =
                task.depends_on.iter().filter_map(|name| by_name.get(name.as_str()).copied()).collect();
            parents.sort_unstable();
            parents.dedup();
            waits_for[index] = parents.len();
            for parent in parents {
                children[parent.0].push(TaskIdx(index));
            }
        }
        Ok(Self { done: vec![false; children.len()], children, waits_for })
    }

    pub fn tasks(&self) -> impl Iterator<Item = TaskIdx> + use<> {
        (0..self.children.len()).map(TaskIdx)
    }

    /// Whether all parents of `task` are done.
    pub fn may_start(&self, task: TaskIdx) -> bool {
        self.waits_for[task.0] == 0
    }

    pub fn is_done(&self, task: TaskIdx) -> bool {
        self.done[task.0]
    }

    pub fn all_done(&self) -> bool {
        self.done.iter().all(|done| *done)
    }

    /// Takes note that `task` is done, once; the tasks that may start from now on.
    pub fn complete(&mut self, task: TaskIdx) -> Vec<TaskIdx> {
        if std::mem::replace(&mut self.done[task.0], true) {
            return Vec::new();
        }
        let mut ready = Vec::new();
        for child in &self.children[task.0] {
            self.waits_for[child.0] -= 1;
            if self.waits_for[child.0] == 0 {
                ready.push(*child);
            }
        }
        ready
    }
}
