//! Objects in the store: read, create, and change by compare-and-put.

use std::sync::Arc;

use kinds::Kind;
use kinds::status::Failure;
use kit::Chain;
use serde_json::Value;
use store::{Entry, Expect, Page, Range, ReadError, Revision, Store, WriteError};

use crate::request::{self, ObjectPath};
use crate::{object, record};

/// How often a change is tried again when others change the same object. Beyond that the object is so contended
/// that the client should know.
const MAX_ATTEMPTS: usize = 32;

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
    Stands(Value),
    /// It is gone; this was its last state.
    Gone(Value),
}

impl Changed {
    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Stands(value) | Self::Gone(value) => value,
        }
    }
}

/// The store, as objects of kinds.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    store: Arc<dyn Store>,
}

impl Registry {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    pub(crate) async fn revision(&self) -> Result<Revision, Failure> {
        self.store.revision().await.map_err(read_failure)
    }

    pub(crate) async fn entry(&self, path: &ObjectPath) -> Result<Entry, Failure> {
        let found = self.store.get(&path.key()).await.map_err(read_failure)?;
        found.ok_or_else(|| Failure::not_found(path.kind, path.name()))
    }

    pub(crate) async fn get(&self, path: &ObjectPath) -> Result<Value, Failure> {
        record::decode(path.kind, &self.entry(path).await?)
    }

    /// An object that may not be there.
    pub(crate) async fn find(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Failure> {
        let entry = self.store.get(&request::key(kind, namespace, name)).await.map_err(read_failure)?;
        entry.map(|entry| record::decode(kind, &entry)).transpose()
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

    pub(crate) async fn create(&self, kind: &Kind, object: &Value) -> Result<Value, Failure> {
        let (namespace, name) = (object::namespace(object), object::name(object));
        let value = record::encode(kind, object)?;
        match self.store.put(&request::key(kind, namespace, name), value, Expect::Absent).await {
            Ok(entry) => record::decode(kind, &entry),
            Err(WriteError::Conflict { current, .. }) => Err(taken(kind, name, current.as_ref())),
            Err(error) => Err(write_failure(&error)),
        }
    }

    /// Changes an object as `decide` says, which is asked again if another change came between.
    pub(crate) async fn modify(
        &self,
        path: &ObjectPath,
        dry_run: bool,
        mut decide: impl FnMut(&Value) -> Result<Next, Failure>,
    ) -> Result<Changed, Failure> {
        let mut removing = None;
        for _ in 0..MAX_ATTEMPTS {
            let entry = match (self.entry(path).await, removing.take()) {
                // Another deleted it while this one was about to: its purpose is fulfilled.
                (Err(failure), Some(object)) if failure.code() == 404 => return Ok(Changed::Gone(object)),
                (entry, _) => entry?,
            };
            let current = record::decode(path.kind, &entry)?;
            let next = match decide(&current)? {
                Next::Replace(object) if object::is_deletion_complete(path.kind.kind, &object) => {
                    Next::Remove(object)
                }
                next => next,
            };
            if let Next::Remove(object) = &next {
                removing = Some(object.clone());
            }
            match self.take(path.kind, &entry, next, dry_run).await {
                Err(WriteError::Conflict { .. }) => {}
                Err(error) => return Err(write_failure(&error)),
                Ok(changed) => return changed,
            }
        }
        Err(Failure::stale(path.kind, path.name()))
    }

    async fn take(
        &self,
        kind: &Kind,
        entry: &Entry,
        next: Next,
        dry_run: bool,
    ) -> Result<Result<Changed, Failure>, WriteError> {
        let object = match next {
            Next::Keep(object) => return Ok(Ok(Changed::Stands(object))),
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
                self.store.delete(&entry.key, marked).await?;
                return Ok(Ok(Changed::Gone(object)));
            }
            Next::Replace(object) => object,
        };
        let value = match record::encode(kind, &object) {
            Ok(value) => value,
            Err(failure) => return Ok(Err(failure)),
        };
        // A write that changes nothing makes no revision, so that controllers that repeat themselves stay quiet.
        if dry_run || value == entry.value {
            return Ok(record::decode_at(kind, &value, entry.modified).map(Changed::Stands));
        }
        let written = self.store.put(&entry.key, value, Expect::At(entry.modified)).await?;
        Ok(record::decode(kind, &written).map(Changed::Stands))
    }
}

/// What watchers are told of a Pod on a node before it is gone: that its grace is over. The node's agent deletes it
/// again if the server dies between the two.
fn last_state(kind: &Kind, entry: &Entry, object: &Value) -> Option<Result<bytes::Bytes, Failure>> {
    let on_node = object["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
    if kind.kind != "Pod" || !on_node || !object::is_being_deleted(object) {
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
        WriteError::Unavailable { .. } => store_unavailable(error),
    }
}
