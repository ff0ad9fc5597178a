//! ReplicaSets of small Pods in real containers, of services and of batch.

use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(180);

/// So many equal Pods of the image `bench:busybox`.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    pub name: &'static str,
    /// As the label `crest.dev/class` has it. `free` is placed also on a machine that is too busy to offer batch anything.
    pub class: &'static str,
    pub replicas: usize,
    /// What a shell runs.
    pub script: &'static str,
    /// What it is promised and what it may use of a processor.
    pub cpu: (&'static str, &'static str),
}

/// Makes them all and waits until they run.
pub async fn start(client: &Client, sets: &[Set]) -> anyhow::Result<()> {
    let api = Api::<ReplicaSet>::default_namespaced(client.clone());
    for Set { name, class, replicas, script, cpu: (request, limit) } in sets {
        let resources = json!({"requests": {"cpu": request, "memory": "8Mi"}, "limits": {"cpu": limit, "memory": "32Mi"}});
        let set = json!({"metadata": {"name": name}, "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name, "crest.dev/class": class}}, "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "c", "image": "bench:busybox", "imagePullPolicy": "Never",
                    "command": ["/bin/busybox", "sh", "-c", script], "resources": resources}],
            }},
        }});
        api.create(&PostParams::default(), &serde_json::from_value(set)?).await?;
    }
    let count: usize = sets.iter().map(|set| set.replicas).sum();
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let running = ListParams::default().fields("status.phase=Running");
    until(async || Ok(pods.list(&running).await?.items.len() >= count)).await.context("the Pods do not run")
}

/// Has all their Pods go, and waits until they are gone.
pub async fn stop(client: &Client, sets: &[Set]) -> anyhow::Result<()> {
    let api = Api::<ReplicaSet>::default_namespaced(client.clone());
    for set in sets {
        let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
        api.patch(set.name, &PatchParams::default(), &none).await?;
    }
    let pods = Api::<Pod>::default_namespaced(client.clone());
    until(async || Ok(pods.list(&ListParams::default()).await?.items.is_empty())).await.context("Pods stay")
}

async fn until(is_so: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begun = kit::clock::monotonic();
    while !is_so().await? {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}
