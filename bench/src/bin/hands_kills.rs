//! Pods are killed one after the other, and the agent with all of Crest every five seconds: afterwards no group of the
//! kernel says what it did not say before, and nobody fights over what it says.
//!
//! ```text
//!   hands_kills [PODS [SECONDS]]      200 600
//!   values of the class groups ──► Pods, kills ──► rest: who writes? ──► no Pods: the same values? ──► down: no group?
//! ```
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use bench::cluster::Cluster;
use bench::sets::{self, Set};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams};
use rand::seq::IndexedRandom;
use rustix::process::{Pid, Signal, kill_process};

const SETS: [Set; 2] = [
    Set {
        name: "service",
        class: "shared",
        replicas: 6,
        script: "while :; do sleep 0.01; done",
        cpu: ("20m", "200m"),
    },
    Set { name: "batch", class: "free", replicas: 6, script: "while :; do :; done", cpu: ("0", "500m") },
];
/// Between two kills of all of Crest.
const AGENT_LIVES: Duration = Duration::from_secs(5);
/// After the last kill, until all is at rest.
const SETTLED: Duration = Duration::from_secs(20);
const WATCHED: Duration = Duration::from_secs(30);
const BOUNDS: [&str; 5] = ["up", "--batch-disk-write", "20Mi", "--batch-egress", "20Mi"];
/// Where hierarchies of groups are mounted.
const HIERARCHIES: &str = "/sys/fs/cgroup";
/// What is set on groups, in either version.
const FILES: [&str; 21] = [
    "cpu.shares",
    "cpu.weight",
    "cpu.idle",
    "cpu.cfs_quota_us",
    "cpu.max",
    "cpu.cfs_burst_us",
    "cpu.max.burst",
    "cpuset.cpus",
    "cpuset.mems",
    "memory.limit_in_bytes",
    "memory.soft_limit_in_bytes",
    "memory.min",
    "memory.low",
    "memory.high",
    "memory.max",
    "io.max",
    "io.weight",
    "io.bfq.weight",
    "blkio.bfq.weight",
    "blkio.throttle.write_bps_device",
    "pids.max",
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u32| arguments.next().map_or(Ok(default), |text| text.parse());
    let (pods, seconds) = (number(200)?, number(600)?);
    let cluster = Cluster::prepare()?;
    let groups = Groups { instance: cluster.instance().to_owned() };
    cluster.crest(&BOUNDS)?;
    cluster.with_busybox()?;
    let client = cluster.client().await?;
    tokio::time::sleep(SETTLED / 4).await;
    let before = groups.values();
    anyhow::ensure!(!before.is_empty(), "there are no groups below `{HIERARCHIES}`");
    sets::start(&client, &SETS).await?;

    let killed = kill_on(&cluster, &groups, &client, (pods, Duration::from_secs(seconds.into()))).await?;
    println!("{} Pods and {} agents killed in {seconds} s", killed.pods, killed.agents);
    tokio::time::sleep(SETTLED).await;
    let first = counted(&client).await?;
    tokio::time::sleep(WATCHED).await;
    let then = counted(&client).await?;
    println!(
        "  at rest: {} values changed in {WATCHED:?}, {} refused since the last start",
        then.writes.saturating_sub(first.writes),
        then.failures
    );
    let wrong = groups.wrong_quotas(&client).await?;
    tell("running Pods whose quota is not what they ask for", &wrong);
    sets::stop(&client, &SETS).await?;
    tokio::time::sleep(SETTLED).await;
    let differ = differences(&before, &groups.values());
    tell("values of groups that differ from those before", &differ);
    drop(cluster);
    let left: Vec<String> = groups.all().iter().map(|path| path.display().to_string()).collect();
    tell("groups left after `crest down`", &left);
    anyhow::ensure!(wrong.is_empty() && differ.is_empty() && left.is_empty(), "the aim is 0 of each");
    Ok(())
}

fn tell(what: &str, which: &[String]) {
    println!("  {what}: {}; aim 0", which.len());
    which.iter().for_each(|line| println!("    {line}"));
}

struct Killed {
    pods: u32,
    agents: u32,
}

async fn kill_on(
    cluster: &Cluster,
    groups: &Groups,
    client: &Client,
    (pods, time): (u32, Duration),
) -> anyhow::Result<Killed> {
    let api = Api::<Pod>::default_namespaced(client.clone());
    let begun = kit::clock::monotonic();
    let mut killed = Killed { pods: 0, agents: 0 };
    let mut agent_since = begun;
    while begun.elapsed() < time || killed.pods < pods {
        if kit::clock::monotonic().duration_since(agent_since) >= AGENT_LIVES {
            kill(cluster.pid()?)?;
            killed.agents += 1;
            cluster.crest(&BOUNDS)?;
            agent_since = kit::clock::monotonic();
        }
        if due(begun, time, pods) > killed.pods && kill_one(&api, groups, killed.pods).await? {
            killed.pods += 1;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(killed)
}

/// How many Pods should have been killed by now.
fn due(begun: Instant, time: Duration, pods: u32) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
    let due = (begun.elapsed().as_secs_f64() / time.as_secs_f64() * f64::from(pods)).ceil() as u32;
    due.min(pods)
}

/// In turn, a Pod is deleted without grace, or all its processes are killed; false if none runs.
async fn kill_one(api: &Api<Pod>, groups: &Groups, turn: u32) -> anyhow::Result<bool> {
    // While the server is away nobody can be asked.
    let Ok(pods) = api.list(&ListParams::default()).await else { return Ok(false) };
    let running =
        |pod: &&Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    let running: Vec<&Pod> = pods.items.iter().filter(running).collect();
    let Some(pod) = running.choose(&mut rand::rng()) else { return Ok(false) };
    let (name, uid) = (pod.metadata.name.as_deref().unwrap_or_default(), pod.metadata.uid.as_deref());
    if turn.is_multiple_of(2) {
        return Ok(api.delete(name, &DeleteParams::default().grace_period(0)).await.is_ok());
    }
    let processes = groups.processes(uid.context("a Pod without a uid")?);
    Ok(processes.into_iter().map(kill).filter(Result::is_ok).count() > 0)
}

fn kill(pid: u32) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no process has the number 0")?;
    Ok(kill_process(pid, Signal::KILL)?)
}

/// What the agent says of its hands.
struct Counted {
    writes: u64,
    failures: u64,
}

async fn counted(client: &Client) -> anyhow::Result<Counted> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    let node = nodes.items.first().and_then(|node| node.metadata.name.clone()).context("there is no Node")?;
    let request = http::Request::get(format!("/api/v1/nodes/{node}/proxy/metrics")).body(Vec::new())?;
    let text = client.request_text(request).await?;
    let value = |name: &str| -> anyhow::Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("the agent does not tell `{name}`"))?.parse()?)
    };
    Ok(Counted { writes: value("crest_hand_writes_total")?, failures: value("crest_hand_failures_total")? })
}

/// The groups of one instance.
struct Groups {
    instance: String,
}

impl Groups {
    /// The top groups, in every hierarchy.
    fn tops(&self) -> Vec<PathBuf> {
        let mounted = fs::read_dir(HIERARCHIES).into_iter().flatten().filter_map(Result::ok);
        let roots = mounted.map(|entry| entry.path()).chain([PathBuf::from(HIERARCHIES)]);
        let names = [self.instance.clone(), format!("{}-batch", self.instance)];
        let tops = roots.flat_map(|root| names.iter().map(move |name| root.join(name)).collect::<Vec<_>>());
        tops.filter(|path| path.is_dir()).collect()
    }

    fn all(&self) -> Vec<PathBuf> {
        let mut all = self.tops();
        let mut at = 0;
        while let Some(path) = all.get(at) {
            let below = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
            let below: Vec<PathBuf> = below.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
            all.extend(below);
            at += 1;
        }
        all
    }

    /// What the files of all groups say.
    fn values(&self) -> BTreeMap<PathBuf, String> {
        let files = self.all().into_iter().flat_map(|group| FILES.map(|file| group.join(file)));
        files
            .filter_map(|path| Some((path.clone(), fs::read_to_string(&path).ok()?.trim().to_owned())))
            .collect()
    }

    /// Pods that run, with a quota that is not what they ask for: of services just that, of batch no more.
    async fn wrong_quotas(&self, client: &Client) -> anyhow::Result<Vec<String>> {
        let pods = Api::<Pod>::default_namespaced(client.clone());
        let running = ListParams::default().fields("status.phase=Running");
        let mut wrong = Vec::new();
        for pod in pods.list(&running).await?.items {
            let uid = pod.metadata.uid.unwrap_or_default();
            let app = pod.metadata.labels.unwrap_or_default().remove("app").unwrap_or_default();
            let (least, most) = if app == "service" { (20_000, 20_000) } else { (1_000, 50_000) };
            let groups = self.all().into_iter().filter(|path| path.ends_with(format!("pod{uid}")));
            for file in groups.flat_map(|group| [group.join("cpu.cfs_quota_us"), group.join("cpu.max")]) {
                let Ok(text) = fs::read_to_string(&file) else { continue };
                let quota: i64 =
                    text.split_whitespace().next().and_then(|quota| quota.parse().ok()).unwrap_or(-1);
                if !(least..=most).contains(&quota) {
                    wrong.push(format!("{}: {}", file.display(), text.trim()));
                }
            }
        }
        Ok(wrong)
    }

    fn processes(&self, uid: &str) -> Vec<u32> {
        let groups = self.all().into_iter().filter(|path| path.to_string_lossy().contains(uid));
        let lists = groups.filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
        let mut processes: Vec<u32> = lists
            .flat_map(|list| list.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>())
            .collect();
        processes.sort_unstable();
        processes.dedup();
        processes
    }
}

fn differences(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let say = |path: &Path| {
        let [old, new] = [before, after].map(|values| values.get(path).map_or("nothing", String::as_str));
        (old != new).then(|| format!("{}: {old}, now {new}", path.display()))
    };
    let paths: std::collections::BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
    paths.into_iter().filter_map(|path| say(path)).collect()
}
