//! Batch instances through everything: a DagJob at the API server, the batch master, workers in containers.
//!
//! ```text
//!   instances [joined] [STREAM [EXEC]]      how many of each; 100,000 and 10,000 by default
//! ```
//! With `joined` the workers are on a second machine, which has joined the cluster, and speak to the master by its agent.
//! The limit is GNU parallel on the same machine, without cluster or containers; the peer, Jobs of Kubernetes' own kind in
//! the same cluster, run by Crest's own Job controller.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use bench::batch::run_task;
use bench::cluster::Cluster;
use bench::machine::{Machine, keep_to_second};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use model::dagjob::TaskStatus;
use serde_json::json;

#[path = "../../../examples/stream/worker.rs"]
#[expect(dead_code, reason = "the example is a program of its own")]
mod worker;

/// The argument with which this program is the one that takes the stream.
const PROGRAM: &str = "program";
/// The argument with which all runs on a second machine.
const JOINED: &str = "joined";
const IMAGE: &str = "bench:instances";
const STREAM_AIM: f64 = 50_000.0;
const EXEC_AIM: f64 = 1_500.0;
const GAP_AIM_MILLIS: f64 = 20.0;
/// As many Jobs' Pods as tell their rate.
const JOB_PODS: u32 = 100;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|argument| argument == PROGRAM).is_some() {
        return Ok(worker::serve(std::io::stdin().lock(), std::io::stdout().lock(), |_| Ok(()))?);
    }
    let is_joined = arguments.next_if(|argument| argument == JOINED).is_some();
    let mut count = |default: u32| arguments.next().map_or(Ok(default), |text| text.parse());
    let (streamed, executed) = (count(100_000)?, count(10_000)?);
    tokio::runtime::Runtime::new()?.block_on(measure((streamed, executed), is_joined))
}

async fn measure((streamed, executed): (u32, u32), is_joined: bool) -> anyhow::Result<()> {
    // Taken down in the other order than they are made.
    let mut machine = is_joined.then(Machine::prepare).transpose()?;
    let mut cluster = Cluster::prepare()?;
    if let Some(machine) = &machine {
        cluster.address(machine.address_of_host());
    }
    cluster.crest(&["up"])?;
    let client = cluster.client().await?;
    let folder = rootfs(&cluster)?;
    if let Some(machine) = &mut machine {
        machine.join(&cluster)?;
        machine.build_image(&folder, IMAGE)?;
        keep_to_second(&client).await?;
    } else {
        cluster.crest(&["image", "build-rootfs", &folder, "--tag", IMAGE])?;
    }
    for workers in [1, 2] {
        let task = json!({"mode": "Stream", "command": ["/bin/instances", PROGRAM], "parallelism": workers});
        let (rate, _) = run(&client, &format!("stream-{workers}"), (streamed, task)).await?;
        println!("{streamed} no-op instances as a stream, {workers} workers: {rate:.0} per second");
        println!("  aim {STREAM_AIM:.0}: ratio {:.2}", rate / STREAM_AIM);
    }
    let limit = gnu_parallel(executed)?;
    for workers in [1, 2] {
        let task = json!({"command": ["/bin/true"], "parallelism": workers});
        let (rate, status) = run(&client, &format!("exec-{workers}"), (executed, task)).await?;
        let usage = status.usage.context("no usage in the status")?;
        let gap = usage.gap_p99_micros as f64 / 1000.0;
        println!("{executed} instances of /bin/true, {workers} workers: {rate:.0} per second");
        println!("  aim {EXEC_AIM:.0}: ratio {:.2}", rate / EXEC_AIM);
        println!(
            "  between two instances of a worker: mean {:.2} ms, p99 {gap:.2} ms, most {:.2} ms; limit {GAP_AIM_MILLIS:.0} ms: ratio {:.2}",
            usage.gap_micros.mean as f64 / 1000.0,
            usage.gap_micros.max as f64 / 1000.0,
            gap / GAP_AIM_MILLIS
        );
        match limit {
            Some(limit) => println!("  GNU parallel: {limit:.0} per second, ratio {:.2}", rate / limit),
            None => println!("  GNU parallel is not installed"),
        }
    }
    let rate = jobs(&client).await?;
    println!("{JOB_PODS} Pods of one batch/v1 Job, by Crest's own controller: {rate:.1} per second");
    Ok(())
}

/// A folder with busybox and this program, to make the image of.
fn rootfs(cluster: &Cluster) -> anyhow::Result<String> {
    let rootfs = cluster.state_dir().join("instances");
    let bin = rootfs.join("bin");
    std::fs::create_dir_all(&bin)?;
    std::fs::copy("/bin/busybox", bin.join("busybox")).context("busybox-static is not installed")?;
    std::fs::copy(std::env::current_exe()?, bin.join("instances"))?;
    symlink("busybox", bin.join("true"))?;
    Ok(rootfs.display().to_string())
}

/// Runs a job of one task and tells how many instances it ended per second, from when the first was handed out.
async fn run(
    client: &kube::Client,
    name: &str,
    (instances, task): (u32, serde_json::Value),
) -> anyhow::Result<(f64, TaskStatus)> {
    let mut definition = json!({
        "instances": instances, "image": IMAGE, "resources": {"cpu": "100m", "memory": "64Mi"},
    });
    for (field, value) in task.as_object().into_iter().flatten() {
        definition[field] = value.clone();
    }
    // With the start of its workers, and the write of its end.
    let (took, status) = run_task(client, name, definition).await?;
    Ok((per_second(instances, took), status))
}

fn per_second(count: u32, spent: Duration) -> f64 {
    f64::from(count) / spent.as_secs_f64()
}

/// How many instances of /bin/true GNU parallel ends per second; `None` where it is not installed.
fn gnu_parallel(count: u32) -> anyhow::Result<Option<f64>> {
    let numbers: String = (0..count).map(|index| format!("{index}\n")).collect();
    let list = tempfile::NamedTempFile::new()?;
    std::fs::write(list.path(), numbers)?;
    let begun = kit::clock::monotonic();
    let command = Command::new("parallel")
        .args(["--will-cite", "-j2", "/bin/true", "#", "{}"])
        .stdin(std::fs::File::open(list.path())?)
        .stdout(Stdio::null())
        .status();
    match command {
        Ok(status) if status.success() => Ok(Some(per_second(count, begun.elapsed()))),
        Ok(status) => anyhow::bail!("GNU parallel ended with {status}"),
        Err(_) => Ok(None),
    }
}

/// How many Pods of a Job end per second.
async fn jobs(client: &kube::Client) -> anyhow::Result<f64> {
    let job: Job = serde_json::from_value(json!({
        "metadata": {"name": "pods"},
        "spec": {"completions": JOB_PODS, "parallelism": 8, "template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "c", "image": IMAGE, "command": ["/bin/true"],
                "resources": {"requests": {"cpu": "10m"}}}],
        }}},
    }))?;
    let jobs: Api<Job> = Api::default_namespaced(client.clone());
    let begun = kit::clock::monotonic();
    jobs.create(&PostParams::default(), &job).await?;
    let only = watcher::Config::default().fields("metadata.name=pods");
    let mut changes = watcher(jobs, only).applied_objects().boxed();
    while let Some(job) = changes.try_next().await? {
        if job.status.and_then(|status| status.completion_time).is_some() {
            return Ok(per_second(JOB_PODS, begun.elapsed()));
        }
    }
    anyhow::bail!("the watch on the Job ended before it did")
}
