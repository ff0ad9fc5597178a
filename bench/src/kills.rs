//! kill -9 under load: writers count up, a watcher follows, the server dies at random and comes back.
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
use tokio::sync::watch;

use crate::server::Server;

const WRITERS: usize = 8;
/// Between two kills the server works for so long, in milliseconds.
const LIVES: std::ops::Range<u64> = 20..300;
const PAUSE: Duration = Duration::from_millis(5);

/// What happened in a run in which nothing was lost.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub acknowledged: u64,
    pub watched: u64,
}

/// Kills the server so many times, then compares what was acknowledged, what is there and what was watched. `None` if
/// the `crest` binary is not built.
pub async fn run(parent: &Path, kills: usize) -> anyhow::Result<Option<Outcome>> {
    let Some(mut server) = Server::prepare(parent)? else { return Ok(None) };
    server.start().await?;
    let maps = Api::<ConfigMap>::default_namespaced(server.client().await?);
    let revision = maps
        .list(&ListParams::default())
        .await?
        .metadata
        .resource_version
        .context("a list has a revision")?;
    let (stop, stopped) = watch::channel(false);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let writing = write(maps.clone(), writer, acknowledged.clone(), stopped.clone());
            tokio::task::JoinSet::from_iter([writing])
        })
        .collect();
    let (wanted, expected) = watch::channel(None);
    let mut watcher = tokio::task::JoinSet::from_iter([follow(maps.clone(), revision, expected)]);
    for _ in 0..kills {
        let life = rand::rng().random_range(LIVES);
        tokio::time::sleep(Duration::from_millis(life)).await;
        server.kill()?;
        server.start().await?;
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
    Ok(Some(Outcome { acknowledged: acknowledged.load(Ordering::Relaxed), watched }))
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
    maps: Api<ConfigMap>,
    writer: usize,
    acknowledged: Arc<AtomicU64>,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<(String, u64)> {
    let name = format!("counter-{writer}");
    let (mut number, mut version) = (0, None);
    while !*stopped.borrow() || version.is_none() {
        let next = numbered(&name, number + 1, version.clone())?;
        let params = PostParams::default();
        let written = match &version {
            None => maps.create(&params, &next).await,
            Some(_) => maps.replace(&name, &params, &next).await,
        };
        match written {
            Ok(map) => {
                number += 1;
                version = map.resource_version();
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            // Whether it happened can be seen; nothing else may have.
            Err(_) => {
                let found = find(&maps, &name).await;
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
    let there = find(&maps, &name).await.as_ref().map(number_of).transpose()?;
    anyhow::ensure!(there == Some(number), "{name}: {number} was acknowledged, then {there:?} was there");
    Ok((name, number))
}

/// Asks until the server answers.
async fn find(maps: &Api<ConfigMap>, name: &str) -> Option<ConfigMap> {
    loop {
        match maps.get_opt(name).await {
            Ok(found) => return found,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Follows all objects from `version` until each has reached what is expected; tells how many changes it saw.
async fn follow(
    maps: Api<ConfigMap>,
    mut version: String,
    mut expected: watch::Receiver<Option<BTreeMap<String, u64>>>,
) -> anyhow::Result<u64> {
    let mut seen = BTreeMap::<String, u64>::new();
    loop {
        let Ok(changes) = maps.watch(&WatchParams::default(), &version).await else {
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
