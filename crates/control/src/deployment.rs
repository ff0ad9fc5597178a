//! The Deployment controller: rolls a template out by way of ReplicaSets, keeps their history, reports progress.

mod decide;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use kube::ResourceExt;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, only};
use crate::claim;
use crate::key::ObjectKey;
use crate::owner;
use crate::pods;
use crate::queue::{Next, queue};
use crate::record::{Note, Recorder};
use crate::world::World;

use decide::{Step, View, decide, is_same_template};

const N_WORKERS: usize = 5;

#[derive(Clone, Debug)]
struct Deployments {
    world: World,
    recorder: Recorder,
}

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let own = keys.clone();
    world.deployments.on_change(move |change| own.add(ObjectKey::of(&**change.object())));
    let (deployments, by_set) = (Arc::clone(&world.deployments), keys.clone());
    world.replica_sets.on_change(move |change| {
        let namespace = change.object().namespace().unwrap_or_default();
        for set in [change.before, change.after].into_iter().flatten() {
            match owner::controller(&set.metadata) {
                Some(owner) if owner.kind == "Deployment" => {
                    by_set.add(ObjectKey::new(&namespace, &owner.name))
                }
                Some(_) => {}
                None => deployments
                    .in_namespace(&namespace)
                    .iter()
                    .for_each(|each| by_set.add(ObjectKey::of(&**each))),
            }
        }
    });
    // Only Recreate waits for pods to be gone, and only their end matters to it.
    let sets = Arc::clone(&world.replica_sets);
    world.pods.on_change(move |change| {
        let is_over = change.after.is_none_or(|pod| pods::has_ended(pod));
        let namespace = change.object().namespace().unwrap_or_default();
        let set = owner::controller(&change.object().metadata)
            .filter(|owner| is_over && owner.kind == "ReplicaSet")
            .and_then(|owner| sets.get(&ObjectKey::new(&namespace, &owner.name)));
        if let Some(owner) = set.as_ref().and_then(|set| owner::controller(&set.metadata)) {
            keys.add(ObjectKey::new(&namespace, &owner.name));
        }
    });
    let controller =
        Deployments { world: world.clone(), recorder: world.recorder.named("deployment-controller") };
    async move {
        let world = &controller.world;
        let ready = async {
            tokio::join!(world.deployments.synced(), world.replica_sets.synced(), world.pods.synced())
        };
        if token.run_until_cancelled(ready).await.is_some() {
            work.run("deployment", N_WORKERS, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

impl Deployments {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let Some(deployment) = self.world.deployments.get(&key) else { return Ok(Next::Rest) };
        let replica_sets = self.claim(&deployment).await?;
        let view = View {
            deployment: &deployment,
            replica_sets: &replica_sets,
            has_old_pods: self.has_old_pods(&deployment, &replica_sets),
            now: kit::clock::wall(),
        };
        let mut plan = decide(&view);
        for step in plan.steps {
            if !self.take(&deployment, step).await? {
                let collisions = plan.status.collision_count.unwrap_or(0);
                plan.status.collision_count = Some(collisions + 1);
            }
        }
        self.update_status(&deployment, plan.status).await?;
        Ok(plan.check_after.map_or(Next::Rest, Next::Again))
    }

    /// The Deployment's ReplicaSets, after taking in orphans and letting go of what the selector no longer matches.
    async fn claim(&self, deployment: &Deployment) -> Result<Vec<Arc<ReplicaSet>>, ActError> {
        let Some(spec) = &deployment.spec else { return Ok(Vec::new()) };
        let sets = self.world.replica_sets.in_namespace(&deployment.namespace().unwrap_or_default());
        claim::claim(&self.world.act, deployment, &spec.selector, sets, |_| true).await
    }

    fn has_old_pods(&self, deployment: &Deployment, replica_sets: &[Arc<ReplicaSet>]) -> bool {
        let Some(spec) = &deployment.spec else { return false };
        let is_old = |set: &&Arc<ReplicaSet>| {
            let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
            template.is_none_or(|template| !is_same_template(template, &spec.template))
        };
        let mut old = replica_sets.iter().filter(is_old);
        old.any(|set| {
            let pods = self.world.pods.controlled_by(&set.uid().unwrap_or_default());
            pods.iter().any(|pod| !pods::has_ended(pod))
        })
    }

    /// False when a new set's name is taken by another template's.
    async fn take(&self, deployment: &Deployment, step: Step) -> Result<bool, ActError> {
        let namespace = deployment.namespace().unwrap_or_default();
        match step {
            Step::Create(set) => return self.create(deployment, &set).await,
            Step::Update { name, replicas, annotations, was } => {
                self.update(deployment, &ObjectKey::new(&namespace, &name), (was, replicas), annotations)
                    .await?;
            }
            Step::Delete { name } => {
                let key = ObjectKey::new(&namespace, &name);
                self.world.act.delete::<ReplicaSet>(&key, &only(None)).await?;
            }
            Step::Revision(revision) => {
                let patch = json!({ "metadata": { "annotations": { decide::REVISION: revision } } });
                self.world.act.patch::<Deployment>(&ObjectKey::of(deployment), &patch).await?;
            }
        }
        Ok(true)
    }

    async fn create(&self, deployment: &Deployment, set: &ReplicaSet) -> Result<bool, ActError> {
        let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        match self.world.act.create(set).await {
            Ok(_) => {
                let message = format!("Scaled up replica set {} from 0 to {replicas}", set.name_any());
                self.recorder.note(deployment, Note::normal("ScalingReplicaSet", message));
                Ok(true)
            }
            Err(error) if error.code() == Some(409) => {
                // Our own, not yet seen, or another template with the same hash.
                let existing = self.world.replica_sets.get(&ObjectKey::of(set));
                let uid = deployment.metadata.uid.as_deref();
                let is_foreign = existing.is_some_and(|existing| {
                    owner::controller_uid(&existing.metadata) != uid
                        || existing.spec.as_ref().and_then(|spec| spec.template.as_ref())
                            != set.spec.as_ref().and_then(|spec| spec.template.as_ref())
                });
                Ok(!is_foreign)
            }
            Err(error) => {
                let message = format!("Failed to create new replica set: {}", error.source);
                self.recorder.note(deployment, Note::warning("ReplicaSetCreateError", message));
                Err(error)
            }
        }
    }

    async fn update(
        &self,
        deployment: &Deployment,
        key: &ObjectKey,
        (was, replicas): (i32, i32),
        annotations: Vec<(String, String)>,
    ) -> Result<(), ActError> {
        let annotations: serde_json::Map<String, serde_json::Value> =
            annotations.into_iter().map(|(name, value)| (name, value.into())).collect();
        let seen = self.world.replica_sets.get(key).and_then(|set| set.metadata.resource_version.clone());
        let patch = json!({
            "metadata": { "annotations": annotations, "resourceVersion": seen },
            "spec": { "replicas": replicas },
        });
        self.world.act.patch::<ReplicaSet>(key, &patch).await?;
        if was != replicas {
            let direction = if replicas > was { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {} from {was} to {replicas}", key.name);
            self.recorder.note(deployment, Note::normal("ScalingReplicaSet", message));
        }
        Ok(())
    }

    async fn update_status(&self, deployment: &Deployment, status: DeploymentStatus) -> Result<(), ActError> {
        if deployment.status.as_ref() == Some(&status) {
            return Ok(());
        }
        // The version is left out: the steps may just have changed the object, and nobody else writes this status.
        let mut updated = Deployment { status: Some(status), ..deployment.clone() };
        updated.metadata.resource_version = None;
        self.world.act.update_status(&updated).await
    }
}
