//! LIST of 10,000 Pods as JSON over TLS, whole and in pages of 500. Usage: `list_pods [FOLDER]`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use anyhow::Context;
use bench::objects::{create, get, pod, prepare_namespace};
use bench::server::{Server, parent_folder};
use bench::summary::{Summary, millis};

const PODS: usize = 10_000;
const ROUNDS: usize = 20;
const LIMIT_MS: f64 = 150.0;
/// kube-apiserver's on a machine of this kind.
const PEER_MS: f64 = 310.0;
const PATH: &str = "/api/v1/pods";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut server = Server::prepare(&parent_folder())?.context("build crest first")?;
    server.start().await?;
    let client = server.client().await?;
    prepare_namespace(&client).await?;
    create(&client, "/api/v1/namespaces/default/pods", (PODS, 64), |number| pod(number, Some(number % 1000)))
        .await?;
    let (mut whole, mut bytes) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let begun = kit::clock::monotonic();
        bytes = get(&client, PATH).await?.len();
        whole.push(begun.elapsed());
    }
    let whole = Summary::new(whole);
    let p50 = millis(whole.percentile(50));
    #[expect(clippy::cast_precision_loss, reason = "some megabytes")]
    let megabytes = bytes as f64 / 1e6;
    println!("LIST of {PODS} Pods, {megabytes:.1} MB: {whole}");
    println!("  p50 against its limit of {LIMIT_MS:.0} ms: ratio {:.2}", p50 / LIMIT_MS);
    println!("  p50 against kube-apiserver's {PEER_MS:.0} ms: ratio {:.2}", p50 / PEER_MS);
    let begun = kit::clock::monotonic();
    let pages = page_through(&client).await?;
    println!("  in {pages} pages of 500: {:.0} ms altogether", millis(begun.elapsed()));
    Ok(())
}

async fn page_through(client: &kube::Client) -> anyhow::Result<usize> {
    let (mut pages, mut token) = (0, String::new());
    loop {
        let page = get(client, &format!("{PATH}?limit=500&continue={token}")).await?;
        let page: serde_json::Value = serde_json::from_slice(&page)?;
        pages += 1;
        token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            return Ok(pages);
        }
    }
}
