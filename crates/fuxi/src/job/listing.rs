//! Input lists that only a worker can take: its first attempt does, and all others wait until the list is kept for good.
//!
//! ```text
//!   wanted ──a worker's attempt ends with the list, and it is stored──► taken ──the job's status says so──► instances run
//!      ▲ │
//!      └─┴─ the attempt fails or is lost: tried again, like an instance
//! ```

use model::dagjob::{InputStatus, TaskStatus};

use super::{Job, Listed, Owe, Task, TaskIdx, WorkerId};
use crate::instances::Instances;
use crate::protocol::Attempt;

/// Whether a task's instances are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// They stand in the job.
    None,
    Wanted,
    /// As of this version of the status.
    Taken {
        input: InputStatus,
        at: u64,
    },
}

impl List {
    pub(super) fn restored(task: &model::dagjob::Task, status: &TaskStatus) -> Self {
        match (task.count(), &status.input) {
            (Some(_), _) => Self::None,
            (None, Some(input)) => Self::Taken { input: input.clone(), at: 0 },
            (None, None) => Self::Wanted,
        }
    }

    pub(super) fn status(&self) -> Option<InputStatus> {
        match self {
            Self::Taken { input, .. } => Some(input.clone()),
            Self::None | Self::Wanted => None,
        }
    }
}

/// The instances of a task as its stored status tells; as long as there is no list, the one that takes it.
pub(super) fn restored(task: &model::dagjob::Task, status: &TaskStatus) -> Instances {
    let taken = status.input.as_ref().zip(task.input.as_ref());
    let count = task.count().or(taken.map(|(taken, input)| input.count_for(u64::from(taken.entries))));
    match count {
        Some(count) => Instances::restore(count, task.max_attempts, status),
        None => Instances::listing(task.max_attempts, status),
    }
}

impl Task {
    pub(super) fn is_listing(&self) -> bool {
        self.list == List::Wanted
    }

    /// Whether its instances may be handed out as far as its list goes.
    pub(super) fn is_settled(&self, stored: u64) -> bool {
        !matches!(self.list, List::Taken { at, .. } if at > stored)
    }
}

impl Job {
    /// Whether a task waits for its input list.
    pub fn is_listing(&self, task: TaskIdx) -> bool {
        self.tasks[task.0].is_listing()
    }

    /// How many instances a task has, if that is known.
    pub fn count(&self, task: TaskIdx) -> Option<u32> {
        let state = &self.tasks[task.0];
        (!state.is_listing()).then(|| state.instances.count())
    }

    /// The first list that is kept is the task's list for good.
    pub(super) fn listed(
        &mut self,
        (task, worker, attempt): (TaskIdx, WorkerId, Attempt),
        Listed { input, count }: Listed,
        (now, owed): Owe<'_>,
    ) {
        self.take(worker, attempt);
        if self.tasks[task.0].is_listing() && self.outcome.is_none() {
            self.changed();
            self.urgent_at = self.version;
            let state = &mut self.tasks[task.0];
            state.instances = Instances::new(count, state.max_attempts);
            state.list = List::Taken { input, at: self.version };
            self.dag.set_count(task, count);
            self.note_ended(task, owed);
        }
        self.acknowledge(worker, attempt, owed);
        self.place(worker);
        self.hand_out(task, (now, owed));
    }
}
