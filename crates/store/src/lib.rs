//! Versioned objects: get, range, compare-and-put, watch from a revision, compaction.
//!
//! ```text
//!   put / delete ──► one revision counter ──► durable log ──► watchers, in revision order
//! ```
//! Revisions work as in etcd: one counter for the whole store, every change takes the next number, every
//! object remembers the revision that created it and the one that last changed it. A change is acknowledged
//! only when it would survive kill -9 and power loss.
//!
//! This room knows nothing of Kubernetes: keys are strings, values are bytes.

pub mod backup;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod embedded;
pub mod etcd;
mod watch;

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;

/// A point in the store's history. The empty store is at revision 1, as in etcd, so that 0 can mean "any".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// One object as it stood at some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Arc<str>,
    pub value: Bytes,
    pub created: Revision,
    pub modified: Revision,
}

/// What must hold of a key for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No object under this key (create).
    Absent,
    /// The object was last changed at this very revision (optimistic concurrency).
    At(Revision),
}

/// Which part of the store a range read wants.
#[derive(Clone, Debug, Default)]
pub struct Range {
    /// All keys that begin with this.
    pub prefix: String,
    /// Only keys greater than this one: how a page follows the one before.
    pub after: Option<String>,
    /// At most this many entries; `None` for all.
    pub limit: Option<usize>,
    /// Read as of this revision; `None` for now.
    pub at: Option<Revision>,
}

/// An answer to a range read: a consistent snapshot at `revision`.
#[derive(Clone, Debug)]
pub struct Page {
    pub entries: Vec<Entry>,
    pub revision: Revision,
    /// How many entries of the range stand after the last one here.
    pub remaining: usize,
}

/// One change, as a watcher sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `previous` is `None` when the change created the object.
    Put { entry: Entry, previous: Option<Entry> },
    /// `revision` is that of the deletion; `previous` is the object as it last stood.
    Delete { revision: Revision, previous: Entry },
}

impl Change {
    /// The revision that this change made.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put { entry, .. } => entry.modified,
            Self::Delete { revision, .. } => *revision,
        }
    }

    /// The key that was changed.
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Put { entry, .. } => &entry.key,
            Self::Delete { previous, .. } => &previous.key,
        }
    }
}

/// What a watch delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    Change(Change),
    /// Everything up to this revision has been delivered. Sent once when the watch has caught up, and then
    /// from time to time, so that a reader of a quiet prefix can keep a fresh revision.
    Progress(Revision),
}

/// Events in revision order. It ends with an error when the watcher is too slow to be kept.
pub type Watch = Pin<Box<dyn Stream<Item = Result<WatchEvent, WatchError>> + Send>>;

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("revision {asked:?} was compacted; the oldest that can be read is {oldest:?}")]
    Compacted { asked: Revision, oldest: Revision },
    #[error("revision {asked:?} is in the future; the store is at {current:?}")]
    Future { asked: Revision, current: Revision },
    #[error("cannot read the store")]
    Unavailable { source: Box<dyn std::error::Error + Send + Sync> },
}

/// Why a write did not happen. Nothing is half-applied.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The expectation did not hold; here is what stands there instead.
    #[error("`{key}` is not as expected")]
    Conflict { key: String, current: Option<Entry> },
    /// The value is larger than the store takes.
    #[error("the value of `{key}` is too large for the store")]
    TooLarge { key: String },
    /// There is no room for it. Reads go on, and so do writes once there is.
    #[error("the store is full")]
    Full { source: Box<dyn std::error::Error + Send + Sync> },
    /// The disk refuses writes, in which case reads go on; or the store cannot be reached, in which case the write may
    /// have happened all the same.
    #[error("the store cannot write")]
    Unavailable { source: Box<dyn std::error::Error + Send + Sync> },
}

/// Why a watch cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("revision {asked:?} was compacted; the oldest that can be watched from is {oldest:?}")]
    Compacted { asked: Revision, oldest: Revision },
    #[error("the watcher is too slow and was dropped")]
    Lagged,
    #[error("cannot read the store's history")]
    Unavailable { source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the store has shut down")]
    Closed,
}

/// A versioned store. Every implementation passes the suite in `store::conformance` (feature `conformance`).
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// The revision of the latest acknowledged change.
    async fn revision(&self) -> Result<Revision, ReadError>;

    /// The object under `key` now.
    async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError>;

    /// A part of the store in key order, from one consistent snapshot.
    async fn range(&self, range: Range) -> Result<Page, ReadError>;

    /// Writes `value` if `expect` holds; returns the entry as written, once it is durable.
    async fn put(&self, key: &str, value: Bytes, expect: Expect) -> Result<Entry, WriteError>;

    /// Deletes the object if it was last changed at `expect`; returns the revision of the deletion.
    async fn delete(&self, key: &str, expect: Revision) -> Result<Revision, WriteError>;

    /// All changes under `prefix` with a revision greater than `after`, past ones first.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, WatchError>;

    /// Everything as it is kept, encrypted where it is so, from one snapshot: what a backup is made of. Values are
    /// shared with the store where it has them in memory.
    async fn snapshot(&self) -> Result<Page, ReadError> {
        self.range(Range::default()).await
    }

    /// Whether other processes may change what is in it, so that what was read is true no longer than it takes to read.
    fn is_shared(&self) -> bool {
        false
    }

    /// Forgets history up to and including `upto`: older reads and watches are refused from then on.
    async fn compact(&self, upto: Revision) -> Result<(), WriteError>;
}
