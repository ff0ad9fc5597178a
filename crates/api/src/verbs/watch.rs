//! Watches: the changes of selected objects as a stream of events, from a revision or from the present state.
//!
//! ```text
//!   [ADDED of all that is there] [BOOKMARK initial-events-end] change change BOOKMARK change ... ERROR 410
//! ```

mod event;
mod socket;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{Response, StatusCode};
use kinds::kind::Entry;
use kinds::status::Failure;
use rand::Rng;
use store::{Entry as Stored, Range, Revision, WatchError};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::accept::Shape;
use crate::call::Call;
use crate::context::Context;
use crate::feed::{Ended, Seen, Source};
use crate::query::{Query, Selection, must_agree_for_watch};
use crate::registry::store_unavailable;
use crate::{conversion, respond};
use event::EventWriter;
use socket::Wish;

/// How often a watcher that asked for bookmarks learns how far it is.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// A watch without a timeout ends after this time at least, and at most twice that: so watchers spread out.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// How many bytes of the initial events are sent at once.
const OPENING_PART: usize = 64 * 1024;
/// The marker on the bookmark that ends the initial events.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Where a watch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// After this revision.
    After(Revision),
    /// With all that is there, then what changes.
    State,
    /// As `State`, with a bookmark that says when the state was told.
    MarkedState,
    /// With what changes from now on.
    Now,
}

impl Start {
    fn parse(query: &Query) -> Result<Self, Failure> {
        let misread = |failure: Failure| Failure::unreasonable(failure.message());
        let revision = query.revision().map_err(misread)?.unwrap_or(0);
        match query.get("sendInitialEvents") {
            None | Some("") if revision == 0 => Ok(Self::State),
            None | Some("") => Ok(Self::After(Revision(revision))),
            Some("false" | "0") if revision == 0 => Ok(Self::Now),
            Some("false" | "0") => Ok(Self::After(Revision(revision))),
            Some(_) if query.flag("allowWatchBookmarks") => Ok(Self::MarkedState),
            Some(_) => Ok(Self::State),
        }
    }
}

pub(crate) async fn handle(call: &Call) -> Result<Response<Body>, Failure> {
    if call.accept.shape == Shape::MetadataList {
        return Err(Failure::new(406, "NotAcceptable", "a watch has no lists of metadata"));
    }
    must_agree_for_watch(&call.query)?;
    let selection = Selection::parse(&call.path.kind, &call.query)?;
    let start = Start::parse(&call.query)?;
    let timeout = timeout(&call.query)?;
    let socket = Wish::find(call.headers(), call.upgrade())?;
    let writer = EventWriter::new(call, selection)?;
    let mut opening = Opening::default();
    let after = match start {
        Start::After(revision) => revision,
        Start::Now => call.context.registry.revision().await?,
        Start::State | Start::MarkedState => {
            let page =
                call.context.registry.range(Range { prefix: call.path.prefix(), ..Range::default() }).await?;
            call.context.gate.sizes.note(call.path.place(), page.entries.len());
            opening.entries = call.context.registry.served(&call.path.kind, page.entries).await?.into_iter();
            opening.mark = (start == Start::MarkedState).then_some(page.revision);
            page.revision
        }
    };
    let source = call.context.feeds.follow(&call.path.kind.storage_prefix(), after).await;
    let state = match source {
        Ok(source) => State::Live(source),
        Err(WatchError::Compacted { .. } | WatchError::Lagged) => State::Over(Some(Ended::Expired)),
        Err(WatchError::Closed) => State::Over(None),
        Err(error @ WatchError::Unavailable { .. }) => return Err(store_unavailable(&error)),
    };
    let bookmarks = call.query.flag("allowWatchBookmarks").then(bookmark_timer);
    let watcher = Watcher {
        context: Arc::clone(&call.context),
        writer,
        opening,
        state,
        deadline: Instant::now() + timeout,
        bookmarks,
    };
    Ok(match socket {
        Some(socket) => socket.grant(watcher.into_stream()),
        None => {
            let events = watcher.into_stream().map(Ok::<_, Infallible>);
            respond::bytes_of(StatusCode::OK, call.accept.encoding.media_type(), Body::from_stream(events))
        }
    })
}

/// About what the events take, so that they are not copied from one room to the next.
fn room(wake: &Wake) -> usize {
    /// What stands around an object, and its revision.
    const FRAME: usize = 128;
    let Wake::Changes(Ok(changes)) = wake else { return 0 };
    let length = |change: &Arc<Seen>| {
        let [before, after] = change.before_and_after();
        after.or(before).map_or(0, |entry| entry.value.len() + FRAME)
    };
    changes.iter().map(length).sum()
}

fn timeout(query: &Query) -> Result<Duration, Failure> {
    let seconds = query.number("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
    Ok(match seconds.filter(|seconds| *seconds > 0) {
        Some(seconds) => Duration::from_secs(seconds),
        None => SHORTEST_TIMEOUT.mul_f64(rand::rng().random_range(1.0..2.0)),
    })
}

fn bookmark_timer() -> Interval {
    let mut timer = tokio::time::interval_at(Instant::now() + BOOKMARK_PERIOD, BOOKMARK_PERIOD);
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    timer
}

/// What a watcher still has to say.
enum State {
    Live(Source),
    /// Nothing more but, perhaps, why.
    Over(Option<Ended>),
}

struct Watcher {
    context: Arc<Context>,
    writer: EventWriter,
    opening: Opening,
    state: State,
    deadline: Instant,
    bookmarks: Option<Interval>,
}

/// The initial events that are not sent yet.
#[derive(Default)]
struct Opening {
    entries: std::vec::IntoIter<Stored>,
    /// The revision of the bookmark that ends them, if they end with one.
    mark: Option<Revision>,
}

impl Opening {
    /// Writes some of what is left, so that no more than that is held twice, and the watcher reads while more is written.
    fn write(&mut self, writer: &mut EventWriter, out: &mut Vec<u8>) -> Result<(), Failure> {
        while out.len() < OPENING_PART
            && let Some(entry) = self.entries.next()
        {
            writer.added(&entry, out)?;
        }
        if self.entries.len() == 0
            && let Some(revision) = self.mark.take()
        {
            writer.bookmark(revision, Some(INITIAL_EVENTS_END), out)?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.entries.len() == 0 && self.mark.is_none()
    }
}

/// What a watcher woke up for.
enum Wake {
    Changes(Result<Vec<Arc<Seen>>, Ended>),
    Bookmark(Option<Revision>),
    End,
}

impl Watcher {
    fn into_stream(self) -> impl Stream<Item = Bytes> {
        futures::stream::unfold(self, |mut watcher| async move {
            let bytes = watcher.next_bytes().await?;
            Some((bytes, watcher))
        })
    }

    /// The next events as bytes, or the end.
    async fn next_bytes(&mut self) -> Option<Bytes> {
        while !self.opening.is_over() {
            let mut out = Vec::with_capacity(OPENING_PART);
            let written = self.opening.write(&mut self.writer, &mut out);
            self.end_if_failed(written, &mut out);
            if !out.is_empty() {
                return Some(out.into());
            }
        }
        loop {
            let wake = match &mut self.state {
                State::Over(why) => return why.take().and_then(|why| self.last_words(why)),
                State::Live(source) => wake(&self.context, source, &mut self.bookmarks, self.deadline).await,
            };
            let mut out = Vec::with_capacity(room(&wake));
            let written = match self.served(wake).await {
                Ok(wake) => self.write(wake, &mut out),
                Err(failure) => Err(failure),
            };
            self.end_if_failed(written, &mut out);
            if !out.is_empty() {
                return Some(out.into());
            }
        }
    }

    fn end_if_failed(&mut self, written: Result<(), Failure>, out: &mut Vec<u8>) {
        if let Err(failure) = written {
            tracing::error!(%failure, "Cannot write a watch event");
            self.writer.error(&failure, out);
            self.opening = Opening::default();
            self.state = State::Over(None);
        }
    }

    /// The changes in the version that is watched, as it is defined now.
    async fn served(&mut self, wake: Wake) -> Result<Wake, Failure> {
        let Wake::Changes(Ok(changes)) = wake else { return Ok(wake) };
        if self.writer.kind().custom().is_some() {
            let served = self.context.served().await?;
            let Entry { group, version, plural, .. } = **self.writer.kind();
            // What is not served any more is told of as it was last known, up to its end.
            if let Some(kind) = served.find(group, version, plural) {
                self.writer.renew(kind);
            }
        }
        let registry = &self.context.registry;
        Ok(Wake::Changes(Ok(conversion::changes(registry, self.writer.kind(), changes).await?)))
    }

    fn write(&mut self, wake: Wake, out: &mut Vec<u8>) -> Result<(), Failure> {
        match wake {
            Wake::Changes(Ok(changes)) => {
                changes.iter().try_for_each(|change| self.writer.change(change, out))
            }
            Wake::Changes(Err(why)) => {
                self.state = State::Over(Some(why));
                Ok(())
            }
            Wake::Bookmark(Some(revision)) => self.writer.bookmark(revision, None, out),
            Wake::Bookmark(None) => Ok(()),
            Wake::End => {
                self.state = State::Over(None);
                Ok(())
            }
        }
    }

    fn last_words(&self, why: Ended) -> Option<Bytes> {
        let mut out = Vec::new();
        if why == Ended::Expired {
            self.writer.error(&Failure::expired("too old resource version"), &mut out);
        }
        Some(out.into()).filter(|bytes: &Bytes| !bytes.is_empty())
    }
}

async fn wake(
    context: &Context,
    source: &mut Source,
    bookmarks: &mut Option<Interval>,
    deadline: Instant,
) -> Wake {
    let bookmark_due = async {
        match bookmarks {
            Some(timer) => drop(timer.tick().await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = context.shutdown.cancelled() => return Wake::End,
        changes = source.next() => return Wake::Changes(changes),
        () = tokio::time::sleep_until(deadline) => return Wake::End,
        () = bookmark_due => {}
    }
    Wake::Bookmark(source.position())
}
