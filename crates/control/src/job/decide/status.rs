//! The status of a Job.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Success, Tally, Turn, indexes};
use crate::pods;

/// When the Job ended, if it did.
pub(super) fn ended_at(job: &Job) -> Option<Timestamp> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let is_end = |condition: &&JobCondition| {
        matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
    };
    let end = conditions.iter().find(is_end)?;
    Some(end.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

pub(super) fn is_suspended(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|each| each.type_ == "Suspended" && each.status == "True")
}

pub(super) fn status(
    job: &Job,
    spec: &JobSpec,
    tally: &Tally,
    (turn, now): (Option<&Turn>, Timestamp),
) -> JobStatus {
    let mut status = job.status.clone().unwrap_or_default();
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let some = |count: i32| (count > 0).then_some(count);
    let is_over = matches!(turn, Some(Turn::Completed(_) | Turn::Failed { .. }));
    let is_stopped = is_over || spec.suspend == Some(true);
    // Pods that are being taken away are no longer active, and not yet gone.
    let going = if is_stopped { tally.active.len() } else { 0 };
    status.active = some(count(tally.active.len() - going));
    status.terminating = Some(count(tally.terminating.len() + going));
    status.ready = Some(if is_stopped { 0 } else { count(ready(tally)) });
    status.succeeded = some(tally.n_succeeded(job, spec));
    status.failed = some(tally.n_failed(job));
    status.uncounted_terminated_pods = Some(UncountedTerminatedPods::default());
    if indexes::is_indexed(spec) {
        status.completed_indexes = Some(indexes::format(&tally.done)).filter(|text| !text.is_empty());
    }
    if spec.backoff_limit_per_index.is_some() {
        status.failed_indexes = Some(indexes::format(&tally.failures.given_up));
    }
    if spec.suspend == Some(true) {
        status.start_time = None;
    } else if status.start_time.is_none() {
        status.start_time = Some(Time(now));
    }
    if matches!(turn, Some(Turn::Completed(_))) {
        status.completion_time = Some(Time(now));
    }
    if let Some(turn) = turn {
        let mut conditions = status.conditions.take().unwrap_or_default();
        for condition in conditions_of(turn, now) {
            conditions.retain(|each| each.type_ != condition.type_);
            conditions.push(condition);
        }
        status.conditions = Some(conditions);
    }
    status
}

fn ready(tally: &Tally) -> usize {
    tally.active.iter().filter(|pod| pods::ready_since(pod).is_some()).count()
}

fn conditions_of(turn: &Turn, now: Timestamp) -> Vec<JobCondition> {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| JobCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    };
    match turn {
        Turn::Completed(success) => {
            let (reason, message) = match success {
                Success::AllDone => {
                    ("CompletionsReached", "Reached expected number of succeeded pods".to_owned())
                }
                Success::Rule(position) => ("SuccessPolicy", format!("Matched rules at index {position}")),
            };
            ["SuccessCriteriaMet", "Complete"].map(|kind| condition(kind, "True", reason, &message)).to_vec()
        }
        Turn::Failed { reason, message } => {
            ["FailureTarget", "Failed"].map(|kind| condition(kind, "True", reason, message)).to_vec()
        }
        Turn::Suspended => vec![condition("Suspended", "True", "JobSuspended", "Job suspended")],
        Turn::Resumed => vec![condition("Suspended", "False", "JobResumed", "Job resumed")],
    }
}
