//! Whose fault it was: machines that are avoided by an instance, a task, a job, and all.
//!
//! ```text
//!   instance failed, was lost or outrun on a machine ──► the instance tries another machine first
//!     several instances of a task, there and nowhere else, far more often than elsewhere ──► the task avoids it
//!       several tasks of a job avoid it ──► the job avoids it
//!         several jobs do ──► nobody gets anything there
//! ```
//! An instance that fails wherever it runs blames nobody, so that a bad job cannot take machines from the others; nor does
//! who was told to go, by Level-0 or for a better right. Each level ends by itself after a time, the lower ones also when
//! instances end well there, and each is bounded by a share of the machines.

mod cluster;
mod machine;
mod task;

use std::time::Duration;

pub use cluster::{Change, Cluster, Verdict};
pub(crate) use task::{Blame, most_avoided};

/// So many instances must have failed on a machine before their task avoids it: Hadoop's
/// `mapreduce.job.maxtaskfailures.per.tracker`.
const WITNESSES: usize = 3;
/// So many that end well there one after another set a machine right again. Our own choice: of instances that were begun
/// before it was avoided, a machine that spoils one in three ends as many in a row once in fifty times.
const WELL: usize = 10;
/// The last so many ends on a machine count: what lies further back says little of how it is now.
const RECENT: usize = 20;
/// Of these at least one in so many must have failed. Our own choice: when a tenth of all instances fail wherever they
/// run, one machine in 40 shows three failures among its first seven ends by mere chance.
const LEAST_SHARE: usize = 3;
/// And so many times the share that fails elsewhere.
const MULTIPLE: usize = 4;
/// So many tasks of a job must avoid a machine before the whole job does. A job of one task is as its task.
pub(crate) const TASKS: usize = 2;
/// So many jobs must before nobody gets anything there. Our own choice: with two, a pipeline of two jobs on the same faulty
/// input would do.
const JOBS: usize = 3;
/// For so long after its last failure an instance waits for another machine than those where it failed; then any will do. Spark did the same by
/// `spark.scheduler.executorTaskBlacklistTime`, for five seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// After so long a task and a job try a machine again. Spark forgets after an hour and Hadoop after a day; instances here
/// take seconds, and a wrong verdict should not outlast them by much.
pub(crate) const FORGIVEN_AFTER: Duration = Duration::from_secs(300);
/// After so long everybody does.
pub const CLUSTER_FORGIVEN_AFTER: Duration = Duration::from_secs(1800);
/// For so long a job's vote counts, also when the job has ended.
const VOTE_COUNTS_FOR: Duration = Duration::from_secs(1800);
/// At most this share of the machines is avoided by a task, those of its job included, in percent: Hadoop's bound for a job.
const TASK_PERCENT: u32 = 25;
/// And by all. Hadoop lets it be half; the machines here serve others as well, who would not notice.
const CLUSTER_PERCENT: u32 = 10;

/// Whose fault it is that a worker is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It was told to go, or was evicted, or its machine left the cluster.
    Nobody,
    /// It ended, or did not even start, and nobody had asked for it.
    Machine,
}

/// How many machines may be avoided: the given share of `n_machines`, and at least one where `others` remain.
fn most(n_machines: u32, percent: u32, others: u32) -> usize {
    let share = u64::from(n_machines) * u64::from(percent) / 100;
    usize::try_from(share).unwrap_or(usize::MAX).max(usize::from(n_machines > others))
}

#[cfg(test)]
mod tests;
