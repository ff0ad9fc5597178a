//! What all controllers that keep pods for an object do alike: hear of the object and of its pods, take in orphans,
//! make and delete pods once, and say so in events.
//!
//! ```text
//!   owner or pod changes ──► queue ──► claim ──► the controller's decide ──► create / delete
//!                               ▲                                                  │
//!                               └──────── wait until what was begun is seen ◄──────┘
//! ```

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, Acted, only};
use crate::claim;
use crate::expectations::{self, Expectations};
use crate::informer::{Change, Informer};
use crate::key::ObjectKey;
use crate::owner;
use crate::pods;
use crate::queue::{Next, Queue, Work, queue};
use crate::record::{Note, Recorder};
use crate::world::World;

const N_WORKERS: usize = 5;

/// Keeps the pods of the objects of one kind.
#[derive(Debug)]
pub(crate) struct Keeper<K> {
    pub(crate) world: World,
    pub(crate) recorder: Recorder,
    owners: Arc<Informer<K>>,
    expectations: Arc<Expectations>,
}

impl<K> Clone for Keeper<K> {
    fn clone(&self) -> Self {
        Self {
            world: self.world.clone(),
            recorder: self.recorder.clone(),
            owners: Arc::clone(&self.owners),
            expectations: Arc::clone(&self.expectations),
        }
    }
}

impl<K: Acted + Send + Sync + 'static> Keeper<K> {
    /// Hears of all changes of `owners` and of the pods that they control. `component` is who writes the events.
    pub(crate) fn subscribe(
        world: &World,
        owners: &Arc<Informer<K>>,
        component: &'static str,
    ) -> (Self, Queue<ObjectKey>, Work<ObjectKey>) {
        let (keys, work) = queue::<ObjectKey>();
        let keeper = Self {
            world: world.clone(),
            recorder: world.recorder.named(component),
            owners: Arc::clone(owners),
            expectations: Arc::default(),
        };
        let (own, forgotten) = (keys.clone(), Arc::clone(&keeper.expectations));
        owners.on_change(move |change| {
            let key = ObjectKey::of(&**change.object());
            if change.after.is_none() {
                forgotten.forget(&key);
            }
            // Our own word of a Job is no news: what it led to is looked at with what has come meanwhile.
            let is_echo = K::kind(&()) == "Job" && is_same_generation(change);
            if is_echo { own.add_after(key, expectations::CROWD) } else { own.add(key) }
        });
        let (seen, by_pod, kind) = (Arc::clone(&keeper.expectations), keys.clone(), K::kind(&()));
        world.pods.on_change(move |change| expectations::note_pod(&kind, change, &seen, &by_pod));
        (keeper, keys, work)
    }

    /// Pods without a controller concern every owner of their namespace: one of them may take it in.
    pub(crate) fn watch_orphans(&self, keys: &Queue<ObjectKey>) {
        let (owners, keys) = (Arc::clone(&self.owners), keys.clone());
        self.world.pods.on_change(move |change| {
            if let Some(orphan) = change.after.filter(|pod| owner::controller(&pod.metadata).is_none()) {
                let namespace = orphan.namespace().unwrap_or_default();
                owners.in_namespace(&namespace).iter().for_each(|each| keys.add(ObjectKey::of(&**each)));
            }
        });
    }

    /// Works until `token` is cancelled, from when owners and pods are known.
    pub(crate) async fn run<F, Reconcile>(
        self,
        work: Work<ObjectKey>,
        token: CancellationToken,
        reconcile: Reconcile,
    ) where
        F: Future<Output = Result<Next, ActError>> + Send + 'static,
        Reconcile: Fn(Self, Arc<K>, ObjectKey) -> F + Clone + Send + Sync + 'static,
    {
        let ready = async { tokio::join!(self.world.pods.synced(), self.owners.synced()) };
        if token.run_until_cancelled(ready).await.is_none() {
            return;
        }
        let name = self.recorder.component().to_owned();
        let one = move |key: ObjectKey| {
            let (keeper, reconcile) = (self.clone(), reconcile.clone());
            async move {
                match keeper.owners.get(&key) {
                    Some(object) => reconcile(keeper, object, key).await,
                    None => Ok(Next::Rest),
                }
            }
        };
        work.run(&name, N_WORKERS, token, one).await;
    }

    /// Whether all that was begun for the owner has been seen, so that a new decision counts nothing twice.
    pub(crate) fn is_settled(&self, key: &ObjectKey) -> bool {
        self.expectations.are_met(key, kit::clock::monotonic())
    }

    /// The pods of the owner, after taking in orphans that it may have and letting go of what its selector no longer
    /// matches.
    pub(crate) async fn claim(
        &self,
        object: &K,
        selector: &LabelSelector,
        may_have: impl Fn(&Pod) -> bool,
    ) -> Result<Vec<Arc<Pod>>, ActError> {
        let pods = self.world.pods.in_namespace(&object.namespace().unwrap_or_default());
        let may_have = |pod: &Pod| pods::is_active(pod) && may_have(pod);
        claim::claim(&self.world.act, object, selector, pods, may_have).await
    }

    /// Creates pods in batches of 1, 2, 4, ...: when the first is refused (quota, say), few were tried in vain.
    pub(crate) async fn create(&self, object: &K, pods: &[Pod]) -> Result<(), ActError> {
        let key = ObjectKey::of(object);
        let (mut size, mut left) = (1, pods);
        while !left.is_empty() {
            let (batch, rest) = left.split_at(size.min(left.len()));
            self.expectations.will_create(&key, batch.len(), kit::clock::monotonic());
            let creations = batch.iter().map(|pod| self.create_one(&key, object, pod));
            for result in futures::future::join_all(creations).await {
                result?;
            }
            (size, left) = (size * 2, rest);
        }
        Ok(())
    }

    async fn create_one(&self, key: &ObjectKey, object: &K, pod: &Pod) -> Result<(), ActError> {
        match self.world.act.create(pod).await {
            Ok(created) => {
                let message = format!("Created pod: {}", created.name_any());
                self.recorder.note(object, Note::normal("SuccessfulCreate", message));
                Ok(())
            }
            Err(error) => {
                self.expectations.created(key);
                let message = format!("Error creating: {}", error.source);
                self.recorder.note(object, Note::warning("FailedCreate", message));
                Err(error)
            }
        }
    }

    pub(crate) async fn delete(&self, object: &K, pods: &[Arc<Pod>]) -> Result<(), ActError> {
        let key = ObjectKey::of(object);
        let deletions = pods.iter().map(|pod| async {
            let uid = pod.uid().unwrap_or_default();
            self.expectations.will_delete(&key, &uid, kit::clock::monotonic());
            let deleted = self.world.act.delete::<Pod>(&ObjectKey::of(&**pod), &only(Some(&uid))).await;
            if deleted.is_err() {
                self.expectations.deleted(&key, &uid);
            }
            let message = format!("Deleted pod: {}", pod.name_any());
            deleted.map(|()| self.recorder.note(object, Note::normal("SuccessfulDelete", message)))
        });
        futures::future::join_all(deletions).await.into_iter().collect()
    }
}

/// Whether only the status, or what stands beside what is asked for, has changed.
fn is_same_generation<K: Acted>(change: &Change<'_, K>) -> bool {
    let generation = |object: &Arc<K>| object.meta().generation;
    matches!((change.before.map(generation), change.after.map(generation)), (Some(one), Some(other)) if one == other)
}
