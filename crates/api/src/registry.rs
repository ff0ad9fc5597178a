//! Objects in the store: read, create, and change by compare-and-put.

use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use kinds::Kind;
use kinds::status::Failure;
use kit::Chain;
use serde_json::Value;
use store::{Entry, Expect, Page, Range, ReadError, Revision, Store, WriteError};
use tokio_util::sync::CancellationToken;

use crate::lister::{Lister, Listers};
use crate::request::{self, ObjectPath};
use crate::webhook::Webhooks;
use crate::{conversion, object, record};

/// How often a change is tried again when others change the same object. Beyond that the object is so contended
/// that the client should know.
const MAX_ATTEMPTS: usize = 32;

/// Room is made by people, who take their time.
const FULL_RETRY_AFTER: u32 = 10;

/// What a change makes of an object.
#[derive(Debug)]
pub(crate) enum Next {
    Replace(Value),
    /// Gone; the value is what the client is answered.
    Remove(Value),
    /// Nothing to do; the value is what the client is answered.
    Keep(Value),
}

/// How a change ended.
#[derive(Debug)]
pub(crate) enum Changed {
    /// It stands as this.
    Stands(Written),
    /// It is gone; this was its last state.
    Gone(Value),
}

impl Changed {
    /// What the client is answered.
    pub(crate) fn into_written(self) -> Written {
        match self {
            Self::Stands(written) => written,
            Self::Gone(object) => Written::Object(object),
        }
    }
}

/// An object that was written, as its client is to see it.
#[derive(Debug)]
pub(crate) enum Written {
    /// As it stands in the store.
    Entry(Entry),
    /// What the store does not hold in this form.
    Object(Value),
}

impl Written {
    pub(crate) fn into_value(self, kind: &Kind) -> Result<Value, Failure> {
        match self {
            Self::Entry(entry) => record::decode(kind, &entry),
            Self::Object(object) => Ok(object),
        }
    }
}

/// The store, as objects of kinds.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    store: Arc<dyn Store>,
    listers: Arc<Listers>,
    /// Who is asked to convert custom resources. They read from a registry themselves, so it does not own them.
    webhooks: Arc<OnceLock<Weak<Webhooks>>>,
}

/// What stands where an object is to be changed.
#[derive(Debug)]
pub(crate) enum Found {
    Object(Value),
    /// Another deleted it while this change was about to: its purpose is fulfilled.
    Gone(Value),
}

/// A change that is tried until nobody else comes between: read, then write, and again where that answers `None`.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    registry: &'a Registry,
    path: &'a ObjectPath,
    dry_run: bool,
    left: usize,
    /// What was read last.
    entry: Option<Entry>,
    /// The object that the attempt before was about to remove.
    removing: Option<Value>,
}

impl Attempts<'_> {
    /// The object as it stands now.
    pub(crate) async fn read(&mut self) -> Result<Found, Failure> {
        let path = self.path;
        self.left = self.left.checked_sub(1).ok_or_else(|| Failure::stale(&path.kind, path.name()))?;
        let entry = match (self.registry.stored(path).await, self.removing.take()) {
            (Err(failure), Some(object)) if failure.code() == 404 => return Ok(Found::Gone(object)),
            (entry, _) => entry?,
        };
        let shown = self.registry.served(&path.kind, vec![entry.clone()]).await?;
        let current = record::decode(&path.kind, shown.first().unwrap_or(&entry))?;
        self.entry = Some(entry);
        Ok(Found::Object(current))
    }

    /// Makes `next` of the object that was read; `None` if another change came between.
    pub(crate) async fn write(&mut self, next: Next) -> Result<Option<Changed>, Failure> {
        let kind = &self.path.kind;
        let Some(entry) = self.entry.take() else { return Ok(None) };
        let next = match next {
            Next::Replace(object) if object::is_deletion_complete(kind.table_name(), &object) => {
                Next::Remove(object)
            }
            next => next,
        };
        if let Next::Remove(object) = &next {
            self.removing = Some(object.clone());
        }
        match self.registry.take(kind, &entry, next, self.dry_run).await {
            Err(WriteError::Conflict { .. }) => Ok(None),
            Err(error) => Err(write_failure(&error)),
            Ok(changed) => changed.map(Some),
        }
    }
}

impl Registry {
    pub(crate) fn new(store: Arc<dyn Store>, shutdown: CancellationToken) -> Self {
        let listers = Arc::new(Listers::new(Arc::clone(&store), shutdown));
        Self { store, listers, webhooks: Arc::default() }
    }

    /// From now on custom resources whose definition says so are converted by webhooks.
    pub(crate) fn convert_by(&self, webhooks: &Arc<Webhooks>) {
        // It is said once, when the server is built.
        self.webhooks.set(Arc::downgrade(webhooks)).ok();
    }

    fn webhooks(&self) -> Result<Arc<Webhooks>, Failure> {
        let webhooks = self.webhooks.get().and_then(Weak::upgrade);
        webhooks.ok_or_else(|| Failure::unavailable("the server is starting or stopping; try again"))
    }

    /// Stored entries as `kind` serves them: those of custom resources may be in another version.
    pub(crate) async fn served(&self, kind: &Kind, entries: Vec<Entry>) -> Result<Vec<Entry>, Failure> {
        if conversion::is_by_webhook(kind) {
            return conversion::served(self.webhooks()?.as_ref(), kind, entries).await;
        }
        Ok(entries)
    }

    /// The bytes to store for an object of `kind`.
    async fn encoded(&self, kind: &Kind, object: &Value) -> Result<Bytes, Failure> {
        if conversion::is_by_webhook(kind)
            && let Some(converted) = conversion::stored(self.webhooks()?.as_ref(), kind, object).await?
        {
            return record::encode(kind, &converted);
        }
        record::encode(kind, object)
    }

    /// All objects of a built-in kind, from memory. A kind that is not served has none.
    pub(crate) async fn lister(&self, group: &str, plural: &str) -> Result<Option<Arc<Lister>>, Failure> {
        match kinds::find(group, "v1", plural) {
            Some(kind) => self.listers.of(kind).await.map(Some),
            None => Ok(None),
        }
    }

    /// As [`Registry::lister`] for a kind at hand.
    pub(crate) async fn lister_of(&self, kind: &'static Kind) -> Result<Arc<Lister>, Failure> {
        self.listers.of(kind).await
    }

    /// Everything, as it is kept.
    pub(crate) async fn snapshot(&self) -> Result<Page, Failure> {
        self.store.snapshot().await.map_err(read_failure)
    }

    /// Whether other servers change objects, too.
    pub(crate) fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    pub(crate) async fn revision(&self) -> Result<Revision, Failure> {
        self.store.revision().await.map_err(read_failure)
    }

    /// Whether nothing was ever kept.
    pub(crate) async fn is_empty(&self) -> Result<bool, Failure> {
        let any = Range { limit: Some(1), ..Range::default() };
        Ok(self.range(any).await?.entries.is_empty())
    }

    /// History begins now: who asks for what was before is told that it is gone.
    pub(crate) async fn begin_history(&self) -> Result<(), Failure> {
        let now = self.revision().await?;
        self.store.compact(now).await.map_err(|error| write_failure(&error))
    }

    pub(crate) async fn entry(&self, path: &ObjectPath) -> Result<Entry, Failure> {
        let entry = self.stored(path).await?;
        let served = self.served(&path.kind, vec![entry]).await?.into_iter().next();
        served.ok_or_else(|| Failure::not_found(&path.kind, path.name()))
    }

    /// The entry as it is kept. Another may have written it whose note is still to come.
    async fn stored(&self, path: &ObjectPath) -> Result<Entry, Failure> {
        let found = self.store.get(&path.key()).await.map_err(read_failure)?;
        let entry = found.ok_or_else(|| Failure::not_found(&path.kind, path.name()))?;
        self.listers.met(&path.kind, entry.modified);
        Ok(entry)
    }

    pub(crate) async fn get(&self, path: &ObjectPath) -> Result<Value, Failure> {
        record::decode(&path.kind, &self.entry(path).await?)
    }

    /// An object that may not be there.
    pub(crate) async fn find(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Failure> {
        let entry = self.store.get(&request::key(kind, namespace, name)).await.map_err(read_failure)?;
        let served = self.served(kind, entry.into_iter().collect()).await?;
        served.first().map(|entry| record::decode(kind, entry)).transpose()
    }

    pub(crate) async fn range(&self, range: Range) -> Result<Page, Failure> {
        self.store.range(range).await.map_err(read_failure)
    }

    /// All objects of a kind, in all namespaces.
    pub(crate) async fn all(&self, kind: &Kind) -> Result<Vec<Value>, Failure> {
        let page = self.range(Range { prefix: kind.storage_prefix(), ..Range::default() }).await?;
        page.entries.iter().map(|entry| record::decode(kind, entry)).collect()
    }

    /// 409 if there is an object of this name.
    pub(crate) async fn must_be_free(&self, kind: &Kind, object: &Value) -> Result<(), Failure> {
        let name = object::name(object);
        let key = request::key(kind, object::namespace(object), name);
        let found = self.store.get(&key).await.map_err(read_failure)?;
        found.map_or(Ok(()), |entry| Err(taken(kind, name, Some(&entry))))
    }

    /// Stores a new object. As with every write its tree is gone before the store is waited for: many wait at a time, and
    /// trees are large.
    pub(crate) async fn create(&self, kind: &Kind, object: Value) -> Result<Written, Failure> {
        let name = object::name(&object).to_owned();
        let key = request::key(kind, object::namespace(&object), &name);
        let value = self.encoded(kind, &object).await?;
        let shown = conversion::is_by_webhook(kind).then_some(object);
        match (self.store.put(&key, value, Expect::Absent).await, shown) {
            (Ok(entry), shown) => {
                self.listers.met(kind, entry.modified);
                Ok(shown_as(shown, entry))
            }
            (Err(WriteError::Conflict { current, .. }), _) => Err(taken(kind, &name, current.as_ref())),
            (Err(error), _) => Err(write_failure(&error)),
        }
    }

    /// Changes an object as `decide` says, which is asked again if another change came between.
    pub(crate) async fn modify(
        &self,
        path: &ObjectPath,
        dry_run: bool,
        mut decide: impl FnMut(&Value) -> Result<Next, Failure>,
    ) -> Result<Changed, Failure> {
        let mut attempts = self.attempts(path, dry_run);
        loop {
            let current = match attempts.read().await? {
                Found::Object(current) => current,
                Found::Gone(object) => return Ok(Changed::Gone(object)),
            };
            if let Some(changed) = attempts.write(decide(&current)?).await? {
                return Ok(changed);
            }
        }
    }

    /// As [`Registry::modify`], step by step, for those who have to wait for others between reading and writing.
    pub(crate) fn attempts<'a>(&'a self, path: &'a ObjectPath, dry_run: bool) -> Attempts<'a> {
        Attempts { registry: self, path, dry_run, left: MAX_ATTEMPTS, entry: None, removing: None }
    }

    async fn take(
        &self,
        kind: &Kind,
        entry: &Entry,
        next: Next,
        dry_run: bool,
    ) -> Result<Result<Changed, Failure>, WriteError> {
        let object = match next {
            Next::Keep(object) => return Ok(Ok(Changed::Stands(Written::Object(object)))),
            Next::Remove(object) => {
                if dry_run {
                    return Ok(Ok(Changed::Gone(object)));
                }
                let marked = match last_state(kind, entry, &object) {
                    None => entry.modified,
                    Some(Ok(value)) => {
                        self.store.put(&entry.key, value, Expect::At(entry.modified)).await?.modified
                    }
                    Some(Err(failure)) => return Ok(Err(failure)),
                };
                let deleted = self.store.delete(&entry.key, marked).await?;
                self.listers.met(kind, deleted);
                return Ok(Ok(Changed::Gone(object)));
            }
            Next::Replace(object) => object,
        };
        let value = match self.encoded(kind, &object).await {
            Ok(value) => value,
            Err(failure) => return Ok(Err(failure)),
        };
        let shown = conversion::is_by_webhook(kind).then_some(object);
        // A write that changes nothing makes no revision, so that controllers that repeat themselves stay quiet.
        if dry_run || record::is_same(&value, &entry.value) {
            let unchanged = Entry { value, ..entry.clone() };
            return Ok(Ok(Changed::Stands(shown_as(shown, unchanged))));
        }
        let entry = self.store.put(&entry.key, value, Expect::At(entry.modified)).await?;
        self.listers.met(kind, entry.modified);
        Ok(Ok(Changed::Stands(shown_as(shown, entry))))
    }
}

/// How a change ended that has no purpose where the object is gone meanwhile.
pub(crate) fn gone_is_fine(changed: Result<Changed, Failure>) -> Result<(), Failure> {
    match changed {
        Err(failure) if failure.code() == 404 => Ok(()),
        changed => changed.map(drop),
    }
}

/// What was stored as `entry`. What a webhook converted for the store is answered as it was before.
fn shown_as(object: Option<Value>, entry: Entry) -> Written {
    match object {
        Some(mut object) => {
            object::set_metadata(&mut object, "resourceVersion", entry.modified.0.to_string());
            Written::Object(object)
        }
        None => Written::Entry(entry),
    }
}

/// What watchers are told of a Pod on a node before it is gone: that its grace is over. The node's agent deletes it
/// again if the server dies between the two.
fn last_state(kind: &Kind, entry: &Entry, object: &Value) -> Option<Result<Bytes, Failure>> {
    let on_node = object["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
    if kind.table_name() != "Pod" || !on_node || !object::is_being_deleted(object) {
        return None;
    }
    let value = record::encode(kind, object);
    (value.as_ref().ok() != Some(&entry.value)).then_some(value)
}

fn taken(kind: &Kind, name: &str, current: Option<&Entry>) -> Failure {
    let current = current.and_then(|entry| record::decode(kind, entry).ok());
    let failure = Failure::already_exists(kind, name);
    if current.as_ref().is_some_and(object::is_being_deleted) {
        let message = format!("object is being deleted: {failure}");
        return failure.with_message(message);
    }
    failure
}

fn read_failure(error: ReadError) -> Failure {
    match error {
        ReadError::Compacted { asked, .. } => {
            Failure::expired(format!("The resourceVersion {} is too old: list again.", asked.0))
        }
        ReadError::Future { asked, current } => too_large_revision(asked.0, current),
        ReadError::Unavailable { .. } => store_unavailable(&error),
    }
}

/// 503: the store is away or cannot do this now; clients try again by themselves.
pub(crate) fn store_unavailable(error: &(dyn std::error::Error + 'static)) -> Failure {
    tracing::warn!(error = %Chain(error), "The store is not available");
    Failure::unavailable("the store is not available at the moment; try again").with_retry_after(1)
}

/// 504: the client has seen a revision that this server has not.
pub(crate) fn too_large_revision(asked: u64, current: Revision) -> Failure {
    let message = format!("Timeout: Too large resource version: {asked}, current: {}", current.0);
    Failure::timeout(message)
        .with_cause("ResourceVersionTooLarge", "Too large resource version", "")
        .with_retry_after(1)
}

fn write_failure(error: &WriteError) -> Failure {
    match error {
        WriteError::Conflict { .. } => Failure::internal(Chain(error)),
        WriteError::TooLarge { .. } => {
            Failure::new(413, "RequestEntityTooLarge", "the object is larger than the store takes")
        }
        WriteError::Full { .. } => {
            tracing::error!(error = %Chain(error), "The store is full");
            let message =
                "the store is full: nothing was changed; reads go on, and writes will once its disk has room";
            Failure::unavailable(message).with_retry_after(FULL_RETRY_AFTER)
        }
        WriteError::Unavailable { .. } => store_unavailable(error),
    }
}

#[cfg(test)]
mod tests;
