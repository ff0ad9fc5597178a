//! Batch beside a service, in two ways: as plain processes of the host, and as a DagJob.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt, watcher};
use model::dagjob::{DagJob, JobPhase};
use serde_json::json;

use super::hogs::Hog;
use super::image::TAG;

/// Batch workers take a while to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// Plain processes; dropping them kills them and removes what they wrote.
#[derive(Debug)]
pub struct Plain {
    children: Vec<Child>,
    folder: PathBuf,
}

impl Plain {
    pub fn start(hog: Hog, count: u32, folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.join("plain");
        std::fs::create_dir_all(&folder)?;
        let mut crowd = Self { children: Vec::new(), folder };
        for _ in 0..count {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["role", "hog", hog.name()]).arg(&crowd.folder).stdin(Stdio::null());
            crowd.children.push(command.spawn().context("cannot start a hog")?);
        }
        Ok(crowd)
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _gone_already = child.kill();
            let _ended = child.wait();
        }
        let _left_for_the_user = std::fs::remove_dir_all(&self.folder);
    }
}

/// A DagJob whose instances are all at work.
#[derive(Debug)]
pub struct Job {
    jobs: Api<DagJob>,
    name: String,
}

impl Job {
    pub async fn start(client: &kube::Client, hog: Hog, count: u32) -> anyhow::Result<Self> {
        let name = format!("hog-{}-{:08x}", hog.name(), rand::random::<u32>());
        let job = json!({
            "apiVersion": "crest.dev/v1alpha1", "kind": "DagJob", "metadata": {"name": name},
            "spec": {"tasks": [{
                "name": "hog", "instances": count, "parallelism": count, "image": TAG,
                "command": ["/bin/coloc", "role", "hog", hog.name(), "/tmp"],
                "resources": {"cpu": "50m", "memory": "512Mi"},
            }]},
        });
        let jobs: Api<DagJob> = Api::default_namespaced(client.clone());
        jobs.create(&PostParams::default(), &serde_json::from_value(job)?).await?;
        let this = Self { jobs, name };
        let at_work = this.until_at_work(count);
        tokio::time::timeout(PATIENCE, at_work).await.context("the hogs do not begin within a minute")??;
        Ok(this)
    }

    async fn until_at_work(&self, count: u32) -> anyhow::Result<()> {
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut changes = watcher(self.jobs.clone(), only).applied_objects().boxed();
        while let Some(job) = changes.try_next().await? {
            let status = job.status.unwrap_or_default();
            anyhow::ensure!(status.phase != JobPhase::Failed, "the hogs failed: {:?}", status.conditions);
            if status.tasks.values().map(|task| task.running).sum::<u32>() >= count {
                return Ok(());
            }
        }
        anyhow::bail!("the watch on {} ended", self.name)
    }

    pub async fn end(self) -> anyhow::Result<()> {
        let uid = self.jobs.get(&self.name).await?.metadata.uid.unwrap_or_default();
        self.jobs.delete(&self.name, &DeleteParams::foreground()).await?;
        let gone = await_condition(self.jobs.clone(), &self.name, conditions::is_deleted(&uid));
        tokio::time::timeout(PATIENCE, gone).await.context("the hogs do not go within a minute")??;
        Ok(())
    }
}
