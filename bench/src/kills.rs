//! kill -9 under load: writers count up, a watcher follows, a server dies at random and comes back. It is the only one,
//! on a store of its own, or one of several on one etcd, whose clients go on at the others meanwhile.
//!
//! ```text
//!   writer: n ── PUT n+1 ──► acknowledged: n+1 must be there for ever
//!                    └─ no answer ─► n or n+1 is there, nothing else
//!   watcher: of each object n, n+1, n+2 ...: a number left out is a gap, one that comes again a duplicate
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams, WatchEvent, WatchParams};
use rand::Rng;
use serde_json::json;
use store::conformance::EtcdServer;
use tokio::sync::watch;

use crate::server::Server;

const WRITERS: usize = 8;
/// Between two kills the server works for so long, in milliseconds.
const LIVES: std::ops::Range<u64> = 20..300;
const PAUSE: Duration = Duration::from_millis(5);
/// Once a request was never answered, and why is not known: its client had no connection open, and no server knew of
/// it. Whoever has no answer by then looks what became of it, as after any failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// What happened in a run in which nothing was lost.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub acknowledged: u64,
    pub watched: u64,
}

/// Kills a server with a store of its own so many times, then compares what was acknowledged, what is there and what
/// was watched. `None` if the `crest` binary is not built.
pub async fn run(parent: &Path, kills: usize) -> anyhow::Result<Option<Outcome>> {
    match Server::prepare(parent)? {
        Some(server) => run_with(vec![server], kills).await.map(Some),
        None => Ok(None),
    }
}

/// The same with so many servers on one etcd, of which one after the other dies. `None` also if there is no etcd.
pub async fn run_on_etcd(parent: &Path, count: usize, kills: usize) -> anyhow::Result<Option<Outcome>> {
    let folder = tempfile::tempdir_in(parent)?;
    let Some(etcd) = EtcdServer::start(&folder.path().join("etcd"))? else { return Ok(None) };
    let store = format!("etcd={}", etcd.url());
    let pki = folder.path().join("pki");
    let options = ["--store", &store, "--pki-dir", &pki.to_string_lossy()];
    let mut servers = Vec::new();
    for _ in 0..count {
        let Some(server) = Server::prepare(parent)? else { return Ok(None) };
        servers.push(server.with_options(&options));
    }
    run_with(servers, kills).await.map(Some)
}

async fn run_with(mut servers: Vec<Server>, kills: usize) -> anyhow::Result<Outcome> {
    let mut clients = Vec::new();
    for server in &mut servers {
        server.start().await?;
        clients.push(Api::<ConfigMap>::default_namespaced(server.client().await?));
    }
    let maps = Doors { clients, at: 0 };
    let revision = maps
        .api()
        .list(&ListParams::default())
        .await?
        .metadata
        .resource_version
        .context("a list has a revision")?;
    let (stop, stopped) = watch::channel(false);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let writing = write(maps.starting_at(writer), writer, acknowledged.clone(), stopped.clone());
            tokio::task::JoinSet::from_iter([writing])
        })
        .collect();
    let (wanted, expected) = watch::channel(None);
    let mut watcher = tokio::task::JoinSet::from_iter([follow(maps.clone(), revision, expected)]);
    for _ in 0..kills {
        let life = rand::rng().random_range(LIVES);
        tokio::time::sleep(Duration::from_millis(life)).await;
        let victim = rand::rng().random_range(0..servers.len());
        servers[victim].kill()?;
        servers[victim].start().await?;
    }
    stop.send_replace(true);
    let mut last = BTreeMap::new();
    for mut writer in writers {
        let (name, number) = writer.join_next().await.context("a writer")???;
        last.insert(name, number);
    }
    wanted.send_replace(Some(last));
    let watched = tokio::time::timeout(Duration::from_secs(60), watcher.join_next());
    let watched = watched.await.context("the watch never saw the last writes")?.context("a watcher")???;
    Ok(Outcome { acknowledged: acknowledged.load(Ordering::Relaxed), watched })
}

/// The servers as their client sees them: it stays with one until that fails.
#[derive(Clone)]
struct Doors {
    clients: Vec<Api<ConfigMap>>,
    at: usize,
}

impl Doors {
    fn starting_at(&self, at: usize) -> Self {
        Self { clients: self.clients.clone(), at }
    }

    fn api(&self) -> &Api<ConfigMap> {
        &self.clients[self.at % self.clients.len()]
    }

    /// Goes to the next one.
    fn leave(&mut self) {
        self.at += 1;
    }

    /// Asks until a server answers.
    async fn find(&mut self, name: &str) -> Option<ConfigMap> {
        loop {
            match tokio::time::timeout(PATIENCE, self.api().get_opt(name)).await {
                Ok(Ok(found)) => return found,
                Ok(Err(_)) | Err(_) => {
                    self.leave();
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn number_of(map: &ConfigMap) -> anyhow::Result<u64> {
    let data = map.data.as_ref().and_then(|data| data.get("n")).context("an object without its number")?;
    Ok(data.parse()?)
}

fn numbered(name: &str, number: u64, version: Option<String>) -> anyhow::Result<ConfigMap> {
    Ok(serde_json::from_value(json!({"metadata": {"name": name, "resourceVersion": version},
        "data": {"n": number.to_string()}}))?)
}

/// Counts an object up until told to stop; tells its last number.
async fn write(
    mut maps: Doors,
    writer: usize,
    acknowledged: Arc<AtomicU64>,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<(String, u64)> {
    let name = format!("counter-{writer}");
    let (mut number, mut version) = (0, None);
    while !*stopped.borrow() || version.is_none() {
        let next = numbered(&name, number + 1, version.clone())?;
        let params = PostParams::default();
        let written = async {
            match &version {
                None => maps.api().create(&params, &next).await,
                Some(_) => maps.api().replace(&name, &params, &next).await,
            }
        };
        match tokio::time::timeout(PATIENCE, written).await {
            Ok(Ok(map)) => {
                number += 1;
                version = map.resource_version();
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            // Whether it happened can be seen; nothing else may have.
            Ok(Err(_)) | Err(_) => {
                maps.leave();
                let found = maps.find(&name).await;
                let there = found.as_ref().map(number_of).transpose()?.unwrap_or(0);
                anyhow::ensure!(
                    there == number || there == number + 1,
                    "{name}: {number} was acknowledged, then {there} was there"
                );
                number = there;
                version = found.and_then(|map| map.resource_version());
            }
        }
    }
    let there = maps.find(&name).await.as_ref().map(number_of).transpose()?;
    anyhow::ensure!(there == Some(number), "{name}: {number} was acknowledged, then {there:?} was there");
    Ok((name, number))
}

/// Follows all objects from `version` until each has reached what is expected; tells how many changes it saw.
async fn follow(
    mut maps: Doors,
    mut version: String,
    mut expected: watch::Receiver<Option<BTreeMap<String, u64>>>,
) -> anyhow::Result<u64> {
    let mut seen = BTreeMap::<String, u64>::new();
    loop {
        let Ok(changes) = maps.api().watch(&WatchParams::default(), &version).await else {
            maps.leave();
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let mut changes = changes.boxed();
        loop {
            if expected.borrow_and_update().as_ref().is_some_and(|expected| *expected == seen) {
                return Ok(seen.values().sum());
            }
            let change = tokio::select! {
                change = changes.try_next() => change,
                _told = expected.changed() => continue,
            };
            match change {
                Ok(Some(WatchEvent::Added(map) | WatchEvent::Modified(map))) => {
                    let (name, number) = (map.name_any(), number_of(&map)?);
                    let before = seen.insert(name.clone(), number).unwrap_or(0);
                    anyhow::ensure!(number == before + 1, "{name}: the watch told {before}, then {number}");
                    version = map.resource_version().context("a change has a version")?;
                }
                Ok(Some(WatchEvent::Bookmark(mark))) => version = mark.metadata.resource_version,
                Ok(Some(WatchEvent::Deleted(map))) => anyhow::bail!("{} was deleted", map.name_any()),
                Ok(Some(WatchEvent::Error(status))) => anyhow::bail!("the watch was refused: {status:?}"),
                // The server died.
                Ok(None) | Err(_) => break,
            }
        }
    }
}
