//! The volume controller: binds claims to volumes, makes local volumes where a claim's pod runs, and lets go of both
//! when nobody uses them.
//!
//! ```text
//!   claim ──► a volume that fits ──────────────────────────────► bound
//!        └──► none, the class is local: its pod has a node ──► a volume there ──► bound
//! ```

mod choice;
mod decide;
mod place;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams, Patch};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::act::{self, ActError, failed, unless_gone};
use crate::key::ObjectKey;
use crate::queue::{Next, Queue, queue};
use crate::record::{Note, Recorder};
use crate::world::World;

use decide::{Step, Verdict, View};

pub(crate) use choice::{Candidate, Choice};
pub(crate) use decide::{claim_of, class_name, is_for, is_free_for, is_waiting, taking};
pub(crate) use place::{
    Making, Needs, Storage, claims_in_the_making, claims_of, claims_to_tell, limits, making, needs_of,
    selected,
};

#[derive(Clone, Debug)]
struct Volumes {
    world: World,
    recorder: Recorder,
}

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Claim(ObjectKey),
    Volume(ObjectKey),
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Claim(key) => write!(f, "claim {key}"),
            Self::Volume(key) => write!(f, "volume {key}"),
        }
    }
}

/// Subscribes to `world` and returns the controller's work. One worker: two claims must not take the same volume.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<Key>();
    subscribe(world, &keys);
    let controller =
        Volumes { world: world.clone(), recorder: world.recorder.named("persistentvolume-controller") };
    async move {
        let world = controller.world.clone();
        let ready = async {
            tokio::join!(
                world.claims.synced(),
                world.volumes.synced(),
                world.storage_classes.synced(),
                world.pods.synced()
            )
        };
        if token.run_until_cancelled(ready).await.is_some() {
            work.run("volumes", 1, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

fn subscribe(world: &World, keys: &Queue<Key>) {
    let (by_claim, volumes) = (keys.clone(), Arc::clone(&world.volumes));
    world.claims.on_change(move |change| {
        let key = ObjectKey::of(&**change.object());
        let is_its = |volume: &&Arc<PersistentVolume>| decide::is_claimed_by(volume, &key);
        volumes
            .all()
            .iter()
            .filter(is_its)
            .for_each(|each| by_claim.add(Key::Volume(ObjectKey::of(&**each))));
        by_claim.add(Key::Claim(key));
    });
    let (by_volume, claims) = (keys.clone(), Arc::clone(&world.claims));
    world.volumes.on_change(move |change| {
        let volume = change.object();
        by_volume.add(Key::Volume(ObjectKey::of(&**volume)));
        let is_waiting = |claim: &&Arc<PersistentVolumeClaim>| {
            decide::is_waiting(claim) || decide::volume_name(claim) == volume.metadata.name.as_deref()
        };
        claims
            .all()
            .iter()
            .filter(is_waiting)
            .for_each(|each| by_volume.add(Key::Claim(ObjectKey::of(&**each))));
    });
    let (by_class, claims) = (keys.clone(), Arc::clone(&world.claims));
    world.storage_classes.on_change(move |_| {
        let waiting = claims.all();
        let waiting = waiting.iter().filter(|claim| decide::is_waiting(claim));
        waiting.for_each(|each| by_class.add(Key::Claim(ObjectKey::of(&**each))));
    });
    let by_pod = keys.clone();
    world.pods.on_change(move |change| {
        let namespace = change.object().namespace().unwrap_or_default();
        for claim in claims_of(change.object()) {
            by_pod.add(Key::Claim(ObjectKey::new(&namespace, &claim)));
        }
    });
}

impl Volumes {
    async fn reconcile(self, key: Key) -> Result<Next, ActError> {
        match key {
            Key::Claim(key) => self.claim(&key).await,
            Key::Volume(key) => self.volume(&key).await,
        }
        .map(|()| Next::Rest)
    }

    async fn claim(&self, key: &ObjectKey) -> Result<(), ActError> {
        let Some(claim) = self.world.claims.get(key) else { return Ok(()) };
        let mut users = self.world.pods.in_namespace(&key.namespace);
        users.retain(|pod: &Arc<Pod>| claims_of(pod).any(|name| name == key.name));
        let class = decide::class_name(&claim).map(ObjectKey::cluster);
        let class = class.and_then(|class| self.world.storage_classes.get(&class));
        let volumes = self.world.volumes.all();
        let place = users
            .iter()
            .filter(|pod| !crate::pods::has_ended(pod))
            .find_map(|pod| crate::pods::node_name(pod));
        let place = place.and_then(|name| self.world.nodes.get(&ObjectKey::cluster(name)));
        let (class, place) = (class.as_deref(), place.as_deref());
        let view = View { claim: &claim, users: &users, class, volumes: &volumes, place };
        let mut verdict = decide::claim(&view);
        if class.is_some_and(decide::is_late) && decide::is_choice(&verdict) {
            // The scheduler has a volume say whose it is before the pod has its node: whoever knows of the node must know of
            // that too.
            let volumes = self.volumes_now().await?;
            verdict = decide::claim(&View { volumes: &volumes, ..view });
        }
        match verdict {
            Verdict::Rest => Ok(()),
            Verdict::Tell { reason, message } => {
                self.recorder.note(&*claim, Note::normal(reason, message));
                self.set_phase(&claim, "Pending").await
            }
            Verdict::Do(steps) => {
                for step in steps {
                    self.take(&claim, step).await?;
                }
                Ok(())
            }
        }
    }

    /// As the server has them, not as they were heard of.
    async fn volumes_now(&self) -> Result<Vec<Arc<PersistentVolume>>, ActError> {
        let api: Api<PersistentVolume> = Api::all(self.world.act.client().clone());
        let listed = api.list(&ListParams::default()).await;
        let listed = listed.map_err(failed::<PersistentVolume>("list", &ObjectKey::cluster("*")))?;
        Ok(listed.items.into_iter().map(Arc::new).collect())
    }

    async fn take(&self, claim: &PersistentVolumeClaim, step: Step) -> Result<(), ActError> {
        let key = ObjectKey::of(claim);
        match step {
            Step::Release => {
                let kept: Vec<&String> =
                    claim.finalizers().iter().filter(|each| *each != decide::CLAIM_IN_USE).collect();
                let patch = json!({ "metadata": { "finalizers": kept, "resourceVersion": claim.resource_version() } });
                let patched = self.world.act.patch::<PersistentVolumeClaim>(&key, &patch).await;
                unless_gone(patched.map(drop))
            }
            Step::Provision(volume) => {
                let api: Api<PersistentVolume> = Api::all(self.world.act.client().clone());
                let name = volume.name_any();
                match api.create(&act::post(), &volume).await {
                    Ok(_) => {
                        let message = format!("Successfully provisioned volume {name}");
                        self.recorder.note(claim, Note::normal("ProvisioningSucceeded", message));
                        Ok(())
                    }
                    Err(error) => {
                        match failed::<PersistentVolume>("create", &ObjectKey::cluster(&name))(error) {
                            // Made in an earlier round and not yet seen.
                            error if error.code() == Some(409) => Ok(()),
                            error => Err(error),
                        }
                    }
                }
            }
            Step::TakeVolume { name, patch } => self.patch_volume(&name, "claim", &patch).await,
            Step::TakeClaim(patch) => {
                self.world.act.patch::<PersistentVolumeClaim>(&key, &patch).await.map(drop)
            }
            Step::Status(patch) => {
                let api: Api<PersistentVolumeClaim> =
                    Api::namespaced(self.world.act.client().clone(), &key.namespace);
                let patched =
                    api.patch_status(&key.name, &act::patch(), &Patch::Merge(patch)).await.map(drop);
                unless_gone(patched.map_err(failed::<PersistentVolumeClaim>("update the status of", &key)))
            }
        }
    }

    async fn set_phase(&self, claim: &PersistentVolumeClaim, phase: &str) -> Result<(), ActError> {
        let known = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        if known == Some(phase) {
            return Ok(());
        }
        self.take(claim, Step::Status(json!({ "status": { "phase": phase } }))).await
    }

    async fn patch_volume(&self, name: &str, verb: &'static str, patch: &Value) -> Result<(), ActError> {
        let api: Api<PersistentVolume> = Api::all(self.world.act.client().clone());
        let patched = api.patch(name, &act::patch(), &Patch::Merge(patch)).await.map(drop);
        patched.map_err(failed::<PersistentVolume>(verb, &ObjectKey::cluster(name)))
    }

    async fn volume(&self, key: &ObjectKey) -> Result<(), ActError> {
        let Some(volume) = self.world.volumes.get(key) else { return Ok(()) };
        let claim = decide::claim_of(&volume).and_then(|claim| self.world.claims.get(&claim));
        let fate = decide::volume(&volume, claim.as_deref());
        let api: Api<PersistentVolume> = Api::all(self.world.act.client().clone());
        if let Some(phase) = fate.phase {
            let patch = Patch::Merge(json!({ "status": { "phase": phase } }));
            let patched = api.patch_status(&key.name, &act::patch(), &patch).await.map(drop);
            unless_gone(patched.map_err(failed::<PersistentVolume>("update the status of", key)))?;
        }
        if fate.is_released {
            let kept: Vec<&String> =
                volume.finalizers().iter().filter(|each| *each != decide::VOLUME_IN_USE).collect();
            let patch = json!({ "metadata": { "finalizers": kept } });
            unless_gone(self.patch_volume(&key.name, "release", &patch).await)?;
        }
        if fate.is_deleted {
            let deleted = api.delete(&key.name, &DeleteParams::background()).await.map(drop);
            unless_gone(deleted.map_err(failed::<PersistentVolume>("delete", key)))?;
        }
        Ok(())
    }
}
