//! `crest node list` and `remove`: the nodes of the cluster that runs here.

use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, EvictParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::RemoveOptions;
use crate::settings::Settings;
use crate::status;

/// A budget that refuses an eviction may allow it a moment later.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn list(settings: &Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let nodes = runtime.block_on(async {
        let nodes: Api<Node> = Api::all(status::client(settings).await?);
        nodes.list(&ListParams::default()).await.context("cannot list nodes")
    })?;
    println!("{:<32}{:<12}{:<18}VERSION", "NAME", "STATUS", "ADDRESS");
    for node in &nodes {
        let state = if status::is_ready(node) { "Ready" } else { "NotReady" };
        let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
        let version = info.map_or("", |info| info.kubelet_version.as_str());
        println!("{:<32}{state:<12}{:<18}{version}", node.name_any(), address(node));
    }
    Ok(())
}

fn address(node: &Node) -> &str {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let mut internal = addresses.filter(|address| address.type_ == "InternalIP");
    internal.next().map_or("", |address| address.address.as_str())
}

pub(super) fn remove(settings: &Settings, options: &RemoveOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let name = &options.name;
    runtime.block_on(async {
        let client = status::client(settings).await?;
        let nodes: Api<Node> = Api::all(client.clone());
        let cordon = Patch::Merge(json!({ "spec": { "unschedulable": true } }));
        let cordoned = nodes.patch(name, &PatchParams::default(), &cordon).await;
        cordoned.with_context(|| format!("cannot take node `{name}` out of service"))?;
        if !options.force {
            let patience = Duration::from_secs(options.timeout_seconds);
            let drained = tokio::time::timeout(patience, drain(&client, name)).await;
            drained.with_context(|| {
                format!(
                    "Pods are still on `{name}`; wait longer with --timeout-seconds, or end them with --force"
                )
            })??;
        }
        let removed = nodes.delete(name, &DeleteParams::default()).await;
        removed.map(drop).with_context(|| format!("cannot remove node `{name}`"))
    })?;
    println!("removed {name}; clear up on the machine itself with `crest down --purge`");
    Ok(())
}

/// Evicts the Pods of the node until none is left but those that belong to the node itself.
async fn drain(client: &Client, node: &str) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::all(client.clone());
    let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
    loop {
        let listed = pods.list(&here).await.context("cannot list the node's Pods")?;
        let left: Vec<&Pod> = listed.items.iter().filter(|pod| must_go(pod)).collect();
        if left.is_empty() {
            return Ok(());
        }
        for pod in left.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
            match pods.evict(&pod.name_any(), &EvictParams::default()).await {
                Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 429) => {}
                evicted => drop(evicted.with_context(|| format!("cannot evict Pod `{}`", pod.name_any()))?),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Daemons' Pods would come back at once; those that have ended hold nobody up.
fn must_go(pod: &Pod) -> bool {
    let has_ended = pod
        .status
        .as_ref()
        .is_some_and(|status| matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")));
    let is_daemons = pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet");
    !has_ended && !is_daemons
}
