//! Defaults of Services. Addresses and node ports are the server's to hand out.

use serde_json::{Map, Value, json};

use super::{fill, fill_zero, items, object};

pub(super) fn service(fields: &mut Map<String, Value>) {
    if let Some(spec) = object(fields, "spec") {
        service_spec(spec);
    }
    if let Some(status) = object(fields, "status") {
        fill(status, "loadBalancer", json!({}));
    }
}

fn service_spec(spec: &mut Map<String, Value>) {
    fill_zero(spec, "type", "ClusterIP");
    fill_zero(spec, "sessionAffinity", "None");
    if spec["sessionAffinity"] == "ClientIP" {
        fill(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10800}}));
    }
    for port in items(spec, "ports") {
        fill_zero(port, "protocol", "TCP");
        if let Some(number) = port.get("port").cloned() {
            fill_zero(port, "targetPort", number);
        }
    }
    if spec["type"] == "ExternalName" {
        return;
    }
    let address = spec.get("clusterIP").and_then(Value::as_str).filter(|address| !address.is_empty());
    if let Some(address) = address.map(str::to_owned) {
        fill(spec, "clusterIPs", json!([address]));
    }
    fill(spec, "ipFamilies", json!(["IPv4"]));
    fill_zero(spec, "ipFamilyPolicy", "SingleStack");
    fill_zero(spec, "internalTrafficPolicy", "Cluster");
    if matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer")) {
        fill_zero(spec, "externalTrafficPolicy", "Cluster");
    }
    if spec["type"] == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
}
