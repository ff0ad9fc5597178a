//! What Crest costs a host with a hundred containers at rest, all signals read: the agent and its engine, which are one
//! process on a machine that has joined a cluster. What the cluster's first machine costs meanwhile is told beside it.
//!
//! ```text
//!   agent_cost [CONTAINERS [SECONDS]]      100 60
//! ```
//! A tenth of the containers are batch, so that the loop of 100 ms runs. The metrics of all containers are asked for every
//! 15 seconds, as Prometheus does.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::time::Duration;

use bench::cluster::Cluster;
use bench::machine::{Machine, NODE, keep_to_second};
use bench::server::{Resident, cpu_time};
use bench::sets::{self, Set};
use kube::Client;

const SCRAPE: Duration = Duration::from_secs(15);
/// After the last container began.
const SETTLED: Duration = Duration::from_secs(15);
/// Of one core, and in MiB.
const LIMITS: (f64, f64) = (0.01, 64.0);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (containers, seconds) = (number(100)?, number(60)?);
    let mut machine = Machine::prepare()?;
    let mut cluster = Cluster::prepare()?;
    cluster.address(machine.address_of_host());
    cluster.crest(&["up"])?;
    machine.join(&cluster)?;
    let client = cluster.client().await?;
    keep_to_second(&client).await?;
    tokio::time::sleep(SETTLED).await;
    let pids = (machine.pid()?, cluster.pid()?);
    println!("agent and engine, process {}; all else of Crest, process {}", pids.0, pids.1);
    let time = Duration::from_secs(seconds as u64);
    println!("without containers: {}", measure(pids, &client, time).await?);
    let batch = (containers / 10).max(1);
    let set =
        |name, class, replicas| Set { name, class, replicas, script: "sleep 100000", cpu: ("0", "500m") };
    let services = set("service", "shared", containers.saturating_sub(batch));
    sets::start(&client, &[services, set("batch", "free", batch)]).await?;
    tokio::time::sleep(SETTLED).await;
    println!("{containers} containers, {batch} of them batch: {}", measure(pids, &client, time).await?);
    Ok(())
}

struct Cost {
    cores: f64,
    resident: Resident,
    /// Of all else.
    others: (f64, Resident),
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cores, resident, others } = self;
        let (limit_cores, limit_mib) = LIMITS;
        let ratios = (cores / limit_cores, resident.mib() / limit_mib);
        write!(
            f,
            "{:.2}% of one core, {resident}; ratios {:.2} and {:.2}",
            cores * 100.0,
            ratios.0,
            ratios.1
        )?;
        write!(f, " (all else: {:.2}%, {})", others.0 * 100.0, others.1)
    }
}

async fn measure((agent, others): (u32, u32), client: &Client, time: Duration) -> anyhow::Result<Cost> {
    let (begun, before) = (kit::clock::monotonic(), (cpu_time(agent)?, cpu_time(others)?));
    while begun.elapsed() < time {
        let request = http::Request::get(format!("/api/v1/nodes/{NODE}/proxy/metrics/cadvisor"));
        let text = client.request_text(request.body(Vec::new())?).await?;
        anyhow::ensure!(
            text.contains("container_cpu_usage_seconds_total"),
            "the agent tells no signals: {text}"
        );
        tokio::time::sleep(SCRAPE.min(time.saturating_sub(begun.elapsed()))).await;
    }
    let share = |pid, before| {
        let used = cpu_time(pid)?.saturating_sub(before);
        anyhow::Ok(used.as_secs_f64() / begun.elapsed().as_secs_f64())
    };
    Ok(Cost {
        cores: share(agent, before.0)?,
        resident: Resident::of(agent)?,
        others: (share(others, before.1)?, Resident::of(others)?),
    })
}
