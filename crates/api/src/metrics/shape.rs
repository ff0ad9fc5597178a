//! An agent's summary in the words of `metrics.k8s.io`. Pure.

use serde_json::{Value, json};

use crate::object;

/// `None` while the node has not been measured twice.
pub(super) fn node(node: &Value, stats: &Value) -> Option<Value> {
    let stats = &stats["node"];
    let usage = usage(stats)?;
    let mut metrics = head("NodeMetrics", node, stats);
    metrics["usage"] = usage;
    Some(metrics)
}

/// The Pods of a summary.
pub(super) fn pods(stats: &Value) -> &[Value] {
    stats["pods"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// `None` while any of its containers has not been measured twice: a part would be taken for the whole.
pub(super) fn pod(pod: &Value, stats: &Value) -> Option<Value> {
    let containers = stats["containers"].as_array().filter(|containers| !containers.is_empty())?;
    let used: Option<Vec<Value>> = containers
        .iter()
        .map(|container| Some(json!({ "name": container["name"], "usage": usage(container)? })))
        .collect();
    let mut metrics = head("PodMetrics", pod, containers.first()?);
    metrics["containers"] = used?.into();
    Some(metrics)
}

fn head(kind: &str, of: &Value, stats: &Value) -> Value {
    let mut metadata = json!({ "name": object::name(of), "creationTimestamp": stats["cpu"]["time"] });
    for field in ["namespace", "labels"] {
        if let Some(value) = of["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    let window = stats["cpu"]["windowSeconds"].as_f64().unwrap_or_default();
    json!({
        "kind": kind, "apiVersion": "metrics.k8s.io/v1beta1", "metadata": metadata,
        "timestamp": stats["cpu"]["time"], "window": format!("{window:.3}s"),
    })
}

fn usage(stats: &Value) -> Option<Value> {
    let nano_cores = stats["cpu"]["usageNanoCores"].as_u64()?;
    let kibibytes = stats["memory"]["workingSetBytes"].as_u64()? / 1024;
    Some(json!({ "cpu": format!("{nano_cores}n"), "memory": format!("{kibibytes}Ki") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(nano_cores: Option<u64>) -> Value {
        let mut cpu =
            json!({ "time": "2030-01-01T00:00:00Z", "windowSeconds": 5.0, "usageCoreNanoSeconds": 9 });
        if let Some(rate) = nano_cores {
            cpu["usageNanoCores"] = rate.into();
        }
        json!({ "name": "c", "cpu": cpu, "memory": { "workingSetBytes": 4096 } })
    }

    #[test]
    fn a_pod_has_figures_once_all_of_it_has() {
        let object = json!({ "metadata": { "name": "p", "namespace": "n", "labels": { "a": "b" } } });
        let stats = |second| json!({ "containers": [used(Some(250_000_000)), used(second)] });
        assert_eq!(pod(&object, &stats(None)), None);
        let metrics = pod(&object, &stats(Some(1))).unwrap();
        assert_eq!(metrics["containers"][0]["usage"], json!({ "cpu": "250000000n", "memory": "4Ki" }));
        assert_eq!(metrics["metadata"]["labels"], json!({ "a": "b" }));
        assert_eq!((&metrics["window"], &metrics["kind"]), (&"5.000s".into(), &"PodMetrics".into()));
    }

    #[test]
    fn a_node_has_figures_once_it_was_measured_twice() {
        let object = json!({ "metadata": { "name": "a" } });
        assert_eq!(node(&object, &json!({ "node": used(None) })), None);
        let metrics = node(&object, &json!({ "node": used(Some(7)) })).unwrap();
        assert_eq!(metrics["usage"]["cpu"], "7n");
    }
}
