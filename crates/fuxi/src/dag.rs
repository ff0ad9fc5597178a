//! Progress through the graph of tasks: which may start, now that others are done.

use std::collections::BTreeMap;

use model::dagjob::check::{Fault, faults};
use model::dagjob::{DagJobSpec, needed};

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
    /// Per task, who waits for it, and for how many percent of its instances, the fewest first.
    children: Vec<Vec<(u32, TaskIdx)>>,
    /// Per task, how many instances it has; those of a task whose input list is not taken are not known.
    counts: Vec<Option<u32>>,
    /// Per task, how many of those have waited long enough.
    released: Vec<usize>,
    /// Per task, how many parents are not far enough.
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
                children[parent.0].push((task.start_at_percent.unwrap_or(100), TaskIdx(index)));
            }
        }
        children.iter_mut().for_each(|of_task| of_task.sort_unstable());
        let (done, released) = (vec![false; children.len()], vec![0; children.len()]);
        let counts = spec.tasks.iter().map(model::dagjob::Task::count).collect();
        Ok(Self { children, counts, released, waits_for, done })
    }

    /// The task's input list says how many instances it has.
    pub fn set_count(&mut self, task: TaskIdx, count: u32) {
        self.counts[task.0] = Some(count);
    }

    pub fn tasks(&self) -> impl Iterator<Item = TaskIdx> + use<> {
        (0..self.children.len()).map(TaskIdx)
    }

    /// Whether all parents of `task` are far enough.
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
        self.done[task.0] = true;
        self.release(task, |_| true)
    }

    /// Takes note that so many instances of `task` have ended well; the tasks that may start from now on.
    pub fn reach(&mut self, task: TaskIdx, count: u32) -> Vec<TaskIdx> {
        let all = self.counts[task.0];
        self.release(task, |percent| all.is_some_and(|all| needed(percent, all) <= count))
    }

    fn release(&mut self, task: TaskIdx, is_enough: impl Fn(u32) -> bool) -> Vec<TaskIdx> {
        let mut ready = Vec::new();
        while let Some((percent, child)) = self.children[task.0].get(self.released[task.0])
            && is_enough(*percent)
        {
            self.released[task.0] += 1;
            self.waits_for[child.0] -= 1;
            if self.waits_for[child.0] == 0 {
                ready.push(*child);
            }
        }
        ready
    }

    /// Whether somebody waits for just so many instances of `task`.
    pub fn is_awaited(&self, task: TaskIdx, count: u32) -> bool {
        let Some(all) = self.counts[task.0] else { return false };
        self.children[task.0].iter().any(|(percent, _)| needed(*percent, all) == count)
    }
}
