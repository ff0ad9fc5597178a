//! One watch of etcd for all watches of this process.
//!
//! ```text
//!   etcd ── events ──► hub{upto} ──► watchers
//!     └─ away ─► again from `upto` ─── compacted by then ─► all watchers are told that they lost it
//! ```

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Shared;
use super::call::{self, CallError};
use crate::watch::{Joined, Origin, Watcher, Watchers};
use crate::{Change, Revision, WatchError};

/// A watch that reads history goes on after so many revisions, to bound what it holds.
const CHUNK: u64 = 4096;
/// How long to wait for etcd to come back, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// How far the process has heard, and who listens.
#[derive(Debug)]
pub(super) struct Hub {
    state: Mutex<State>,
    /// Something was told.
    told: Notify,
}

#[derive(Debug)]
struct State {
    /// All changes up to here were told.
    upto: Revision,
    /// The latest compaction that this process knows of; others may have compacted more.
    compacted: Revision,
    watchers: Watchers,
    is_closed: bool,
}

impl Hub {
    pub(super) fn new(upto: Revision) -> Self {
        let (compacted, watchers) = (Revision::default(), Watchers::default());
        let state = State { upto, compacted, watchers, is_closed: false };
        Self { state: Mutex::new(state), told: Notify::new() }
    }

    pub(super) fn oldest(&self) -> Revision {
        self.state.lock().compacted
    }

    pub(super) fn compacted(&self, upto: Revision) {
        let mut state = self.state.lock();
        state.compacted = state.compacted.max(upto);
    }

    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.watchers.close();
    }

    fn upto(&self) -> Revision {
        self.state.lock().upto
    }

    /// Waits until all changes up to `revision` were told.
    pub(super) async fn has_told(&self, revision: Revision) {
        loop {
            let mut told = std::pin::pin!(self.told.notified());
            // From here on nothing is missed.
            told.as_mut().enable();
            if self.upto() >= revision {
                return;
            }
            told.await;
        }
    }

    fn tell(&self, news: &call::News) {
        let mut state = self.state.lock();
        let upto = state.upto.max(news.upto);
        state.upto = upto;
        state.watchers.tell(&news.changes, upto);
        drop(state);
        self.told.notify_waiters();
    }

    /// The changes up to `now` are lost for this process.
    fn lose(&self, now: Revision) {
        let mut state = self.state.lock();
        state.upto = now;
        state.compacted = state.compacted.max(now);
        state.watchers.lose();
    }
}

/// Follows etcd for as long as the store is open.
pub(super) async fn follow(shared: Arc<Shared>) {
    let mut pause = PAUSES[0];
    loop {
        let before = shared.hub.upto();
        let error = follow_once(&shared).await;
        tracing::warn!(error = %kit::Chain(&error), "The watch of etcd broke off; it goes on as soon as possible");
        if matches!(error, CallError::Compacted)
            && let Ok(now) = shared.call.revision().await
        {
            shared.hub.lose(now);
        }
        pause = if shared.hub.upto() > before { PAUSES[0] } else { (pause * 2).min(PAUSES[1]) };
        tokio::time::sleep(pause).await;
    }
}

/// Follows until the connection breaks; tells why.
async fn follow_once(shared: &Shared) -> CallError {
    let after = shared.hub.upto();
    let mut stream = match shared.call.follow(after).await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    // A compaction exactly at the next revision would hide a deletion without a word from etcd.
    if let Err(error) = shared.call.must_be_kept(after).await {
        return error;
    }
    loop {
        match call::news(&mut stream).await {
            Ok(news) => shared.hub.tell(&news),
            Err(error) => return error,
        }
    }
}

#[async_trait]
impl Origin for Shared {
    fn join(&self, watcher: Watcher) -> Result<Joined, WatchError> {
        let mut state = self.hub.state.lock();
        let after = watcher.told();
        if state.is_closed {
            return Err(WatchError::Closed);
        }
        if after < state.compacted {
            return Err(WatchError::Compacted { asked: after, oldest: state.compacted });
        }
        let current = state.upto;
        if after < current {
            return Ok(Joined::Behind(current));
        }
        state.watchers.add(watcher);
        Ok(Joined::Live(current))
    }

    async fn history(
        &self,
        prefix: &Arc<str>,
        after: Revision,
        upto: Revision,
    ) -> Result<(Vec<Change>, Revision), WatchError> {
        let enough = upto.min(Revision(after.0 + CHUNK));
        self.read_history(prefix, after, enough).await.map_err(|error| match error {
            CallError::Compacted => WatchError::Compacted { asked: after, oldest: self.hub.oldest() },
            error => WatchError::Unavailable { source: error.into() },
        })
    }
}

impl Shared {
    /// The changes after `after`, up to `enough` at least.
    async fn read_history(
        &self,
        prefix: &str,
        after: Revision,
        enough: Revision,
    ) -> Result<(Vec<Change>, Revision), CallError> {
        let mut stream = self.call.follow(after).await?;
        let mut changes = Vec::new();
        let mut upto = after;
        while upto < enough {
            let waited = self.call.wait(call::news(&mut stream)).await;
            let news = waited?;
            upto = upto.max(news.upto);
            changes.extend(news.changes.into_iter().filter(|change| change.key().starts_with(prefix)));
        }
        self.call.must_be_kept(after).await?;
        Ok((changes, upto))
    }
}
