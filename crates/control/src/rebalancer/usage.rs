//! What nodes and pods use, asked of `metrics.k8s.io` when a plan is made.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::ListParams;
use serde::Deserialize;
use sigma::Usage;
use sigma::resources::{CPU, MEMORY};

use crate::key::ObjectKey;
use crate::metrics::{self, Amounts, PodMetrics};
use crate::rebalance::Measured;

#[derive(Debug, Deserialize)]
struct NodeMetrics {
    metadata: ObjectMeta,
    usage: Amounts,
}

/// What is in use now, as far as it is measured.
pub(super) async fn measure(client: &Client) -> kube::Result<Measured> {
    let all = ListParams::default();
    let (nodes, pods) =
        tokio::try_join!(metrics::list(client, "nodes", &all), metrics::list(client, "pods", &all))?;
    Ok(measured(nodes, pods))
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

    fn read<T: serde::de::DeserializeOwned>(mut list: Value) -> Vec<T> {
        serde_json::from_value(list["items"].take()).unwrap()
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
