//! The one thread that writes: it takes all waiting requests, decides each against the state, makes the changes
//! durable in one transaction, publishes them, and only then answers.
//!
//! ```text
//!   requests ──► decide ──► fsync ──► publish ──► answer
//!                             └─ failed ─► answer all Unavailable; the file is reopened for the next batch
//! ```
//! A transaction costs the same whether it carries one change or fifty. Where writes come in crowds it therefore waits a
//! moment for more of them; one who writes alone never waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Shared;
use super::compaction::Compactor;
use super::file::{Compaction, FileError};
use super::traces::Traces;
use crate::{Change, Entry, Expect, Revision, WriteError};

/// One transaction takes no more than this, to bound the time and memory that it needs.
const BATCH_REQUESTS: usize = 1024;
const BATCH_BYTES: usize = 8 << 20;
/// So many requests in one batch are a crowd.
const CROWD: usize = 4;
/// What follows a crowd begins no sooner than this after it.
const PACE: Duration = Duration::from_millis(2);

pub(super) type Reply<T> = oneshot::Sender<Result<T, WriteError>>;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Request {
    Put { key: Arc<str>, value: Bytes, expect: Expect, reply: Reply<Entry> },
    Delete { key: Arc<str>, expect: Revision, reply: Reply<Revision> },
    Compact { upto: Revision, reply: Reply<()> },
}

impl Request {
    fn bytes(&self) -> usize {
        match self {
            Self::Put { value, .. } => value.len(),
            Self::Delete { .. } | Self::Compact { .. } => 0,
        }
    }
}

/// An answer that waits for the batch to become durable.
enum Answer {
    Put(Reply<Entry>, Result<Entry, WriteError>),
    Delete(Reply<Revision>, Result<Revision, WriteError>),
    Compact(Reply<()>),
}

impl Answer {
    // A caller that no longer waits is no fault: its change stands all the same.
    fn send(self) {
        match self {
            Self::Put(reply, outcome) => _ = reply.send(outcome),
            Self::Delete(reply, outcome) => _ = reply.send(outcome),
            Self::Compact(reply) => _ = reply.send(Ok(())),
        }
    }

    fn refuse(self, error: &Arc<FileError>) {
        let source = Box::new(error.clone());
        let refusal =
            if error.is_full() { WriteError::Full { source } } else { WriteError::Unavailable { source } };
        match self {
            Self::Put(reply, _) => _ = reply.send(Err(refusal)),
            Self::Delete(reply, _) => _ = reply.send(Err(refusal)),
            Self::Compact(reply) => _ = reply.send(Err(refusal)),
        }
    }
}

/// Serves requests until all senders are gone.
pub(super) fn run(shared: &Shared, requests: &Receiver<Request>) {
    let mut compactor = Compactor::new(shared.options.compaction);
    let mut traces = Traces::new(shared.state.read().revision);
    let mut crowded_since = None;
    while let Ok(first) = requests.recv() {
        if let Some(begun) = crowded_since {
            gather(begun);
        }
        let begun = kit::clock::monotonic();
        let mut bytes = first.bytes();
        let mut batch = Batch::new(shared);
        batch.add(first);
        while batch.answers.len() < BATCH_REQUESTS && bytes < BATCH_BYTES {
            let Ok(request) = requests.try_recv() else { break };
            bytes += request.bytes();
            batch.add(request);
        }
        crowded_since = (batch.answers.len() >= CROWD).then_some(begun);
        batch.finish(&mut compactor, &mut traces);
    }
}

/// Lets more requests come, if the batch that began at `begun` was a crowd: the callers that it answered come again.
fn gather(begun: Instant) {
    let left = PACE.saturating_sub(begun.elapsed());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}

/// Changes decided but not yet durable.
struct Batch<'a> {
    shared: &'a Shared,
    /// Objects as they will stand after the batch, where that differs from the state.
    drafts: HashMap<Arc<str>, Option<Entry>>,
    revision: Revision,
    changes: Vec<Change>,
    compact: Option<Revision>,
    answers: Vec<Answer>,
}

impl<'a> Batch<'a> {
    fn new(shared: &'a Shared) -> Self {
        let revision = shared.state.read().revision;
        let (drafts, changes, answers) = (HashMap::new(), Vec::new(), Vec::new());
        Self { shared, drafts, revision, changes, compact: None, answers }
    }

    fn add(&mut self, request: Request) {
        let answer = match request {
            Request::Put { key, value, expect, reply } => Answer::Put(reply, self.put(key, value, expect)),
            Request::Delete { key, expect, reply } => Answer::Delete(reply, self.delete(key, expect)),
            Request::Compact { upto, reply } => {
                self.compact = self.compact.max(Some(upto));
                Answer::Compact(reply)
            }
        };
        self.answers.push(answer);
    }

    fn current(&self, key: &str) -> Option<Entry> {
        match self.drafts.get(key) {
            Some(draft) => draft.clone(),
            None => self.shared.state.read().get(key),
        }
    }

    fn put(&mut self, key: Arc<str>, value: Bytes, expect: Expect) -> Result<Entry, WriteError> {
        let previous = self.current(&key);
        let is_as_expected = match (expect, &previous) {
            (Expect::Absent, None) => true,
            (Expect::At(revision), Some(entry)) => entry.modified == revision,
            (Expect::Absent, Some(_)) | (Expect::At(_), None) => false,
        };
        if !is_as_expected {
            return Err(WriteError::Conflict { key: key.as_ref().to_owned(), current: previous });
        }
        let modified = self.advance();
        let created = previous.as_ref().map_or(modified, |entry| entry.created);
        // The index keeps one text per key for as long as the object lives.
        let key = previous.as_ref().map_or(key, |entry| entry.key.clone());
        let entry = Entry { key: key.clone(), value, created, modified };
        self.drafts.insert(key, Some(entry.clone()));
        self.changes.push(Change::Put { entry: entry.clone(), previous });
        Ok(entry)
    }

    fn delete(&mut self, key: Arc<str>, expect: Revision) -> Result<Revision, WriteError> {
        match self.current(&key) {
            Some(previous) if previous.modified == expect => {
                let revision = self.advance();
                self.drafts.insert(key, None);
                self.changes.push(Change::Delete { revision, previous });
                Ok(revision)
            }
            current => Err(WriteError::Conflict { key: key.as_ref().to_owned(), current }),
        }
    }

    fn advance(&mut self) -> Revision {
        self.revision = Revision(self.revision.0 + 1);
        self.revision
    }

    fn finish(mut self, compactor: &mut Compactor, traces: &mut Traces) {
        match self.commit(compactor, traces) {
            Ok(()) => self.answers.drain(..).for_each(Answer::send),
            Err(error) => {
                tracing::warn!(error = %kit::Chain(&error), "The store cannot write");
                let error = Arc::new(error);
                self.answers.drain(..).for_each(|answer| answer.refuse(&error));
            }
        }
    }

    fn commit(&self, compactor: &mut Compactor, traces: &mut Traces) -> Result<(), FileError> {
        let (revision, compacted) = {
            let state = self.shared.state.read();
            (state.revision, state.compacted)
        };
        // Only what was durable before this batch is compacted: should the batch fail half-way and be cut off,
        // nothing that the compaction built on is lost with it.
        let asked = self.compact.map(|upto| upto.min(revision));
        let due = compactor.due(revision, compacted, kit::clock::monotonic());
        let upto = asked.max(due).filter(|upto| *upto > compacted);
        if self.changes.is_empty() && upto.is_none() {
            return Ok(());
        }
        let superfluous = |upto| traces.between(compacted, upto);
        let compaction =
            upto.map(|upto| Compaction { from: compacted, upto, superfluous: superfluous(upto) });
        self.shared.append(&self.changes, compaction)?;
        traces.add(&self.changes);
        traces.forget(upto.unwrap_or(compacted));
        let mut state = self.shared.state.write();
        state.compacted = upto.unwrap_or(compacted);
        state.publish(&self.changes);
        Ok(())
    }
}
