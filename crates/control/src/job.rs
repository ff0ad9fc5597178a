//! The Job controller: pods until enough of them ended well.

mod decide;
mod latest;
mod tracking;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, only};
use crate::keeper::Keeper;
use crate::key::ObjectKey;
use crate::owner;
use crate::pods;
use crate::queue::Next;
use crate::record::Note;
use crate::world::World;

use decide::{Plan, Turn, decide, indexes};
use latest::Latest;

const INDEX_ENV: &str = "JOB_COMPLETION_INDEX";

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (orphans, latest) = (tracking::start(world, token.clone()), Latest::follow(world));
    let (keeper, _, work) = Keeper::subscribe(world, &world.jobs, "job-controller");
    let jobs = keeper.run(work, token, move |keeper, job, key| {
        let latest = latest.clone();
        async move { reconcile(keeper, &latest, latest.of(job), key).await }
    });
    async move {
        tokio::join!(jobs, orphans);
    }
}

async fn reconcile(
    keeper: Keeper<Job>,
    latest: &Latest,
    job: Arc<Job>,
    key: ObjectKey,
) -> Result<Next, ActError> {
    if is_managed_elsewhere(&job) {
        return Ok(Next::Rest);
    }
    let owned = keeper.world.pods.controlled_by(&job.uid().unwrap_or_default());
    let plan = decide(&job, &owned, kit::clock::wall());
    let act = &keeper.world.act;
    tracking::release(act, &plan.release).await?;
    tracking::hold(act, &plan.hold).await?;
    if plan.is_expired {
        act.delete::<Job>(&key, &only(job.metadata.uid.as_deref())).await?;
        return Ok(Next::Rest);
    }
    let mut done = Ok(());
    if keeper.is_settled(&key) {
        done = keeper.delete(&job, &plan.delete).await;
        if done.is_ok() {
            let pods: Vec<Pod> = plan.create.iter().map(|&index| pod(&job, &plan, index)).collect();
            done = keeper.create(&job, &pods).await;
        }
    }
    if job.status.as_ref() != Some(&plan.status) {
        let written = act.write_status(&Job { status: Some(plan.status), ..(*job).clone() }).await?;
        written.into_iter().for_each(|job| latest.wrote(job));
    }
    tracking::release(act, &plan.release_counted).await?;
    if let Some(turn) = plan.turn {
        keeper.recorder.note(&*job, note(turn));
    }
    done?;
    Ok(plan.check_after.map_or(Next::Rest, Next::Again))
}

/// Another controller than this one was asked to run the Job.
fn is_managed_elsewhere(job: &Job) -> bool {
    let manager = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    manager.is_some_and(|manager| manager != "kubernetes.io/job-controller")
}

fn note(turn: Turn) -> Note {
    match turn {
        Turn::Completed(_) => Note::normal("Completed", "Job completed"),
        Turn::Failed { reason, message } => Note::warning(reason, message),
        Turn::Suspended => Note::normal("Suspended", "Job suspended"),
        Turn::Resumed => Note::normal("Resumed", "Job resumed"),
    }
}

/// A pod of the Job, with its index where it has one.
fn pod(job: &Job, plan: &Plan, index: Option<u32>) -> Pod {
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
    let finalizers = pod.finalizers_mut();
    if !finalizers.iter().any(|name| name == tracking::FINALIZER) {
        finalizers.push(tracking::FINALIZER.to_owned());
    }
    let Some(index) = index else { return pod };
    let labels = pod.labels_mut();
    labels.insert(indexes::INDEX.to_owned(), index.to_string());
    pod.annotations_mut().insert(indexes::INDEX.to_owned(), index.to_string());
    if let Some(n_failures) = plan.n_failures.get(&index) {
        pod.annotations_mut().insert(indexes::FAILURES.to_owned(), n_failures.to_string());
    }
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
