//! What must hold of networks: Ingresses, NetworkPolicies, Endpoints and EndpointSlices.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::Value;

use super::{Faults, in_range, items, list, metadata, names, one_of, required, text};
use crate::status::FieldError;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

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
            let bare = host.strip_prefix("*.").unwrap_or(host);
            invalid(path, host, names::subdomain(bare), faults);
        }
    }
    let class = "kubernetes.io/ingress.class";
    if !spec["ingressClassName"].is_null() && !object["metadata"]["annotations"][class].is_null() {
        let message = "can not be set when the class field is also set";
        faults.push(FieldError::invalid(format!("annotations.{class}"), "", message));
    }
}

fn host(path: &str, host: &str, faults: &mut Faults) {
    let path = format!("{path}.host");
    if host.is_empty() {
    } else if host.parse::<IpAddr>().is_ok() {
        faults.push(FieldError::invalid(path, host, "must be a DNS name, not an IP address"));
    } else {
        let bare = if host.contains('*') { host.strip_prefix("*.").unwrap_or(host) } else { host };
        invalid(path, host, names::subdomain(bare), faults);
    }
}

fn http_path(path: &str, way: &Value, faults: &mut Faults) {
    const TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
    required(path, way, "pathType", faults);
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
    } else if !given.is_empty() && !given.starts_with('/') {
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
            required(&path, resource, "kind", faults);
            required(&path, resource, "name", faults);
        }
        (false, true) => service_backend(path, service, faults),
    }
}

fn service_backend(path: &str, service: &Value, faults: &mut Faults) {
    let name = text(service, "name");
    if name.is_empty() {
        faults.push(FieldError::required(format!("{path}.service.name"), ""));
    } else {
        invalid(format!("{path}.service.name"), name, names::label_1035(name), faults);
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
    let spec = &object["spec"];
    let controller = text(spec, "controller");
    let prefixed = controller.split_once('/').is_some_and(|(domain, path)| {
        names::subdomain(domain).is_empty()
            && !path.is_empty()
            && path.chars().all(|c| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c))
    });
    if !controller.is_empty() && !prefixed {
        let message = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        faults.push(FieldError::invalid("spec.controller", controller, message));
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
        _ => {}
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
    let outer = parse_cidr(cidr);
    if outer.is_none() {
        faults.push(not_cidr(format!("{path}.cidr"), cidr));
    }
    for (path, except) in items(path, block, "except") {
        let except = except.as_str().unwrap_or_default();
        let Some(inner) = parse_cidr(except) else {
            faults.push(not_cidr(path, except));
            continue;
        };
        if outer.is_some_and(|outer| !contains(outer, inner) || outer.1 >= inner.1) {
            let message = format!("must be a strict subset of `cidr`: {cidr}");
            faults.push(FieldError::invalid(path, except, message));
        }
    }
}

pub(super) fn not_cidr(path: impl Into<String>, value: &str) -> FieldError {
    FieldError::invalid(path, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
}

pub(super) fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

fn contains((outer, bits): (IpAddr, u8), (inner, _): (IpAddr, u8)) -> bool {
    let masked = |value: u128, width: u8| value.checked_shr(u32::from(width - bits)).unwrap_or_default();
    match (outer, inner) {
        (IpAddr::V4(outer), IpAddr::V4(inner)) => {
            masked(u128::from(u32::from(outer)), 32) == masked(u128::from(u32::from(inner)), 32)
        }
        (IpAddr::V6(outer), IpAddr::V6(inner)) => masked(outer.into(), 128) == masked(inner.into(), 128),
        _ => false,
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
                let path = format!("{path}.ip");
                let ip = text(address, "ip");
                if ip.parse::<IpAddr>().is_err() {
                    faults.push(FieldError::invalid(path.clone(), ip, NO_ADDRESS));
                }
                special(&path, ip, faults);
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
}

/// Addresses that no other host could reach.
fn special(path: &str, address: &str, faults: &mut Faults) {
    let message = match address.parse::<IpAddr>() {
        Err(_) => NO_ADDRESS,
        Ok(ip) if ip.is_unspecified() => "may not be unspecified (0.0.0.0 or ::)",
        Ok(ip) if ip.is_loopback() => "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        Ok(ip) if is_link_local(ip) => "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        Ok(ip) if is_link_local_multicast(ip) => {
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        }
        Ok(_) => return,
    };
    faults.push(FieldError::invalid(path, address, message));
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(ip.octets(), [224, 0, 0, _]),
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    }
}

pub(super) fn endpoint_slice(object: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    let ports = list(object, "ports").iter().enumerate();
    for (path, port) in ports.map(|(index, port)| (format!("ports[{index}]"), port)) {
        let name = text(port, "name");
        if !name.is_empty() {
            invalid(format!("{path}.name"), name, names::label(name), faults);
        }
        if !seen.insert(name) {
            faults.push(FieldError::duplicate("ports", name));
        }
    }
    let kind = text(object, "addressType");
    let endpoints = list(object, "endpoints").iter().enumerate();
    for (path, endpoint) in endpoints.map(|(index, endpoint)| (format!("endpoints[{index}]"), endpoint)) {
        for (index, address) in list(endpoint, "addresses").iter().enumerate() {
            slice_address(&format!("{path}.addresses"), index, (kind, address), faults);
        }
        metadata::labels(&format!("{path}.deprecatedTopology"), &endpoint["deprecatedTopology"], faults);
    }
}

fn slice_address(path: &str, index: usize, (kind, address): (&str, &Value), faults: &mut Faults) {
    let text = address.as_str().unwrap_or_default();
    let here = format!("{path}[{index}]");
    if kind == "FQDN" {
        invalid(here, text, names::subdomain(text), faults);
        return;
    }
    match (kind, text.parse::<IpAddr>()) {
        (_, Err(_)) => {
            faults.push(FieldError::invalid(here, text, NO_ADDRESS));
            return;
        }
        ("IPv4", Ok(IpAddr::V6(_))) => {
            faults.push(FieldError::invalid(path, text, "must be an IPv4 address"));
        }
        ("IPv6", Ok(IpAddr::V4(_))) => {
            faults.push(FieldError::invalid(path, text, "must be an IPv6 address"));
        }
        _ => {}
    }
    special(&here, text, faults);
}

pub(super) fn ip_address(object: &Value, faults: &mut Faults) {
    let name = text(&object["metadata"], "name");
    if name.parse::<IpAddr>().is_ok_and(|address| address.to_string() == name) {
        return;
    }
    faults.push(FieldError::invalid("metadata.name", name, NO_ADDRESS));
}

pub(super) fn service_cidr(object: &Value, faults: &mut Faults) {
    for (path, cidr) in items("spec", &object["spec"], "cidrs") {
        let cidr = cidr.as_str().unwrap_or_default();
        if parse_cidr(cidr).is_none() {
            faults.push(not_cidr(path, cidr));
        }
    }
}
