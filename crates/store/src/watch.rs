//! Watches: history first, then live changes through a bounded buffer. Every implementation of the store has these.
//!
//! ```text
//!   Replay{after} ──chunk by chunk──► caught up: joins under the origin's lock ──► Live ──► Ended
//! ```
//! A watch joins for live changes only once it has read all history, under the very lock that publishes changes: so
//! none is missed, none comes twice, and a long replay fills no buffer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::stream;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::{Change, Revision, Watch, WatchError, WatchEvent};

/// A watch that saw nothing for so many revisions is told where the store is.
const PROGRESS_EVERY: u64 = 100;

/// Where changes come from.
#[async_trait]
pub(crate) trait Origin: Send + Sync + 'static {
    /// Puts `watcher` among those that are told of changes, if all up to now is known to it.
    fn join(&self, watcher: Watcher) -> Result<Joined, WatchError>;

    /// The changes under `prefix` after `after`, in order: up to `upto`, or up to an earlier revision, which is told.
    async fn history(
        &self,
        prefix: &Arc<str>,
        after: Revision,
        upto: Revision,
    ) -> Result<(Vec<Change>, Revision), WatchError>;
}

/// Whether a watcher could join; either way, the revision up to which changes were published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    Live(Revision),
    Behind(Revision),
}

/// All who are told of changes.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Vec<Watcher>);

impl Watchers {
    pub(crate) fn add(&mut self, watcher: Watcher) {
        // Nobody tells when a watch is dropped, and a quiet store has no other moment to notice.
        self.0.retain(Watcher::is_alive);
        self.0.push(watcher);
    }

    /// Tells `changes`, after which the store is at `revision`.
    pub(crate) fn tell(&mut self, changes: &[Change], revision: Revision) {
        self.0.retain_mut(|watcher| watcher.feed(changes, revision));
    }

    /// Ends all watches.
    pub(crate) fn close(&mut self) {
        self.0.clear();
    }

    /// Ends all watches because what they wait for is lost to them.
    pub(crate) fn lose(&mut self) {
        self.0.iter().for_each(|watcher| watcher.has_lagged.store(true, Ordering::Release));
        self.0.clear();
    }
}

/// The feeding end of a watch.
#[derive(Debug)]
pub(crate) struct Watcher {
    prefix: Arc<str>,
    /// The latest revision that this watch was told of.
    told: Revision,
    sender: Sender<WatchEvent>,
    has_lagged: Arc<AtomicBool>,
}

impl Watcher {
    pub(crate) fn told(&self) -> Revision {
        self.told
    }

    /// Passes on what concerns this watch. `false` if it is to be dropped: it is gone or too slow.
    fn feed(&mut self, changes: &[Change], revision: Revision) -> bool {
        for change in changes {
            if change.revision() > self.told && change.key().starts_with(&*self.prefix) {
                if !self.send(WatchEvent::Change(change.clone())) {
                    return false;
                }
                self.told = change.revision();
            }
        }
        if revision.0 >= self.told.0.saturating_add(PROGRESS_EVERY) && self.is_idle() {
            self.told = revision;
            return self.send(WatchEvent::Progress(revision));
        }
        self.is_alive()
    }

    /// Progress is worth no place in a buffer that has other things to deliver.
    fn is_idle(&self) -> bool {
        self.sender.capacity() == self.sender.max_capacity()
    }

    fn send(&self, event: WatchEvent) -> bool {
        match self.sender.try_send(event) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.has_lagged.store(true, Ordering::Release);
                false
            }
        }
    }

    fn is_alive(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// Starts a watch of the changes under `prefix` after `after`, of which `buffer` may wait for the watcher.
pub(crate) async fn start(
    origin: Arc<impl Origin>,
    buffer: usize,
    prefix: &str,
    after: Revision,
) -> Result<Watch, WatchError> {
    let ready = VecDeque::new();
    let mut reader = Reader { origin, buffer, prefix: prefix.into(), ready, phase: Phase::Replay { after } };
    // The first step is made at once, so that a watch that cannot be is refused instead of ended.
    reader.replay(after).await?;
    Ok(Box::pin(stream::unfold(reader, async |mut reader| {
        let item = reader.next().await?;
        Some((item, reader))
    })))
}

/// The reading end of a watch.
struct Reader<O> {
    origin: Arc<O>,
    buffer: usize,
    prefix: Arc<str>,
    ready: VecDeque<WatchEvent>,
    phase: Phase,
}

enum Phase {
    Replay { after: Revision },
    Live { receiver: Receiver<WatchEvent>, has_lagged: Arc<AtomicBool> },
    Ended,
}

impl<O: Origin> Reader<O> {
    async fn next(&mut self) -> Option<Result<WatchEvent, WatchError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            let outcome = match &mut self.phase {
                Phase::Ended => return None,
                Phase::Replay { after } => {
                    let after = *after;
                    self.replay(after).await
                }
                Phase::Live { receiver, has_lagged } => match receiver.recv().await {
                    Some(event) => return Some(Ok(event)),
                    None if has_lagged.load(Ordering::Acquire) => Err(WatchError::Lagged),
                    None => Err(WatchError::Closed),
                },
            };
            if let Err(error) = outcome {
                self.phase = Phase::Ended;
                return Some(Err(error));
            }
        }
    }

    /// Goes live, or reads the next chunk of history if there is any.
    async fn replay(&mut self, after: Revision) -> Result<(), WatchError> {
        let Some(current) = self.try_go_live(after)? else { return Ok(()) };
        let (changes, upto) = self.origin.history(&self.prefix, after, current).await?;
        self.ready.extend(changes.into_iter().map(WatchEvent::Change));
        self.phase = Phase::Replay { after: upto };
        Ok(())
    }

    /// Joins for live changes if all up to now has been read; else tells where the store is.
    fn try_go_live(&mut self, after: Revision) -> Result<Option<Revision>, WatchError> {
        let (sender, receiver) = mpsc::channel(self.buffer.max(1));
        let has_lagged = Arc::new(AtomicBool::new(false));
        let watcher =
            Watcher { prefix: self.prefix.clone(), told: after, sender, has_lagged: has_lagged.clone() };
        match self.origin.join(watcher)? {
            Joined::Behind(current) => Ok(Some(current)),
            Joined::Live(current) => {
                self.ready.push_back(WatchEvent::Progress(current));
                self.phase = Phase::Live { receiver, has_lagged };
                Ok(None)
            }
        }
    }
}
