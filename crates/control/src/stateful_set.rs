//! The StatefulSet controller: pods with names, volumes and an order of their own.

mod decide;
mod pod;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use kube::ResourceExt;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::act::ActError;
use crate::keeper::Keeper;
use crate::key::ObjectKey;
use crate::queue::Next;
use crate::record::Note;
use crate::revisions::{self, History};
use crate::world::World;

use decide::{New, Plan, View, decide, ordinal_of};

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keeper, keys, work) = Keeper::subscribe(world, &world.stateful_sets, "statefulset-controller");
    keeper.watch_orphans(&keys);
    let revisions = Arc::clone(&world.revisions);
    async move {
        if token.run_until_cancelled(revisions.synced()).await.is_some() {
            keeper.run(work, token, reconcile).await;
        }
    }
}

async fn reconcile(
    keeper: Keeper<StatefulSet>,
    set: Arc<StatefulSet>,
    key: ObjectKey,
) -> Result<Next, ActError> {
    let Some(spec) = &set.spec else { return Ok(Next::Rest) };
    let owned = keeper.claim(&set, &spec.selector, |pod| ordinal_of(&set, pod).is_some()).await?;
    let status = set.status.clone().unwrap_or_default();
    let collisions = status.collision_count.unwrap_or(0);
    let Some(history) = revisions::sync(&keeper.world, &*set, &spec.template, collisions).await? else {
        let status = StatefulSetStatus { collision_count: Some(collisions + 1), ..status };
        return update_status(&keeper, &set, status).await.map(|()| Next::Rest);
    };
    let view = View { set: &set, pods: &owned, history: &history, now: kit::clock::wall() };
    let Plan { create, delete, status, check_after } = decide(&view);
    let mut done = Ok(());
    if keeper.is_settled(&key) {
        done = make(&keeper, &set, &history, &create).await;
        if done.is_ok() {
            done = take(&keeper, &set, &delete).await;
        }
    }
    let current = status.current_revision.clone();
    update_status(&keeper, &set, status).await?;
    done?;
    let is_used = |name: &str| {
        current.as_deref() == Some(name) || owned.iter().any(|pod| decide::revision_of(pod) == Some(name))
    };
    let limit = spec.revision_history_limit.unwrap_or(10);
    revisions::truncate(&keeper.world, &history, limit, |each| is_used(&each.name_any())).await?;
    Ok(check_after.map_or(Next::Rest, Next::Again))
}

/// Makes the claims of the pods, then the pods.
async fn make(
    keeper: &Keeper<StatefulSet>,
    set: &StatefulSet,
    history: &History,
    wanted: &[New],
) -> Result<(), ActError> {
    let mut pods = Vec::new();
    for new in wanted {
        for claim in pod::claims(set, new.ordinal) {
            make_claim(keeper, set, &claim).await?;
        }
        let recorded = history.find(&new.revision).and_then(|revision| revisions::template(revision));
        let own = || set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
        let template: PodTemplateSpec = recorded.unwrap_or_else(own);
        pods.push(pod::pod(set, &template, new));
    }
    keeper.create(set, &pods).await
}

async fn make_claim(
    keeper: &Keeper<StatefulSet>,
    set: &StatefulSet,
    claim: &PersistentVolumeClaim,
) -> Result<(), ActError> {
    let key = ObjectKey::of(claim);
    match keeper.world.act.create(claim).await {
        Ok(_) => {
            let message = format!("Created PersistentVolumeClaim {}", key.name);
            keeper.recorder.note(set, Note::normal("SuccessfulCreate", message));
            Ok(())
        }
        // The volume of the pod that was here before: this is what makes the set stateful.
        Err(error) if error.code() == Some(409) => Ok(()),
        Err(error) => {
            let message = format!("Failed to create PersistentVolumeClaim {}: {}", key.name, error.source);
            keeper.recorder.note(set, Note::warning("FailedCreate", message));
            Err(error)
        }
    }
}

/// Deletes pods; those beyond the set's size leave their claims behind or take them along, as its policy says.
async fn take(keeper: &Keeper<StatefulSet>, set: &StatefulSet, pods: &[Arc<Pod>]) -> Result<(), ActError> {
    for gone in pods {
        for name in pod::claims_to_go(set, gone) {
            let key = ObjectKey::new(&set.namespace().unwrap_or_default(), &name);
            let patch = json!({ "metadata": { "ownerReferences": [pod::reference(gone)] } });
            let patched = keeper.world.act.patch::<PersistentVolumeClaim>(&key, &patch).await.map(drop);
            crate::act::unless_gone(patched)?;
        }
    }
    keeper.delete(set, pods).await
}

async fn update_status(
    keeper: &Keeper<StatefulSet>,
    set: &StatefulSet,
    status: StatefulSetStatus,
) -> Result<(), ActError> {
    if set.status.as_ref() == Some(&status) {
        return Ok(());
    }
    keeper.world.act.update_status(&StatefulSet { status: Some(status), ..set.clone() }).await
}
