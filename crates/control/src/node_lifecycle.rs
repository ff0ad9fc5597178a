//! The node lifecycle controller: notices nodes that fell silent, taints them, and moves their pods away in time.

mod decide;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::Patch;
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, failed, only, unless_gone};
use crate::key::ObjectKey;
use crate::pods;
use crate::queue::{Next, queue};
use crate::record::{Note, Recorder};
use crate::world::World;

use decide::{GRACE, Plan, decide, evictions};

const N_WORKERS: usize = 4;

#[derive(Clone, Debug)]
struct NodeLifecycle {
    world: World,
    recorder: Recorder,
    /// When each node was last seen to renew its lease, by our own clock: the nodes' clocks may differ.
    signs: Arc<Mutex<HashMap<String, Instant>>>,
}

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let signs: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let (by_node, by_lease, by_pod) = (keys.clone(), keys.clone(), keys);
    let (seen, forgotten) = (Arc::clone(&signs), Arc::clone(&signs));
    world.nodes.on_change(move |change| {
        let key = ObjectKey::of(&**change.object());
        if change.after.is_none() {
            forgotten.lock().remove(&key.name);
        }
        let conditions = |node: &Arc<Node>| {
            let conditions =
                node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
            conditions.into_iter().map(|each| (each.type_, each.status)).collect::<Vec<_>>()
        };
        let taints = |node: &Arc<Node>| node.spec.as_ref().and_then(|spec| spec.taints.clone());
        let facts = |node: &Arc<Node>| (conditions(node), taints(node));
        // Heartbeats that change no condition are no work.
        if change.before.map(facts) != change.after.map(facts) {
            by_node.add(key);
        }
    });
    world.node_leases.on_change(move |change| {
        let name = ObjectKey::of(&**change.object()).name;
        let last = seen.lock().insert(name.clone(), kit::clock::monotonic());
        if last.is_none_or(|last| last.elapsed() >= GRACE) {
            by_lease.add(ObjectKey::cluster(&name));
        }
    });
    world.pods.on_change(move |change| {
        // Only a pod that is new to its node may have to leave it: all others are on the node's own list.
        let Some(node) = change.after.and_then(|pod| pods::node_name(pod)) else { return };
        if change.before.and_then(|pod| pods::node_name(pod)).is_none() {
            by_pod.add(ObjectKey::cluster(node));
        }
    });
    let recorder = world.recorder.named("node-controller");
    let controller = NodeLifecycle { world: world.clone(), recorder, signs };
    async move {
        let world = controller.world.clone();
        let ready =
            async { tokio::join!(world.nodes.synced(), world.node_leases.synced(), world.pods.synced()) };
        if token.run_until_cancelled(ready).await.is_some() {
            work.run("node-lifecycle", N_WORKERS, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

impl NodeLifecycle {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let Some(node) = self.world.nodes.get(&key) else { return Ok(Next::Rest) };
        // A node without any lease has the grace from the moment that we came to know it.
        let last = *self.signs.lock().entry(key.name.clone()).or_insert_with(kit::clock::monotonic);
        let (now, silence) = (kit::clock::wall(), last.elapsed());
        let plan = decide(&node, silence, now);
        self.apply(&key, &node, plan).await?;
        let (due, next) = evictions(&node, &self.pods_on(&key.name), now);
        for pod in due {
            let key = ObjectKey::of(&*pod);
            self.world.act.delete::<Pod>(&key, &only(pod.metadata.uid.as_deref())).await?;
            let message = format!("Marking for deletion Pod {key}");
            self.recorder.note(&*pod, Note::normal("TaintManagerEviction", message));
        }
        let grace = GRACE.checked_sub(silence).filter(|left| !left.is_zero());
        Ok(next.into_iter().chain(grace).min().map_or(Next::Rest, Next::Again))
    }

    fn pods_on(&self, node: &str) -> Vec<Arc<Pod>> {
        let all = self.world.pods.all();
        all.into_iter().filter(|pod| pods::node_name(pod) == Some(node)).collect()
    }

    async fn apply(&self, key: &ObjectKey, node: &Node, plan: Plan) -> Result<(), ActError> {
        let api: Api<Node> = Api::all(self.world.act.client().clone());
        let how = crate::act::patch();
        if let Some(conditions) = plan.conditions {
            self.recorder
                .note(node, Note::normal("NodeNotReady", format!("Node {key} status is now: NodeNotReady")));
            let patch = Patch::Strategic(json!({ "status": { "conditions": conditions } }));
            let patched = api.patch_status(&key.name, &how, &patch).await.map(drop);
            unless_gone(patched.map_err(failed::<Node>("update the status of", key)))?;
        }
        if let Some(taints) = plan.taints {
            // The version makes sure that nobody else's taint is overwritten.
            let metadata = json!({ "resourceVersion": node.metadata.resource_version });
            let patch = Patch::Merge(json!({ "metadata": metadata, "spec": { "taints": taints } }));
            // After a status update of our own the version is old: the next round sets the taints.
            let patched = api.patch(&key.name, &how, &patch).await.map(drop);
            unless_gone(patched.map_err(failed::<Node>("taint", key)))?;
        }
        Ok(())
    }
}
