//! What a CronJob owes: the Job that is due, what its policy says of those that still run, and a bounded history.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::ResourceExt;

use super::schedule::Schedule;
use crate::owner;
use crate::record::Note;

/// When the Job was due, as the CronJob's time zone tells it.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// A CronJob and its Jobs.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) cron_job: &'a CronJob,
    pub(crate) jobs: &'a [Arc<Job>],
    /// `None` when it cannot be read.
    pub(crate) schedule: Option<&'a Schedule>,
    pub(crate) now: Timestamp,
}

/// What is owed to the world, in this order.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) delete: Vec<Arc<Job>>,
    pub(crate) create: Option<Box<Job>>,
    pub(crate) status: CronJobStatus,
    pub(crate) notes: Vec<Note>,
    /// When the next Job is due.
    pub(crate) check_after: Option<Duration>,
}

/// How a Job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Failed,
}

fn end(job: &Job) -> Option<End> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let is = |kind: &str| conditions.iter().any(|each| each.type_ == kind && each.status == "True");
    if is("Complete") { Some(End::Complete) } else { is("Failed").then_some(End::Failed) }
}

/// How a CronJob's status names one of its Jobs.
pub(crate) fn reference(job: &Job) -> ObjectReference {
    ObjectReference {
        api_version: Some("batch/v1".to_owned()),
        kind: Some("Job".to_owned()),
        name: job.metadata.name.clone(),
        namespace: job.namespace(),
        uid: job.uid(),
        resource_version: job.resource_version(),
        ..ObjectReference::default()
    }
}

/// Decides on one CronJob.
pub(crate) fn decide(view: &View<'_>) -> Plan {
    let spec = view.cron_job.spec.clone();
    let mut plan = Plan { status: status(view), ..Plan::default() };
    plan.notes = ended(view);
    plan.delete = outdated(view, &spec);
    let is_going = view.cron_job.metadata.deletion_timestamp.is_some();
    let Some(schedule) = view.schedule.filter(|_| !is_going && spec.suspend != Some(true)) else {
        return plan;
    };
    let start = start(view, &spec);
    let until_next = schedule.next(start, view.now).map(|next| next.duration_since(view.now).unsigned_abs());
    plan.check_after = until_next;
    if let Some(due) = schedule.last_between(start, view.now) {
        make(view, (&spec, schedule), due, &mut plan);
    }
    plan
}

/// The time after which a scheduled time counts as not yet served.
fn start(view: &View<'_>, spec: &CronJobSpec) -> Timestamp {
    let status = view.cron_job.status.as_ref();
    let last = status.and_then(|status| status.last_schedule_time.as_ref());
    let created = view.cron_job.metadata.creation_timestamp.as_ref();
    let known = last.or(created).map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    // What is too late anyway need not be looked for.
    let deadline = spec.starting_deadline_seconds.unwrap_or(i64::MAX);
    let earliest = view.now.as_second().checked_sub(deadline).map(Timestamp::from_second);
    earliest.and_then(Result::ok).map_or(known, |earliest| known.max(earliest))
}

/// Makes the Job that was due, if the policy allows.
fn make(view: &View<'_>, (spec, schedule): (&CronJobSpec, &Schedule), due: Timestamp, plan: &mut Plan) {
    let active: Vec<&Arc<Job>> = view.jobs.iter().filter(|job| end(job).is_none()).collect();
    let name = job_name(view.cron_job, due);
    if active.iter().any(|job| job.name_any() == name) {
        // Made already; only the status was not written.
        plan.status.last_schedule_time = Some(Time(due));
        return;
    }
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !active.is_empty() => {
            let message =
                "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.notes.push(Note::normal("JobAlreadyActive", message));
            return;
        }
        Some("Replace") => {
            plan.delete.extend(active.iter().map(|job| Arc::clone(job)));
            plan.status.active = None;
        }
        _ => {}
    }
    plan.create = Some(Box::new(job(view.cron_job, spec, (name, due), schedule)));
    plan.status.last_schedule_time = Some(Time(due));
}

/// One name per scheduled minute, so that no Job is made twice.
fn job_name(cron_job: &CronJob, due: Timestamp) -> String {
    format!("{}-{}", cron_job.name_any(), due.as_second() / 60)
}

fn job(cron_job: &CronJob, spec: &CronJobSpec, (name, due): (String, Timestamp), schedule: &Schedule) -> Job {
    let template = spec.job_template.metadata.clone().unwrap_or_default();
    let mut annotations = template.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED.to_owned(), schedule.tell(due));
    let metadata = ObjectMeta {
        name: Some(name),
        namespace: cron_job.namespace(),
        labels: template.labels,
        annotations: Some(annotations),
        finalizers: template.finalizers,
        owner_references: Some(vec![owner::controller_reference(cron_job)]),
        ..ObjectMeta::default()
    };
    Job { metadata, spec: spec.job_template.spec.clone(), status: None }
}

fn status(view: &View<'_>) -> CronJobStatus {
    let before = view.cron_job.status.clone().unwrap_or_default();
    let active: Vec<ObjectReference> = view
        .jobs
        .iter()
        .filter(|job| end(job).is_none())
        .map(|job| {
            let told = before.active.iter().flatten().find(|each| each.uid == job.metadata.uid);
            // What was told stays: the version is that of the beginning.
            told.cloned().unwrap_or_else(|| reference(job))
        })
        .collect();
    let completed = view.jobs.iter().filter(|job| end(job) == Some(End::Complete));
    let last = completed.filter_map(|job| job.status.as_ref()?.completion_time.clone());
    let last_successful_time = last.chain(before.last_successful_time).max_by_key(|time| time.0);
    CronJobStatus {
        active: (!active.is_empty()).then_some(active),
        last_schedule_time: before.last_schedule_time,
        last_successful_time,
    }
}

/// Says of each Job that was active and is not any more how it ended.
fn ended(view: &View<'_>) -> Vec<Note> {
    let before = view.cron_job.status.as_ref().and_then(|status| status.active.as_ref());
    let told = before.into_iter().flatten();
    told.filter_map(|reference| {
        let name = reference.name.clone().unwrap_or_default();
        match view.jobs.iter().find(|job| job.metadata.uid == reference.uid) {
            None => Some(Note::normal("MissingJob", format!("Active job went missing: {name}"))),
            Some(job) => {
                let end = if end(job)? == End::Complete { "Complete" } else { "Failed" };
                Some(Note::normal("SawCompletedJob", format!("Saw completed job: {name}, condition: {end}")))
            }
        }
    })
    .collect()
}

/// Ended Jobs beyond the limits, the oldest first.
fn outdated(view: &View<'_>, spec: &CronJobSpec) -> Vec<Arc<Job>> {
    let limits = [
        (End::Complete, spec.successful_jobs_history_limit.unwrap_or(3)),
        (End::Failed, spec.failed_jobs_history_limit.unwrap_or(1)),
    ];
    let mut outdated = Vec::new();
    for (kind, limit) in limits {
        let standing = view.jobs.iter().filter(|job| job.metadata.deletion_timestamp.is_none());
        let mut ended: Vec<&Arc<Job>> = standing.filter(|job| end(job) == Some(kind)).collect();
        ended.sort_by_key(|job| {
            (job.status.as_ref().and_then(|status| status.start_time.clone()), job.metadata.name.clone())
        });
        let excess = ended.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        outdated.extend(ended.into_iter().take(excess).cloned());
    }
    outdated
}
