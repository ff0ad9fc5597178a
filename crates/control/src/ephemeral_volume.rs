//! Generic ephemeral volumes: the claims that a Pod brings with it are made from its templates, and go with it.
//!
//! ```text
//!   Pod ──► each volume with a template: its claim is missing ──► made, with the Pod as its owner
//!                                        is another's         ──► left alone, and the Pod is told
//! ```

mod decide;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use tokio_util::sync::CancellationToken;

use crate::act::ActError;
use crate::key::ObjectKey;
use crate::owner;
use crate::queue::{Next, queue};
use crate::record::{Note, Recorder};
use crate::world::World;

use decide::{Missing, wanted};

#[derive(Clone, Debug)]
struct EphemeralVolume {
    world: World,
    recorder: Recorder,
}

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let by_claim = keys.clone();
    world.pods.on_change(move |change| {
        // Most pods have none, and nobody pays for them.
        if change.after.is_some_and(|pod| decide::has_templates(pod)) {
            keys.add(ObjectKey::of(&**change.object()));
        }
    });
    world.claims.on_change(move |change| {
        // One that is taken away while its Pod is there is made again.
        if let (None, Some(claim)) = (change.after, change.before)
            && let Some(owner) = owner::controller(&claim.metadata).filter(|owner| owner.kind == "Pod")
        {
            by_claim.add(ObjectKey::new(&ObjectKey::of(&**claim).namespace, &owner.name));
        }
    });
    let recorder = world.recorder.named("ephemeral-volume-controller");
    let controller = EphemeralVolume { world: world.clone(), recorder };
    async move {
        let world = controller.world.clone();
        let ready = async { tokio::join!(world.pods.synced(), world.claims.synced()) };
        if token.run_until_cancelled(ready).await.is_some() {
            work.run("ephemeral-volume", 1, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

impl EphemeralVolume {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let Some(pod): Option<Arc<Pod>> = self.world.pods.get(&key) else { return Ok(Next::Rest) };
        let known = |name: &str| self.world.claims.get(&ObjectKey::new(&key.namespace, name));
        for missing in wanted(&pod, known) {
            match missing {
                Missing::Claim(claim) => match self.world.act.create(&*claim).await {
                    // Made in an earlier round and not yet seen; or another's, which shows when it is.
                    Err(error) if error.code() == Some(409) => {}
                    made => drop(made?),
                },
                Missing::Name(name) => {
                    let message = format!("claim {name} is there and was not made for this pod");
                    self.recorder.note(&*pod, Note::warning("ClaimNotOwned", message));
                }
            }
        }
        Ok(Next::Rest)
    }
}
