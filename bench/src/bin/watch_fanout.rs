//! 2,000 watchers on Pods, as agents watch them (each those of one node), with 500 changes a second: how long a change
//! takes from the moment its writer sends it to its watchers. Usage: `watch_fanout [FOLDER] [WATCHERS] [SECONDS]`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bench::objects::{create, get, pod, prepare_namespace};
use bench::server::{Server, parent_folder};
use bench::summary::{Summary, millis};
use futures::{AsyncBufReadExt, StreamExt};
use parking_lot::Mutex;
use tokio::task::JoinSet;

const NODES: usize = 1000;
const CHANGES_PER_SECOND: u32 = 500;
const LIMIT_MS: f64 = 100.0;
const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let number = |place, usual: usize| std::env::args().nth(place).map_or(Ok(usual), |text| text.parse());
    let (watchers, seconds) = (number(2, 2000)?, number(3, 20)?);
    let mut server = Server::prepare(&parent_folder())?.context("build crest first")?;
    server.start().await?;
    let client = server.client().await?;
    prepare_namespace(&client).await?;
    create(&client, PODS, (NODES, 64), |number| pod(number, Some(number))).await?;
    let list: serde_json::Value = serde_json::from_slice(&get(&client, &format!("{PODS}?limit=1")).await?)?;
    let revision = list["metadata"]["resourceVersion"].as_str().context("a list has a revision")?.to_owned();
    let start = kit::clock::monotonic();
    let delays = Arc::new(Mutex::new(Vec::new()));
    let mut following = JoinSet::new();
    for watcher in 0..watchers {
        let path = format!(
            "{PODS}?watch=true&resourceVersion={revision}&fieldSelector=spec.nodeName%3Dnode-{}",
            watcher % NODES
        );
        let lines = client.request_stream(http::Request::get(path).body(Vec::new())?).await?.lines();
        following.spawn(follow(lines, start, delays.clone()));
    }
    println!("{watchers} watchers are there after {:.1} s", start.elapsed().as_secs_f64());
    let count = seconds * CHANGES_PER_SECOND as usize;
    change(&client, start, count).await?;
    let expected = count * watchers / NODES;
    let waited = kit::clock::monotonic();
    while delays.lock().len() < expected && waited.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let delays = std::mem::take(&mut *delays.lock());
    println!("{count} changes at {CHANGES_PER_SECOND}/s: {} of {expected} deliveries came", delays.len());
    anyhow::ensure!(delays.len() == expected, "changes were lost or told twice");
    let summary = Summary::new(delays);
    let p99 = millis(summary.percentile(99));
    println!("write sent to delivered: {summary}; p99 against {LIMIT_MS:.0} ms: ratio {:.2}", p99 / LIMIT_MS);
    Ok(())
}

/// Notes how old each change is on arrival. Changes say in an annotation when they were sent.
async fn follow(
    mut lines: impl futures::Stream<Item = std::io::Result<String>> + Unpin,
    start: Instant,
    delays: Arc<Mutex<Vec<Duration>>>,
) {
    while let Some(Ok(line)) = lines.next().await {
        let sent = line.split("\"sent\":\"").nth(1).and_then(|rest| rest.split('"').next()?.parse().ok());
        if let Some(sent) = sent {
            delays.lock().push(start.elapsed().saturating_sub(Duration::from_micros(sent)));
        }
    }
}

/// Open loop: each change is sent when it is due, however the ones before it fare.
async fn change(client: &kube::Client, start: Instant, count: usize) -> anyhow::Result<()> {
    let mut timer = tokio::time::interval(Duration::from_secs(1) / CHANGES_PER_SECOND);
    let mut sending = JoinSet::new();
    for number in 0..count {
        timer.tick().await;
        let (client, path) = (client.clone(), format!("{PODS}/pod-{}", number % NODES));
        sending.spawn(async move {
            let sent = start.elapsed().as_micros();
            let patch = format!("{{\"metadata\":{{\"annotations\":{{\"sent\":\"{sent}\"}}}}}}");
            let request = http::Request::patch(path).header("content-type", "application/merge-patch+json");
            let response = client.send(request.body(patch.into_bytes().into())?).await?;
            anyhow::ensure!(response.status().is_success(), "a change was answered {}", response.status());
            response.into_body().collect_bytes().await?;
            anyhow::Ok(())
        });
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    Ok(())
}
