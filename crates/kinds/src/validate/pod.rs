//! What must hold of the spec of a Pod or of a template.

use std::collections::HashSet;

use serde_json::Value;

use super::container::{self, Holder, Role, Surroundings};
use super::{
    Faults, ephemeral, in_range, items, list, names, one_of, pinning, placement, text, unique, volume,
};
use crate::status::FieldError;

/// The spec of a Pod.
pub(super) fn check(pod: &Value, faults: &mut Faults) {
    annotations("metadata.annotations", pod, faults);
    spec("spec", &pod["spec"], true, faults);
}

/// What a Pod that is to be created may not say yet.
pub(super) fn check_new(pod: &Value, faults: &mut Faults) {
    pinning::check_new(pod, faults);
    let spec = &pod["spec"];
    if !list(spec, "ephemeralContainers").is_empty() {
        faults.push(FieldError::forbidden("spec.ephemeralContainers", "cannot be set on create"));
    }
    if !list(spec, "schedulingGates").is_empty() && !text(spec, "nodeName").is_empty() {
        let message = "cannot be set until all schedulingGates have been cleared";
        faults.push(FieldError::forbidden("spec.nodeName", message));
    }
}

/// The spec of the template at `path`.
pub(super) fn check_template(path: &str, template: &Value, faults: &mut Faults) {
    annotations(&format!("{path}.annotations"), template, faults);
    pinning::check_template(&format!("{path}.annotations"), template, faults);
    spec(&format!("{path}.spec"), &template["spec"], false, faults);
}

/// Annotations that mean something.
fn annotations(path: &str, pod: &Value, faults: &mut Faults) {
    const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
    const PROFILE: &str = "container.apparmor.security.beta.kubernetes.io/";
    let annotations = &pod["metadata"]["annotations"];
    let cost = text(annotations, COST);
    let digits = cost.strip_prefix('-').unwrap_or(cost);
    let is_odd = cost.starts_with('+') || (digits != "0" && digits.starts_with('0')) || cost == "-0";
    if !annotations[COST].is_null() && (is_odd || cost.parse::<i32>().is_err()) {
        faults.push(FieldError::invalid(format!("{path}[{COST}]"), cost, "must be a 32bit integer"));
    }
    for (key, profile) in annotations.as_object().into_iter().flatten() {
        let Some(container) = key.strip_prefix(PROFILE) else { continue };
        let mut all = ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(|field| list(&pod["spec"], field));
        if !all.any(|found| text(found, "name") == container) {
            faults.push(FieldError::invalid(format!("{path}[{key}]"), container, "container not found"));
        }
        let profile = profile.as_str().unwrap_or_default();
        let known = matches!(profile, "" | "runtime/default" | "unconfined");
        if !known && !profile.starts_with("localhost/") {
            faults.push(FieldError::invalid(format!("{path}[{key}]"), profile, "must be a known profile"));
        }
    }
}

fn spec(path: &str, spec: &Value, is_pod: bool, faults: &mut Faults) {
    let around = Surroundings { spec, volumes: volume::check(path, spec, faults), is_pod };
    claims(path, spec, faults);
    containers(path, &around, faults);
    ephemeral::check(path, spec, faults);
    whole_resources(path, spec, faults);
    ports_of_host(path, spec, is_pod, faults);
    one_of(path, spec, "restartPolicy", &["Always", "OnFailure", "Never"], faults);
    one_of(path, spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"], faults);
    in_range(path, spec, "activeDeadlineSeconds", 1..=i64::from(i32::MAX), faults);
    for field in ["nodeName", "serviceAccountName", "priorityClassName", "runtimeClassName"] {
        named(path, spec, field, names::subdomain, faults);
    }
    for field in ["hostname", "subdomain"] {
        named(path, spec, field, names::label, faults);
    }
    super::security::of_pod(path, spec, faults);
    super::dns::check(path, spec, faults);
    super::os::check(path, spec, faults);
    placement::check(path, spec, faults);
    gates(path, spec, faults);
    if !spec["overhead"].is_null() {
        let limits = serde_json::json!({"limits": spec["overhead"]});
        container::resources(&format!("{path}.overhead"), &limits, Holder::Container, faults);
    }
    container::file_volumes(path, spec, faults);
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
}

/// The devices that a Pod claims.
fn claims(path: &str, spec: &Value, faults: &mut Faults) {
    const SOURCES: [&str; 2] = ["resourceClaimName", "resourceClaimTemplateName"];
    let mut seen = HashSet::new();
    for (path, claim) in items(path, spec, "resourceClaims") {
        let name = text(claim, "name");
        if name.is_empty() {
            faults.push(FieldError::required(format!("{path}.name"), ""));
        } else if !seen.insert(name) {
            faults.push(FieldError::duplicate(format!("{path}.name"), name));
        } else {
            named(&path, claim, "name", names::label, faults);
        }
        let given = SOURCES.iter().filter(|source| !claim[**source].is_null()).count();
        if given != 1 {
            let message = "must name either a resourceClaimName or a resourceClaimTemplateName";
            faults.push(FieldError::invalid(path.as_str(), claim.clone(), message));
        }
        for source in SOURCES {
            named(&path, claim, source, names::subdomain, faults);
        }
    }
}

fn containers(path: &str, around: &Surroundings<'_>, faults: &mut Faults) {
    if list(around.spec, "containers").is_empty() {
        faults.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let mut names = HashSet::new();
    for (field, role) in
        [("containers", Role::Main), ("initContainers", Role::Init), ("ephemeralContainers", Role::Ephemeral)]
    {
        for (path, container) in items(path, around.spec, field) {
            container::check(&path, container, role, around, faults);
            unique(&mut names, text(container, "name"), format!("{path}.name"), faults);
        }
    }
}

/// What a Pod may use as a whole, beside what its containers may.
fn whole_resources(path: &str, spec: &Value, faults: &mut Faults) {
    let resources = &spec["resources"];
    if resources.is_null() {
        return;
    }
    let path = format!("{path}.resources");
    if spec["os"]["name"] == "windows" {
        faults.push(FieldError::forbidden(path, "may not be set for a windows pod"));
        return;
    }
    if !resources["claims"].is_null() {
        let message = "claims may not be set for Resources at pod-level";
        faults.push(FieldError::forbidden(format!("{path}.claims"), message));
    }
    container::resources(&path, resources, Holder::Pod, faults);
}

/// A port of the host has one user. Containers that come one after another may use the same.
fn ports_of_host(path: &str, spec: &Value, is_pod: bool, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (path, container) in items(path, spec, "containers") {
        host_ports(&path, container, &mut seen, faults);
        for (path, port) in items(&path, container, "ports").filter(|_| spec["hostNetwork"] == true) {
            let number = port["hostPort"].as_i64().unwrap_or_default();
            if (is_pod || number != 0) && number != port["containerPort"].as_i64().unwrap_or_default() {
                let message = "must match `containerPort` when `hostNetwork` is true";
                faults.push(FieldError::invalid(format!("{path}.hostPort"), number, message));
            }
        }
    }
    for container in list(spec, "initContainers") {
        // The place is the first's, whichever it is.
        host_ports(&format!("{path}.initContainers[0]"), container, &mut HashSet::new(), faults);
    }
}

fn host_ports<'a>(
    path: &str,
    container: &'a Value,
    seen: &mut HashSet<(i64, &'a str, &'a str)>,
    faults: &mut Faults,
) {
    for (path, port) in items(path, container, "ports") {
        let number = port["hostPort"].as_i64().unwrap_or_default();
        if number != 0 && !seen.insert((number, text(port, "protocol"), text(port, "hostIP"))) {
            faults.push(FieldError::duplicate(format!("{path}.hostPort"), number));
        }
    }
}

/// A field that holds a name, if it is there.
pub(super) fn named(
    path: &str,
    value: &Value,
    field: &str,
    grammar: fn(&str) -> Vec<String>,
    faults: &mut Faults,
) {
    let name = text(value, field);
    if !name.is_empty() {
        let faulty = grammar(name).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.{field}"), name, fault)));
    }
}
