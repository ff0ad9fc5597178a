//! The garbage collector: objects whose owners are gone go too, in the way that their owner's deletion asked for.
//!
//! It sees the metadata of every kind, by one watch each. Kinds come and go with the definitions of users, which are
//! objects that it sees as well.

mod decide;
mod watched;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, ListParams, Patch, Preconditions, PropagationPolicy};
use kube::core::ApiResource;
use kube::runtime::watcher;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::catalog::{KindEntry, Meta, kinds};
use crate::informer::{Change, Informer};
use crate::key::ObjectKey;
use crate::queue::{Next, Queue, queue};
use crate::world::World;

use decide::{Graph, Identity, Node, Verdict};
use watched::{Watch, Watched};

const N_WORKERS: usize = 8;
/// The kind that defines kinds.
const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
struct Garbage {
    world: World,
    graph: Arc<Mutex<Graph>>,
    watched: Arc<Watched>,
    keys: Queue<String>,
    /// Definitions of kinds changed.
    definitions: Arc<Notify>,
}

/// An object could not be collected or let go.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt} {kind} `{key}`")]
struct CollectError {
    attempt: &'static str,
    kind: String,
    key: ObjectKey,
    source: Box<kube::Error>,
}

/// Discovers the kinds, watches them all and collects until `token` is cancelled.
pub async fn run(world: World, token: CancellationToken) {
    let (keys, work) = queue::<String>();
    let (graph, watched, definitions) = (Arc::default(), Arc::default(), Arc::default());
    let garbage = Garbage { world, graph, watched, keys, definitions };
    let ready = async {
        // Nothing is as urgent after a start as Pods that wait for a node, and this reads every object that there is.
        garbage.world.knows_what_placement_needs().await;
        garbage.follow_kinds(&token).await;
        for informer in garbage.watched.informers() {
            informer.synced().await;
        }
    };
    // Before all kinds are known, owners look gone that are only not listed yet.
    if token.run_until_cancelled(ready).await.is_none() {
        return;
    }
    let (follower, end) = (garbage.clone(), token.clone());
    kit::task::spawn("kinds of garbage", async move {
        let following = async {
            loop {
                follower.definitions.notified().await;
                follower.follow_kinds(&end).await;
            }
        };
        end.run_until_cancelled(following).await;
    });
    work.run("garbage", N_WORKERS, token, move |uid| garbage.clone().reconcile(uid)).await;
}

/// The server's kinds; asked again, after a pause, until the server answers.
async fn discover(world: &World) -> Vec<KindEntry> {
    let mut pause = Duration::from_millis(100);
    loop {
        match kinds(world.act.client()).await {
            Ok(kinds) => return kinds,
            Err(error) => tracing::warn!(error = %kit::Chain(&error), "Garbage collection waits"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

impl Garbage {
    /// Watches the kinds that the server has now, and those alone.
    async fn follow_kinds(&self, token: &CancellationToken) {
        let found = discover(&self.world).await;
        for ended in self.watched.retain(&found) {
            for object in ended.informer.all() {
                let uid = object.metadata.uid.as_deref().unwrap_or_default();
                let concerned = self.graph.lock().forget(uid);
                concerned.into_iter().for_each(|uid| self.keys.add(uid));
            }
        }
        for kind in found {
            if !self.watched.has(&kind) {
                self.watch(kind, token.child_token());
            }
        }
    }

    fn watch(&self, kind: KindEntry, token: CancellationToken) {
        let informer: Arc<Informer<Meta>> = Arc::default();
        let (graph, keys, resource) = (Arc::clone(&self.graph), self.keys.clone(), kind.resource.clone());
        let departures = self.world.departures.clone();
        let definitions = (kind.name() == DEFINITIONS).then(|| Arc::clone(&self.definitions));
        informer.on_change(move |change| {
            note(&graph, &keys, &resource, change);
            if change.after.is_none() {
                departures.tell(change.object().metadata.namespace.as_deref());
            }
            if let Some(definitions) = &definitions {
                definitions.notify_one();
            }
        });
        let api = kind.api(self.world.act.client(), None);
        let watch = Arc::clone(&informer).run(api, watcher::Config::default(), token.clone());
        kit::task::spawn("metadata", watch);
        self.watched.add(Watch::new(kind, informer, token));
    }

    async fn reconcile(self, uid: String) -> Result<Next, CollectError> {
        let (verdict, node) = {
            let graph = self.graph.lock();
            (graph.decide(&uid), graph.get(&uid).cloned())
        };
        let Some(node) = node else { return Ok(Next::Rest) };
        match verdict {
            Verdict::Keep => {}
            Verdict::Collect { is_foreground, unknown } => {
                if self.find_living(&node, &unknown).await?.is_empty() {
                    self.delete(&node.identity, is_foreground).await?;
                }
            }
            Verdict::Trim { waiting, unknown } => {
                let living = self.find_living(&node, &unknown).await?;
                let gone = |owner: &OwnerReference| {
                    waiting.contains(owner) || unknown.contains(owner) && !living.contains(owner)
                };
                self.remove_owners(&node, gone).await?;
            }
            Verdict::Await { dependents } => {
                for dependent in &dependents {
                    self.delete(&dependent.identity, true).await?;
                }
            }
            Verdict::Orphan => {
                for dependent in self.find_dependents(&node).await? {
                    self.remove_owners(&dependent, |owner| owner.uid == uid).await?;
                }
                self.release(&node, decide::ORPHAN).await?;
            }
            Verdict::Release { finalizer } => self.release(&node, finalizer).await?,
        }
        Ok(Next::Rest)
    }

    /// The owners that the graph does not know but the server does: watches run beside each other, so a new owner
    /// may be seen after its dependent.
    async fn find_living(
        &self,
        node: &Node,
        unknown: &[OwnerReference],
    ) -> Result<Vec<OwnerReference>, CollectError> {
        let mut living = Vec::new();
        for owner in unknown {
            if self.graph.lock().is_gone(&owner.uid) {
                continue;
            }
            let Some(kind) = self.watched.find(&owner.api_version, &owner.kind) else {
                // A kind that is not served now may be again: nothing is deleted on a guess.
                living.push(owner.clone());
                continue;
            };
            let api = kind.api(self.world.act.client(), Some(&node.identity.key.namespace));
            let found =
                api.get_opt(&owner.name).await.map_err(failed("look for the owner of", &node.identity))?;
            if found.is_some_and(|found| found.metadata.uid.as_ref() == Some(&owner.uid)) {
                living.push(owner.clone());
            }
        }
        Ok(living)
    }

    /// The dependents of `owner` as the server knows them at this moment.
    async fn find_dependents(&self, owner: &Node) -> Result<Vec<Node>, CollectError> {
        let namespace = Some(owner.identity.key.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let mut found = Vec::new();
        let kinds = self.watched.kinds();
        for kind in kinds.iter().filter(|kind| kind.is_namespaced || namespace.is_none()) {
            let api = kind.api(self.world.act.client(), namespace);
            let listed = api.list_metadata(&ListParams::default()).await;
            let objects = listed.map_err(failed("look for the dependents of", &owner.identity))?;
            let nodes = objects.items.iter().filter_map(|object| node_of(&kind.resource, &object.metadata));
            found.extend(nodes.filter(|node| node.owners.iter().any(|each| each.uid == owner.identity.uid)));
        }
        Ok(found)
    }

    async fn delete(&self, identity: &Identity, is_foreground: bool) -> Result<(), CollectError> {
        let policy =
            if is_foreground { PropagationPolicy::Foreground } else { PropagationPolicy::Background };
        let how = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions { uid: Some(identity.uid.clone()), ..Default::default() }),
            ..DeleteParams::default()
        };
        let Some(kind) = self.watched.find(&identity.api_version, &identity.kind) else { return Ok(()) };
        let api = kind.api(self.world.act.client(), Some(&identity.key.namespace));
        match api.delete(&identity.key.name, &how).await {
            Ok(_) => tracing::debug!(kind = identity.kind, key = %identity.key, "Collected"),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(failed("collect", identity)(error)),
        }
        Ok(())
    }

    async fn remove_owners(
        &self,
        node: &Node,
        is_gone: impl Fn(&OwnerReference) -> bool,
    ) -> Result<(), CollectError> {
        let kept: Vec<&OwnerReference> = node.owners.iter().filter(|owner| !is_gone(owner)).collect();
        self.patch(&node.identity, json!({ "ownerReferences": kept })).await
    }

    async fn release(&self, node: &Node, finalizer: &str) -> Result<(), CollectError> {
        let kept: Vec<&String> = node.finalizers.iter().filter(|each| *each != finalizer).collect();
        self.patch(&node.identity, json!({ "finalizers": kept })).await
    }

    async fn patch(&self, identity: &Identity, mut metadata: Value) -> Result<(), CollectError> {
        let Some(kind) = self.watched.find(&identity.api_version, &identity.kind) else { return Ok(()) };
        // The uid keeps a namesake from being changed.
        metadata["uid"] = json!(identity.uid);
        let api = kind.api(self.world.act.client(), Some(&identity.key.namespace));
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        match api.patch_metadata(&identity.key.name, &crate::act::patch(), &patch).await {
            Ok(_) => Ok(()),
            // A conflict is an error: who lets go of an owner goes on to delete it, and its dependents with it.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(failed("let go of", identity)(error)),
        }
    }
}

fn note(graph: &Mutex<Graph>, keys: &Queue<String>, resource: &ApiResource, change: &Change<'_, Meta>) {
    let metadata = &change.object().metadata;
    let Some(node) = node_of(resource, metadata) else { return };
    let concerned = match change.after {
        Some(_) => graph.lock().set(node),
        None => graph.lock().remove(&node.identity.uid),
    };
    concerned.into_iter().for_each(|uid| keys.add(uid));
}

fn node_of(resource: &ApiResource, metadata: &ObjectMeta) -> Option<Node> {
    let identity = Identity {
        api_version: resource.api_version.clone(),
        kind: resource.kind.clone(),
        key: ObjectKey::new(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref()?),
        uid: metadata.uid.clone()?,
    };
    Some(Node::of(identity, metadata))
}

/// Gone, or another object by now.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}

fn failed(attempt: &'static str, identity: &Identity) -> impl FnOnce(kube::Error) -> CollectError {
    let (kind, key) = (identity.kind.clone(), identity.key.clone());
    move |source| CollectError { attempt, kind, key, source: Box::new(source) }
}
