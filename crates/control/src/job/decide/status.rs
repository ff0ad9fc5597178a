//! The status of a Job.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Count, Success, Tally, Turn, indexes};
use crate::pods;

/// Why Jobs are lost.
const REASONS: [&str; 5] = [
    "PodFailurePolicy",
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "MaxFailedIndexesExceeded",
    "FailedIndexes",
];
const RULE_MET: &str = "Matched rules at index ";

/// When the Job ended, if it did.
pub(super) fn ended_at(job: &Job) -> Option<Timestamp> {
    let end = end(job.status.as_ref()?)?;
    Some(end.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

fn end(status: &JobStatus) -> Option<&JobCondition> {
    condition(status, "Complete").or_else(|| condition(status, "Failed"))
}

pub(super) fn has_ended(status: &JobStatus) -> bool {
    end(status).is_some()
}

/// The end that was decided, while pods of the Job are still on their way out.
pub(super) fn ending(job: &Job) -> Option<Turn> {
    let status = job.status.as_ref()?;
    let message = |condition: &JobCondition| condition.message.clone().unwrap_or_default();
    if let Some(failed) = condition(status, "FailureTarget") {
        let reason = REASONS.into_iter().find(|&known| failed.reason.as_deref() == Some(known));
        let reason = reason.unwrap_or("Failed");
        return Some(Turn::Failed { reason, message: message(failed) });
    }
    let met = condition(status, "SuccessCriteriaMet")?;
    let rule = message(met).strip_prefix(RULE_MET).and_then(|position| position.parse().ok());
    Some(Turn::Completed(rule.map_or(Success::AllDone, Success::Rule)))
}

fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|each| each.type_ == kind && each.status == "True")
}

pub(super) fn is_suspended(job: &Job) -> bool {
    job.status.as_ref().is_some_and(|status| condition(status, "Suspended").is_some())
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
    let is_ending = turn.is_some_and(Turn::is_end);
    let is_stopped = is_ending || spec.suspend == Some(true);
    // Pods that are being taken away are no longer active, and not yet gone.
    let going = if is_stopped { tally.active.len() } else { 0 };
    status.active = some(count(tally.active.len() - going));
    let n_terminating = tally.terminating.len() + going;
    let is_over = is_ending && n_terminating == 0;
    status.terminating = Some(count(n_terminating));
    status.ready = Some(if is_stopped { 0 } else { count(ready(tally)) });
    // Once it is over nobody counts any more, and none is listed to be counted.
    let settled = |count: &Count| some(if is_over { count.total() } else { count.settled });
    let listed = |count: &Count| {
        Some(count.listed.iter().cloned().collect()).filter(|list: &Vec<_>| !is_over && !list.is_empty())
    };
    status.succeeded = settled(&tally.n_succeeded);
    status.failed = settled(&tally.n_failed);
    let (succeeded, failed) = (listed(&tally.n_succeeded), listed(&tally.n_failed));
    status.uncounted_terminated_pods = Some(UncountedTerminatedPods { failed, succeeded });
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
    if is_over && matches!(turn, Some(Turn::Completed(_))) {
        status.completion_time = Some(Time(now));
    }
    if let Some(turn) = turn {
        let mut conditions = status.conditions.take().unwrap_or_default();
        let said = conditions_of(turn, now);
        // The first says how it is to end, the other that it has.
        let n_true = if is_ending && !is_over { 1 } else { said.len() };
        for condition in said.into_iter().take(n_true) {
            if conditions.iter().any(|each| is_same(each, &condition)) {
                continue;
            }
            conditions.retain(|each| each.type_ != condition.type_);
            conditions.push(condition);
        }
        status.conditions = Some(conditions);
    }
    status
}

fn is_same(one: &JobCondition, other: &JobCondition) -> bool {
    (&one.type_, &one.status, &one.reason) == (&other.type_, &other.status, &other.reason)
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
                Success::Rule(position) => ("SuccessPolicy", format!("{RULE_MET}{position}")),
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
