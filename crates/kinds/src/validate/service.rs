//! What must hold of Services.

use std::collections::HashSet;

use serde_json::Value;

use super::{Faults, address, in_range, items, list, metadata, names, one_of, text, unique};
use crate::status::FieldError;

/// A day.
const MAX_AFFINITY_SECONDS: i64 = 86_400;

pub(super) fn check(service: &Value, faults: &mut Faults) {
    let spec = &service["spec"];
    hints(&service["metadata"]["annotations"], faults);
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
    outer_addresses(spec, faults);
    load_balancer(service, faults);
    traffic(spec, faults);
    if !external {
        cluster_addresses(spec, faults);
        families(spec, faults);
    }
}

/// The older name of an annotation and the newer one say the same.
fn hints(annotations: &Value, faults: &mut Faults) {
    const OLDER: &str = "service.kubernetes.io/topology-aware-hints";
    const NEWER: &str = "service.kubernetes.io/topology-mode";
    let (older, newer) = (&annotations[OLDER], &annotations[NEWER]);
    if !older.is_null() && !newer.is_null() && older != newer {
        let message = format!("must match annotations[{OLDER}] when both are specified");
        faults.push(FieldError::invalid(format!("metadata.annotations[{NEWER}]"), newer.clone(), message));
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
            let name = text(spec, "externalName");
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() {
                faults.push(FieldError::required("spec.externalName", ""));
            } else {
                let faulty = names::subdomain(name).into_iter();
                faults.extend(faulty.map(|fault| FieldError::invalid("spec.externalName", name, fault)));
            }
        }
        kind @ ("LoadBalancer" | "NodePort") if headless => {
            let message = format!("may not be set to 'None' for {kind} services");
            faults.push(FieldError::invalid("spec.clusterIPs[0]", "None", message));
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
        port_number(&path, port, "port", faults);
        one_of(&path, port, "protocol", &["SCTP", "TCP", "UDP"], faults);
        match &port["targetPort"] {
            Value::String(name) => {
                let faulty = names::port_name(name).into_iter();
                faults
                    .extend(faulty.map(|fault| {
                        FieldError::invalid(format!("{path}.targetPort"), name.as_str(), fault)
                    }));
            }
            _ => port_number(&path, port, "targetPort", faults),
        }
        let application = text(port, "appProtocol");
        if !port["appProtocol"].is_null() {
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

/// A port that must be there: none is none of the numbers that there are.
fn port_number(path: &str, port: &Value, field: &str, faults: &mut Faults) {
    let number = port[field].as_i64().unwrap_or_default();
    if !(1..=65535).contains(&number) {
        let message = "must be between 1 and 65535, inclusive";
        faults.push(FieldError::invalid(format!("{path}.{field}"), number, message));
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
            } else if config["clientIP"].is_null() {
                faults.push(FieldError::required(format!("{CONFIG}.clientIP"), ""));
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

fn cluster_addresses(spec: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.clusterIPs";
    let addresses = list(spec, "clusterIPs");
    let mut refused = |message: &str| faults.push(FieldError::invalid(PATH, addresses.to_vec(), message));
    let first = addresses.first().map_or("", |first| first.as_str().unwrap_or_default());
    let named = text(spec, "clusterIP");
    match (named.is_empty(), addresses.is_empty()) {
        (true, false) => refused("must be empty when `clusterIP` is not specified"),
        (false, false) if first != named => refused("first value must match `clusterIP`"),
        _ => {}
    }
    if first == "None" && addresses.len() > 1 {
        refused("'None' must be the first and only value");
    }
    if addresses.len() > 2 {
        refused("may only hold up to 2 values");
    }
    let parsed: Vec<_> = addresses.iter().filter_map(|address| address::parse(address.as_str()?)).collect();
    if let [one, other, ..] = parsed.as_slice()
        && parsed.len() == addresses.len()
        && one.is_ipv4() == other.is_ipv4()
    {
        refused("may specify no more than one IP for each IP family");
    }
    for (index, (path, address)) in items("spec", spec, "clusterIPs").enumerate() {
        let address = address.as_str().unwrap_or_default();
        if index > 0 || address != "None" {
            address::check(&path, address, faults);
        }
        let family = list(spec, "ipFamilies").get(index).and_then(Value::as_str).unwrap_or_default();
        // Of a family that this cluster has not, that is told instead.
        let is_other = |address: std::net::IpAddr| family == "IPv4" && address.is_ipv6();
        if address::parse(address).is_some_and(is_other) {
            let message = format!("expected a value of {family} as indicated by `ipFamilies[{index}]`");
            faults.push(FieldError::invalid(path, address, message));
        }
    }
}

/// Addresses from outside of the cluster that lead to the Service.
fn outer_addresses(spec: &Value, faults: &mut Faults) {
    for (path, address) in items("spec", spec, "externalIPs") {
        let text = address.as_str().unwrap_or_default();
        if address::parse(text).is_none() {
            address::check(&path, text, faults);
        } else {
            address::reachable(&path, text, faults);
        }
    }
}

fn load_balancer(service: &Value, faults: &mut Faults) {
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    const ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let spec = &service["spec"];
    let is_one = spec["type"] == "LoadBalancer";
    // Told under the name that the field has in Kubernetes' code.
    const RANGES: &str = "spec.LoadBalancerSourceRanges";
    let ranges = list(spec, "loadBalancerSourceRanges");
    let annotation = &service["metadata"]["annotations"][ANNOTATION];
    if !ranges.is_empty() {
        if !is_one {
            faults.push(FieldError::forbidden(RANGES, ONLY));
        }
        for (index, range) in ranges.iter().enumerate() {
            let range = range.as_str().unwrap_or_default().trim();
            address::check_network(&format!("{RANGES}[{index}]"), range, faults);
        }
    } else if let Some(ranges) = annotation.as_str() {
        let path = format!("metadata.annotations[{ANNOTATION}]");
        if !is_one {
            faults.push(FieldError::forbidden(path.as_str(), ONLY));
        }
        let ranges = ranges.trim().split(',').map(str::trim).filter(|_| !ranges.trim().is_empty());
        ranges.for_each(|range| address::check_network(&path, range, faults));
    }
    for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if !is_one && !spec[field].is_null() {
            faults.push(FieldError::forbidden(format!("spec.{field}"), ONLY));
        }
    }
    if is_one && !spec["loadBalancerClass"].is_null() {
        let class = text(spec, "loadBalancerClass");
        let faulty = names::qualified_name(class).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid("spec.loadBalancerClass", class, fault)));
    }
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
    if is_reachable && policy.is_empty() {
        faults.push(FieldError::required("spec.externalTrafficPolicy", ""));
    } else if is_reachable {
        one_of("spec", spec, "externalTrafficPolicy", POLICIES, faults);
    } else if !policy.is_empty() {
        let message = "may only be set for externally-accessible services";
        faults.push(FieldError::invalid("spec.externalTrafficPolicy", policy, message));
    }
    let health = spec["healthCheckNodePort"].as_i64().unwrap_or_default();
    let needs_health = spec["type"] == "LoadBalancer" && policy == "Local";
    if needs_health && health != 0 {
        in_range("spec", spec, "healthCheckNodePort", 1..=65535, faults);
    }
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
