//! The CronJob controller: a Job at each scheduled time, and as many ended ones kept as asked for.

mod decide;
pub(crate) mod schedule;

#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, only};
use crate::key::ObjectKey;
use crate::owner;
use crate::queue::{Next, queue};
use crate::record::{Note, Recorder};
use crate::world::World;

use decide::{Plan, View, decide, reference};
use schedule::Schedule;

const N_WORKERS: usize = 5;

#[derive(Clone, Debug)]
struct CronJobs {
    world: World,
    recorder: Recorder,
}

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let own = keys.clone();
    world.cron_jobs.on_change(move |change| own.add(ObjectKey::of(&**change.object())));
    world.jobs.on_change(move |change| {
        let job = change.object();
        if let Some(owner) = owner::controller(&job.metadata).filter(|owner| owner.kind == "CronJob") {
            keys.add(ObjectKey::new(&job.namespace().unwrap_or_default(), &owner.name));
        }
    });
    let controller = CronJobs { world: world.clone(), recorder: world.recorder.named("cronjob-controller") };
    async move {
        let world = controller.world.clone();
        let ready = async { tokio::join!(world.cron_jobs.synced(), world.jobs.synced()) };
        if token.run_until_cancelled(ready).await.is_some() {
            work.run("cronjob", N_WORKERS, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

impl CronJobs {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let Some(cron_job) = self.world.cron_jobs.get(&key) else { return Ok(Next::Rest) };
        let jobs = self.world.jobs.controlled_by(&cron_job.uid().unwrap_or_default());
        let schedule = self.schedule(&cron_job);
        let view =
            View { cron_job: &cron_job, jobs: &jobs, schedule: schedule.as_ref(), now: kit::clock::wall() };
        let Plan { delete, create, mut status, notes, check_after } = decide(&view);
        for job in delete {
            let how = only(job.metadata.uid.as_deref());
            self.world.act.delete::<Job>(&ObjectKey::of(&*job), &how).await?;
            let message = format!("Deleted job {}", job.name_any());
            self.recorder.note(&*cron_job, Note::normal("SuccessfulDelete", message));
        }
        notes.into_iter().for_each(|note| self.recorder.note(&*cron_job, note));
        if let Some(job) = create {
            self.create(&cron_job, &job, &mut status).await?;
        }
        if cron_job.status.clone().unwrap_or_default() != status {
            let updated = CronJob { status: Some(status), ..(*cron_job).clone() };
            self.world.act.update_status(&updated).await?;
        }
        Ok(check_after.map_or(Next::Rest, Next::Again))
    }

    /// The schedule in its time zone. What was stored before it was checked is said once per change.
    fn schedule(&self, cron_job: &CronJob) -> Option<Schedule> {
        let spec = &cron_job.spec;
        let zone = match spec.time_zone.as_deref() {
            None => TimeZone::UTC,
            Some(name) => match TimeZone::get(name) {
                Ok(zone) => zone,
                Err(error) => {
                    let message = format!("invalid timeZone: {name:?}: {error}");
                    self.recorder.note(cron_job, Note::warning("UnknownTimeZone", message));
                    return None;
                }
            },
        };
        match Schedule::parse(&spec.schedule, zone) {
            Ok(schedule) => Some(schedule),
            Err(error) => {
                let message = kit::Chain(&error).to_string();
                self.recorder.note(cron_job, Note::warning("UnparseableSchedule", message));
                None
            }
        }
    }

    async fn create(
        &self,
        cron_job: &CronJob,
        job: &Job,
        status: &mut CronJobStatus,
    ) -> Result<(), ActError> {
        match self.world.act.create(job).await {
            Ok(created) => {
                let message = format!("Created job {}", created.name_any());
                self.recorder.note(cron_job, Note::normal("SuccessfulCreate", message));
                status.active.get_or_insert_default().push(reference(&created));
                Ok(())
            }
            // Made in an earlier round whose status was not written: the name tells the time.
            Err(error) if error.code() == Some(409) => Ok(()),
            Err(error) => {
                let message = format!("Error creating job: {}", error.source);
                self.recorder.note(cron_job, Note::warning("FailedCreate", message));
                Err(error)
            }
        }
    }
}
