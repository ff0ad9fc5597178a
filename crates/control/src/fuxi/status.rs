//! A job's status: how it is made, and how it gets into the store.

use fuxi::job::{Job, Outcome};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::PostParams;
use kube::{Api, Client};
use model::dagjob::{DagJobSpec, DagJobStatus, JobPhase, TaskStatus};

use super::raw::RawJob;
use crate::act::Cause;

/// How often a write is tried against others who change the object at the same time.
const TRIES: usize = 5;

/// Why a status is not in the store.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("the job `{namespace}/{name}` is gone")]
    Gone { namespace: String, name: String },
    #[error("cannot store the status of the job `{namespace}/{name}`")]
    Write { namespace: String, name: String, source: Cause },
    #[error(
        "the status of the job `{namespace}/{name}` was stored by somebody else: there is another master, or was"
    )]
    Overtaken { namespace: String, name: String, fresh: Box<RawJob> },
    #[error("cannot write down the status of the job `{namespace}/{name}`")]
    Encode { namespace: String, name: String, source: serde_json::Error },
}

/// The status that follows `before`, at `now`.
pub(super) fn of(job: &Job, spec: &DagJobSpec, before: &DagJobStatus, now: jiff::Timestamp) -> DagJobStatus {
    let mut status = DagJobStatus {
        phase: job.phase(),
        start_time: before.start_time.clone().or(Some(Time(now))),
        completion_time: before.completion_time.clone(),
        tasks: job.task_status(),
        conditions: before.conditions.clone(),
        retry: before.retry,
    };
    match job.outcome() {
        None => {}
        Some(Outcome::Succeeded) => {
            let (reason, message) = success(&status);
            end(&mut status, ("Complete", reason, &message), now);
        }
        Some(Outcome::Failed { task, message }) => {
            let name = spec.tasks.get(task.0).map_or("", |task| task.name.as_str());
            let message = format!("task `{name}`: {message}");
            end(&mut status, ("Failed", "MaxAttemptsReached", &message), now);
        }
        Some(Outcome::Cancelled) => {
            end(&mut status, ("Failed", "Cancelled", "The job was cancelled by spec.desiredState"), now);
        }
    }
    status
}

/// How a job ended well: with all instances, or with as many as its tasks' policies ask for.
pub(super) fn success(status: &DagJobStatus) -> (&'static str, String) {
    let sum = |of: fn(&TaskStatus) -> u32| status.tasks.values().map(|task| u64::from(of(task))).sum::<u64>();
    let (all, failed) = (sum(|task| task.instances), sum(|task| task.failed));
    match failed {
        0 => ("AllInstancesSucceeded", format!("All {all} instances succeeded")),
        _ => {
            let message = format!(
                "{} of {all} instances succeeded; {failed} failed, and successPolicy lets them",
                all.saturating_sub(failed)
            );
            ("EnoughInstancesSucceeded", message)
        }
    }
}

/// The status of a job that can never run.
pub(super) fn invalid(before: DagJobStatus, message: &str, now: jiff::Timestamp) -> DagJobStatus {
    let mut status = DagJobStatus { phase: JobPhase::Failed, ..before };
    status.start_time.get_or_insert(Time(now));
    end(&mut status, ("Failed", "InvalidSpec", message), now);
    status
}

fn end(status: &mut DagJobStatus, (kind, reason, message): (&str, &str, &str), now: jiff::Timestamp) {
    if status.conditions.iter().any(|condition| condition.type_ == kind) {
        return;
    }
    status.completion_time.get_or_insert(Time(now));
    status.conditions.push(Condition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(now),
        observed_generation: None,
    });
}

/// Stores `status`, which follows that of `job`, for exactly this object. Others may change the object at the same time, but
/// only its master its status: what a newer one has stored is not to be lost.
pub(super) async fn store(
    client: Client,
    mut job: RawJob,
    status: DagJobStatus,
) -> Result<RawJob, StoreError> {
    let (namespace, name) =
        (job.metadata.namespace.clone().unwrap_or_default(), job.metadata.name.clone().unwrap_or_default());
    let gone = || StoreError::Gone { namespace: namespace.clone(), name: name.clone() };
    let failed = |error: kube::Error| StoreError::Write {
        namespace: namespace.clone(),
        name: name.clone(),
        source: error.into(),
    };
    let encode = |source| StoreError::Encode { namespace: namespace.clone(), name: name.clone(), source };
    let api: Api<RawJob> = Api::namespaced(client, &namespace);
    let mut tries = 0;
    loop {
        let next = job.with_status(&status).map_err(encode)?;
        match api.replace_status(&name, &PostParams::default(), &next).await {
            Ok(stored) => return Ok(stored),
            Err(error) if is_code(&error, 404) => return Err(gone()),
            Err(error) if is_code(&error, 409) && tries < TRIES => {
                tries += 1;
                let fresh = api.get_opt(&name).await.map_err(failed)?.ok_or_else(gone)?;
                if fresh.uid() != job.uid() {
                    return Err(gone());
                }
                if fresh.status != job.status {
                    let fresh = Box::new(fresh);
                    return Err(StoreError::Overtaken { namespace, name, fresh });
                }
                job = fresh;
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

pub(super) fn is_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}
