//! Pods: the first status, with Kubernetes' QoS class.

use serde_json::{Map, Value, json};

/// A new Pod waits, and knows its QoS class.
pub(super) fn prepare_create(pod: &mut Value) {
    let qos_class = qos_class(&pod["spec"]);
    pod["status"] = json!({"phase": "Pending", "qosClass": qos_class});
}

/// Kubernetes' class of a Pod: guaranteed when every container limits what it requests, best effort when none asks.
fn qos_class(spec: &Value) -> &'static str {
    let containers: Vec<&Value> = ["containers", "initContainers"]
        .iter()
        .flat_map(|field| spec[*field].as_array().into_iter().flatten())
        .collect();
    let asks = |container: &&&Value| {
        is_set(&container["resources"], "requests") || is_set(&container["resources"], "limits")
    };
    if containers.iter().filter(asks).count() == 0 {
        return "BestEffort";
    }
    if containers.iter().all(|container| is_guaranteed(&container["resources"])) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn is_set(resources: &Value, field: &str) -> bool {
    let empty = Map::new();
    let quantities = resources[field].as_object().unwrap_or(&empty);
    ["cpu", "memory"].iter().any(|resource| quantities.contains_key(*resource))
}

fn is_guaranteed(resources: &Value) -> bool {
    ["cpu", "memory"].iter().all(|resource| {
        let limit = &resources["limits"][resource];
        let request = &resources["requests"][resource];
        !limit.is_null() && (request.is_null() || request == limit)
    })
}
