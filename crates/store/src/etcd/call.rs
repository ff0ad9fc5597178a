//! Calls to etcd with their time limit, and what its answers and refusals mean.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{
    Client, Compare, Error, Event, EventType, GetOptions, GetResponse, KeyValue, KvClient, ResponseHeader,
    Txn, TxnOp, TxnOpResponse, WatchOptions, WatchStream,
};

use super::{PREFIX, ROOT, end_of};
use crate::{Change, Entry, Revision};

/// Enough for all objects of a kind in one answer.
const MAX_ANSWER: usize = i32::MAX as usize;

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("the revision was compacted")]
    Compacted,
    #[error("the revision is in the future")]
    Future,
    #[error("the request is larger than etcd takes (its --max-request-bytes)")]
    TooLarge,
    #[error("etcd has no room (its --quota-backend-bytes)")]
    Full,
    #[error("etcd did not answer within {0:?}")]
    Timeout(Duration),
    #[error("etcd refused the call or cannot be reached")]
    Refused { source: Error },
    #[error("etcd ended the watch: {reason}")]
    Cancelled { reason: String },
    #[error("an answer of etcd lacks what it must have")]
    Malformed,
}

impl From<Error> for CallError {
    fn from(source: Error) -> Self {
        // etcd tells its refusals apart by their text only.
        let said = match &source {
            Error::GRpcStatus(status) => status.message().to_owned(),
            _ => String::new(),
        };
        if said.contains("required revision has been compacted") {
            Self::Compacted
        } else if said.contains("required revision is a future revision") {
            Self::Future
        } else if said.contains("request is too large") || said.contains("larger than max") {
            Self::TooLarge
        } else if said.contains("database space exceeded") {
            Self::Full
        } else {
            Self::Refused { source }
        }
    }
}

/// How a conditional write ended.
pub(super) enum Swapped {
    /// It happened; `before` is the key's entry before, where the write read it, without its value.
    Done { revision: Revision, before: Option<Entry> },
    /// The key is not as expected; this stands there.
    Refused(Option<Entry>),
}

/// The cluster, as something to call.
pub(super) struct Call {
    client: Client,
    timeout: Duration,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Call {
    pub(super) fn new(client: Client, timeout: Duration) -> Self {
        Self { client, timeout }
    }

    fn keys(&self) -> KvClient {
        self.client.kv_client().max_decoding_message_size(MAX_ANSWER)
    }

    /// Waits for `answer`, but not for ever.
    pub(super) async fn wait<T>(
        &self,
        answer: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let waited = tokio::time::timeout(self.timeout, answer).await;
        waited.unwrap_or(Err(CallError::Timeout(self.timeout)))
    }

    async fn within<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, CallError> {
        self.wait(async { Ok(answer.await?) }).await
    }

    pub(super) async fn get(
        &self,
        key: String,
        options: Option<GetOptions>,
    ) -> Result<GetResponse, CallError> {
        self.within(self.keys().get(key, options)).await
    }

    /// Where the cluster is: agreed on by a majority, as for any read here.
    pub(super) async fn revision(&self) -> Result<Revision, CallError> {
        let response = self.get(ROOT.to_owned(), Some(GetOptions::new().with_count_only())).await?;
        Ok(revision_of(response.header()))
    }

    /// Whether history after `at` is all there still.
    pub(super) async fn must_be_kept(&self, at: Revision) -> Result<(), CallError> {
        let options = GetOptions::new().with_count_only().with_revision(number(at));
        self.get(ROOT.to_owned(), Some(options)).await.map(drop)
    }

    /// A key of Crest that is of no format that this version knows.
    pub(super) async fn foreign_format(&self) -> Result<Option<String>, CallError> {
        for (start, end) in [(ROOT.as_bytes().to_vec(), PREFIX.into()), (end_of(PREFIX), end_of(ROOT))] {
            let options = GetOptions::new().with_range(end).with_limit(1).with_keys_only();
            let start = String::from_utf8_lossy(&start).into_owned();
            let response = self.get(start, Some(options)).await?;
            if let Some(found) = response.kvs().first() {
                return Ok(Some(String::from_utf8_lossy(found.key()).into_owned()));
            }
        }
        Ok(None)
    }

    /// If `conditions` hold, does `write`; else tells what stands at `key`.
    pub(super) async fn swap(
        &self,
        key: &str,
        conditions: Vec<Compare>,
        write: impl Into<Vec<TxnOp>>,
    ) -> Result<Swapped, CallError> {
        let txn = Txn::new().when(conditions).and_then(write).or_else([TxnOp::get(key, None)]);
        let response = self.within(self.keys().txn(txn)).await?;
        let found = response.op_responses().into_iter().find_map(|answer| match answer {
            TxnOpResponse::Get(mut found) => found.take_kvs().pop(),
            TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
        });
        let found = found.and_then(entry);
        if response.succeeded() {
            Ok(Swapped::Done { revision: revision_of(response.header()), before: found })
        } else {
            Ok(Swapped::Refused(found))
        }
    }

    pub(super) async fn compact(&self, upto: Revision) -> Result<(), CallError> {
        match self.within(self.keys().compact(number(upto), None)).await {
            // Somebody forgot as much already.
            Ok(_) | Err(CallError::Compacted) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// All that happens after `after`, to whatever key.
    pub(super) async fn follow(&self, after: Revision) -> Result<WatchStream, CallError> {
        let options = WatchOptions::new()
            .with_all_keys()
            .with_start_revision(number(Revision(after.0 + 1)))
            .with_prev_key()
            .with_progress_notify();
        let mut watching = self.client.watch_client().max_decoding_message_size(MAX_ANSWER);
        self.within(watching.watch("", Some(options))).await
    }
}

/// What one message of a watch told: our changes, and up to where it is complete.
pub(super) struct News {
    pub(super) changes: Vec<Change>,
    pub(super) upto: Revision,
}

/// Reads the next message of `stream`, which may be long in coming.
pub(super) async fn news(stream: &mut WatchStream) -> Result<News, CallError> {
    let message = stream.message().await?;
    let Some(message) = message else {
        return Err(CallError::Cancelled { reason: "the stream is over".to_owned() });
    };
    if message.compact_revision() > 0 {
        return Err(CallError::Compacted);
    }
    if message.canceled() {
        return Err(CallError::Cancelled { reason: message.cancel_reason().to_owned() });
    }
    // The answer that a watch was made says where the cluster is, not what was delivered.
    if message.created() {
        return Ok(News { changes: Vec::new(), upto: Revision::default() });
    }
    let Some(last) = message.events().last() else {
        return Ok(News { changes: Vec::new(), upto: revision_of(message.header()) });
    };
    let upto = last.kv().map(|kv| revision(kv.mod_revision())).ok_or(CallError::Malformed)?;
    let mut changes = Vec::with_capacity(message.events().len());
    for event in message.events() {
        changes.extend(change(event)?);
    }
    Ok(News { changes, upto })
}

/// The change of one of our objects; `None` for the keys of others.
fn change(event: &Event) -> Result<Option<Change>, CallError> {
    let kv = event.kv().ok_or(CallError::Malformed)?;
    if !kv.key().starts_with(PREFIX.as_bytes()) {
        return Ok(None);
    }
    let previous = event.prev_kv().cloned().and_then(entry);
    if event.event_type() == EventType::Delete {
        // What stood before is told unless it was compacted in the meantime.
        let previous = previous.ok_or(CallError::Compacted)?;
        return Ok(Some(Change::Delete { revision: revision(kv.mod_revision()), previous }));
    }
    let is_new = kv.create_revision() == kv.mod_revision();
    if !is_new && previous.is_none() {
        return Err(CallError::Compacted);
    }
    Ok(entry(kv.clone()).map(|entry| Change::Put { entry, previous: previous.filter(|_| !is_new) }))
}

/// The entry of one of our objects; `None` for a key that no caller of ours can have written.
pub(super) fn entry(kv: KeyValue) -> Option<Entry> {
    let (created, modified) = (revision(kv.create_revision()), revision(kv.mod_revision()));
    let (key, value) = kv.into_key_value();
    let key = std::str::from_utf8(key.strip_prefix(PREFIX.as_bytes())?).ok()?;
    Some(Entry { key: key.into(), value: Bytes::from(value), created, modified })
}

pub(super) fn revision_of(header: Option<&ResponseHeader>) -> Revision {
    revision(header.map_or(0, ResponseHeader::revision))
}

fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}

pub(super) fn number(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}
