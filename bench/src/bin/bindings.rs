//! Pods bound per second, end to end: created over TLS while they are being scheduled, each one durable, its binding seen
//! by a watch. Usage: `bindings [FOLDER] [WORKLOAD...]`; without names, the two of which a peer was measured.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bench::lane::{Lane, Road};
use bench::objects::{create, prepare_namespace, rate};
use bench::server::{Server, cpu_time, parent_folder, resident_mib};
use bench::summary::{Summary, millis};
use bench::workload::{ALL, Peer, Shape, Workload};
use futures::future::try_join_all;
use futures::{AsyncBufReadExt, TryStreamExt};
use http::Method;
use kube::Client;
use serde_json::json;
use tokio::sync::watch;

const IN_FLIGHT: usize = 64;
const PODS: &str = "/api/v1/namespaces/default/pods";
/// What no run takes longer than.
const PATIENCE: Duration = Duration::from_secs(300);
/// The aim of create to bind.
const P99_LIMIT_MS: f64 = 500.0;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let names: Vec<String> = std::env::args().skip(2).collect();
    let find = |name: &String| {
        let known: Vec<&str> = ALL.iter().map(|workload| workload.name).collect();
        Workload::find(name)
            .with_context(|| format!("no workload is called `{name}`; there are {}", known.join(", ")))
    };
    let mut workloads = names.iter().map(find).collect::<anyhow::Result<Vec<_>>>()?;
    if workloads.is_empty() {
        workloads = ALL.iter().filter(|each| matches!(each.peer, Peer::Here { .. })).copied().collect();
    }
    for workload in workloads {
        run(&workload).await?;
    }
    Ok(())
}

async fn run(workload: &Workload) -> anyhow::Result<()> {
    let mut server = Server::prepare(&parent_folder())?.context("build crest first")?;
    // Nobody renews the leases of these nodes.
    server.control_by("all,-node-lifecycle");
    server.start().await?;
    let client = server.client().await?;
    prepare_namespace(&client).await?;
    for (name, value) in [("low", 1), ("high", 1000)] {
        let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name}, "value": value});
        create(&client, "/apis/scheduling.k8s.io/v1/priorityclasses", (1, 1), |_| class.clone()).await?;
    }
    create(&client, "/api/v1/nodes", (workload.nodes, IN_FLIGHT), |number| workload.node(number)).await?;
    let road = server.road().await?;
    let (seen, bound) = follow(&client).await?;
    let (before, shape) = workload.before;
    create_all(&road, "before", before, shape).await?;
    if shape.is_placed() {
        wait(&bound, before).await?;
    }
    let computed = cpu_time(server.pid()?)?;
    let is_over = AtomicBool::new(false);
    let measuring = async {
        let measured = measure(workload, &road, &seen, &bound).await;
        is_over.store(true, Ordering::Relaxed);
        measured
    };
    let (measured, churned) = tokio::join!(measuring, churn(workload, &road, &is_over));
    churned?;
    let (latencies, [created, elapsed]) = measured?;
    let count = workload.measured.0;
    let cpu_ms = millis(cpu_time(server.pid()?)? - computed) / as_float(count);
    let binds = rate(count, elapsed);
    let summary = Summary::new(latencies);
    println!(
        "{}: {} nodes, {count} Pods {:?} after {before} {shape:?}, {IN_FLIGHT} in flight",
        workload.name, workload.nodes, workload.measured.1
    );
    println!("  {:.0} creates/s, {binds:.0} binds/s, create to bind {summary}", rate(count, created));
    println!("  server: {cpu_ms:.2} ms CPU per Pod, {:.0} MiB resident", resident_mib(server.pid()?)?);
    compare(workload.peer, binds, cpu_ms, millis(summary.percentile(99)));
    Ok(())
}

fn compare(peer: Peer, binds: f64, cpu_ms: f64, p99: f64) {
    println!("  p99 against {P99_LIMIT_MS:.0} ms: ratio {:.2}", p99 / P99_LIMIT_MS);
    match peer {
        Peer::Here { binds: peer, cpu_ms: peer_cpu, p99_ms } => {
            println!("  against kube-scheduler's {peer:.0} binds/s: ratio {:.1} (aim 10)", binds / peer);
            println!("  p99 against its {p99_ms:.0} ms: ratio {:.2}", p99 / p99_ms);
            println!("  CPU per Pod against its {peer_cpu:.1} ms: ratio {:.2}", cpu_ms / peer_cpu);
        }
        Peer::Published(peer) => {
            println!(
                "  against the {peer:.0} binds/s published for it on other hardware: {:.1}",
                binds / peer
            );
        }
        Peer::Unfinished => println!("  kube-scheduler's own case of this size is switched off"),
    }
}

/// Creates the Pods that are measured and waits until all are bound: how long each took, and how long all took to be
/// created and to be bound.
async fn measure(
    workload: &Workload,
    road: &Road,
    seen: &Seen,
    bound: &watch::Receiver<usize>,
) -> anyhow::Result<(Vec<Duration>, [Duration; 2])> {
    let (count, shape) = workload.measured;
    let already = *bound.borrow();
    let begun = kit::clock::monotonic();
    let sent = create_all(road, "measured", count, shape).await?;
    let created = begun.elapsed();
    wait(bound, already + count).await?;
    let elapsed = begun.elapsed();
    let seen = seen.lock();
    let latency = |(number, sent): (usize, Instant)| {
        let bound = seen.get(&format!("measured-{number}")).context("a Pod was bound unseen")?;
        Ok(bound.saturating_duration_since(sent))
    };
    let latencies = sent.into_iter().map(latency).collect::<anyhow::Result<_>>()?;
    Ok((latencies, [created, elapsed]))
}

/// Creates `count` Pods; tells when each was sent.
async fn create_all(
    road: &Road,
    name: &str,
    count: usize,
    shape: Shape,
) -> anyhow::Result<Vec<(usize, Instant)>> {
    let bodies: Vec<String> =
        (0..count).map(|number| shape.pod(&format!("{name}-{number}")).to_string()).collect();
    let lanes = try_join_all((0..IN_FLIGHT).map(|_| road.lane())).await?;
    let next = AtomicUsize::new(0);
    let (bodies, next) = (&bodies, &next);
    let runs = lanes.into_iter().map(async |mut lane: Lane| {
        let mut sent = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(body) = bodies.get(number) else { return anyhow::Ok(sent) };
            sent.push((number, kit::clock::monotonic()));
            let status = lane.send(Method::POST, PODS, body.as_bytes()).await?;
            anyhow::ensure!(status == 201, "a create was answered {status}");
        }
    });
    Ok(try_join_all(runs).await?.concat())
}

/// When each Pod was seen bound.
type Seen = Arc<parking_lot::Mutex<HashMap<String, Instant>>>;

/// Follows bindings from now on: when each was seen, and how many there were.
async fn follow(client: &Client) -> anyhow::Result<(Seen, watch::Receiver<usize>)> {
    // A Pod enters this watch with its binding.
    let path = format!("{PODS}?watch=true&fieldSelector=spec.nodeName%21%3D");
    let mut lines = client.request_stream(http::Request::get(path).body(Vec::new())?).await?.lines();
    let (seen, (count, bound)) = (Seen::default(), watch::channel(0));
    let noted = Arc::clone(&seen);
    kit::task::spawn("bindings", async move {
        // A watch that breaks off shows: not all are seen.
        while let Ok(Some(line)) = lines.try_next().await {
            let now = kit::clock::monotonic();
            let name = line.split_once("\"name\":\"").and_then(|(_, rest)| rest.split('"').next());
            if let Some(name) = name.filter(|_| line.starts_with("{\"type\":\"ADDED\"")) {
                noted.lock().insert(name.to_owned(), now);
                count.send_modify(|count| *count += 1);
            }
        }
    });
    Ok((seen, bound))
}

async fn wait(bound: &watch::Receiver<usize>, wanted: usize) -> anyhow::Result<()> {
    let mut bound = bound.clone();
    let reached = bound.wait_for(|&count| count >= wanted);
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    reached.map_err(|_elapsed| anyhow::anyhow!("not all Pods were bound after {PATIENCE:?}"))??;
    Ok(())
}

/// Every second a node, a Service and a Pod that fits nowhere come, and those of the second before go.
async fn churn(workload: &Workload, road: &Road, is_over: &AtomicBool) -> anyhow::Result<()> {
    if !workload.has_churn {
        return Ok(());
    }
    let mut lane = road.lane().await?;
    let services = "/api/v1/namespaces/default/services";
    let mut timer = tokio::time::interval(Duration::from_secs(1));
    for number in 0.. {
        timer.tick().await;
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("churn-{number}")},
            "spec": {"ports": [{"port": 80}]}});
        let mut node = workload.node(number);
        node["metadata"] = json!({"name": format!("churn-{number}")});
        let pod = Shape::Impossible.pod(&format!("churn-{number}"));
        for (path, object) in [("/api/v1/nodes", node), (services, service), (PODS, pod)] {
            if let Some(before) = number.checked_sub(1) {
                lane.send(Method::DELETE, &format!("{path}/churn-{before}"), b"").await?;
            }
            let status = lane.send(Method::POST, path, object.to_string().as_bytes()).await?;
            anyhow::ensure!(status == 201, "{path} was answered {status}");
        }
    }
    Ok(())
}

fn as_float(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
    let count = count as f64;
    count
}
