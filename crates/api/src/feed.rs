//! The watch cache: one feed per resource keeps its latest changes, and every watcher reads from it.
//!
//! ```text
//!   store.watch ──► feed: ring of changes ──► cursor, cursor, cursor (one per watcher)
//! ```
//! A watcher is only a position in the ring: it costs no buffer of its own, and one that falls behind the ring's
//! oldest change is told so (410) instead of growing the memory.

mod ring;
mod seen;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use parking_lot::RwLock;
use store::{ReadError, Revision, Store, Watch, WatchError, WatchEvent};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use ring::Ring;
pub(crate) use seen::Seen;

/// How long a feed waits before it asks a store again that is not available.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// From so many watchers on they are woken together, with a pause in between.
const MANY_WATCHERS: usize = 200;
const WAKE_PAUSE: Duration = Duration::from_millis(10);

/// The feeds of all resources, each started by its first watcher.
#[derive(Debug)]
pub(crate) struct Feeds {
    store: Arc<dyn Store>,
    feeds: tokio::sync::Mutex<HashMap<String, Arc<Feed>>>,
    shutdown: CancellationToken,
}

impl Feeds {
    pub(crate) fn new(store: Arc<dyn Store>, shutdown: CancellationToken) -> Self {
        Self { store, feeds: tokio::sync::Mutex::default(), shutdown }
    }

    /// All changes under `prefix` after `after`.
    pub(crate) async fn follow(&self, prefix: &str, after: Revision) -> Result<Source, WatchError> {
        let feed = self.feed(prefix, after).await?;
        if let Some(cursor) = Cursor::start(&feed, after) {
            return Ok(Source::Feed(cursor));
        }
        // The feed is younger than what the watcher has seen; the store may reach back further.
        Ok(Source::Store(self.store.watch(prefix, after).await?))
    }

    /// The feed of `prefix`, started at `after` if it is not running.
    async fn feed(&self, prefix: &str, after: Revision) -> Result<Arc<Feed>, WatchError> {
        let mut feeds = self.feeds.lock().await;
        if let Some(feed) = feeds.get(prefix) {
            return Ok(Arc::clone(feed));
        }
        // A watcher may ask from a revision to come; the feed starts no later than now, so that it serves all.
        let now = self.store.revision().await.map_err(unavailable)?;
        let start = after.min(now);
        let changes = self.store.watch(prefix, start).await?;
        let feed = Arc::new(Feed { ring: RwLock::new(Ring::new(start)), news: watch::Sender::new(()) });
        let task = Arc::clone(&feed).run(Arc::clone(&self.store), prefix.to_owned(), changes);
        let shutdown = self.shutdown.clone();
        kit::task::spawn("watch feed", async move {
            shutdown.run_until_cancelled(task).await;
        });
        feeds.insert(prefix.to_owned(), Arc::clone(&feed));
        Ok(feed)
    }
}

fn unavailable(error: ReadError) -> WatchError {
    WatchError::Unavailable { source: error.into() }
}

/// The latest changes of one resource.
#[derive(Debug)]
struct Feed {
    ring: RwLock<Ring>,
    news: watch::Sender<()>,
}

impl Feed {
    /// Takes in the store's changes. If the store drops this reader, it goes on where it stopped, or, if that is
    /// compacted by then, from now: cursors that stand before that are told to start again.
    async fn run(self: Arc<Self>, store: Arc<dyn Store>, prefix: String, mut changes: Watch) {
        loop {
            self.drain(changes).await;
            let Some(again) = self.resume(&store, &prefix).await else { break };
            changes = again;
        }
        self.ring.write().close();
        self.news.send_replace(());
    }

    /// Watches again, as soon as the store lets it; `None` if the store has shut down.
    async fn resume(&self, store: &Arc<dyn Store>, prefix: &str) -> Option<Watch> {
        loop {
            let at = self.ring.read().upto();
            match store.watch(prefix, at).await {
                Ok(again) => return Some(again),
                Err(WatchError::Closed) => return None,
                Err(WatchError::Compacted { .. } | WatchError::Lagged) => {
                    if let Ok(now) = store.revision().await {
                        *self.ring.write() = Ring::new(now);
                        self.news.send_replace(());
                        continue;
                    }
                }
                Err(WatchError::Unavailable { .. }) => {}
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Takes in changes until the store ends the watch. All that is there is taken before anyone is woken, and many
    /// watchers are woken rarely: it costs more to wake them than to tell them something.
    async fn drain(&self, mut changes: Watch) {
        while let Some(Ok(event)) = changes.next().await {
            let mut is_news = self.take(event);
            let mut is_over = false;
            while let Some(next) = changes.next().now_or_never() {
                let Some(Ok(event)) = next else {
                    is_over = true;
                    break;
                };
                is_news |= self.take(event);
            }
            if is_news {
                self.news.send_replace(());
            }
            if is_over {
                return;
            }
            if is_news && self.news.receiver_count() > MANY_WATCHERS {
                tokio::time::sleep(WAKE_PAUSE).await;
            }
        }
    }

    /// Whether watchers want to know: a progress only moves the position that bookmarks tell.
    fn take(&self, event: WatchEvent) -> bool {
        match event {
            WatchEvent::Change(change) => {
                self.ring.write().push(Seen::new(change));
                true
            }
            WatchEvent::Progress(revision) => {
                self.ring.write().progress(revision);
                false
            }
        }
    }
}

/// Why a watcher gets no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It fell behind, or asked for what is gone: it must list again.
    Expired,
    /// The server stops.
    Closed,
}

/// Where a watcher's changes come from.
pub(crate) enum Source {
    Feed(Cursor),
    Store(Watch),
}

impl Source {
    /// The next changes; waits for one at least. Nothing is lost if the wait is given up.
    pub(crate) async fn next(&mut self) -> Result<Vec<Arc<Seen>>, Ended> {
        match self {
            Self::Feed(cursor) => cursor.next().await,
            Self::Store(watch) => next_of_store(watch).await,
        }
    }

    /// Everything up to here has been delivered, as far as that is known.
    pub(crate) fn position(&self) -> Option<Revision> {
        match self {
            Self::Feed(cursor) => Some(cursor.position()),
            Self::Store(_) => None,
        }
    }
}

async fn next_of_store(watch: &mut Watch) -> Result<Vec<Arc<Seen>>, Ended> {
    loop {
        return match watch.next().await {
            Some(Ok(WatchEvent::Change(change))) => Ok(vec![Arc::new(Seen::new(change))]),
            Some(Ok(WatchEvent::Progress(_))) => continue,
            Some(Err(WatchError::Closed)) | None => Err(Ended::Closed),
            // The store may not find again where this reader is.
            Some(Err(_lost)) => Err(Ended::Expired),
        };
    }
}

/// A watcher's place in a feed.
pub(crate) struct Cursor {
    feed: Arc<Feed>,
    at: Revision,
    news: watch::Receiver<()>,
}

impl Cursor {
    /// `None` if the feed does not reach back to `after`.
    fn start(feed: &Arc<Feed>, after: Revision) -> Option<Self> {
        let reaches = feed.ring.read().reaches(after);
        reaches.then(|| Self { feed: Arc::clone(feed), at: after, news: feed.news.subscribe() })
    }

    async fn next(&mut self) -> Result<Vec<Arc<Seen>>, Ended> {
        loop {
            self.news.borrow_and_update();
            let changes = self.feed.ring.read().after(self.at)?;
            if let Some(last) = changes.last() {
                self.at = last.revision();
                return Ok(changes);
            }
            if self.news.changed().await.is_err() {
                return Err(Ended::Closed);
            }
        }
    }

    fn position(&self) -> Revision {
        let ring = self.feed.ring.read();
        let caught_up = matches!(ring.after(self.at), Ok(changes) if changes.is_empty());
        if caught_up { self.at.max(ring.upto()) } else { self.at }
    }
}
