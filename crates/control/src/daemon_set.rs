//! The DaemonSet controller: one pod on every node that is fit for it.

mod decide;
mod pod;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use crate::act::ActError;
use crate::keeper::Keeper;
use crate::key::ObjectKey;
use crate::queue::Next;
use crate::revisions::{self, REVISION_HASH};
use crate::world::World;

use decide::{Plan, View, decide};

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keeper, keys, work) = Keeper::subscribe(world, &world.daemon_sets, "daemonset-controller");
    keeper.watch_orphans(&keys);
    let sets = Arc::clone(&world.daemon_sets);
    world.nodes.on_change(move |change| {
        // Heartbeats change no node's fitness.
        if change.before.map(|node| fitness(node)) != change.after.map(|node| fitness(node)) {
            sets.all().iter().for_each(|set| keys.add(ObjectKey::of(&**set)));
        }
    });
    let (revisions, nodes) = (Arc::clone(&world.revisions), Arc::clone(&world.nodes));
    async move {
        let ready = async { tokio::join!(revisions.synced(), nodes.synced()) };
        if token.run_until_cancelled(ready).await.is_some() {
            keeper.run(work, token, reconcile).await;
        }
    }
}

/// What of a node decides which pods it may have.
fn fitness(node: &Node) -> impl PartialEq + use<> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone());
    (node.metadata.uid.clone(), node.metadata.labels.clone(), taints)
}

async fn reconcile(keeper: Keeper<DaemonSet>, set: Arc<DaemonSet>, key: ObjectKey) -> Result<Next, ActError> {
    let Some(spec) = &set.spec else { return Ok(Next::Rest) };
    let owned = keeper.claim(&set, &spec.selector, |_| true).await?;
    let status = set.status.clone().unwrap_or_default();
    let collisions = status.collision_count.unwrap_or(0);
    let Some(history) = revisions::sync(&keeper.world, &*set, &spec.template, collisions).await? else {
        let status = DaemonSetStatus { collision_count: Some(collisions + 1), ..status };
        return update_status(&keeper, &set, status).await.map(|()| Next::Rest);
    };
    let update = history.update.labels().get(REVISION_HASH).cloned().unwrap_or_default();
    let nodes = keeper.world.nodes.all();
    let view = View { set: &set, nodes: &nodes, pods: &owned, update: &update, now: kit::clock::wall() };
    let Plan { create, delete, status, check_after } = decide(&view);
    let mut done = Ok(());
    if keeper.is_settled(&key) {
        let pods: Vec<Pod> =
            create.iter().map(|node| pod::pod(&set, &spec.template, (node, &update))).collect();
        done = keeper.delete(&set, &delete).await;
        if done.is_ok() {
            done = keeper.create(&set, &pods).await;
        }
    }
    update_status(&keeper, &set, status).await?;
    done?;
    let is_used = |hash: Option<&String>| owned.iter().any(|pod| pod.labels().get(REVISION_HASH) == hash);
    let limit = spec.revision_history_limit.unwrap_or(10);
    revisions::truncate(&keeper.world, &history, limit, |each| is_used(each.labels().get(REVISION_HASH)))
        .await?;
    Ok(check_after.map_or(Next::Rest, Next::Again))
}

async fn update_status(
    keeper: &Keeper<DaemonSet>,
    set: &DaemonSet,
    status: DaemonSetStatus,
) -> Result<(), ActError> {
    if set.status.as_ref() == Some(&status) {
        return Ok(());
    }
    keeper.world.act.update_status(&DaemonSet { status: Some(status), ..set.clone() }).await
}
