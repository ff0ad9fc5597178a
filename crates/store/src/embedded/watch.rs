//! Watches: history out of the file first, then live changes through a bounded buffer.
//!
//! ```text
//!   Replay{after} ──chunk by chunk──► caught up: registered under the state's lock ──► Live ──► Ended
//! ```
//! A watch is registered for live changes only once it has read all history, under the very lock that
//! publishes changes: so none is missed, none comes twice, and a long replay fills no buffer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::Shared;
use crate::{Change, Revision, Watch, WatchError, WatchEvent};

/// How many revisions of history are read at once.
const CHUNK: u64 = 512;
/// A watch that saw nothing for so many revisions is told where the store is.
const PROGRESS_EVERY: u64 = 100;

/// The feeding end of a watch, held by the state.
#[derive(Debug)]
pub(super) struct Watcher {
    prefix: Arc<str>,
    /// The latest revision that this watch was told of.
    told: Revision,
    sender: Sender<WatchEvent>,
    has_lagged: Arc<AtomicBool>,
}

impl Watcher {
    /// Passes on what concerns this watch. `false` if it is to be dropped: it is gone or too slow.
    pub(super) fn feed(&mut self, changes: &[Change], revision: Revision) -> bool {
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

    pub(super) fn is_alive(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// Starts a watch of the changes under `prefix` after `after`.
pub(super) fn start(shared: Arc<Shared>, prefix: &str, after: Revision) -> Result<Watch, WatchError> {
    let mut reader =
        Reader { shared, prefix: prefix.into(), ready: VecDeque::new(), phase: Phase::Replay { after } };
    // A watch from now on needs no history: registering it here spares the reader a detour.
    _ = reader.try_go_live(after)?;
    Ok(Box::pin(stream::unfold(reader, async |mut reader| {
        let item = reader.next().await?;
        Some((item, reader))
    })))
}

/// The reading end of a watch.
struct Reader {
    shared: Arc<Shared>,
    prefix: Arc<str>,
    ready: VecDeque<WatchEvent>,
    phase: Phase,
}

enum Phase {
    Replay { after: Revision },
    Live { receiver: Receiver<WatchEvent>, has_lagged: Arc<AtomicBool> },
    Ended,
}

impl Reader {
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

    /// Reads the next chunk of history, or goes live if there is none left.
    async fn replay(&mut self, after: Revision) -> Result<(), WatchError> {
        let Some(current) = self.try_go_live(after)? else { return Ok(()) };
        let upto = current.min(Revision(after.0 + CHUNK));
        let (shared, prefix) = (self.shared.clone(), self.prefix.clone());
        let changes = tokio::task::spawn_blocking(move || {
            let view = shared.view().map_err(|_unreadable| WatchError::Closed)?;
            if after < view.compacted {
                return Err(WatchError::Compacted { asked: after, oldest: view.compacted });
            }
            view.changes(&prefix, after, upto).map_err(|error| {
                tracing::error!(error = %kit::Chain(&error), "Cannot read the store's history for a watch");
                WatchError::Closed
            })
        });
        let changes = changes.await.map_err(|_runtime_ended| WatchError::Closed)??;
        self.ready.extend(changes.into_iter().map(WatchEvent::Change));
        self.phase = Phase::Replay { after: upto };
        Ok(())
    }

    /// Registers for live changes if all up to now has been read; else tells where the store is.
    fn try_go_live(&mut self, after: Revision) -> Result<Option<Revision>, WatchError> {
        let mut state = self.shared.state.write();
        if state.is_closed {
            return Err(WatchError::Closed);
        }
        if after < state.compacted {
            return Err(WatchError::Compacted { asked: after, oldest: state.compacted });
        }
        let current = state.revision;
        if after < current {
            return Ok(Some(current));
        }
        let (sender, receiver) = mpsc::channel(self.shared.options.watch_buffer.max(1));
        let has_lagged = Arc::new(AtomicBool::new(false));
        let (prefix, told) = (self.prefix.clone(), after);
        state.register(Watcher { prefix, told, sender, has_lagged: has_lagged.clone() });
        self.ready.push_back(WatchEvent::Progress(current));
        self.phase = Phase::Live { receiver, has_lagged };
        Ok(None)
    }
}
