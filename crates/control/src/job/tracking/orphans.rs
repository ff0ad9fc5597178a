//! Pods that wait to be counted by a Job that is gone, or no longer theirs: nobody counts them, and they are let go.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use tokio_util::sync::CancellationToken;

use super::{is_held, release};
use crate::act::ActError;
use crate::key::ObjectKey;
use crate::owner;
use crate::queue::{Next, queue};
use crate::world::World;

const N_WORKERS: usize = 5;

/// Subscribes to `world` and returns the work.
pub(in crate::job) fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let (by_job, jobs) = (keys.clone(), world.clone());
    world.jobs.on_change(move |change| {
        if let (None, Some(uid)) = (change.after, &change.object().metadata.uid) {
            jobs.pods.controlled_by(uid).iter().for_each(|pod| by_job.add(ObjectKey::of(&**pod)));
        }
    });
    let seen = world.clone();
    world.pods.on_change(move |change| {
        if let Some(pod) = change.after.filter(|pod| is_orphan(&seen, pod)) {
            keys.add(ObjectKey::of(&**pod));
        }
    });
    let world = world.clone();
    async move {
        let ready = async { tokio::join!(world.pods.synced(), world.jobs.synced()) };
        if token.run_until_cancelled(ready).await.is_some() {
            let one = move |key| let_go(world.clone(), key);
            work.run("job-orphans", N_WORKERS, token, one).await;
        }
    }
}

async fn let_go(world: World, key: ObjectKey) -> Result<Next, ActError> {
    let orphan: Option<Arc<Pod>> = world.pods.get(&key).filter(|pod| is_orphan(&world, pod));
    release(&world.act, orphan.as_slice()).await?;
    Ok(Next::Rest)
}

fn is_orphan(world: &World, pod: &Pod) -> bool {
    let job = owner::controller(&pod.metadata).filter(|owner| owner.kind == "Job");
    let lives = job.is_some_and(|owner| {
        let key = ObjectKey::new(pod.metadata.namespace.as_deref().unwrap_or_default(), &owner.name);
        world.jobs.get(&key).is_some_and(|job| job.metadata.uid.as_ref() == Some(&owner.uid))
    });
    is_held(pod) && !lives
}
