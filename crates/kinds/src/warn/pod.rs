//! Warnings about Pods and the templates that become Pods.

use model::quantity::Quantity;
use serde_json::Value;

use super::{label, labels};

/// Kinds of volumes that no longer do anything.
const REMOVED: &[(&str, &str)] = &[
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
];
const NULL_SELECTOR: &str = "a null labelSelector results in matching no pod";

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    value[field].as_array().into_iter().flatten().enumerate()
}

/// `prefix` stands before `spec` and `metadata`: empty, or with a dot at its end.
pub(super) fn template(prefix: &str, template: &Value, warnings: &mut Vec<String>) {
    let (path, spec) = (format!("{prefix}spec"), &template["spec"]);
    annotations(prefix, &template["metadata"]["annotations"], warnings);
    labels(&format!("{path}.nodeSelector"), &spec["nodeSelector"], warnings);
    affinity(&format!("{path}.affinity"), &spec["affinity"], warnings);
    for (index, constraint) in list(spec, "topologySpreadConstraints") {
        let path = format!("{path}.topologySpreadConstraints[{index}]");
        label(
            &format!("{path}.topologyKey"),
            constraint["topologyKey"].as_str().unwrap_or_default(),
            warnings,
        );
        if constraint["labelSelector"].is_null() {
            warnings.push(format!("{path}.labelSelector: {NULL_SELECTOR}"));
        }
    }
    for (index, secret) in list(spec, "imagePullSecrets") {
        if secret["name"].as_str().is_none_or(str::is_empty) {
            warnings.push(format!("{path}.imagePullSecrets[{index}].name: invalid empty name \"\""));
        }
    }
    for (index, volume) in list(spec, "volumes") {
        removed_sources(&format!("{path}.volumes[{index}]"), volume, warnings);
    }
    for field in ["initContainers", "containers"] {
        for (index, container) in list(spec, field) {
            self::container(&format!("{path}.{field}[{index}]"), container, warnings);
        }
    }
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        let why = "must be >= 0; negative values are invalid and will be treated as 1";
        warnings.push(format!("{path}.terminationGracePeriodSeconds: {why}"));
    }
}

fn annotations(prefix: &str, annotations: &Value, warnings: &mut Vec<String>) {
    for (key, _) in annotations.as_object().into_iter().flatten() {
        let why = if key.starts_with("container.apparmor.security.beta.kubernetes.io/") {
            "deprecated since v1.30; use the \"appArmorProfile\" field instead"
        } else if key.contains("seccomp.security.alpha.kubernetes.io/") {
            "non-functional in v1.27+; use the \"seccompProfile\" field instead"
        } else if key == "scheduler.alpha.kubernetes.io/critical-pod" {
            "non-functional in v1.16+; use the \"priorityClassName\" field instead"
        } else {
            continue;
        };
        warnings.push(format!("{prefix}metadata.annotations[{key}]: {why}"));
    }
}

fn affinity(path: &str, affinity: &Value, warnings: &mut Vec<String>) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    for name in ["podAffinity", "podAntiAffinity"] {
        let (path, rules) = (format!("{path}.{name}"), &affinity[name]);
        let required =
            list(rules, REQUIRED).map(|(index, term)| (format!("{path}.{REQUIRED}[{index}]"), term));
        let preferred = list(rules, PREFERRED).map(|(index, term)| {
            (format!("{path}.{PREFERRED}[{index}].podAffinityTerm"), &term["podAffinityTerm"])
        });
        for (path, term) in required.chain(preferred) {
            if term["labelSelector"].is_null() {
                warnings.push(format!("{path}.labelSelector: {NULL_SELECTOR}"));
            }
            label(&format!("{path}.topologyKey"), term["topologyKey"].as_str().unwrap_or_default(), warnings);
        }
    }
    let node = &affinity["nodeAffinity"];
    let path = format!("{path}.nodeAffinity");
    let required = list(&node[REQUIRED], "nodeSelectorTerms")
        .map(|(index, term)| (format!("{path}.{REQUIRED}.nodeSelectorTerms[{index}]"), term));
    let preferred = list(node, PREFERRED)
        .map(|(index, term)| (format!("{path}.{PREFERRED}[{index}].preference"), &term["preference"]));
    for (path, term) in required.chain(preferred) {
        for (index, expression) in list(term, "matchExpressions") {
            let key = expression["key"].as_str().unwrap_or_default();
            label(&format!("{path}.matchExpressions[{index}].key"), key, warnings);
        }
    }
}

/// Sources that do nothing any more, of volumes in Pods and of volumes as objects.
pub(super) fn removed_sources(path: &str, volume: &Value, warnings: &mut Vec<String>) {
    for (source, why) in REMOVED {
        if !volume[*source].is_null() {
            warnings.push(format!("{path}.{source}: {why}"));
        }
    }
}

fn container(path: &str, container: &Value, warnings: &mut Vec<String>) {
    let mut named: Vec<&str> = Vec::new();
    for (index, variable) in list(container, "env") {
        let name = variable["name"].as_str().unwrap_or_default();
        let given = variable["value"].as_str().unwrap_or_default();
        // What builds on the value before it means to come later.
        if named.contains(&name) && !given.contains(&format!("$({name})")) {
            let why =
                format!("hides previous definition of \"{name}\", which may be dropped when using apply");
            warnings.push(format!("{path}.env[{index}]: {why}"));
        }
        named.push(name);
    }
    let mut seen: Vec<(&Value, &str, &Value, &Value)> = Vec::new();
    for (index, port) in list(container, "ports") {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let this = (&port["containerPort"], protocol, &port["hostPort"], &port["hostIP"]);
        match seen.iter().position(|known| *known == this) {
            Some(first) => warnings
                .push(format!("{path}.ports[{index}]: duplicate port definition with {path}.ports[{first}]")),
            None if seen.iter().any(|known| (known.0, known.1) == (this.0, this.1)) && this.2.is_null() => {
                warnings.push(format!("{path}.ports[{index}]: overlapping port definition"));
            }
            None => {}
        }
        seen.push(this);
    }
    for field in ["limits", "requests"] {
        for resource in ["memory", "ephemeral-storage"] {
            let path = format!("{path}.resources.{field}[{resource}]");
            fraction(&path, &container["resources"][field][resource], warnings);
        }
    }
}

/// There are no parts of a byte.
pub(super) fn fraction(path: &str, quantity: &Value, warnings: &mut Vec<String>) {
    let Some(text) = quantity.as_str() else { return };
    let Ok(parsed) = Quantity::parse(text) else { return };
    if parsed.to_milli() % 1000 != 0 {
        warnings.push(format!("{path}: fractional byte value \"{text}\" is invalid, must be an integer"));
    }
}
