//! The TTL controller: tells agents, in an annotation of their Node, for how long they may keep Secrets and ConfigMaps
//! before they ask again: the longer, the more nodes would ask.

mod decide;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::Patch;
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, failed, unless_gone};
use crate::key::ObjectKey;
use crate::queue::{Next, queue};
use crate::world::World;

use decide::{ANNOTATION, Step};

#[derive(Clone, Debug)]
struct NodeTtl {
    world: World,
    step: Arc<Mutex<Step>>,
}

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let controller = NodeTtl { world: world.clone(), step: Arc::default() };
    let (nodes, step) = (Arc::clone(&world.nodes), Arc::clone(&controller.step));
    world.nodes.on_change(move |change| {
        let annotations = |node: &Arc<Node>| node.metadata.annotations.clone();
        if change.before.is_some() && change.before.map(annotations) == change.after.map(annotations) {
            return;
        }
        if change.after.is_some() {
            keys.add(ObjectKey::of(&**change.object()));
        }
        let is_crossed = {
            let mut step = step.lock();
            let next = step.of(nodes.count());
            std::mem::replace(&mut *step, next) != next
        };
        if is_crossed {
            nodes.all().iter().for_each(|node| keys.add(ObjectKey::of(&**node)));
        }
    });
    async move {
        let nodes = Arc::clone(&controller.world.nodes);
        if token.run_until_cancelled(nodes.synced()).await.is_some() {
            work.run("ttl", 1, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

impl NodeTtl {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let Some(node) = self.world.nodes.get(&key) else { return Ok(Next::Rest) };
        let wanted = self.step.lock().seconds().to_string();
        let annotations = node.metadata.annotations.as_ref();
        if annotations.and_then(|annotations| annotations.get(ANNOTATION)) == Some(&wanted) {
            return Ok(Next::Rest);
        }
        let api: Api<Node> = Api::all(self.world.act.client().clone());
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { ANNOTATION: wanted } } }));
        let patched = api.patch(&key.name, &crate::act::patch(), &patch).await.map(drop);
        unless_gone(patched.map_err(failed::<Node>("annotate", &key)))?;
        Ok(Next::Rest)
    }
}
