//! From the creation of a Pod, by an outside client, to its containers running, with the image on the host.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::time::Duration;

use anyhow::Context;
use bench::cluster::Cluster;
use bench::summary::{Summary, millis};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;

const PODS: usize = 50;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cluster = Cluster::prepare()?;
    cluster.crest(&["up"])?;
    cluster.with_busybox()?;
    let pods = Api::<Pod>::default_namespaced(cluster.client().await?);
    let mut durations = Vec::new();
    for number in 0..PODS {
        durations.push(start_one(&pods, number).await?);
    }
    let summary = Summary::new(durations);
    println!("pod create to running: {summary}");
    for (percent, limit) in [(50, 400.0), (99, 1500.0)] {
        let ratio = millis(summary.percentile(percent)) / limit;
        println!("  p{percent} against its limit of {limit:.0} ms: ratio {ratio:.2}");
    }
    Ok(())
}

async fn start_one(pods: &Api<Pod>, number: usize) -> anyhow::Result<Duration> {
    let name = format!("pod-{number}");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "c", "image": "bench:busybox", "command": ["sleep", "1000"],
            "resources": {"requests": {"cpu": "1m"}},
        }]},
    }))?;
    let begun = kit::clock::monotonic();
    let created = pods.create(&PostParams::default(), &pod).await?;
    let version = created.metadata.resource_version.context("a created Pod has a version")?;
    let only = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut changes = pods.watch(&only, &version).await?.boxed();
    while let Some(change) = changes.try_next().await? {
        if let WatchEvent::Modified(pod) = change
            && pod.status.and_then(|status| status.phase).as_deref() == Some("Running")
        {
            let took = begun.elapsed();
            pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
            return Ok(took);
        }
    }
    anyhow::bail!("the watch on {name} ended before it ran")
}
