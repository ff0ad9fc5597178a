//! Objects of a kind kept in memory, for those who look at all of them with every request: admission first of all.
//!
//! ```text
//!   store.range ──► all objects ──► store.watch ──► followed change by change
//!                                       ▲
//!   what this server wrote or read one by one notes its revision here; a reader waits until the cache has seen it
//! ```
//! So a client that creates a LimitRange and then a Pod is held to the LimitRange, without a read of the store per
//! request. What another server wrote is seen as soon as the store tells of it, or this one answered by it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kinds::Kind;
use kinds::status::Failure;
use parking_lot::RwLock;
use serde_json::Value;
use store::{Change, Range, Revision, Store, WatchEvent};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{record, request};

/// How long a reader waits for the cache to see a write of this server. The store tells in well under a millisecond, but
/// an etcd on a machine that is busy has taken more than half a second; if it is further behind, an older state is the
/// better answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where objects are stored: group and plural.
type Place = (&'static str, &'static str);

fn place(kind: &Kind) -> Place {
    (kind.storage_group(), kind.plural)
}

/// The caches of all kinds, each started by its first reader.
#[derive(Debug)]
pub(crate) struct Listers {
    store: Arc<dyn Store>,
    listers: RwLock<HashMap<Place, Arc<Lister>>>,
    starting: tokio::sync::Mutex<()>,
    shutdown: CancellationToken,
    /// That of the server: a reader's own may end before.
    runtime: Handle,
}

impl Listers {
    pub(crate) fn new(store: Arc<dyn Store>, shutdown: CancellationToken) -> Self {
        let runtime = Handle::current();
        Self { store, listers: RwLock::default(), starting: tokio::sync::Mutex::default(), shutdown, runtime }
    }

    /// The cache of a kind, as new as the last write of this server.
    pub(crate) async fn of(&self, kind: &'static Kind) -> Result<Arc<Lister>, Failure> {
        let running = self.listers.read().get(&place(kind)).cloned();
        let lister = match running {
            Some(lister) => lister,
            None => self.start(kind).await?,
        };
        lister.catch_up().await;
        Ok(lister)
    }

    /// What this server wrote, or found written and decides by: from now on readers are to see it.
    pub(crate) fn met(&self, kind: &Kind, revision: Revision) {
        if let Some(lister) = self.listers.read().get(&place(kind)) {
            lister.met.fetch_max(revision.0, Ordering::Relaxed);
        }
    }

    async fn start(&self, kind: &'static Kind) -> Result<Arc<Lister>, Failure> {
        let _one_at_a_time = self.starting.lock().await;
        if let Some(lister) = self.listers.read().get(&place(kind)) {
            return Ok(Arc::clone(lister));
        }
        let lister = Arc::new(Lister {
            kind,
            prefix: kind.storage_prefix(),
            objects: RwLock::default(),
            position: watch::Sender::new(0),
            met: AtomicU64::new(0),
            generation: AtomicU64::new(0),
        });
        let at = lister.fill(self.store.as_ref()).await?;
        let task = Arc::clone(&lister).follow(Arc::clone(&self.store), at);
        let shutdown = self.shutdown.clone();
        {
            let _of_the_server = self.runtime.enter();
            kit::task::spawn("lister", async move {
                shutdown.run_until_cancelled(task).await;
            });
        }
        self.listers.write().insert(place(kind), Arc::clone(&lister));
        Ok(lister)
    }
}

/// The objects of one kind by their keys.
#[derive(Debug)]
pub(crate) struct Lister {
    kind: &'static Kind,
    /// What all keys begin with.
    prefix: String,
    objects: RwLock<BTreeMap<String, Arc<Value>>>,
    /// The revision up to which all changes are in.
    position: watch::Sender<u64>,
    /// The latest revision that this server wrote or read.
    met: AtomicU64,
    /// Grows with every change of the objects.
    generation: AtomicU64,
}

impl Lister {
    /// Another number after every change: what was worked out from the objects holds as long as it stays.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Waits until the objects are no longer those of `generation`, at most for `patience`.
    pub(crate) async fn changed_since(&self, generation: u64, patience: Duration) {
        self.wait_for(patience, |lister| (lister.generation() != generation).then_some(())).await;
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.objects.read().get(&request::key_below(&self.prefix, namespace, name)).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Value>> {
        self.objects.read().values().cloned().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.objects.read().is_empty()
    }

    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<Value>> {
        let prefix = request::key_below(&self.prefix, namespace, "");
        let objects = self.objects.read();
        let from = objects.range(prefix.clone()..);
        from.take_while(|(key, _)| key.starts_with(&prefix)).map(|(_, object)| Arc::clone(object)).collect()
    }

    /// Waits for changes until `found` yields something, at most for `patience`.
    pub(crate) async fn wait_for<T>(
        &self,
        patience: Duration,
        found: impl Fn(&Self) -> Option<T>,
    ) -> Option<T> {
        let mut position = self.position.subscribe();
        let search = async {
            loop {
                if let Some(found) = found(self) {
                    return Some(found);
                }
                if position.changed().await.is_err() {
                    return None;
                }
            }
        };
        tokio::time::timeout(patience, search).await.ok().flatten()
    }

    /// Waits until everything that this server met is in.
    pub(crate) async fn catch_up(&self) {
        let wanted = self.met.load(Ordering::Relaxed);
        if *self.position.borrow() >= wanted {
            return;
        }
        let mut position = self.position.subscribe();
        let caught_up = position.wait_for(|position| *position >= wanted);
        if tokio::time::timeout(PATIENCE, caught_up).await.is_err() {
            tracing::warn!(kind = self.kind.kind, "The cache of a kind is behind its writes");
        }
    }

    /// Reads everything anew; answers as of when.
    async fn fill(&self, store: &dyn Store) -> Result<Revision, Failure> {
        let range = Range { prefix: self.prefix.clone(), ..Range::default() };
        let page = store.range(range).await.map_err(|error| Failure::internal(kit::Chain(&error)))?;
        let mut objects = BTreeMap::new();
        for entry in &page.entries {
            objects.insert(entry.key.to_string(), Arc::new(record::decode(self.kind, entry)?));
        }
        *self.objects.write() = objects;
        self.generation.fetch_add(1, Ordering::Release);
        self.position.send_replace(page.revision.0);
        Ok(page.revision)
    }

    /// Takes in changes for as long as the store has any; reads everything anew when it was dropped.
    async fn follow(self: Arc<Self>, store: Arc<dyn Store>, mut at: Revision) {
        const PAUSE: Duration = Duration::from_millis(200);
        loop {
            if let Ok(changes) = store.watch(&self.prefix, at).await {
                self.take_in(changes).await;
            }
            tokio::time::sleep(PAUSE).await;
            match self.fill(store.as_ref()).await {
                Ok(revision) => at = revision,
                Err(failure) => tracing::warn!(%failure, kind = self.kind.kind, "Cannot refill a cache"),
            }
        }
    }

    async fn take_in(&self, mut changes: store::Watch) {
        while let Some(Ok(event)) = changes.next().await {
            let revision = match &event {
                WatchEvent::Change(change) => {
                    self.apply(change);
                    change.revision()
                }
                WatchEvent::Progress(revision) => *revision,
            };
            self.position.send_modify(|position| *position = revision.0.max(*position));
        }
    }

    fn apply(&self, change: &Change) {
        match change {
            Change::Put { entry, .. } => match record::decode(self.kind, entry) {
                Ok(object) => drop(self.objects.write().insert(entry.key.to_string(), Arc::new(object))),
                Err(failure) => tracing::error!(%failure, key = %entry.key, "Cannot read a stored object"),
            },
            Change::Delete { previous, .. } => drop(self.objects.write().remove(&*previous.key)),
        }
        self.generation.fetch_add(1, Ordering::Release);
    }
}
