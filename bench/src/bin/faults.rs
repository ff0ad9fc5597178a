//! What faults cost a batch job: instances and workers are killed at random while it runs, in a real cluster.
//!
//! ```text
//!   faults [INSTANCES [WORKERS [RUNS [SEED]]]]      2000 instances of half a second on 20 workers, 3 runs; seed 1
//! ```
//! An instance that is to be killed is at a random moment of its first attempt, with all that it has started. Of the workers
//! a share, rounded up, is killed at random moments, each with its container. The same run without kills is the peer.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bench::batch::run_task;
use bench::cluster::Cluster;
use bench::summary;
use model::dagjob::TaskStatus;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::json;

/// An instance takes so long.
const TAKES: Duration = Duration::from_millis(500);
/// Between two looks at the processes.
const PAUSE: Duration = Duration::from_millis(20);
const SHARES: [f64; 2] = [0.05, 0.10];
/// The job may take so much longer, and did in the paper on Fuxi (VLDB 2014).
const LIMITS: [f64; 2] = [0.10, 0.15];
const PAPER: [f64; 2] = [0.16, 0.20];

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u32| arguments.next().map_or(Ok(default), |text| text.parse());
    let (instances, workers, runs, seed) = (number(2000)?, number(20)?, number(3)?, number(1)?);
    let size = Size { instances, workers };
    tokio::runtime::Runtime::new()?.block_on(measure(size, runs, u64::from(seed)))
}

#[derive(Clone, Copy)]
struct Size {
    instances: u32,
    workers: u32,
}

/// What is killed, as shares of all.
#[derive(Clone, Copy)]
enum Kill {
    Nothing,
    Instances(f64),
    Workers(f64),
}

impl std::fmt::Display for Kill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => write!(f, "nothing killed"),
            Self::Instances(share) => write!(f, "{:.0}% of the instances killed", share * 100.0),
            Self::Workers(share) => write!(f, "{:.0}% of the workers killed", share * 100.0),
        }
    }
}

async fn measure(size: Size, runs: u32, seed: u64) -> anyhow::Result<()> {
    let cluster = Cluster::prepare()?;
    cluster.crest(&["up"])?;
    build_image(&cluster)?;
    let client = cluster.client().await?;
    let Size { instances, workers } = size;
    println!("{instances} instances of {TAKES:?}, {workers} workers, the median of {runs} runs");
    let alone = median(&client, (size, runs, seed), Kill::Nothing).await?;
    println!("alone: {alone:.2} s");
    for (share, limit, paper) in [0, 1].map(|at| (SHARES[at], LIMITS[at], PAPER[at])) {
        for kill in [Kill::Instances(share), Kill::Workers(share)] {
            let took = median(&client, (size, runs, seed), kill).await?;
            let growth = took / alone - 1.0;
            println!(
                "{kill}: {took:.2} s, {:+.1}%; limit {:.0}%: ratio {:.2}; the paper: {:.0}%",
                growth * 100.0,
                limit * 100.0,
                growth / limit,
                paper * 100.0
            );
        }
    }
    Ok(())
}

fn build_image(cluster: &Cluster) -> anyhow::Result<()> {
    let rootfs = cluster.state_dir().join("faults");
    let bin = rootfs.join("bin");
    std::fs::create_dir_all(&bin)?;
    std::fs::copy("/bin/busybox", bin.join("busybox")).context("busybox-static is not installed")?;
    symlink("busybox", bin.join("sleep"))?;
    let folder = rootfs.display().to_string();
    cluster.crest(&["image", "build-rootfs", &folder, "--tag", "bench:faults"])
}

async fn median(
    client: &kube::Client,
    (size, runs, seed): (Size, u32, u64),
    kill: Kill,
) -> anyhow::Result<f64> {
    let mut all = Vec::new();
    for run in 0..u64::from(runs) {
        let name = format!("faults-{:08x}", rand::random::<u32>());
        let killer = Killer::start(&name, size, kill, seed + run);
        let (took, status) = run_job(client, &name, size).await?;
        let killed = killer.end()?;
        println!(
            "  {kill}: {:.2} s, {killed} killed, {} attempts failed",
            took.as_secs_f64(),
            status.failed_attempts
        );
        anyhow::ensure!(status.succeeded == size.instances, "not all instances succeeded");
        all.push(took.as_secs_f64());
    }
    summary::median(all).context("no runs")
}

/// Runs a job of one task; from its creation until its end is stored.
async fn run_job(client: &kube::Client, name: &str, size: Size) -> anyhow::Result<(Duration, TaskStatus)> {
    let task = json!({
        "instances": size.instances, "parallelism": size.workers, "image": "bench:faults",
        "command": ["/bin/sleep", TAKES.as_secs_f64().to_string()],
        "resources": {"cpu": "10m", "memory": "16Mi"},
    });
    run_task(client, name, task).await
}

/// A thread that looks at the job's processes, and kills some.
struct Killer {
    thread: std::thread::JoinHandle<usize>,
    is_over: Arc<AtomicBool>,
}

impl Killer {
    fn start(job: &str, size: Size, kill: Kill, seed: u64) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (stop, job) = (Arc::clone(&is_over), job.to_owned());
        let thread = std::thread::spawn(move || {
            let mut plan = Plan::new(size, kill, seed);
            // The same looks where nothing is killed, so that they cost the same.
            while !stop.load(Ordering::Relaxed) {
                plan.look(&job, kit::clock::monotonic());
                std::thread::sleep(PAUSE);
            }
            plan.killed
        });
        Self { thread, is_over }
    }

    fn end(self) -> anyhow::Result<usize> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the killer fell")
    }
}

/// Who dies when.
struct Plan {
    /// Instances, and how long after they were seen they die.
    instances: BTreeMap<u32, Duration>,
    /// Moments after the first instance was seen, latest first, at each of which some worker dies.
    workers: Vec<Duration>,
    begun: Option<Instant>,
    due: Vec<(Instant, Pid)>,
    seen: BTreeSet<u32>,
    random: StdRng,
    killed: usize,
}

impl Plan {
    fn new(size: Size, kill: Kill, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut instances, mut workers) = (BTreeMap::new(), Vec::new());
        let count = |all: u32, share: f64| (f64::from(all) * share).ceil();
        match kill {
            Kill::Nothing => {}
            Kill::Instances(share) => {
                let mut all: Vec<u32> = (0..size.instances).collect();
                all.shuffle(&mut random);
                let chosen = all.into_iter().zip(1_u32..);
                let chosen = chosen.take_while(|(_, nth)| f64::from(*nth) <= count(size.instances, share));
                instances.extend(chosen.map(|(index, _)| (index, TAKES.mul_f64(random.random()))));
            }
            Kill::Workers(share) => {
                let least = TAKES * size.instances.div_ceil(size.workers);
                let nth = (1_u32..).take_while(|nth| f64::from(*nth) <= count(size.workers, share));
                workers.extend(nth.map(|_| least.mul_f64(random.random::<f64>())));
                workers.sort_by(|a, b| b.cmp(a));
            }
        }
        let (due, seen) = (Vec::new(), BTreeSet::new());
        Self { instances, workers, begun: None, due, seen, random, killed: 0 }
    }

    fn look(&mut self, job: &str, now: Instant) {
        let running = processes(job);
        if !running.is_empty() {
            self.begun.get_or_insert(now);
        }
        for Process { pid, instance, .. } in &running {
            let Some((index, 1)) = *instance else { continue };
            if let Some(after) = self.instances.get(&index)
                && self.seen.insert(index)
            {
                self.due.push((now + *after, *pid));
            }
        }
        let is_there = |pid: Pid| running.iter().any(|process| process.pid == pid);
        for (_, pid) in self.due.extract_if(.., |(at, _)| *at <= now) {
            // Each is the first of its own group.
            self.killed += usize::from(is_there(pid) && kill_process_group(pid, Signal::KILL).is_ok());
        }
        let is_due = |after: &Duration| self.begun.is_some_and(|begun| begun + *after <= now);
        let workers: Vec<Pid> = running.iter().map(|process| process.parent).collect();
        if self.workers.last().is_some_and(is_due) && !workers.is_empty() {
            self.workers.pop();
            let victim = workers[self.random.random_range(0..workers.len())];
            self.killed += usize::from(kill_process(victim, Signal::KILL).is_ok());
        }
    }
}

/// An instance's process.
struct Process {
    pid: Pid,
    /// Its worker, which is the first process of its container.
    parent: Pid,
    /// Its index and attempt.
    instance: Option<(u32, u32)>,
}

fn processes(job: &str) -> Vec<Process> {
    let Ok(folder) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| process(pid, job)).collect()
}

fn process(pid: i32, job: &str) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(") ")?;
    if !before.ends_with("(sleep") && !before.ends_with("(busybox") {
        return None;
    }
    let parent = after.split(' ').nth(1)?.parse().ok()?;
    let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).ok()?;
    let value = |name: &str| {
        environment.split('\0').find_map(|each| each.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    };
    if value("CREST_JOB").as_deref() != Some(job) {
        return None;
    }
    let number = |name| value(name)?.parse::<u32>().ok();
    let instance = number("CREST_INSTANCE_INDEX").zip(number("CREST_INSTANCE_ATTEMPT"));
    Some(Process { pid: Pid::from_raw(pid)?, parent: Pid::from_raw(parent)?, instance })
}
