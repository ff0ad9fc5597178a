//! What must hold of the spec of a Pod or of a template.

use std::collections::HashSet;

use serde_json::Value;

use super::container::{self, Role};
use super::{Faults, ephemeral, in_range, items, list, names, one_of, placement, text, unique, volume};
use crate::status::FieldError;

pub(super) fn check(path: &str, spec: &Value, faults: &mut Faults) {
    let volumes = volume::check(path, spec, faults);
    containers(path, spec, &volumes, faults);
    one_of(path, spec, "restartPolicy", &["Always", "OnFailure", "Never"], faults);
    one_of(path, spec, "dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], faults);
    if spec["dnsPolicy"] == "None" && list(&spec["dnsConfig"], "nameservers").is_empty() {
        let message = "must provide `dnsConfig` when `dnsPolicy` is None";
        faults.push(FieldError::required(format!("{path}.dnsConfig"), message));
    }
    one_of(path, spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"], faults);
    in_range(path, spec, "activeDeadlineSeconds", 1..=i64::from(i32::MAX), faults);
    ephemeral::check(path, spec, faults);
    subdomain(path, spec, "nodeName", faults);
    subdomain(path, spec, "serviceAccountName", faults);
    subdomain(path, spec, "priorityClassName", faults);
    label(path, spec, "hostname", faults);
    label(path, spec, "subdomain", faults);
    host_ports(path, spec, faults);
    super::security::of_pod(&format!("{path}.securityContext"), &spec["securityContext"], faults);
    super::dns::check(path, spec, faults);
    super::os::check(path, spec, faults);
    placement::check(path, spec, faults);
    gates(path, spec, faults);
}

/// What holds a Pod back, and what its readiness waits for.
fn gates(path: &str, spec: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (path, gate) in items(path, spec, "schedulingGates") {
        let name = text(gate, "name");
        let faulty = names::qualified_name(name).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(path.clone(), name, fault)));
        unique(&mut seen, name, path, faults);
    }
    for (path, gate) in items(path, spec, "readinessGates") {
        let name = text(gate, "conditionType");
        let faulty = names::qualified_name(name).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.conditionType"), name, fault)));
    }
    let spread = list(spec, "topologySpreadConstraints");
    let is = |left: &Value, right: &Value| {
        ["topologyKey", "whenUnsatisfiable"].iter().all(|field| left[*field] == right[*field])
    };
    for (index, constraint) in spread.iter().enumerate() {
        if spread[index + 1..].iter().any(|later| is(constraint, later)) {
            let path =
                format!("{path}.topologySpreadConstraints[{index}].{{topologyKey, whenUnsatisfiable}}");
            faults.push(FieldError::duplicate(path, text(constraint, "topologyKey")));
        }
    }
}

fn containers(path: &str, spec: &Value, volumes: &HashSet<&str>, faults: &mut Faults) {
    if list(spec, "containers").is_empty() {
        faults.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let mut names = HashSet::new();
    let host_network = spec["hostNetwork"] == true;
    for (field, role) in
        [("containers", Role::Main), ("initContainers", Role::Init), ("ephemeralContainers", Role::Main)]
    {
        for (path, container) in items(path, spec, field) {
            container::check(&path, container, role, faults);
            container::mounts(&path, container, volumes, faults);
            container::devices(&path, container, volumes, faults);
            container::ports(&path, container, host_network, faults);
            unique(&mut names, text(container, "name"), format!("{path}.name"), faults);
        }
    }
}

/// A port of the host has one user.
fn host_ports(path: &str, spec: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for list in ["containers", "initContainers"] {
        for (path, container) in items(path, spec, list) {
            for (path, port) in items(&path, container, "ports") {
                let number = port["hostPort"].as_i64().unwrap_or_default();
                if number != 0 && !seen.insert((number, text(port, "protocol"), text(port, "hostIP"))) {
                    faults.push(FieldError::duplicate(format!("{path}.hostPort"), number));
                }
            }
        }
    }
}

fn subdomain(path: &str, spec: &Value, field: &str, faults: &mut Faults) {
    let name = text(spec, field);
    if !name.is_empty() {
        let faulty = names::subdomain(name).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.{field}"), name, fault)));
    }
}

fn label(path: &str, spec: &Value, field: &str, faults: &mut Faults) {
    let name = text(spec, field);
    if !name.is_empty() {
        let faulty = names::label(name).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.{field}"), name, fault)));
    }
}
