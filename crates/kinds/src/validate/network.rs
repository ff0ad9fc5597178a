//! What must hold of networks: Ingresses, NetworkPolicies, Endpoints and EndpointSlices.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::Value;

use super::{Faults, address, in_range, items, list, metadata, names, one_of, pod, required, text};
use crate::status::FieldError;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

fn invalid(path: impl Into<String>, value: &str, found: Vec<String>, faults: &mut Faults) {
    let path = path.into();
    faults.extend(found.into_iter().map(|fault| FieldError::invalid(path.clone(), value, fault)));
}

pub(super) fn ingress(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    if list(spec, "rules").is_empty() && spec["defaultBackend"].is_null() {
        let message = "either `defaultBackend` or `rules` must be specified";
        faults.push(FieldError::invalid("spec", spec.clone(), message));
    }
    if !spec["defaultBackend"].is_null() {
        backend("spec.defaultBackend", &spec["defaultBackend"], faults);
    }
    for (path, rule) in items("spec", spec, "rules") {
        host(&path, text(rule, "host"), faults);
        if !rule["http"].is_null() && list(&rule["http"], "paths").is_empty() {
            faults.push(FieldError::required(format!("{path}.http.paths"), ""));
        }
        for (path, way) in items(&format!("{path}.http"), &rule["http"], "paths") {
            http_path(&path, way, faults);
        }
    }
    for (path, tls) in items("spec", spec, "tls") {
        for (path, host) in items(&path, tls, "hosts") {
            let host = host.as_str().unwrap_or_default();
            invalid(path, host, names::wildcard_subdomain(host), faults);
        }
    }
}

/// The older way to name the class of a new Ingress says the same as the newer.
pub(super) fn new_ingress(object: &Value, faults: &mut Faults) {
    const CLASS: &str = "kubernetes.io/ingress.class";
    let (annotation, class) =
        (&object["metadata"]["annotations"][CLASS], &object["spec"]["ingressClassName"]);
    if !annotation.is_null() && !class.is_null() && annotation != class {
        let message = "must match `ingressClassName` when both are specified";
        faults.push(FieldError::invalid(format!("annotations.{CLASS}"), annotation.clone(), message));
    }
}

fn host(path: &str, host: &str, faults: &mut Faults) {
    let path = format!("{path}.host");
    if host.is_empty() {
        return;
    }
    if host.parse::<IpAddr>().is_ok() {
        faults.push(FieldError::invalid(path.as_str(), host, "must be a DNS name, not an IP address"));
    }
    invalid(path, host, names::wildcard_subdomain(host), faults);
}

fn http_path(path: &str, way: &Value, faults: &mut Faults) {
    const TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
    if way["pathType"].is_null() {
        faults.push(FieldError::required(format!("{path}.pathType"), "pathType must be specified"));
        return;
    }
    one_of(path, way, "pathType", TYPES, faults);
    let given = text(way, "path");
    if matches!(text(way, "pathType"), "Exact" | "Prefix") {
        if !given.starts_with('/') {
            let message = "must be an absolute path";
            faults.push(FieldError::invalid(format!("{path}.path"), given, message));
        }
        for part in ["//", "/./", "/../", "%2f", "%2F"] {
            if given.contains(part) {
                let message = format!("must not contain '{part}'");
                faults.push(FieldError::invalid(format!("{path}.path"), given, message));
            }
        }
        for end in ["/..", "/."].into_iter().filter(|end| given.ends_with(end)) {
            let message = format!("cannot end with '{end}'");
            faults.push(FieldError::invalid(format!("{path}.path"), given, message));
        }
    } else if text(way, "pathType") == "ImplementationSpecific"
        && !given.is_empty()
        && !given.starts_with('/')
    {
        faults.push(FieldError::invalid(format!("{path}.path"), given, "must be an absolute path"));
    }
    backend(&format!("{path}.backend"), &way["backend"], faults);
}

fn backend(path: &str, backend: &Value, faults: &mut Faults) {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_null(), resource.is_null()) {
        (false, false) => {
            let message = "cannot set both resource and service backends";
            faults.push(FieldError::invalid(path, "", message));
        }
        (true, true) => {
            faults.push(FieldError::invalid(path, "", "resource or service backend is required"));
        }
        (true, false) => {
            let path = format!("{path}.resource");
            for field in ["kind", "name"] {
                required(&path, resource, field, faults);
                pod::named(&path, resource, field, names::path_segment, faults);
            }
            if let Some(group) = resource["apiGroup"].as_str() {
                invalid(format!("{path}.apiGroup"), group, names::subdomain(group), faults);
            }
        }
        (false, true) => service_backend(path, service, faults),
    }
}

fn service_backend(path: &str, service: &Value, faults: &mut Faults) {
    let name = text(service, "name");
    if name.is_empty() {
        faults.push(FieldError::required(format!("{path}.service.name"), ""));
    } else {
        invalid(format!("{path}.service.name"), name, names::label(name), faults);
    }
    let port = &service["port"];
    let (name, number) = (text(port, "name"), port["number"].as_i64().unwrap_or_default());
    match (name.is_empty(), number) {
        (true, 0) => faults.push(FieldError::required(path, "port name or number is required")),
        (true, _) => in_range(&format!("{path}.service.port"), port, "number", 1..=65535, faults),
        (false, 0) => invalid(format!("{path}.service.port.name"), name, names::port_name(name), faults),
        (false, _) => {
            faults.push(FieldError::invalid(path, "", "cannot set both port name & port number"));
        }
    }
}

pub(super) fn ingress_class(object: &Value, faults: &mut Faults) {
    const MAX_CONTROLLER: usize = 250;
    let spec = &object["spec"];
    let controller = text(spec, "controller");
    if controller.len() > MAX_CONTROLLER {
        faults.push(FieldError::too_long("spec.controller", MAX_CONTROLLER));
    }
    if !controller.is_empty() {
        domain_path("spec.controller", controller, faults);
    }
    let parameters = &spec["parameters"];
    match (text(parameters, "scope"), parameters["namespace"].is_null()) {
        ("Namespace", true) => {
            let message = "`parameters.scope` is set to 'Namespace'";
            faults.push(FieldError::required("spec.parameters.namespace", message));
        }
        ("Cluster", false) => {
            let message = "`parameters.scope` is set to 'Cluster'";
            faults.push(FieldError::forbidden("spec.parameters.namespace", message));
        }
        ("Namespace", false) => {
            let namespace = text(parameters, "namespace");
            invalid("spec.parameters.namespace", namespace, names::label(namespace), faults);
        }
        _ => {}
    }
}

/// A path below somebody's domain.
pub(super) fn domain_path(path: &str, value: &str, faults: &mut Faults) {
    let (domain, rest) = value.split_once('/').unwrap_or((value, ""));
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    if domain.is_empty() || rest.is_empty() {
        let message = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        faults.push(FieldError::invalid(path, value, message));
        return;
    }
    invalid(path, domain, names::subdomain(domain), faults);
    if !rest.chars().all(is_path) {
        faults.push(FieldError::invalid(path, rest, "must be a path of a URL"));
    }
}

pub(super) fn network_policy(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (path, rule) in items("spec", spec, direction) {
            for (path, port) in items(&path, rule, "ports") {
                policy_port(&path, port, faults);
            }
            for (path, peer) in items(&path, rule, peers) {
                policy_peer(&path, peer, faults);
            }
        }
    }
    if list(spec, "policyTypes").len() > 2 {
        let message = "may not specify more than two policyTypes";
        faults.push(FieldError::invalid("spec.policyTypes", spec["policyTypes"].clone(), message));
    }
}

fn policy_port(path: &str, port: &Value, faults: &mut Faults) {
    one_of(path, port, "protocol", PROTOCOLS, faults);
    let end = &port["endPort"];
    match &port["port"] {
        Value::String(name) => {
            invalid(format!("{path}.port"), name, names::port_name(name), faults);
            if !end.is_null() {
                let message = "may not be specified when `port` is non-numeric";
                faults.push(FieldError::invalid(format!("{path}.endPort"), end.clone(), message));
            }
        }
        Value::Null if !end.is_null() => {
            let message = "may not be specified when `port` is not specified";
            faults.push(FieldError::invalid(format!("{path}.endPort"), end.clone(), message));
        }
        _ => {
            in_range(path, port, "port", 1..=65535, faults);
            in_range(path, port, "endPort", 1..=65535, faults);
            if end.as_i64() < port["port"].as_i64() && !end.is_null() {
                let message = "must be greater than or equal to `port`";
                faults.push(FieldError::invalid(format!("{path}.endPort"), end.clone(), message));
            }
        }
    }
}

fn policy_peer(path: &str, peer: &Value, faults: &mut Faults) {
    let mut peers = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if !peer[field].is_null() {
            peers += 1;
            metadata::selector(&format!("{path}.{field}"), &peer[field], faults);
        }
    }
    let block = &peer["ipBlock"];
    if !block.is_null() {
        ip_block(&format!("{path}.ipBlock"), block, faults);
        if peers > 0 {
            let message = "may not specify both ipBlock and another peer";
            faults.push(FieldError::forbidden(path, message));
        }
    } else if peers == 0 {
        faults.push(FieldError::required(path, "must specify a peer"));
    }
}

fn ip_block(path: &str, block: &Value, faults: &mut Faults) {
    let cidr = text(block, "cidr");
    if cidr.is_empty() {
        faults.push(FieldError::required(format!("{path}.cidr"), ""));
        return;
    }
    address::check_network(&format!("{path}.cidr"), cidr, faults);
    let Some(outer) = address::parse_network(cidr) else { return };
    for (path, except) in items(path, block, "except") {
        let except = except.as_str().unwrap_or_default();
        address::check_network(&path, except, faults);
        let inner = address::parse_network(except);
        if inner.is_some_and(|inner| !address::contains(outer, inner)) {
            let message = format!("must be a strict subset of `cidr`: {cidr}");
            faults.push(FieldError::invalid(path, except, message));
        }
    }
}

pub(super) fn endpoints(object: &Value, faults: &mut Faults) {
    let subsets = list(object, "subsets").iter().enumerate();
    for (path, subset) in subsets.map(|(index, subset)| (format!("subsets[{index}]"), subset)) {
        let fields = ["addresses", "notReadyAddresses"];
        if fields.iter().all(|field| list(subset, field).is_empty()) {
            let message = "must specify `addresses` or `notReadyAddresses`";
            faults.push(FieldError::required(path.clone(), message));
        }
        for field in fields {
            for (path, address) in items(&path, subset, field) {
                pod::named(&path, address, "hostname", names::label, faults);
                pod::named(&path, address, "nodeName", names::subdomain, faults);
                let (path, ip) = (format!("{path}.ip"), text(address, "ip"));
                address::check(&path, ip, faults);
                address::reachable(&path, ip, faults);
            }
        }
        let several = list(subset, "ports").len() > 1;
        for (path, port) in items(&path, subset, "ports") {
            endpoint_port(&path, port, several, faults);
        }
    }
}

fn endpoint_port(path: &str, port: &Value, several: bool, faults: &mut Faults) {
    let name = text(port, "name");
    if name.is_empty() && several {
        faults.push(FieldError::required(format!("{path}.name"), ""));
    } else if !name.is_empty() {
        invalid(format!("{path}.name"), name, names::label(name), faults);
    }
    let number = port["port"].as_i64().unwrap_or_default();
    if !(1..=65535).contains(&number) {
        let message = "must be between 1 and 65535, inclusive";
        faults.push(FieldError::invalid(format!("{path}.port"), number, message));
    }
    one_of(path, port, "protocol", PROTOCOLS, faults);
    application(path, port, faults);
}

/// The protocol that is spoken on a port.
fn application(path: &str, port: &Value, faults: &mut Faults) {
    if let Some(name) = port["appProtocol"].as_str() {
        invalid(format!("{path}.appProtocol"), name, names::qualified_name(name), faults);
    }
}

pub(super) fn endpoint_slice(object: &Value, faults: &mut Faults) {
    const MAX_ENDPOINTS: usize = 1000;
    const MAX_PORTS: usize = 20_000;
    let (ports, endpoints) = (list(object, "ports"), list(object, "endpoints"));
    if ports.len() > MAX_PORTS {
        faults.push(FieldError::too_many("ports", ports.len(), MAX_PORTS));
    } else {
        slice_ports(ports, faults);
    }
    if endpoints.len() > MAX_ENDPOINTS {
        faults.push(FieldError::too_many("endpoints", endpoints.len(), MAX_ENDPOINTS));
        return;
    }
    let kind = text(object, "addressType");
    for (index, endpoint) in endpoints.iter().enumerate() {
        slice_endpoint(&format!("endpoints[{index}]"), endpoint, kind, faults);
    }
}

fn slice_ports(ports: &[Value], faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let (path, name) = (format!("ports[{index}]"), text(port, "name"));
        if !name.is_empty() {
            invalid(format!("{path}.name"), name, names::label(name), faults);
        }
        if !seen.insert(name) {
            faults.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        application(&path, port, faults);
    }
}

fn slice_endpoint(path: &str, endpoint: &Value, kind: &str, faults: &mut Faults) {
    const MAX_ADDRESSES: usize = 100;
    const MAX_TOPOLOGY: usize = 16;
    const MAX_HINTS: usize = 8;
    let addresses = list(endpoint, "addresses");
    if addresses.len() > MAX_ADDRESSES {
        faults.push(FieldError::too_many(format!("{path}.addresses"), addresses.len(), MAX_ADDRESSES));
    }
    for (index, address) in addresses.iter().enumerate() {
        slice_address(&format!("{path}.addresses"), index, (kind, address), faults);
    }
    let topology = endpoint["deprecatedTopology"].as_object().map_or(0, serde_json::Map::len);
    let of_topology = format!("{path}.deprecatedTopology");
    if topology > MAX_TOPOLOGY {
        faults.push(FieldError::too_many(of_topology.as_str(), topology, MAX_TOPOLOGY));
    }
    metadata::labels(&of_topology, &endpoint["deprecatedTopology"], faults);
    let hints = &endpoint["hints"];
    for (field, grammar) in [("forZones", zone as fn(&str) -> Vec<String>), ("forNodes", names::subdomain)] {
        let path = format!("{path}.hints");
        if list(hints, field).len() > MAX_HINTS {
            let count = list(hints, field).len();
            faults.push(FieldError::too_many(format!("{path}.{field}"), count, MAX_HINTS));
            return;
        }
        let mut seen = HashSet::new();
        for (path, hint) in items(&path, hints, field) {
            let name = text(hint, "name");
            super::unique(&mut seen, name, format!("{path}.name"), faults);
            invalid(format!("{path}.name"), name, grammar(name), faults);
        }
    }
}

fn zone(name: &str) -> Vec<String> {
    names::label_value(name).into_iter().collect()
}

fn slice_address(path: &str, index: usize, (kind, address): (&str, &Value), faults: &mut Faults) {
    let text = address.as_str().unwrap_or_default();
    let here = format!("{path}[{index}]");
    let is_right = match (kind, address::parse(text)) {
        ("FQDN", _) => {
            fully_qualified(&here, text, faults);
            return;
        }
        ("IPv4" | "IPv6", None) => {
            address::check(&here, text, faults);
            return;
        }
        ("IPv4", Some(address)) => address.is_ipv4(),
        ("IPv6", Some(address)) => {
            if !address::is_canonical(text) {
                faults.push(FieldError::invalid(here, text, "must be in canonical form"));
                return;
            }
            address.is_ipv6()
        }
        _ => return,
    };
    if !is_right {
        faults.push(FieldError::invalid(path, text, format!("must be an {kind} address")));
    }
    address::reachable(&here, text, faults);
}

/// A name of at least two parts.
fn fully_qualified(path: &str, name: &str, faults: &mut Faults) {
    let bare = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        faults.push(FieldError::required(path, ""));
    } else if !names::subdomain(bare).is_empty() {
        invalid(path, name, names::subdomain(bare), faults);
    } else if !bare.contains('.') {
        let message = "should be a domain with at least two segments separated by dots";
        faults.push(FieldError::invalid(path, name, message));
    }
}

pub(super) fn ip_address(object: &Value, faults: &mut Faults) {
    let name = text(&object["metadata"], "name");
    if !address::is_canonical(name) {
        faults.push(FieldError::invalid("metadata.name", name, "must be an address in its canonical form"));
    }
    let parent = &object["spec"]["parentRef"];
    for field in ["resource", "name", "namespace"] {
        pod::named("spec.parentRef", parent, field, names::path_segment, faults);
    }
    pod::named("spec.parentRef", parent, "group", names::subdomain, faults);
}

pub(super) fn service_cidr(object: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.cidrs";
    let ranges = list(&object["spec"], "cidrs");
    if ranges.len() > 2 {
        faults.push(FieldError::invalid(PATH, ranges.to_vec(), "may only hold up to 2 values"));
        return;
    }
    for (path, range) in items("spec", &object["spec"], "cidrs") {
        address::check_network(&path, range.as_str().unwrap_or_default(), faults);
    }
    let parsed: Vec<_> = ranges.iter().filter_map(|range| address::parse_network(range.as_str()?)).collect();
    if let [(one, _), (other, _)] = parsed.as_slice()
        && one.is_ipv4() == other.is_ipv4()
    {
        let message = "may specify no more than one network for each IP family";
        faults.push(FieldError::invalid(PATH, ranges.to_vec(), message));
    }
}

/// Where an Ingress is reached, as its controller says.
pub(super) fn ingress_status(status: &Value, faults: &mut Faults) {
    for (path, point) in items("status.loadBalancer", &status["loadBalancer"], "ingress") {
        entry_point(&path, point, faults);
    }
}

/// An address or a name at which a load balancer is reached.
pub(super) fn entry_point(path: &str, point: &Value, faults: &mut Faults) {
    let (ip, name) = (text(point, "ip"), text(point, "hostname"));
    if !ip.is_empty() {
        address::check(&format!("{path}.ip"), ip, faults);
    }
    if !name.is_empty() {
        let path = format!("{path}.hostname");
        invalid(path.as_str(), name, names::subdomain(name), faults);
        if name.parse::<IpAddr>().is_ok() {
            faults.push(FieldError::invalid(path, name, "must be a DNS name, not an IP address"));
        }
    }
}
