//! 1,000 ConfigMaps created by 16 connections, each durable before it is answered, against the disk's own fsync.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bench::cluster::Cluster;
use bench::summary::Summary;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use serde_json::json;

const OBJECTS: usize = 1000;
const CONNECTIONS: usize = 16;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cluster = Cluster::prepare()?;
    cluster.crest(&["up"])?;
    let next = Arc::new(AtomicUsize::new(0));
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let maps = Api::<ConfigMap>::default_namespaced(cluster.client().await?);
        // The first request opens the connection; that is not what is measured.
        maps.get_opt("warm-up").await?;
        connections.push(create(maps, next.clone()));
    }
    let begun = kit::clock::monotonic();
    let durations = try_join_all(connections).await?;
    let per_second = per_second(OBJECTS, begun.elapsed());
    let summary = Summary::new(durations.into_iter().flatten().collect());
    let fsyncs = fsyncs_per_second(&cluster)?;
    println!("{OBJECTS} ConfigMaps by {CONNECTIONS} connections: {per_second:.0} creates/s, {summary}");
    println!("the disk alone: {fsyncs:.0} fsyncs/s, one after another; ratio {:.2}", per_second / fsyncs);
    Ok(())
}

async fn create(maps: Api<ConfigMap>, next: Arc<AtomicUsize>) -> anyhow::Result<Vec<Duration>> {
    let mut durations = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= OBJECTS {
            return Ok(durations);
        }
        let map: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": format!("map-{number}")},
            "data": {"key": "v".repeat(200)},
        }))?;
        let begun = kit::clock::monotonic();
        maps.create(&PostParams::default(), &map).await?;
        durations.push(begun.elapsed());
    }
}

fn per_second(count: usize, elapsed: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let count = count as f64;
    count / elapsed.as_secs_f64()
}

/// How often the disk under the store can make 4 KiB durable in a second.
fn fsyncs_per_second(cluster: &Cluster) -> anyhow::Result<f64> {
    const WRITES: usize = 200;
    let path = cluster.state_dir().join("fsync-probe");
    let mut file = File::create(&path)?;
    let begun = kit::clock::monotonic();
    for _ in 0..WRITES {
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
    }
    let rate = per_second(WRITES, begun.elapsed());
    std::fs::remove_file(&path)?;
    Ok(rate)
}
