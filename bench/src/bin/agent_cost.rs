//! What Crest costs a host with a hundred containers at rest, all signals read: the agent, and with it the engine, the
//! API server and all controllers of this process.
//!
//! ```text
//!   agent_cost [CONTAINERS [SECONDS]]      100 60
//! ```
//! A tenth of the containers are batch, so that the loop of 100 ms runs. The metrics of all containers are asked for every
//! 15 seconds, as Prometheus does.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::time::Duration;

use anyhow::Context;
use bench::cluster::Cluster;
use bench::server::{cpu_time, resident_mib};
use bench::sets::{self, Set};
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, ListParams};

const SCRAPE: Duration = Duration::from_secs(15);
/// After the last container began.
const SETTLED: Duration = Duration::from_secs(15);
/// Of one core, and in MiB: those of the agent alone.
const LIMITS: (f64, f64) = (0.01, 64.0);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (containers, seconds) = (number(100)?, number(60)?);
    let cluster = Cluster::prepare()?;
    cluster.crest(&["up"])?;
    cluster.with_busybox()?;
    let client = cluster.client().await?;
    tokio::time::sleep(SETTLED).await;
    let time = Duration::from_secs(seconds as u64);
    println!("without containers: {}", measure(&cluster, &client, time).await?);
    let batch = (containers / 10).max(1);
    let set =
        |name, class, replicas| Set { name, class, replicas, script: "sleep 100000", cpu: ("0", "500m") };
    let services = set("service", "shared", containers.saturating_sub(batch));
    sets::start(&client, &[services, set("batch", "free", batch)]).await?;
    tokio::time::sleep(SETTLED).await;
    println!("{containers} containers, {batch} of them batch: {}", measure(&cluster, &client, time).await?);
    Ok(())
}

struct Cost {
    cores: f64,
    mib: f64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cores, mib } = self;
        let percent = cores * 100.0;
        let (limit_cores, limit_mib) = LIMITS;
        let ratios = (cores / limit_cores, mib / limit_mib);
        write!(f, "{percent:.2}% of one core, {mib:.0} MiB; ratios {:.2} and {:.2}", ratios.0, ratios.1)
    }
}

async fn measure(cluster: &Cluster, client: &Client, time: Duration) -> anyhow::Result<Cost> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    let node = nodes.items.first().and_then(|node| node.metadata.name.clone()).context("there is no Node")?;
    let pid = cluster.pid()?;
    let (begun, before) = (kit::clock::monotonic(), cpu_time(pid)?);
    while begun.elapsed() < time {
        let request = http::Request::get(format!("/api/v1/nodes/{node}/proxy/metrics/cadvisor"));
        let text = client.request_text(request.body(Vec::new())?).await?;
        anyhow::ensure!(
            text.contains("container_cpu_usage_seconds_total"),
            "the agent tells no signals: {text}"
        );
        tokio::time::sleep(SCRAPE.min(time.saturating_sub(begun.elapsed()))).await;
    }
    let cores = cpu_time(pid)?.saturating_sub(before).as_secs_f64() / begun.elapsed().as_secs_f64();
    Ok(Cost { cores, mib: resident_mib(pid)? })
}
