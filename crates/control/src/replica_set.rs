//! The ReplicaSet controller: as many pods of a template as asked for.

mod decide;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, only};
use crate::expectations::{self, Expectations};
use crate::key::ObjectKey;
use crate::owner::{self, Claim};
use crate::pods;
use crate::queue::{Next, queue};
use crate::record::{Note, Recorder};
use crate::world::World;

use decide::{Plan, Step, decide};

const N_WORKERS: usize = 5;

#[derive(Clone, Debug)]
struct ReplicaSets {
    world: World,
    recorder: Recorder,
    expectations: Arc<Expectations>,
}

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let expectations = Arc::new(Expectations::default());
    let (own, forgotten) = (keys.clone(), Arc::clone(&expectations));
    world.replica_sets.on_change(move |change| {
        let key = ObjectKey::of(&**change.object());
        if change.after.is_none() {
            forgotten.forget(&key);
        }
        own.add(key);
    });
    let (seen, sets) = (Arc::clone(&expectations), Arc::clone(&world.replica_sets));
    world.pods.on_change(move |change| {
        expectations::note_pod("ReplicaSet", change, &seen, &keys);
        if let Some(orphan) = change.after.filter(|pod| owner::controller(&pod.metadata).is_none()) {
            let namespace = orphan.namespace().unwrap_or_default();
            sets.in_namespace(&namespace).iter().for_each(|set| keys.add(ObjectKey::of(&**set)));
        }
    });
    let recorder = world.recorder.named("replicaset-controller");
    let controller = ReplicaSets { world: world.clone(), recorder, expectations };
    async move {
        let ready =
            async { tokio::join!(controller.world.pods.synced(), controller.world.replica_sets.synced()) };
        if token.run_until_cancelled(ready).await.is_some() {
            work.run("replicaset", N_WORKERS, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

impl ReplicaSets {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let Some(replica_set) = self.world.replica_sets.get(&key) else { return Ok(Next::Rest) };
        let owned = self.claim(&replica_set).await?;
        let plan = decide(&replica_set, &owned, kit::clock::wall());
        let is_settled = self.expectations.are_met(&key, kit::clock::monotonic());
        let Plan { step, status, check_after } = plan;
        let done = match step.filter(|_| is_settled) {
            Some(Step::Create { count }) => self.create(&key, &replica_set, count).await,
            Some(Step::Delete { pods }) => self.delete(&key, &replica_set, &pods).await,
            None => Ok(()),
        };
        self.update_status(&replica_set, status, done.as_ref().err()).await?;
        done?;
        Ok(check_after.map_or(Next::Rest, Next::Again))
    }

    /// The pods of the set, after taking in orphans and letting go of what the selector no longer matches.
    async fn claim(&self, replica_set: &ReplicaSet) -> Result<Vec<Arc<Pod>>, ActError> {
        let Some(spec) = &replica_set.spec else { return Ok(Vec::new()) };
        let selector = owner::selector(&spec.selector);
        let mut owned = Vec::new();
        for pod in self.world.pods.in_namespace(&replica_set.namespace().unwrap_or_default()) {
            let key = ObjectKey::of(&*pod);
            let references = match owner::claim(&replica_set.metadata, &selector, &pod.metadata) {
                Claim::Keep => {
                    owned.push(pod);
                    continue;
                }
                Claim::Leave => continue,
                Claim::Adopt if !pods::is_active(&pod) => continue,
                Claim::Adopt => {
                    let mut references = pod.metadata.owner_references.clone().unwrap_or_default();
                    references.push(owner::controller_reference(replica_set));
                    references
                }
                Claim::Release => {
                    let mut references = pod.metadata.owner_references.clone().unwrap_or_default();
                    references.retain(|each| Some(&each.uid) != replica_set.metadata.uid.as_ref());
                    references
                }
            };
            // The uid keeps a namesake from being changed.
            let patch = json!({ "metadata": {
                "ownerReferences": references,
                "uid": pod.metadata.uid,
                "resourceVersion": pod.metadata.resource_version,
            }});
            let patched = self.world.act.patch::<Pod>(&key, &patch).await?;
            if owner::controller_uid(&patched.metadata) == replica_set.metadata.uid.as_deref() {
                owned.push(Arc::new(patched));
            }
        }
        Ok(owned)
    }

    /// Creates pods in batches of 1, 2, 4, ...: when the first is refused (quota, say), few were tried in vain.
    async fn create(&self, key: &ObjectKey, replica_set: &ReplicaSet, count: usize) -> Result<(), ActError> {
        let template = replica_set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
        let reference = owner::controller_reference(replica_set);
        let pod = pods::from_template(&template, &key.namespace, &key.name, reference);
        let (mut batch, mut left) = (1, count);
        while left > 0 {
            let size = batch.min(left);
            self.expectations.will_create(key, size, kit::clock::monotonic());
            let creations = (0..size).map(|_| self.create_one(key, replica_set, &pod));
            for result in futures::future::join_all(creations).await {
                result?;
            }
            (batch, left) = (batch * 2, left - size);
        }
        Ok(())
    }

    async fn create_one(&self, key: &ObjectKey, set: &ReplicaSet, pod: &Pod) -> Result<(), ActError> {
        match self.world.act.create(pod).await {
            Ok(created) => {
                let message = format!("Created pod: {}", created.name_any());
                self.recorder.note(set, Note::normal("SuccessfulCreate", message));
                Ok(())
            }
            Err(error) => {
                self.expectations.created(key);
                let message = format!("Error creating: {}", error.source);
                self.recorder.note(set, Note::warning("FailedCreate", message));
                Err(error)
            }
        }
    }

    async fn delete(&self, key: &ObjectKey, set: &ReplicaSet, pods: &[Arc<Pod>]) -> Result<(), ActError> {
        let deletions = pods.iter().map(|pod| async {
            let uid = pod.uid().unwrap_or_default();
            self.expectations.will_delete(key, &uid, kit::clock::monotonic());
            let deleted = self.world.act.delete::<Pod>(&ObjectKey::of(&**pod), &only(Some(&uid))).await;
            if deleted.is_err() {
                self.expectations.deleted(key, &uid);
            }
            let message = format!("Deleted pod: {}", pod.name_any());
            deleted.map(|()| self.recorder.note(set, Note::normal("SuccessfulDelete", message)))
        });
        futures::future::join_all(deletions).await.into_iter().collect()
    }

    async fn update_status(
        &self,
        replica_set: &ReplicaSet,
        mut status: ReplicaSetStatus,
        failure: Option<&ActError>,
    ) -> Result<(), ActError> {
        let conditions = status.conditions.take().unwrap_or_default();
        status.conditions = with_failure(conditions, failure);
        if replica_set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let updated = ReplicaSet { status: Some(status), ..replica_set.clone() };
        match self.world.act.replace_status(&updated).await {
            // Gone meanwhile: nobody reads its status.
            Err(error) if error.code() == Some(404) => Ok(()),
            other => other.map(drop),
        }
    }
}

/// The conditions with `ReplicaFailure` exactly while pods cannot be created or deleted.
fn with_failure(
    mut conditions: Vec<ReplicaSetCondition>,
    failure: Option<&ActError>,
) -> Option<Vec<ReplicaSetCondition>> {
    let is_failure = |condition: &ReplicaSetCondition| condition.type_ == "ReplicaFailure";
    match failure {
        None => conditions.retain(|condition| !is_failure(condition)),
        Some(_) if conditions.iter().any(is_failure) => {}
        Some(error) => conditions.push(ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some(if error.verb == "delete" { "FailedDelete" } else { "FailedCreate" }.to_owned()),
            message: Some(error.source.to_string()),
            last_transition_time: Some(Time(kit::clock::wall())),
        }),
    }
    (!conditions.is_empty()).then_some(conditions)
}
