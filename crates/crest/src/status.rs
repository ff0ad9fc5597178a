//! `crest status`, `crest kubeconfig`, and whether the cluster can take work.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

use crate::cli::{Output, StatusOptions};
use crate::daemon;
use crate::settings::Settings;

/// Whether the cluster can take work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Ready,
    /// What it still waits for.
    NotYet(String),
}

/// A client with the administrator's rights, from the kubeconfig that the running process wrote.
pub(crate) async fn client(settings: &Settings) -> anyhow::Result<kube::Client> {
    client_of(&settings.kubeconfig()).await
}

/// A client as the kubeconfig at `path` says.
pub(crate) async fn client_of(path: &Path) -> anyhow::Result<kube::Client> {
    let kubeconfig = Kubeconfig::read_from(path).with_context(|| {
        format!("cannot use `{}`; it is root's alone, and `crest up` writes it", path.display())
    })?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.connect_timeout = Some(Duration::from_secs(2));
    Ok(kube::Client::try_from(config)?)
}

/// One look: the API answers and every node is ready.
pub(crate) async fn health(settings: &Settings) -> Health {
    if !settings.kubeconfig().exists() {
        return Health::NotYet("waiting for the API server to start".to_owned());
    }
    let nodes = match client(settings).await {
        Ok(client) => Api::<Node>::all(client).list(&ListParams::default()).await,
        Err(error) => return Health::NotYet(format!("{error:#}")),
    };
    match nodes {
        Ok(nodes) if nodes.items.is_empty() => Health::NotYet("waiting for this host's node".to_owned()),
        Ok(nodes) => nodes.items.iter().find(|node| !is_ready(node)).map_or(Health::Ready, |node| {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            Health::NotYet(format!("waiting for node `{name}` to be ready"))
        }),
        Err(_) => Health::NotYet("waiting for the API server to answer".to_owned()),
    }
}

pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Prints the administrator's kubeconfig.
pub(crate) fn kubeconfig(settings: &Settings) -> anyhow::Result<()> {
    let path = settings.kubeconfig();
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cannot read `{}`; start the cluster with `crest up`", path.display()))?;
    print!("{text}");
    Ok(())
}

/// Prints what runs. Fails, so that scripts can ask, when nothing does.
pub(crate) fn status(settings: &Settings, options: &StatusOptions) -> anyhow::Result<()> {
    let Some(pid) = daemon::running(&settings.run_dir()) else {
        anyhow::bail!("instance `{}` is not running; start it with `crest up`", settings.instance);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (health, nodes, pods) = runtime.block_on(look(settings))?;
    let ready = match health {
        Health::Ready => "ready".to_owned(),
        Health::NotYet(why) => why,
    };
    let api = format!("https://{}", settings.api_address());
    match options.output {
        Output::Json => {
            let nodes: Vec<_> = nodes.iter().map(node_summary).collect();
            let document = json!({
                "instance": settings.instance, "pid": pid.as_raw_nonzero().get(), "api": api, "state": ready,
                "nodes": nodes, "pods": pods.len(), "runningPods": running_pods(&pods),
            });
            println!("{}", serde_json::to_string_pretty(&document)?);
        }
        Output::Text => {
            println!("{} ({ready}), process {}, API at {api}", settings.instance, pid.as_raw_nonzero());
            for node in &nodes {
                let summary = node_summary(node);
                println!(
                    "node {}: {} CPUs; batch may use {} milli-cores and {} bytes",
                    text(&summary, "name"),
                    text(&summary, "cpu"),
                    text(&summary, "batchCpu"),
                    text(&summary, "batchMemory")
                );
            }
            println!("pods: {} running of {}", running_pods(&pods), pods.len());
        }
    }
    Ok(())
}

async fn look(settings: &Settings) -> anyhow::Result<(Health, Vec<Node>, Vec<Pod>)> {
    let health = health(settings).await;
    let client = client(settings).await?;
    let everything = ListParams::default();
    let nodes = Api::<Node>::all(client.clone()).list(&everything).await.context("cannot list nodes")?;
    let pods = Api::<Pod>::all(client).list(&everything).await.context("cannot list pods")?;
    Ok((health, nodes.items, pods.items))
}

fn node_summary(node: &Node) -> serde_json::Value {
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let amount =
        |name: &str| allocatable.and_then(|amounts| amounts.get(name)).map(|quantity| quantity.0.clone());
    json!({
        "name": node.metadata.name,
        "cpu": amount("cpu"),
        "memory": amount("memory"),
        "batchCpu": amount(model::names::BATCH_CPU),
        "batchMemory": amount(model::names::BATCH_MEMORY),
    })
}

fn text<'a>(summary: &'a serde_json::Value, field: &str) -> &'a str {
    summary.get(field).and_then(serde_json::Value::as_str).unwrap_or("no")
}

fn running_pods(pods: &[Pod]) -> usize {
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    pods.iter().filter(|pod| phase(pod).as_deref() == Some("Running")).count()
}
