//! Nodes and Pods by the thousand, created by many requests in flight.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use kube::Client;
use serde_json::{Value, json};

/// A node as kube-scheduler's own benchmarks have it.
pub fn node(number: usize) -> Value {
    let resources = json!({"cpu": "32", "memory": "64Gi", "pods": "110"});
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": format!("node-{number}"), "labels": {
            "kubernetes.io/hostname": format!("node-{number}"),
            "topology.kubernetes.io/zone": format!("zone-{}", number % 3)}},
        "status": {"capacity": resources, "allocatable": resources,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}})
}

/// A small Pod, on `node` if there is one.
pub fn pod(number: usize, node: Option<usize>) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{number}"), "labels": {"app": format!("app-{}", number % 50)}},
        "spec": {"containers": [{"name": "main", "image": "registry.k8s.io/pause:3.10",
            "resources": {"requests": {"cpu": "100m", "memory": "200Mi"}}}]}});
    if let Some(node) = node {
        pod["spec"]["nodeName"] = json!(format!("node-{node}"));
    }
    pod
}

/// What a Pod of a namespace needs to be accepted where no controllers run.
pub async fn prepare_namespace(client: &Client) -> anyhow::Result<()> {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let status = post(client, "/api/v1/namespaces/default/serviceaccounts", &account).await?;
    anyhow::ensure!(matches!(status, 201 | 409), "the service account was answered {status}");
    Ok(())
}

/// Creates `count` objects at `path`, so many at a time; tells how long each took.
pub async fn create(
    client: &Client,
    path: &str,
    (count, in_flight): (usize, usize),
    object: impl Fn(usize) -> Value,
) -> anyhow::Result<Vec<Duration>> {
    let next = AtomicUsize::new(0);
    let lanes = (0..in_flight).map(async |_| {
        let mut durations = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return anyhow::Ok(durations);
            }
            let object = object(number);
            let begun = kit::clock::monotonic();
            let status = post(client, path, &object).await?;
            durations.push(begun.elapsed());
            anyhow::ensure!(status == 201, "object {number} of {path} was answered {status}");
        }
    });
    Ok(try_join_all(lanes).await?.concat())
}

async fn post(client: &Client, path: &str, object: &Value) -> anyhow::Result<u16> {
    let request = http::Request::post(path).header("content-type", "application/json");
    let response = client.send(request.body(object.to_string().into_bytes().into())?).await?;
    let status = response.status().as_u16();
    response.into_body().collect_bytes().await.context("the answer broke off")?;
    Ok(status)
}

/// Whole bodies of answers.
pub async fn get(client: &Client, path: &str) -> anyhow::Result<Vec<u8>> {
    let request = http::Request::get(path).body(Vec::new().into())?;
    let response = client.send(request).await?;
    anyhow::ensure!(response.status().is_success(), "{path} was answered {}", response.status());
    Ok(response.into_body().collect_bytes().await?.to_vec())
}

/// So many things in so long, per second.
pub fn rate(count: usize, elapsed: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
    let count = count as f64;
    count / elapsed.as_secs_f64()
}
