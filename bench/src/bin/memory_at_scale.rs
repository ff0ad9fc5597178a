//! What the server holds in memory with 1,000 nodes and 10,000 Pods, and how fast it starts with them. Usage:
//! `memory_at_scale [FOLDER]`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use anyhow::Context;
use bench::objects::{create, get, node, pod, prepare_namespace};
use bench::server::{Server, parent_folder, resident_mib};
use bench::summary::{Summary, millis};

const NODES: usize = 1000;
const PODS: usize = 10_000;
const STARTS: usize = 5;
/// kube-apiserver and etcd with the same objects: resident MB.
const PEER_MB: f64 = 786.0 + 101.0;
const START_LIMIT_MS: f64 = 2000.0;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut server = Server::prepare(&parent_folder())?.context("build crest first")?;
    server.start().await?;
    let client = server.client().await?;
    prepare_namespace(&client).await?;
    create(&client, "/api/v1/nodes", (NODES, 64), node).await?;
    create(&client, "/api/v1/namespaces/default/pods", (PODS, 64), |number| {
        pod(number, Some(number % NODES))
    })
    .await?;
    report("after creating them", &server)?;
    get(&client, "/api/v1/pods").await?;
    report("after a LIST of all Pods", &server)?;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        server.kill()?;
        starts.push(server.start().await?);
    }
    get(&server.client().await?, "/api/v1/pods").await?;
    report("after a start and a LIST", &server)?;
    let start = millis(Summary::new(starts).percentile(50));
    println!(
        "cold start with that state: median {start:.0} ms of {STARTS}, ratio {:.2} of 2 s",
        start / START_LIMIT_MS
    );
    Ok(())
}

fn report(when: &str, server: &Server) -> anyhow::Result<()> {
    let megabytes = resident_mib(server.pid()?)? * 1.048_576;
    println!(
        "{when}: {megabytes:.0} MB resident, ratio {:.2} of kube-apiserver and etcd (aim 0.25)",
        megabytes / PEER_MB
    );
    Ok(())
}
