//! The embedded store: one crash-safe file, one writing thread, the current objects in memory.
//!
//! ```text
//!   put/delete/compact ─► writer thread ─► file (fsync) ─► state ─► watchers
//!   get/range(now) ◄──────────────────────────────────── state
//!   range(past), watch(past) ◄──────────── file
//! ```
//! Reads of the present never touch the file, so they go on when the disk does not. An idle store costs nothing:
//! no thread wakes without a request.

mod check;
mod compaction;
mod file;
mod past;
mod record;
mod restore;
mod state;
mod traces;
mod watch;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::oneshot;

pub use self::check::{CheckError, Report, check};
pub use self::compaction::Keep;
pub use self::file::OpenError;
pub use self::restore::{RestoreError, restore};

use self::file::{Compaction, File, FileError, View};
use self::state::State;
use self::writer::{Reply, Request};
use crate::{Change, Entry, Expect, Page, Range, ReadError, Revision, Store, Watch, WatchError, WriteError};

/// How an embedded store behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Memory for pages of the file. The current objects are in memory anyway; pages serve history and writes.
    pub cache_bytes: usize,
    /// How many events may wait for one watcher before it is dropped as too slow.
    pub watch_buffer: usize,
    /// How much history to keep; `None` keeps all until [`Store::compact`] is called.
    pub compaction: Option<Keep>,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 4 << 20, watch_buffer: 4096, compaction: Some(Keep::Revisions(10_000)) }
    }
}

/// A store in one file of this machine.
pub struct Embedded {
    shared: Arc<Shared>,
    /// `None` only while dropping.
    requests: Option<Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Opens the store in the file `path`, creating it if there is none. The directory must exist. Reads the
    /// whole file and checks it; call it before the runtime is busy, or on a blocking thread.
    pub fn open(path: &Path, options: Options) -> Result<Arc<Self>, OpenError> {
        let file = File::open(path, options.cache_bytes)?;
        let loaded = file
            .load()
            .map_err(|error| OpenError::Corrupt { path: path.to_owned(), source: error.into() })?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            options,
            file: RwLock::new(Some(file)),
            state: RwLock::new(State::new(loaded)),
        });
        let (requests, receiver) = mpsc::channel();
        let writer = {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("store-writer".to_owned())
                .spawn(move || writer::run(&shared, &receiver))
                .map_err(|source| OpenError::Thread { source })?
        };
        Ok(Arc::new(Self { shared, requests: Some(requests), writer: Some(writer) }))
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, WriteError> {
        let stopped = || WriteError::Unavailable { source: "the store's writer has stopped".into() };
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(stopped)?;
        requests.send(request(reply)).map_err(|_unsent| stopped())?;
        answer.await.map_err(|_dropped| stopped())?
    }

    async fn read_past(&self, range: Range, at: Revision) -> Result<Page, ReadError> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || shared.page_at(&range, at))
            .await
            .map_err(|error| ReadError::Unavailable { source: error.into() })?
    }
}

impl Drop for Embedded {
    /// Waits for the writer to finish what it was given, then ends all watches and unlocks the file.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("The store's writer panicked");
        }
        self.shared.state.write().close();
        *self.shared.file.write() = None;
    }
}

#[async_trait]
impl Store for Embedded {
    async fn revision(&self) -> Result<Revision, ReadError> {
        Ok(self.shared.state.read().revision)
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError> {
        Ok(self.shared.state.read().get(key))
    }

    async fn range(&self, range: Range) -> Result<Page, ReadError> {
        let past = {
            let state = self.shared.state.read();
            match range.at {
                Some(at) if at != state.revision => {
                    state.check_readable(at)?;
                    at
                }
                _ => return Ok(state.page(&range)),
            }
        };
        self.read_past(range, past).await
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect) -> Result<Entry, WriteError> {
        // A copy of its own size: the caller's bytes may be a small part of a large buffer, which the index
        // would keep in memory for as long as the object lives.
        let (key, value) = (key.into(), Bytes::copy_from_slice(&value));
        self.ask(|reply| Request::Put { key, value, expect, reply }).await
    }

    async fn delete(&self, key: &str, expect: Revision) -> Result<Revision, WriteError> {
        let key = key.into();
        self.ask(|reply| Request::Delete { key, expect, reply }).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, WatchError> {
        crate::watch::start(self.shared.clone(), self.shared.options.watch_buffer, prefix, after).await
    }

    async fn compact(&self, upto: Revision) -> Result<(), WriteError> {
        self.ask(|reply| Request::Compact { upto, reply }).await
    }
}

/// What the store's users, its writer and its watches share.
struct Shared {
    path: PathBuf,
    options: Options,
    /// `None` after a failed write, until the file could be opened again, and after the end.
    file: RwLock<Option<File>>,
    state: RwLock<State>,
}

impl Shared {
    fn view(&self) -> Result<View, FileError> {
        self.file.read().as_ref().ok_or(FileError::Closed)?.view()
    }

    /// The page as it was: the present, with every change since undone. Of the present, no more is copied than the page
    /// can need: the changes since take away at most as many objects as they are.
    fn page_at(&self, range: &Range, at: Revision) -> Result<Page, ReadError> {
        let (window, current) = {
            let state = self.state.read();
            state.check_readable(at)?;
            let undone = usize::try_from(state.revision.0 - at.0).unwrap_or(usize::MAX);
            let limit = range.limit.map(|limit| limit.saturating_add(undone));
            (state.window(range, limit), state.revision)
        };
        let unavailable = |error: FileError| ReadError::Unavailable { source: error.into() };
        let view = self.view().map_err(unavailable)?;
        // A compaction may have come between the state and the view.
        if at < view.compacted {
            return Err(ReadError::Compacted { asked: at, oldest: view.compacted });
        }
        let changes = view.changes(&range.prefix, at, current).map_err(unavailable)?;
        Ok(past::page(range, at, window, changes))
    }

    /// Called by the writer only.
    fn append(&self, changes: &[Change], compact: Option<Compaction>) -> Result<(), FileError> {
        if self.file.read().is_none() {
            self.reopen()?;
        }
        let outcome = match self.file.read().as_ref() {
            Some(file) => file.append(changes, compact.as_ref()),
            None => Err(FileError::Closed),
        };
        if outcome.is_err() {
            // After a failed write the engine refuses all further ones. Opened again, it is at the last state
            // that is whole on the disk. If even that fails now, the next write tries again.
            *self.file.write() = None;
            if let Err(error) = self.reopen() {
                tracing::debug!(error = %kit::Chain(&error), "The store's file stays closed for now");
            }
        }
        outcome
    }

    fn reopen(&self) -> Result<(), FileError> {
        let file = File::open_existing(&self.path, self.options.cache_bytes)
            .map_err(|source| FileError::Reopen { source: Box::new(source) })?;
        // The failed batch may have reached the disk all the same, but its callers were told that it did not.
        let mut state = self.state.write();
        file.cut(state.revision)?;
        state.compacted = state.compacted.max(file.view()?.compacted);
        *self.file.write() = Some(file);
        Ok(())
    }
}
