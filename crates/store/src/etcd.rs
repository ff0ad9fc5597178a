//! The store in an etcd cluster: every server that is given the same cluster serves the same objects.
//!
//! ```text
//!   get, range ──────────────► etcd (linearizable)
//!   put, delete ── Txn: if the key is as expected, write; else read what stands there
//!   one watch of everything ─► hub ─► watches, in revision order
//! ```
//! The hub watches all keys, not only ours: every revision of etcd has an event then, so that the latest event tells
//! exactly how far all watches are, without progress requests, whose answers etcd 3.4 may send too early. So give Crest
//! an etcd of its own. The hub survives the loss of etcd: it goes on where it stopped, and nobody misses a change.

mod call;
mod hub;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, GetOptions, Identity, TlsOptions, TxnOp,
};
use kit::tls::PairPaths;
use tokio::task::JoinHandle;

use self::call::{Call, CallError, number, revision_of};
use self::hub::Hub;
use crate::{Entry, Expect, Page, Range, ReadError, Revision, Store, Watch, WatchError, WriteError};

/// All keys of Crest, whatever their format.
const ROOT: &str = "/crest/";
/// The keys of the format that this version reads and writes: below each stands an object's value, nothing else.
const PREFIX: &str = "/crest/1/";

/// Which etcd, and how to use it.
#[derive(Clone, Debug)]
pub struct Options {
    /// URLs such as `https://10.0.0.1:2379`; one is enough to begin with.
    pub endpoints: Vec<String>,
    /// For `https`; without it the system has no authority to trust, and no connection is made.
    pub tls: Option<Tls>,
    /// The longest that one call may take.
    pub timeout: Duration,
    /// How many events may wait for one watcher before it is dropped as too slow.
    pub watch_buffer: usize,
    /// How long history is kept at least; `None` leaves compaction to others.
    pub keep: Option<Duration>,
}

impl Options {
    pub fn new(endpoints: impl IntoIterator<Item = String>) -> Self {
        Self {
            endpoints: endpoints.into_iter().collect(),
            tls: None,
            timeout: Duration::from_secs(10),
            watch_buffer: 4096,
            keep: Some(Duration::from_secs(300)),
        }
    }
}

/// How the cluster and this client know each other.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The authority that signed the members' certificates, in PEM.
    pub authority: PathBuf,
    /// This client's own certificate, if the cluster asks for one.
    pub pair: Option<PairPaths>,
}

/// Why an etcd cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot read `{path}`")]
    File { path: PathBuf, source: std::io::Error },
    #[error("cannot use etcd at {endpoints}")]
    Options { endpoints: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("cannot reach etcd at {endpoints}")]
    Unreachable { endpoints: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error(
        "etcd at {endpoints} holds a store of another format (key `{key}`), but this version knows `{PREFIX}` only; \
         use the version that wrote it"
    )]
    Format { endpoints: String, key: String },
}

/// A store in etcd.
#[derive(Debug)]
pub struct Etcd {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// How long a compaction waits for the watch of this process.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the store's users, its watches and its tasks share.
#[derive(Debug)]
struct Shared {
    call: Call,
    hub: Hub,
    watch_buffer: usize,
}

impl Etcd {
    /// Connects, and checks that the objects there are of a format that this version knows.
    pub async fn connect(options: Options) -> Result<Arc<Self>, ConnectError> {
        let endpoints = options.endpoints.join(",");
        let client = Client::connect(&options.endpoints, Some(connect_options(&options).await?));
        let client = client.await.map_err(|source| ConnectError::Options {
            endpoints: endpoints.clone(),
            source: source.into(),
        })?;
        let call = Call::new(client, options.timeout);
        let unreachable = |source: CallError| ConnectError::Unreachable {
            endpoints: endpoints.clone(),
            source: source.into(),
        };
        if let Some(key) = call.foreign_format().await.map_err(unreachable)? {
            return Err(ConnectError::Format { endpoints, key });
        }
        let now = call.revision().await.map_err(unreachable)?;
        let shared = Arc::new(Shared { call, hub: Hub::new(now), watch_buffer: options.watch_buffer });
        let mut tasks = vec![kit::task::spawn("etcd watch", hub::follow(Arc::clone(&shared)))];
        if let Some(keep) = options.keep {
            tasks.push(kit::task::spawn("etcd compaction", compact_for_ever(Arc::clone(&shared), keep)));
        }
        Ok(Arc::new(Self { shared, tasks }))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.shared.hub.close();
    }
}

async fn connect_options(options: &Options) -> Result<ConnectOptions, ConnectError> {
    let connect = ConnectOptions::new()
        .with_connect_timeout(options.timeout.min(Duration::from_secs(3)))
        .with_keep_alive(Duration::from_secs(10), Duration::from_secs(5))
        // A member that is cut off from the others must not answer from what it remembers.
        .with_require_leader(true);
    let Some(tls) = &options.tls else { return Ok(connect) };
    let mut config = TlsOptions::new().ca_certificate(Certificate::from_pem(read(&tls.authority).await?));
    if let Some(pair) = &tls.pair {
        config = config.identity(Identity::from_pem(read(&pair.certificate).await?, read(&pair.key).await?));
    }
    Ok(connect.with_tls(config))
}

async fn read(path: &PathBuf) -> Result<Vec<u8>, ConnectError> {
    tokio::fs::read(path).await.map_err(|source| ConnectError::File { path: path.clone(), source })
}

/// Forgets what is older than `keep`. Several servers may do so: the older wish changes nothing.
async fn compact_for_ever(shared: Arc<Shared>, keep: Duration) {
    let mut timer = tokio::time::interval(keep);
    let mut past = None;
    loop {
        timer.tick().await;
        if let Some(past) = past
            && let Err(error) = shared.compact(past).await
        {
            tracing::warn!(error = %kit::Chain(&error), "Cannot compact etcd's history");
        }
        past = shared.call.revision().await.ok();
    }
}

impl Shared {
    async fn compact(&self, upto: Revision) -> Result<(), CallError> {
        let upto = upto.min(self.call.revision().await?);
        // What our own watches have yet to hear is not forgotten under their feet. Others may have written the last
        // revisions, of which nothing is told, so nobody waits for ever.
        let _too_far_behind = tokio::time::timeout(PATIENCE, self.hub.has_told(upto)).await;
        self.call.compact(upto).await?;
        self.hub.compacted(upto);
        Ok(())
    }
}

fn full(key: &str) -> String {
    format!("{PREFIX}{key}")
}

/// The first key after all that begin with `prefix`. Ours end in ASCII before anything that a caller adds.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

fn unreadable(error: CallError) -> ReadError {
    ReadError::Unavailable { source: error.into() }
}

fn unwritable(key: &str, error: CallError) -> WriteError {
    match error {
        CallError::TooLarge => WriteError::TooLarge { key: key.to_owned() },
        error @ CallError::Full => WriteError::Full { source: error.into() },
        error => WriteError::Unavailable { source: error.into() },
    }
}

#[async_trait]
impl Store for Etcd {
    async fn revision(&self) -> Result<Revision, ReadError> {
        self.shared.call.revision().await.map_err(unreadable)
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError> {
        let mut response = self.shared.call.get(full(key), None).await.map_err(unreadable)?;
        Ok(response.take_kvs().pop().and_then(call::entry))
    }

    async fn range(&self, range: Range) -> Result<Page, ReadError> {
        let start = match &range.after {
            // The least key that is greater.
            Some(after) if after.as_str() >= range.prefix.as_str() => format!("{}\0", full(after)),
            _ => full(&range.prefix),
        };
        let mut options = GetOptions::new().with_range(end_of(&full(&range.prefix)));
        options = match range.limit {
            Some(0) => options.with_count_only(),
            Some(limit) => options.with_limit(i64::try_from(limit).unwrap_or(i64::MAX)),
            None => options,
        };
        if let Some(at) = range.at {
            options = options.with_revision(number(at));
        }
        if start.as_bytes() >= end_of(&full(&range.prefix)).as_slice() {
            let revision = self.shared.call.revision().await.map_err(unreadable)?;
            return Ok(Page { entries: Vec::new(), revision: range.at.unwrap_or(revision), remaining: 0 });
        }
        let mut response = match self.shared.call.get(start, Some(options)).await {
            Ok(response) => response,
            Err(error) => return Err(self.not_readable(range.at, error).await),
        };
        let revision = range.at.unwrap_or_else(|| revision_of(response.header()));
        let total = usize::try_from(response.count()).unwrap_or(0);
        let entries: Vec<Entry> = response.take_kvs().into_iter().filter_map(call::entry).collect();
        let remaining = total.saturating_sub(entries.len());
        Ok(Page { entries, revision, remaining })
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect) -> Result<Entry, WriteError> {
        let full = full(key);
        let read = GetOptions::new().with_keys_only();
        let write = [TxnOp::get(full.as_str(), Some(read)), TxnOp::put(full.as_str(), value.to_vec(), None)];
        let done = self.shared.call.swap(&full, conditions(&full, expect), write).await;
        match done.map_err(|error| unwritable(key, error))? {
            call::Swapped::Done { revision, before } => {
                let created = before.map_or(revision, |before| before.created);
                Ok(Entry { key: key.into(), value, created, modified: revision })
            }
            call::Swapped::Refused(current) => Err(WriteError::Conflict { key: key.to_owned(), current }),
        }
    }

    async fn delete(&self, key: &str, expect: Revision) -> Result<Revision, WriteError> {
        let full = full(key);
        let conditions = conditions(&full, Expect::At(expect));
        let done = self.shared.call.swap(&full, conditions, [TxnOp::delete(full.as_str(), None)]).await;
        match done.map_err(|error| unwritable(key, error))? {
            call::Swapped::Done { revision, .. } => Ok(revision),
            call::Swapped::Refused(current) => Err(WriteError::Conflict { key: key.to_owned(), current }),
        }
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, WatchError> {
        let buffer = self.shared.watch_buffer;
        crate::watch::start(Arc::clone(&self.shared), buffer, prefix, after).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn compact(&self, upto: Revision) -> Result<(), WriteError> {
        self.shared.compact(upto).await.map_err(|error| unwritable("", error))
    }
}

impl Etcd {
    /// Why a range could not be read, in the words of the trait.
    async fn not_readable(&self, at: Option<Revision>, error: CallError) -> ReadError {
        let asked = at.unwrap_or_default();
        match error {
            CallError::Compacted => ReadError::Compacted { asked, oldest: self.shared.hub.oldest() },
            CallError::Future => match self.revision().await {
                Ok(current) => ReadError::Future { asked, current },
                Err(error) => error,
            },
            error => unreadable(error),
        }
    }
}

/// Revision 0 is that of a key that is not there, so being there is a condition of its own.
fn conditions(key: &str, expect: Expect) -> Vec<Compare> {
    match expect {
        Expect::Absent => vec![Compare::create_revision(key, CompareOp::Equal, 0)],
        Expect::At(revision) => vec![
            Compare::mod_revision(key, CompareOp::Equal, number(revision)),
            Compare::create_revision(key, CompareOp::Greater, 0),
        ],
    }
}
