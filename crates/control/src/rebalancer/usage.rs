//! What nodes and pods use, asked of `metrics.k8s.io` when a plan is made.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::ListParams;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sigma::resources::{CPU, MEMORY};

use crate::key::ObjectKey;
use crate::rebalance::{Measured, Usage};

const NODES: &str = "/apis/metrics.k8s.io/v1beta1/nodes";
const PODS: &str = "/apis/metrics.k8s.io/v1beta1/pods";

type Amounts = BTreeMap<String, Quantity>;

#[derive(Debug, Deserialize)]
struct List<T> {
    items: Vec<T>,
}

#[derive(Debug, Deserialize)]
struct NodeMetrics {
    metadata: ObjectMeta,
    usage: Amounts,
}

#[derive(Debug, Deserialize)]
struct PodMetrics {
    metadata: ObjectMeta,
    containers: Vec<ContainerMetrics>,
}

#[derive(Debug, Deserialize)]
struct ContainerMetrics {
    usage: Amounts,
}

/// What is in use now, as far as it is measured.
pub(super) async fn measure(client: &Client) -> kube::Result<Measured> {
    let (nodes, pods) = tokio::try_join!(ask::<NodeMetrics>(client, NODES), ask::<PodMetrics>(client, PODS))?;
    Ok(measured(nodes, pods))
}

async fn ask<T: DeserializeOwned>(client: &Client, path: &str) -> kube::Result<Vec<T>> {
    let request = kube::core::Request::new(path);
    let request = request.list(&ListParams::default()).map_err(kube::Error::BuildRequest)?;
    client.request::<List<T>>(request).await.map(|list| list.items)
}

fn measured(nodes: Vec<NodeMetrics>, pods: Vec<PodMetrics>) -> Measured {
    let node = |node: NodeMetrics| Some((node.metadata.name?, usage(&node.usage)));
    let pod = |pod: PodMetrics| {
        let key = ObjectKey::new(&pod.metadata.namespace?, &pod.metadata.name?);
        let of_containers = pod.containers.iter().map(|container| usage(&container.usage));
        Some((key, of_containers.fold(Usage::default(), Usage::plus)))
    };
    Measured {
        nodes: nodes.into_iter().filter_map(node).collect(),
        pods: pods.into_iter().filter_map(pod).collect(),
    }
}

fn usage(amounts: &Amounts) -> Usage {
    let amount =
        |name: &str| amounts.get(name).and_then(|amount| crate::sigma::amount(name, amount)).unwrap_or(0);
    Usage { cpu: amount(CPU), memory: amount(MEMORY) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read<T: DeserializeOwned>(list: Value) -> Vec<T> {
        serde_json::from_value::<List<T>>(list).unwrap().items
    }

    #[test]
    fn a_pod_uses_what_its_containers_use() {
        let nodes =
            json!({ "items": [{ "metadata": { "name": "n" }, "usage": { "cpu": "2", "memory": "1Gi" } }] });
        let container = |cpu: &str| json!({ "name": "c", "usage": { "cpu": cpu, "memory": "1Ki" } });
        let pods = json!({ "items": [{ "metadata": { "namespace": "a", "name": "p" },
            "containers": [container("250000000n"), container("1")] }] });
        let measured = measured(read(nodes), read(pods));
        assert_eq!(measured.nodes["n"], Usage { cpu: 2000, memory: 1 << 30 });
        assert_eq!(measured.pods[&ObjectKey::new("a", "p")], Usage { cpu: 1250, memory: 2048 });
    }
}
