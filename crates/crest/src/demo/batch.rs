//! The batch work of the demo, started in two ways: as plain processes, and as a DagJob.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use model::dagjob::{DagJob, JobPhase};
use tokio::runtime::Runtime;

use super::service::NAMESPACE;
use crate::settings::Settings;

const MANIFEST: &str = include_str!("../../../../examples/demo/job.yaml");
const JOB_PATIENCE: Duration = Duration::from_secs(600);

/// The instances of the first stage, run over and over by as many plain processes as there are processors.
#[derive(Debug)]
pub(super) struct Plain {
    finished: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    runners: Vec<JoinHandle<()>>,
}

impl Plain {
    pub(super) fn start(rootfs: &Path) -> anyhow::Result<Self> {
        let job: DagJob = serde_yaml_ng::from_str(MANIFEST).context("the demo's job.yaml")?;
        let count = job.spec.tasks.first().map_or(1, |task| task.instances);
        let (finished, stop, next) =
            (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let runners = (0..processors).map(|_| {
            let (finished, stop, next) = (finished.clone(), stop.clone(), next.clone());
            let rootfs = rootfs.to_owned();
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed) % u64::from(count);
                    if run_instance(&rootfs, index, count) {
                        finished.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        });
        let runners = runners.collect();
        Ok(Self { finished, stop, runners })
    }

    pub(super) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for runner in self.runners.drain(..) {
            // A runner that panicked has stopped, which is all that is asked here.
            let _stopped = runner.join();
        }
    }
}

/// Runs one instance to its end, a fifth of a second away; true if it ended well.
fn run_instance(rootfs: &Path, index: u64, count: u32) -> bool {
    let ended = Command::new("chroot")
        .arg(rootfs)
        .args(["/bin/sh", "/demo/measure.sh"])
        .env("CREST_INSTANCE_INDEX", index.to_string())
        .env("CREST_INSTANCE_COUNT", count.to_string())
        .env("OUT", "/tmp/out")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    ended.is_ok_and(|status| status.success())
}

/// The DagJob of the demo.
pub(super) struct Job<'a> {
    runtime: &'a Runtime,
    jobs: Api<DagJob>,
    name: String,
    output: PathBuf,
}

impl<'a> Job<'a> {
    /// Submits the job and waits until its first instances run.
    pub(super) fn start(
        runtime: &'a Runtime,
        client: &kube::Client,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let mut job: DagJob = serde_yaml_ng::from_str(MANIFEST).context("the demo's job.yaml")?;
        let output = settings.state_dir().join("demo/out");
        for volume in &mut job.spec.volumes {
            if let Some(host_path) = &mut volume.host_path {
                host_path.path = output.display().to_string();
            }
        }
        let name = job.metadata.name.clone().context("the demo's job has no name")?;
        let jobs = Api::<DagJob>::namespaced(client.clone(), NAMESPACE);
        let this = Self { runtime, jobs, name, output };
        runtime.block_on(async {
            this.remove().await?;
            this.jobs.create(&PostParams::default(), &job).await.context("cannot create the DagJob")?;
            this.until(|job| running(job) > 0).await
        })?;
        Ok(this)
    }

    async fn remove(&self) -> anyhow::Result<()> {
        match self.jobs.delete(&self.name, &DeleteParams::background()).await {
            Ok(_) => {
                while self.jobs.get_opt(&self.name).await?.is_some() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn until(&self, holds: impl Fn(&DagJob) -> bool) -> anyhow::Result<DagJob> {
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut changes = watcher(self.jobs.clone(), only).applied_objects().boxed();
        let search = async {
            while let Some(job) = changes.try_next().await? {
                if phase(&job) == JobPhase::Failed {
                    anyhow::bail!("the job failed: {:?}", job.status);
                }
                if holds(&job) {
                    return Ok(job);
                }
            }
            anyhow::bail!("the watch on the job ended")
        };
        tokio::time::timeout(JOB_PATIENCE, search)
            .await
            .context("the job made no progress for ten minutes")?
    }

    /// Instances that ended well so far.
    pub(super) fn finished(&self) -> anyhow::Result<u64> {
        let job = self.runtime.block_on(self.jobs.get(&self.name))?;
        Ok(sum(&job, |task| task.succeeded))
    }

    /// Waits for the end of the job and says what came of it.
    pub(super) fn wait(&self) -> anyhow::Result<String> {
        let job = self.runtime.block_on(self.until(|job| phase(job) == JobPhase::Succeeded))?;
        let status = job.status.clone().unwrap_or_default();
        let seconds = match (&status.start_time, &status.completion_time) {
            (Some(start), Some(end)) => end.0.duration_since(start.0).as_secs(),
            _ => 0,
        };
        Ok(format!(
            "The DagJob ended well: {} instances in two stages, {seconds} s; results in {}.",
            sum(&job, |task| task.succeeded),
            self.output.display()
        ))
    }
}

fn phase(job: &DagJob) -> JobPhase {
    job.status.as_ref().map(|status| status.phase).unwrap_or_default()
}

fn running(job: &DagJob) -> u64 {
    sum(job, |task| task.running)
}

fn sum(job: &DagJob, of: impl Fn(&model::dagjob::TaskStatus) -> u32) -> u64 {
    job.status.iter().flat_map(|status| status.tasks.values()).map(|task| u64::from(of(task))).sum()
}
