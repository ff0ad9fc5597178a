//! What must hold of Services.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::Value;

use super::{Faults, in_range, items, list, metadata, names, one_of, required, text, unique};
use crate::status::FieldError;

/// The port of the agents, which no load balancer may lead to.
const AGENT_PORT: i64 = 10_250;
/// A day.
const MAX_AFFINITY_SECONDS: i64 = 86_400;

pub(super) fn check(spec: &Value, faults: &mut Faults) {
    const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    one_of("spec", spec, "type", TYPES, faults);
    let external = spec["type"] == "ExternalName";
    let headless = spec["clusterIP"] == "None";
    if list(spec, "ports").is_empty() && !external && !headless {
        faults.push(FieldError::required("spec.ports", ""));
    }
    by_type(spec, faults);
    ports(spec, faults);
    metadata::labels("spec.selector", &spec["selector"], faults);
    affinity(spec, faults);
    addresses(spec, faults);
    load_balancer(spec, faults);
    traffic(spec, faults);
    if !external {
        families(spec, faults);
    }
}

/// What a Service of its type must or may not say.
fn by_type(spec: &Value, faults: &mut Faults) {
    let headless = spec["clusterIP"] == "None";
    match text(spec, "type") {
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies"] {
                if !list(spec, field).is_empty() {
                    let message = "may not be set for ExternalName services";
                    faults.push(FieldError::forbidden(format!("spec.{field}"), message));
                }
            }
            if !text(spec, "ipFamilyPolicy").is_empty() {
                let message = "may not be set for ExternalName services";
                faults.push(FieldError::forbidden("spec.ipFamilyPolicy", message));
            }
            let name = text(spec, "externalName").trim_end_matches('.');
            required("spec", spec, "externalName", faults);
            if !name.is_empty() {
                let faulty = names::subdomain(name).into_iter();
                faults.extend(faulty.map(|fault| FieldError::invalid("spec.externalName", name, fault)));
            }
        }
        kind @ ("LoadBalancer" | "NodePort") => {
            if headless {
                let message = format!("may not be set to 'None' for {kind} services");
                faults.push(FieldError::invalid("spec.clusterIPs[0]", "None", message));
            }
            let is_agents = |port: &Value| kind == "LoadBalancer" && port["port"] == AGENT_PORT;
            for (path, _) in items("spec", spec, "ports").filter(|(_, port)| is_agents(port)) {
                let message = "may not expose port 10250 externally since it is used by kubelet";
                faults.push(FieldError::invalid(path, AGENT_PORT, message));
            }
        }
        _ => {}
    }
}

fn ports(spec: &Value, faults: &mut Faults) {
    let several = list(spec, "ports").len() > 1;
    let (mut seen_names, mut seen_ports, mut seen_node_ports) =
        (HashSet::new(), HashSet::new(), HashSet::new());
    for (path, port) in items("spec", spec, "ports") {
        let name = text(port, "name");
        if name.is_empty() {
            if several {
                faults.push(FieldError::required(format!("{path}.name"), ""));
            }
        } else {
            let faulty = names::label(name).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.name"), name, fault)));
            unique(&mut seen_names, name, format!("{path}.name"), faults);
        }
        in_range(&path, port, "port", 1..=65535, faults);
        one_of(&path, port, "protocol", &["SCTP", "TCP", "UDP"], faults);
        match &port["targetPort"] {
            Value::String(name) => {
                let faulty = names::port_name(name).into_iter();
                faults
                    .extend(faulty.map(|fault| {
                        FieldError::invalid(format!("{path}.targetPort"), name.as_str(), fault)
                    }));
            }
            _ => in_range(&path, port, "targetPort", 1..=65535, faults),
        }
        let application = text(port, "appProtocol");
        if !application.is_empty() {
            let faulty = names::qualified_name(application).into_iter();
            faults.extend(
                faulty.map(|fault| FieldError::invalid(format!("{path}.appProtocol"), application, fault)),
            );
        }
        let (number, protocol) = (port["port"].as_i64().unwrap_or_default(), text(port, "protocol"));
        if !seen_ports.insert((number, protocol)) {
            faults.push(FieldError::duplicate(path.clone(), number));
        }
        let node_port = port["nodePort"].as_i64().unwrap_or_default();
        if node_port == 0 {
            continue;
        }
        if spec["type"] == "ClusterIP" {
            let message = "may not be used when `type` is 'ClusterIP'";
            faults.push(FieldError::forbidden(format!("{path}.nodePort"), message));
        }
        if !seen_node_ports.insert((node_port, protocol)) {
            faults.push(FieldError::duplicate(format!("{path}.nodePort"), node_port));
        }
    }
}

fn affinity(spec: &Value, faults: &mut Faults) {
    const CONFIG: &str = "spec.sessionAffinityConfig";
    one_of("spec", spec, "sessionAffinity", &["ClientIP", "None"], faults);
    let config = &spec["sessionAffinityConfig"];
    match text(spec, "sessionAffinity") {
        "ClientIP" => {
            let seconds = &config["clientIP"]["timeoutSeconds"];
            if config.is_null() {
                faults.push(FieldError::required(CONFIG, "when session affinity type is ClientIP"));
            } else if seconds.is_null() {
                faults.push(FieldError::required(format!("{CONFIG}.clientIP.timeoutSeconds"), ""));
            } else {
                let path = format!("{CONFIG}.clientIP");
                in_range(&path, &config["clientIP"], "timeoutSeconds", 1..=MAX_AFFINITY_SECONDS, faults);
            }
        }
        "None" if !config.is_null() => {
            let message = "must not be set when session affinity is None";
            faults.push(FieldError::forbidden(CONFIG, message));
        }
        _ => {}
    }
}

fn addresses(spec: &Value, faults: &mut Faults) {
    const MESSAGE: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    let addresses = list(spec, "clusterIPs");
    for (path, address) in items("spec", spec, "clusterIPs") {
        let address = address.as_str().unwrap_or_default();
        if address == "None" && addresses.len() > 1 {
            let message = "'None' must be the first and only value";
            faults.push(FieldError::invalid("spec.clusterIPs", addresses.to_vec(), message));
        } else if address != "None" && address.parse::<IpAddr>().is_err() {
            faults.push(FieldError::invalid(path, address, MESSAGE));
        }
    }
    if addresses.len() > 2 {
        let message = "may only hold up to 2 values";
        faults.push(FieldError::invalid("spec.clusterIPs", addresses.to_vec(), message));
    }
    let first = addresses.first().map_or(&Value::Null, |first| first);
    if !addresses.is_empty() && *first != spec["clusterIP"] {
        let message = "first value must match `clusterIP`";
        faults.push(FieldError::invalid("spec.clusterIPs", addresses.to_vec(), message));
    }
    for (path, address) in items("spec", spec, "externalIPs") {
        let text = address.as_str().unwrap_or_default();
        match text.parse::<IpAddr>() {
            Err(_) => faults.push(FieldError::invalid(path, text, MESSAGE)),
            Ok(address) if address.is_unspecified() => {
                faults.push(FieldError::invalid(path, text, "may not be unspecified"));
            }
            Ok(address) if address.is_loopback() => {
                faults.push(FieldError::invalid(path, text, "may not be in the loopback range"));
            }
            Ok(_) => {}
        }
    }
}

fn load_balancer(spec: &Value, faults: &mut Faults) {
    let is_one = spec["type"] == "LoadBalancer";
    let ranges = list(spec, "loadBalancerSourceRanges");
    if !ranges.is_empty() && !is_one {
        let message = "may only be used when `type` is 'LoadBalancer'";
        faults.push(FieldError::forbidden("spec.loadBalancerSourceRanges", message));
    }
    for (path, range) in items("spec", spec, "loadBalancerSourceRanges").filter(|_| is_one) {
        let range = range.as_str().unwrap_or_default().trim();
        if !is_network(range) {
            let message = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            faults.push(FieldError::invalid(path, range, message));
        }
    }
    for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if !is_one && !spec[field].is_null() {
            let message = "may only be used when `type` is 'LoadBalancer'";
            faults.push(FieldError::forbidden(format!("spec.{field}"), message));
        }
    }
    let class = text(spec, "loadBalancerClass");
    if !class.is_empty() {
        let faulty = names::qualified_name(class).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid("spec.loadBalancerClass", class, fault)));
    }
}

fn is_network(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return false };
    let longest = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    prefix.parse::<u8>().is_ok_and(|prefix| prefix <= longest)
}

fn traffic(spec: &Value, faults: &mut Faults) {
    const POLICIES: &[&str] = &["Cluster", "Local"];
    one_of("spec", spec, "internalTrafficPolicy", POLICIES, faults);
    let has_external = !list(spec, "externalIPs").is_empty();
    let is_reachable = match text(spec, "type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => has_external,
        _ => false,
    };
    let policy = text(spec, "externalTrafficPolicy");
    if is_reachable && policy.is_empty() && spec["type"] != "ClusterIP" {
        faults.push(FieldError::required("spec.externalTrafficPolicy", ""));
    } else if is_reachable {
        one_of("spec", spec, "externalTrafficPolicy", POLICIES, faults);
    } else if !policy.is_empty() {
        let message = "may only be set for externally-accessible services";
        faults.push(FieldError::invalid("spec.externalTrafficPolicy", policy, message));
    }
    let health = spec["healthCheckNodePort"].as_i64().unwrap_or_default();
    let needs_health = spec["type"] == "LoadBalancer" && policy == "Local";
    if health != 0 && !needs_health {
        let message = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        faults.push(FieldError::invalid("spec.healthCheckNodePort", health, message));
    }
    const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameNode", "PreferSameZone"];
    one_of("spec", spec, "trafficDistribution", DISTRIBUTIONS, faults);
}

fn families(spec: &Value, faults: &mut Faults) {
    const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
    let mut seen = HashSet::new();
    // Who names the endpoints himself may name those of any family.
    let any = spec["clusterIP"] == "None" && spec["selector"].as_object().is_none_or(|map| map.is_empty());
    for (path, family) in items("spec", spec, "ipFamilies") {
        match family.as_str().unwrap_or_default() {
            "IPv4" => {}
            "IPv6" if any => {}
            "IPv6" => {
                faults.push(FieldError::invalid(
                    path.clone(),
                    family.clone(),
                    "not configured on this cluster",
                ));
            }
            other => faults.push(FieldError::not_supported(path.clone(), other, &["IPv4", "IPv6"])),
        }
        unique(&mut seen, family.as_str().unwrap_or_default(), path, faults);
    }
    one_of("spec", spec, "ipFamilyPolicy", POLICIES, faults);
    if spec["ipFamilyPolicy"] == "RequireDualStack" && !any {
        let message = "this cluster is not configured for dual-stack services";
        faults.push(FieldError::invalid("spec.ipFamilyPolicy", "RequireDualStack", message));
    }
}
