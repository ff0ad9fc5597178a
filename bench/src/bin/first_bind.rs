//! From the start of the process to the first binding, with 5,000 nodes and as many Pods as ten each: the server comes
//! back after a crash and finds a Pod waiting. Usage: `first_bind [FOLDER] [NODES]`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::time::Duration;

use anyhow::Context;
use bench::objects::{create, get, node, pod, prepare_namespace};
use bench::server::{Server, parent_folder};
use bench::summary::{Summary, millis};

const PODS_PER_NODE: usize = 10;
const STARTS: usize = 5;
const LIMIT_MS: f64 = 2000.0;
const PATIENCE: Duration = Duration::from_secs(60);
const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let nodes = std::env::args().nth(2).map_or(Ok(5000), |text| text.parse())?;
    let mut server = Server::prepare(&parent_folder())?.context("build crest first")?;
    server.start().await?;
    let client = server.client().await?;
    prepare_namespace(&client).await?;
    create(&client, "/api/v1/nodes", (nodes, 64), node).await?;
    let bound = |number: usize| pod(number, Some(number % nodes));
    create(&client, PODS, (nodes * PODS_PER_NODE, 64), bound).await?;
    let (mut answers, mut bindings) = (Vec::new(), Vec::new());
    for start in 0..STARTS {
        let (answered, bound) = one(&mut server, &format!("waiting-{start}")).await?;
        answers.push(answered);
        bindings.push(bound);
    }
    let (answers, bindings) = (Summary::new(answers), Summary::new(bindings));
    println!("{nodes} nodes, {} Pods, {STARTS} starts:", nodes * PODS_PER_NODE);
    println!("  answers after {:.0} ms (median)", millis(answers.percentile(50)));
    let bound = millis(bindings.percentile(50));
    println!("  first Pod bound after {bound:.0} ms (median), ratio {:.2} of 2 s", bound / LIMIT_MS);
    Ok(())
}

/// How long after the start the server answers, and the Pod `name` is bound that waits in the store.
async fn one(server: &mut Server, name: &str) -> anyhow::Result<(Duration, Duration)> {
    server.kill()?;
    server.control_by("none");
    server.start().await?;
    let mut waiting = pod(0, None);
    waiting["metadata"]["name"] = name.into();
    create(&server.client().await?, PODS, (1, 1), |_| waiting.clone()).await?;
    server.kill()?;
    // Nobody renews the leases of these nodes.
    server.control_by("all,-node-lifecycle");
    let begun = kit::clock::monotonic();
    let answered = server.start().await?;
    let client = server.client().await?;
    let path = format!("{PODS}/{name}");
    loop {
        let pod: serde_json::Value = serde_json::from_slice(&get(&client, &path).await?)?;
        if pod["spec"]["nodeName"].is_string() {
            return Ok((answered, begun.elapsed()));
        }
        anyhow::ensure!(begun.elapsed() < PATIENCE, "the Pod was not bound within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
