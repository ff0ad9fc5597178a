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
        let events = watch_objects(api, config).default_backoff();
        let mut events = std::pin::pin!(events.take_until(token.cancelled_owned()));
        let mut listed = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.apply(event, &mut listed),
                // Not every cluster serves every kind: there are no objects of it, until it is served one day.
                Err(error) if is_not_served(&error) => drop(self.is_synced.send_replace(true)),
                // The watch starts again by itself, after a pause.
                Err(error) => tracing::warn!(error = %kit::Chain(&error), "Watch was interrupted"),
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

fn is_not_served(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchStartFailed};
    matches!(error, InitialListFailed(kube::Error::Api(status)) | WatchStartFailed(kube::Error::Api(status)) if status.code == 404)
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
