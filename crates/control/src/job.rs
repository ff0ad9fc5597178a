//! The Job controller: pods until enough of them ended well.

mod decide;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, only};
use crate::expectations::{self, Expectations};
use crate::key::ObjectKey;
use crate::owner;
use crate::pods;
use crate::queue::{Next, queue};
use crate::record::{Note, Recorder};
use crate::world::World;

use decide::{Turn, decide, indexes};

const N_WORKERS: usize = 5;
const INDEX_ENV: &str = "JOB_COMPLETION_INDEX";

#[derive(Clone, Debug)]
struct Jobs {
    world: World,
    recorder: Recorder,
    expectations: Arc<Expectations>,
}

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let expectations = Arc::new(Expectations::default());
    let (own, forgotten) = (keys.clone(), Arc::clone(&expectations));
    world.jobs.on_change(move |change| {
        let key = ObjectKey::of(&**change.object());
        if change.after.is_none() {
            forgotten.forget(&key);
        }
        own.add(key);
    });
    let seen = Arc::clone(&expectations);
    world.pods.on_change(move |change| expectations::note_pod("Job", change, &seen, &keys));
    let recorder = world.recorder.named("job-controller");
    let controller = Jobs { world: world.clone(), recorder, expectations };
    async move {
        let ready = async { tokio::join!(controller.world.pods.synced(), controller.world.jobs.synced()) };
        if token.run_until_cancelled(ready).await.is_some() {
            work.run("job", N_WORKERS, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

impl Jobs {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let Some(job) = self.world.jobs.get(&key) else { return Ok(Next::Rest) };
        if is_managed_elsewhere(&job) {
            return Ok(Next::Rest);
        }
        let owned = self.world.pods.controlled_by(&job.uid().unwrap_or_default());
        let plan = decide(&job, &owned, kit::clock::wall());
        if plan.is_expired {
            let uid = job.metadata.uid.as_deref();
            self.world.act.delete::<Job>(&key, &only(uid)).await?;
            return Ok(Next::Rest);
        }
        let mut done = Ok(());
        if self.expectations.are_met(&key, kit::clock::monotonic()) {
            done = self.delete(&key, &job, &plan.delete).await;
            if done.is_ok() {
                done = self.create(&key, &job, &plan.create).await;
            }
        }
        self.update_status(&job, plan.status).await?;
        if let Some(turn) = plan.turn {
            self.recorder.note(&*job, note(turn));
        }
        done?;
        Ok(plan.check_after.map_or(Next::Rest, Next::Again))
    }

    async fn create(&self, key: &ObjectKey, job: &Job, wanted: &[Option<u32>]) -> Result<(), ActError> {
        self.expectations.will_create(key, wanted.len(), kit::clock::monotonic());
        let creations = wanted.iter().map(|&index| async move {
            match self.world.act.create(&pod(job, index)).await {
                Ok(created) => {
                    let message = format!("Created pod: {}", created.name_any());
                    self.recorder.note(job, Note::normal("SuccessfulCreate", message));
                    Ok(())
                }
                Err(error) => {
                    self.expectations.created(key);
                    let message = format!("Error creating: {}", error.source);
                    self.recorder.note(job, Note::warning("FailedCreate", message));
                    Err(error)
                }
            }
        });
        futures::future::join_all(creations).await.into_iter().collect()
    }

    async fn delete(&self, key: &ObjectKey, job: &Job, pods: &[Arc<Pod>]) -> Result<(), ActError> {
        let deletions = pods.iter().map(|pod| async {
            let uid = pod.uid().unwrap_or_default();
            self.expectations.will_delete(key, &uid, kit::clock::monotonic());
            let deleted = self.world.act.delete::<Pod>(&ObjectKey::of(&**pod), &only(Some(&uid))).await;
            if deleted.is_err() {
                self.expectations.deleted(key, &uid);
            }
            let message = format!("Deleted pod: {}", pod.name_any());
            deleted.map(|()| self.recorder.note(job, Note::normal("SuccessfulDelete", message)))
        });
        futures::future::join_all(deletions).await.into_iter().collect()
    }

    async fn update_status(&self, job: &Job, status: JobStatus) -> Result<(), ActError> {
        if job.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let updated = Job { status: Some(status), ..job.clone() };
        match self.world.act.replace_status(&updated).await {
            Err(error) if error.code() == Some(404) => Ok(()),
            other => other.map(drop),
        }
    }
}

/// Another controller than this one was asked to run the Job.
fn is_managed_elsewhere(job: &Job) -> bool {
    let manager = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    manager.is_some_and(|manager| manager != "kubernetes.io/job-controller")
}

fn note(turn: Turn) -> Note {
    match turn {
        Turn::Completed => Note::normal("Completed", "Job completed"),
        Turn::Failed { reason, message } => Note::warning(reason, message),
        Turn::Suspended => Note::normal("Suspended", "Job suspended"),
        Turn::Resumed => Note::normal("Resumed", "Job resumed"),
    }
}

/// A pod of the Job, with its index where it has one.
fn pod(job: &Job, index: Option<u32>) -> Pod {
    let template = job.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let (name, uid) = (job.name_any(), job.uid().unwrap_or_default());
    let namespace = job.namespace().unwrap_or_default();
    let prefix = index.map_or_else(|| name.clone(), |index| format!("{name}-{index}"));
    let mut pod = pods::from_template(&template, &namespace, &prefix, owner::controller_reference(job));
    let labels = pod.labels_mut();
    for (key, value) in [("job-name", &name), ("controller-uid", &uid)] {
        labels.insert(key.to_owned(), value.clone());
        labels.insert(format!("batch.kubernetes.io/{key}"), value.clone());
    }
    let Some(index) = index else { return pod };
    labels.insert(indexes::INDEX.to_owned(), index.to_string());
    pod.annotations_mut().insert(indexes::INDEX.to_owned(), index.to_string());
    if let Some(spec) = &mut pod.spec {
        spec.hostname = Some(prefix);
        let init = spec.init_containers.iter_mut().flatten();
        for container in spec.containers.iter_mut().chain(init) {
            let env = container.env.get_or_insert_default();
            if !env.iter().any(|each| each.name == INDEX_ENV) {
                env.push(index_variable());
            }
        }
    }
    pod
}

fn index_variable() -> EnvVar {
    let field_path = format!("metadata.annotations['{}']", indexes::INDEX);
    let field = ObjectFieldSelector { api_version: None, field_path };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    EnvVar { name: INDEX_ENV.to_owned(), value: None, value_from: Some(source) }
}
