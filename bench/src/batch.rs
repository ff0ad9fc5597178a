//! A batch job from its creation to its stored end.

use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use model::dagjob::{DagJob, JobPhase, TaskStatus};
use serde_json::{Value, json};

/// Runs a job of one task; how long it took, the start of its workers included, and what its status says at the end.
pub async fn run_task(
    client: &kube::Client,
    name: &str,
    mut task: Value,
) -> anyhow::Result<(Duration, TaskStatus)> {
    task["name"] = "task".into();
    let job = json!({
        "apiVersion": "crest.dev/v1alpha1", "kind": "DagJob", "metadata": {"name": name}, "spec": {"tasks": [task]},
    });
    let jobs: Api<DagJob> = Api::default_namespaced(client.clone());
    let created = kit::clock::monotonic();
    jobs.create(&PostParams::default(), &serde_json::from_value(job)?).await?;
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = watcher(jobs, only).applied_objects().boxed();
    while let Some(job) = changes.try_next().await? {
        let mut status = job.status.unwrap_or_default();
        match status.phase {
            JobPhase::Succeeded => {
                let task = status.tasks.remove("task").context("no status of the task")?;
                return Ok((created.elapsed(), task));
            }
            JobPhase::Failed => anyhow::bail!("the job {name} failed: {:?}", status.conditions),
            _ => {}
        }
    }
    anyhow::bail!("the watch on {name} ended before the job did")
}
