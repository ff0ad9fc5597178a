//! Pods that nobody takes away: those of nodes that are gone, those deleted before they were placed, and the oldest
//! of too many that ended.

mod decide;

#[cfg(test)]
mod tests;

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, only};
use crate::key::ObjectKey;
use crate::pods;
use crate::queue::{Next, queue};
use crate::world::World;

use decide::{MAX_ENDED, decide};

/// A node that is deleted by mistake, or only renamed, gets this time to come back.
const GRACE: Duration = Duration::from_secs(40);

#[derive(Clone, Debug)]
struct PodGc {
    world: World,
}

/// Subscribes to `world` and returns the controller's work. There is one key: the whole cluster.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let by_pod = keys.clone();
    world.pods.on_change(move |change| {
        let Some(pod) = change.after else { return };
        let is_stuck = pods::node_name(pod).is_none() && pods::is_terminating(pod);
        if is_stuck || pods::has_ended(pod) {
            by_pod.add_after(everything(), Duration::from_secs(1));
        }
    });
    world.nodes.on_change(move |change| {
        if change.after.is_none() {
            keys.add_after(everything(), GRACE);
        }
    });
    let controller = PodGc { world: world.clone() };
    async move {
        let world = controller.world.clone();
        let ready = async { tokio::join!(world.pods.synced(), world.nodes.synced()) };
        if token.run_until_cancelled(ready).await.is_some() {
            work.run("pod-gc", 1, token, move |_| controller.clone().reconcile()).await;
        }
    }
}

fn everything() -> ObjectKey {
    ObjectKey::cluster("pods")
}

impl PodGc {
    async fn reconcile(self) -> Result<Next, ActError> {
        let nodes = self.world.nodes.all().iter().filter_map(|node| node.metadata.name.clone()).collect();
        for pod in decide(&self.world.pods.all(), &nodes, MAX_ENDED) {
            let how = DeleteParams { grace_period_seconds: Some(0), ..only(pod.metadata.uid.as_deref()) };
            self.world.act.delete::<Pod>(&ObjectKey::of(&*pod), &how).await?;
        }
        Ok(Next::Rest)
    }
}
