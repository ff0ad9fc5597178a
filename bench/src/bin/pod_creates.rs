//! Durable Pod creates per second, 64 in flight over TLS, beside etcd's own puts of the same bytes in the same run and
//! kube-apiserver's figures from a machine like this. Usage: `pod_creates [FOLDER] [PODS]`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::Context;
use bench::objects::{pod, prepare_namespace, rate};
use bench::server::{Server, free_port, parent_folder};
use bench::summary::{Summary, millis};
use futures::future::try_join_all;
use store::etcd::{Etcd, Options};
use store::{Expect, Store};

const IN_FLIGHT: usize = 64;
const PODS: &str = "/api/v1/namespaces/default/pods";
/// kube-apiserver 1.36.2 with etcd 3.6 on a quiet machine of this kind: creates/s, and p99 in ms.
const KUBE_APISERVER: (f64, f64) = (1007.0, 94.0);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let pods = std::env::args().nth(2).map_or(Ok(10_000), |text| text.parse())?;
    let mut server = Server::prepare(&parent_folder())?.context("build crest first")?;
    server.start().await?;
    let client = server.client().await?;
    prepare_namespace(&client).await?;
    let road = server.road().await?;
    let (latencies, elapsed) = road.create(PODS, (pods, IN_FLIGHT), |number| pod(number, None)).await?;
    let creates = rate(pods, elapsed);
    let summary = Summary::new(latencies);
    println!("{pods} Pods, {IN_FLIGHT} in flight: {creates:.0} creates/s, {summary}");
    let (peer_rate, peer_p99) = KUBE_APISERVER;
    let p99 = millis(summary.percentile(99));
    println!("  against kube-apiserver's {peer_rate:.0}/s: ratio {:.1} (aim 10)", creates / peer_rate);
    println!("  p99 against kube-apiserver's {peer_p99:.0} ms: ratio {:.2} (aim 0.10)", p99 / peer_p99);
    server.kill()?;
    match etcd_puts(server.folder(), pods).await? {
        Some(puts) => {
            println!("  etcd alone: {puts:.0} puts/s of the same size; ratio {:.1}", creates / puts)
        }
        None => println!("  etcd is not installed: no comparison in this run"),
    }
    Ok(())
}

/// As many conditional puts of a stored Pod's size into a real etcd, as fast as it takes them.
async fn etcd_puts(folder: &Path, count: usize) -> anyhow::Result<Option<f64>> {
    let [client_port, peer_port] = [free_port()?, free_port()?];
    let url = format!("http://127.0.0.1:{client_port}");
    let Some(mut etcd) = start_etcd(folder, &url, &format!("http://127.0.0.1:{peer_port}"))? else {
        return Ok(None);
    };
    let store = Etcd::connect(Options { keep: None, ..Options::new([url]) }).await?;
    let begun = kit::clock::monotonic();
    try_join_all((0..IN_FLIGHT).map(|lane| put_all(store.clone(), lane, count / IN_FLIGHT))).await?;
    let puts = rate(count / IN_FLIGHT * IN_FLIGHT, begun.elapsed());
    etcd.kill()?;
    etcd.wait()?;
    Ok(Some(puts))
}

async fn put_all(store: Arc<Etcd>, lane: usize, count: usize) -> anyhow::Result<()> {
    // About what the server stores of such a Pod, with its defaults.
    let value = bytes::Bytes::from(vec![b'x'; 1600]);
    for number in 0..count {
        store.put(&format!("pods/default/{lane}-{number}"), value.clone(), Expect::Absent).await?;
    }
    Ok(())
}

fn start_etcd(folder: &Path, url: &str, peer: &str) -> anyhow::Result<Option<Child>> {
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(folder.join("etcd")).args(["--logger", "zap"]);
    command.args(["--listen-client-urls", url, "--advertise-client-urls", url]);
    command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
    command.args(["--initial-cluster", &format!("default={peer}")]);
    let mut etcd = match command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        spawned => spawned?,
    };
    let mut lines = BufReader::new(etcd.stderr.take().context("etcd has no standard error")?).lines();
    lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("serving client traffic")));
    std::thread::spawn(move || lines.for_each(drop));
    Ok(Some(etcd))
}
