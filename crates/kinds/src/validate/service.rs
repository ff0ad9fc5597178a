//! What must hold of Services.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::Value;

use super::{Faults, in_range, items, list, metadata, names, one_of, text, unique};
use crate::status::FieldError;

/// The ports that node ports are taken from.
const NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;

pub(super) fn check(spec: &Value, faults: &mut Faults) {
    const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    one_of("spec", spec, "type", TYPES, faults);
    let external = spec["type"] == "ExternalName";
    let headless = spec["clusterIP"] == "None";
    if list(spec, "ports").is_empty() && !external && !headless {
        faults.push(FieldError::required("spec.ports", ""));
    }
    if external && text(spec, "externalName").is_empty() {
        faults.push(FieldError::required("spec.externalName", ""));
    }
    ports(spec, faults);
    metadata::labels("spec.selector", &spec["selector"], faults);
    one_of("spec", spec, "sessionAffinity", &["ClientIP", "None"], faults);
    one_of("spec", spec, "internalTrafficPolicy", &["Cluster", "Local"], faults);
    for (path, address) in items("spec", spec, "clusterIPs") {
        let address = address.as_str().unwrap_or_default();
        if address != "None" && address.parse::<IpAddr>().is_err() {
            let message = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            faults.push(FieldError::invalid(path, address, message));
        }
    }
    for (path, family) in items("spec", spec, "ipFamilies") {
        if family != "IPv4" {
            faults.push(FieldError::invalid(path, family.clone(), "not configured on this cluster"));
        }
    }
    if spec["ipFamilyPolicy"] == "RequireDualStack" {
        let message = "this cluster is not configured for dual-stack services";
        faults.push(FieldError::invalid("spec.ipFamilyPolicy", "RequireDualStack", message));
    }
}

fn ports(spec: &Value, faults: &mut Faults) {
    let several = list(spec, "ports").len() > 1;
    let mut seen = HashSet::new();
    for (path, port) in items("spec", spec, "ports") {
        let name = text(port, "name");
        if name.is_empty() {
            if several {
                faults.push(FieldError::required(format!("{path}.name"), ""));
            }
        } else {
            let faulty = names::label(name).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.name"), name, fault)));
            unique(&mut seen, name, format!("{path}.name"), faults);
        }
        if port["port"].is_null() {
            let message = "must be between 1 and 65535, inclusive";
            faults.push(FieldError::invalid(format!("{path}.port"), 0, message));
        }
        in_range(&path, port, "port", 1..=65535, faults);
        one_of(&path, port, "protocol", &["TCP", "UDP", "SCTP"], faults);
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
        let node_port = port["nodePort"].as_i64().unwrap_or_default();
        if node_port != 0 && !NODE_PORTS.contains(&node_port) {
            let message =
                "provided port is not in the valid range. The range of valid ports is 30000-32767".to_owned();
            faults.push(FieldError::invalid(format!("{path}.nodePort"), node_port, message));
        }
    }
}
