//! How far a job is, and how long the rest will take, told from its status.

use std::time::Duration;

use jiff::Timestamp;
use model::dagjob::{DagJobSpec, DagJobStatus, Task, TaskStatus};

/// A task's share of a job's progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TaskProgress<'a> {
    pub(super) name: &'a str,
    /// Unknown, as long as its input list is not taken.
    pub(super) instances: Option<u32>,
    /// How many of them may fail.
    pub(super) tolerated: u32,
    pub(super) status: TaskStatus,
    /// Whether tasks that it depends on are not far enough.
    pub(super) waits: bool,
    /// Whether the job has ended: what is unfinished stays so.
    pub(super) is_over: bool,
}

impl TaskProgress<'_> {
    /// Whether all instances have ended, and so few have failed as may.
    pub(super) fn is_finished(&self) -> bool {
        self.instances.is_some_and(|count| self.ended() >= count) && self.status.failed <= self.tolerated
    }

    /// Instances that ended, however.
    pub(super) fn ended(&self) -> u32 {
        self.status.succeeded.saturating_add(self.status.failed).min(self.instances.unwrap_or(0))
    }

    /// How many instances there are, in words.
    pub(super) fn counts(&self) -> String {
        let succeeded = self.status.succeeded;
        self.instances.map_or_else(|| "?".to_owned(), |count| format!("{succeeded}/{count}"))
    }

    /// One word for people.
    pub(super) fn word(&self) -> &'static str {
        match self {
            task if task.is_finished() => "done",
            task if task.is_over => "not finished",
            task if task.status.running > 0 => "running",
            task if task.waits => "after others",
            task if task.instances.is_none() => "listing input",
            _ => "waiting",
        }
    }
}

/// All tasks in the order of the job.
pub(super) fn tasks<'a>(spec: &'a DagJobSpec, status: &DagJobStatus) -> Vec<TaskProgress<'a>> {
    let of = |name: &str| status.tasks.get(name).cloned().unwrap_or_default();
    // Unknown, as long as an input list is not taken.
    let count = |task: &Task| task.count().or(of(&task.name).input.map(|_| of(&task.name).instances));
    let tolerated = |task: &Task| {
        task.success_policy.clone().unwrap_or_default().tolerated(count(task).unwrap_or_default())
    };
    let is_far_enough = |task: &Task, name: &String| {
        let Some(parent) = spec.tasks.iter().find(|task| task.name == *name) else { return true };
        let (done, count) = (of(name), count(parent));
        let done = done.succeeded + done.failed.min(tolerated(parent));
        count.is_some_and(|count| count == 0 || done >= task.needs_of(count))
    };
    let progress = |task: &'a Task| TaskProgress {
        name: &task.name,
        instances: count(task),
        tolerated: tolerated(task),
        status: of(&task.name),
        is_over: status.phase.is_ended(),
        waits: !task.depends_on.iter().all(|name| is_far_enough(task, name)),
    };
    spec.tasks.iter().map(progress).collect()
}

/// Instances that ended, and all.
pub(super) fn instances(spec: &DagJobSpec, status: &DagJobStatus) -> (u64, u64) {
    tasks(spec, status).iter().fold((0, 0), |(done, all), task| {
        (done + u64::from(task.ended()), all + u64::from(task.instances.unwrap_or(0)))
    })
}

/// How long the job ran, or has been running.
pub(super) fn elapsed(status: &DagJobStatus, now: Timestamp) -> Option<Duration> {
    let start = status.start_time.as_ref()?.0;
    let end = status.completion_time.as_ref().map_or(now, |end| end.0);
    Some(end.duration_since(start).try_into().unwrap_or_default())
}

/// How long the rest will take if instances go on ending as they did so far; `None` while too little is known.
pub(super) fn estimate(spec: &DagJobSpec, status: &DagJobStatus, now: Timestamp) -> Option<Duration> {
    let (done, all) = instances(spec, status);
    if status.phase.is_ended() || done == 0 {
        return None;
    }
    let rest = all.saturating_sub(done);
    let elapsed = elapsed(status, now)?.as_millis();
    let left = elapsed.saturating_mul(u128::from(rest)) / u128::from(done);
    Some(Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX)))
}

/// `1h2m`, `3m4s`, `5s`: the two greatest units.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h{minutes}m"),
        (days, hours, _, _) => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use model::dagjob::{DagJobSpec, DagJobStatus, JobPhase};
    use serde_json::json;

    use super::{elapsed, estimate, instances, span, tasks};

    pub(in crate::job) fn spec() -> DagJobSpec {
        let task = |name: &str, instances: u32, parents: &[&str]| json!({"name": name, "instances": instances, "dependsOn": parents, "image": "i", "command": ["c"]});
        serde_json::from_value(
            json!({"tasks": [task("split", 2, &[]), task("count", 8, &["split"]), task("merge", 1, &["count"])]}),
        )
        .unwrap()
    }

    pub(in crate::job) fn status() -> DagJobStatus {
        let task = |all: u32, running: u32, succeeded: u32| json!({"instances": all, "running": running, "succeeded": succeeded, "failedAttempts": 1});
        serde_json::from_value(json!({"phase": "Running", "startTime": "2030-01-01T00:00:00Z",
            "tasks": {"split": task(2, 0, 2), "count": task(8, 3, 2), "merge": task(1, 0, 0)}}))
        .unwrap()
    }

    #[test]
    fn tasks_say_how_they_stand() {
        let (spec, status) = (spec(), status());
        let words: Vec<&str> = tasks(&spec, &status).iter().map(|task| task.word()).collect();
        assert_eq!(words, ["done", "running", "after others"]);
        assert_eq!(instances(&spec, &status), (4, 11));
        let words: Vec<&str> =
            tasks(&spec, &DagJobStatus::default()).iter().map(|task| task.word()).collect();
        assert_eq!(words, ["waiting", "after others", "after others"]);
        let over = DagJobStatus { phase: JobPhase::Failed, ..status };
        let words: Vec<&str> = tasks(&spec, &over).iter().map(|task| task.word()).collect();
        assert_eq!(words, ["done", "not finished", "not finished"]);
    }

    #[test]
    fn the_rest_takes_as_long_as_what_was() {
        let (spec, mut status) = (spec(), status());
        let now = "2030-01-01T00:00:08Z".parse().unwrap();
        assert_eq!(elapsed(&status, now), Some(Duration::from_secs(8)));
        assert_eq!(estimate(&spec, &status, now), Some(Duration::from_secs(14)), "seven of eleven are left");
        assert_eq!(estimate(&spec, &DagJobStatus::default(), now), None, "nothing is known yet");
        status.phase = model::dagjob::JobPhase::Failed;
        assert_eq!(estimate(&spec, &status, now), None);
    }

    #[test]
    fn spans_are_short() {
        for (seconds, expected) in [(0, "0s"), (59, "59s"), (61, "1m1s"), (3_700, "1h1m"), (90_000, "1d1h")] {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
    }
}
