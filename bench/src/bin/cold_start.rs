//! Cold start of the whole of Crest to the first successful `kubectl get nodes`, and what it costs to idle.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use bench::cluster::Cluster;
use bench::summary::{Summary, millis};

const ROUNDS: usize = 5;
const IDLE_FOR: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<()> {
    let cluster = Cluster::prepare()?;
    let (mut starts, mut kubectls) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = kit::clock::monotonic();
        cluster.crest(&["up"])?;
        get_nodes(&cluster)?;
        starts.push(begun.elapsed());
        let begun = kit::clock::monotonic();
        get_nodes(&cluster)?;
        kubectls.push(begun.elapsed());
        cluster.crest(&["down"])?;
    }
    let start = Summary::new(starts).percentile(50);
    let kubectl = Summary::new(kubectls).percentile(50);
    println!(
        "cold start to first `kubectl get nodes`: median {:.0} ms of {ROUNDS} (limit 1000 ms, ratio {:.2}); \
         kubectl alone takes {:.0} ms of it",
        millis(start),
        start.as_secs_f64(),
        millis(kubectl)
    );
    cluster.crest(&["up"])?;
    idle_cost(cluster.pid()?)
}

fn get_nodes(cluster: &Cluster) -> anyhow::Result<()> {
    let status = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(["get", "nodes"])
        .stdout(Stdio::null())
        .status()
        .context("kubectl is not installed")?;
    anyhow::ensure!(status.success(), "kubectl get nodes failed");
    Ok(())
}

fn idle_cost(pid: u32) -> anyhow::Result<()> {
    thread::sleep(Duration::from_secs(10)); // what start-up left to do is done
    let before = cpu_time(pid)?;
    thread::sleep(IDLE_FOR);
    let share = (cpu_time(pid)? - before).as_secs_f64() / IDLE_FOR.as_secs_f64() * 100.0;
    let resident = resident_mib(pid)?;
    println!(
        "idle for {} s: {share:.2}% of one core (limit 2%, ratio {:.2})",
        IDLE_FOR.as_secs(),
        share / 2.0
    );
    println!("resident: {resident:.1} MiB (limit 120 MB, ratio {:.2})", resident * 1.048_576 / 120.0);
    Ok(())
}

/// User and system time that the process spent so far.
fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field, the name, may hold blanks; all after its closing parenthesis are numbers.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/pid/stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 10))
}

fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}
