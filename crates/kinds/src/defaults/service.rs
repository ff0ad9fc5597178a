//! Defaults of Services. Addresses and their families, and node ports, are the server's to hand out.

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
    match spec["sessionAffinity"].as_str() {
        Some("ClientIP") => {
            if let Some(config) = object(spec, "sessionAffinityConfig")
                && let Some(by_address) = object(config, "clientIP")
            {
                fill(by_address, "timeoutSeconds", 10_800);
            }
        }
        // Without affinity there is nothing to configure.
        Some("None") => drop(spec.remove("sessionAffinityConfig")),
        _ => {}
    }
    for port in items(spec, "ports") {
        fill_zero(port, "protocol", "TCP");
        if let Some(number) = port.get("port").cloned() {
            fill_zero(port, "targetPort", number);
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if kind != "ExternalName" {
        fill_zero(spec, "internalTrafficPolicy", "Cluster");
    }
    let has_external = spec.get("externalIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty());
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && has_external) {
        fill_zero(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
}
