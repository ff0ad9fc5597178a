//! One watch per kind, shared by all controllers: a copy of the objects in memory, and their changes as they come.
//!
//! Handlers run in the watch's own task and must only note what to do, for example add a key to a queue.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Api, Resource, ResourceExt};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::key::ObjectKey;

/// What happened to an object. `before` is `None` when it is new, `after` when it is gone.
#[derive(Debug)]
pub struct Change<'a, K> {
    pub before: Option<&'a Arc<K>>,
    pub after: Option<&'a Arc<K>>,
}

impl<'a, K> Change<'a, K> {
    /// The newest state that is known.
    pub fn object(&self) -> &'a Arc<K> {
        self.after.or(self.before).expect("a change has an object before or after it")
    }
}

type Handler<K> = Box<dyn Fn(&Change<'_, K>) + Send + Sync>;

/// Whether there is work to be done without the objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Who may not read them waits until it may.
    Required,
    /// Where the kind is not served, or may not be read, it is as if there were no objects of it.
    Optional,
}

/// The objects of one kind.
pub struct Informer<K> {
    objects: RwLock<Objects<K>>,
    handlers: RwLock<Vec<Handler<K>>>,
    is_synced: watch::Sender<bool>,
}

struct Objects<K> {
    by_key: BTreeMap<ObjectKey, Arc<K>>,
    /// Keys by the uid of the controlling owner.
    by_owner: HashMap<String, BTreeSet<ObjectKey>>,
}

impl<K> Debug for Informer<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Informer")
            .field("n_objects", &self.objects.read().by_key.len())
            .finish_non_exhaustive()
    }
}

impl<K> Default for Informer<K> {
    fn default() -> Self {
        let objects = Objects { by_key: BTreeMap::new(), by_owner: HashMap::new() };
        let (is_synced, _) = watch::channel(false);
        Self { objects: RwLock::new(objects), handlers: RwLock::default(), is_synced }
    }
}

impl<K> Informer<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// Calls `handler` for each change from now on. Register before [`Informer::run`] to miss none.
    pub fn on_change(&self, handler: impl Fn(&Change<'_, K>) + Send + Sync + 'static) {
        self.handlers.write().push(Box::new(handler));
    }

    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.objects.read().by_key.get(key).cloned()
    }

    pub fn all(&self) -> Vec<Arc<K>> {
        self.objects.read().by_key.values().cloned().collect()
    }

    pub fn count(&self) -> usize {
        self.objects.read().by_key.len()
    }

    /// The objects of `namespace`, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let objects = self.objects.read();
        let from = objects.by_key.range(ObjectKey::new(namespace, "")..);
        from.take_while(|(key, _)| key.namespace == namespace).map(|(_, object)| Arc::clone(object)).collect()
    }

    /// The objects whose controller has this uid, by name.
    pub fn controlled_by(&self, uid: &str) -> Vec<Arc<K>> {
        let objects = self.objects.read();
        let keys = objects.by_owner.get(uid).into_iter().flatten();
        keys.filter_map(|key| objects.by_key.get(key).cloned()).collect()
    }

    /// Resolves once the first full list is here.
    pub async fn synced(&self) {
        let mut is_synced = self.is_synced.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _never_closed = is_synced.wait_for(|&synced| synced).await;
    }

    /// Follows the objects of `api` until `token` is cancelled.
    pub async fn run(self: Arc<Self>, api: Api<K>, config: watcher::Config, token: CancellationToken) {
        self.follow((api, Presence::Required), config, token).await;
    }

    /// As [`Informer::run`], of a kind that there may not be.
    pub async fn follow(
        self: Arc<Self>,
        (api, presence): (Api<K>, Presence),
        config: watcher::Config,
        token: CancellationToken,
    ) {
        let resource = api.resource_url().to_owned();
        let events = watch_objects(api, config).default_backoff();
        let mut events = std::pin::pin!(events.take_until(token.cancelled_owned()));
        let mut listed = BTreeSet::new();
        // Why there are no objects, as it was said already.
        let mut told = None;
        while let Some(event) = events.next().await {
            let error = match event {
                Ok(event) => {
                    if matches!(event, Event::InitDone) && told.take().is_some() {
                        tracing::info!(resource, "The kind can be read now");
                    }
                    self.apply(event, &mut listed);
                    continue;
                }
                Err(error) => error,
            };
            match absence(&error, presence) {
                // The watch starts again by itself, after a pause, and so finds out when the kind can be read one day.
                Some(absence) => {
                    if told.replace(absence) != Some(absence) {
                        absence.tell(&resource);
                    }
                    self.is_synced.send_replace(true);
                }
                None => tracing::warn!(error = %kit::Chain(&error), "Watch was interrupted"),
            }
        }
    }

    fn apply(&self, event: Event<K>, listed: &mut BTreeSet<ObjectKey>) {
        match event {
            Event::Apply(object) => self.store(object),
            Event::Delete(object) => self.remove(&ObjectKey::of(&object)),
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.insert(ObjectKey::of(&object));
                self.store(object);
            }
            Event::InitDone => {
                let gone: Vec<ObjectKey> = {
                    let objects = self.objects.read();
                    objects.by_key.keys().filter(|key| !listed.contains(key)).cloned().collect()
                };
                gone.iter().for_each(|key| self.remove(key));
                listed.clear();
                self.is_synced.send_replace(true);
            }
        }
    }

    fn store(&self, mut object: K) {
        // Large, and of no use to a controller.
        object.managed_fields_mut().clear();
        let (key, object) = (ObjectKey::of(&object), Arc::new(object));
        let before = {
            let mut objects = self.objects.write();
            let before = objects.by_key.insert(key.clone(), Arc::clone(&object));
            if let Some(before) = &before {
                objects.forget_owner(&key, before);
            }
            if let Some(owner) = crate::owner::controller_uid(object.meta()) {
                objects.by_owner.entry(owner.to_owned()).or_default().insert(key);
            }
            before
        };
        // Another object of the same name: the old one went while nobody watched.
        let is_same = |before: &Arc<K>| before.meta().uid == object.meta().uid;
        if before.as_ref().is_some_and(|before| !is_same(before)) {
            self.tell(&Change { before: before.as_ref(), after: None });
        }
        let before = before.filter(is_same);
        let is_news =
            before.as_ref().is_none_or(|old| old.meta().resource_version != object.meta().resource_version);
        if is_news {
            self.tell(&Change { before: before.as_ref(), after: Some(&object) });
        }
    }

    fn remove(&self, key: &ObjectKey) {
        let before = {
            let mut objects = self.objects.write();
            let before = objects.by_key.remove(key);
            if let Some(before) = &before {
                objects.forget_owner(key, before);
            }
            before
        };
        if before.is_some() {
            self.tell(&Change { before: before.as_ref(), after: None });
        }
    }

    fn tell(&self, change: &Change<'_, K>) {
        self.handlers.read().iter().for_each(|handler| handler(change));
    }
}

/// Why a kind has no objects that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absence {
    NotServed,
    Forbidden,
}

impl Absence {
    fn tell(self, resource: &str) {
        match self {
            Self::NotServed => tracing::info!(resource, "The server does not know the kind: there are none"),
            Self::Forbidden => {
                tracing::warn!(resource, "Without the right to list and watch the kind there are none");
            }
        }
    }
}

/// Not every cluster serves every kind, and a role may be older than a kind that it could grant.
fn absence(error: &watcher::Error, presence: Presence) -> Option<Absence> {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    let (InitialListFailed(kube::Error::Api(status))
    | WatchStartFailed(kube::Error::Api(status))
    | WatchFailed(kube::Error::Api(status))) = error
    else {
        return None;
    };
    match (status.code, presence) {
        (404, _) => Some(Absence::NotServed),
        (403, Presence::Optional) => Some(Absence::Forbidden),
        _ => None,
    }
}

impl<K: Resource> Objects<K> {
    fn forget_owner(&mut self, key: &ObjectKey, object: &K) {
        let Some(owner) = crate::owner::controller_uid(object.meta()) else { return };
        let Some(keys) = self.by_owner.get_mut(owner) else { return };
        keys.remove(key);
        if keys.is_empty() {
            self.by_owner.remove(owner);
        }
    }
}
