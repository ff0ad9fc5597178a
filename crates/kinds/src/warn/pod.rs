//! Warnings about Pods and the templates that become Pods.

use serde_json::Value;

use super::{Path, container, label, labels, list, volume};

/// Annotations that a field took the place of.
const REPLACED: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];
/// Annotations of one container, by what stands before its name, and the fields that say the same. Who sets both is
/// one that knows.
const OF_CONTAINERS: &[(&str, &str, &str)] = &[
    ("container.apparmor.security.beta.kubernetes.io/", "appArmorProfile", "deprecated since v1.30"),
    ("container.seccomp.security.alpha.kubernetes.io/", "seccompProfile", "non-functional in v1.27+"),
];
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const NULL_SELECTOR: &str = "a null labelSelector results in matching no pod";

/// `prefix` stands before `spec` and `metadata`: empty, or with a dot at its end.
pub(super) fn template(prefix: &str, template: &Value, warnings: &mut Vec<String>) {
    let (path, spec) = (format_args!("{prefix}spec"), &template["spec"]);
    let containers: Vec<(String, &Value)> = ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|field| list(spec, field).map(move |(index, container)| (field, index, container)))
        .map(|(field, index, container)| (format!("{path}.{field}[{index}]"), container))
        .collect();
    annotations(prefix, template, &containers, warnings);
    container::check(&containers, warnings);
    labels(&format_args!("{path}.nodeSelector"), &spec["nodeSelector"], warnings);
    affinity(&format_args!("{path}.affinity"), &spec["affinity"], warnings);
    for (index, constraint) in list(spec, "topologySpreadConstraints") {
        let path = format_args!("{path}.topologySpreadConstraints[{index}]");
        label(
            &format_args!("{path}.topologyKey"),
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
    unique(&format_args!("{path}.hostAliases"), &spec["hostAliases"], "ip", warnings);
    unique(&format_args!("{path}.imagePullSecrets"), &spec["imagePullSecrets"], "name", warnings);
    for (index, volume) in list(spec, "volumes") {
        volume::check(&format_args!("{path}.volumes[{index}]"), volume, warnings);
    }
    for resource in ["memory", "ephemeral-storage"] {
        container::fraction(
            &format_args!("{path}.overhead[{resource}]"),
            &spec["overhead"][resource],
            warnings,
        );
    }
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        let why = "must be >= 0; negative values are invalid and will be treated as 1";
        warnings.push(format!("{path}.terminationGracePeriodSeconds: {why}"));
    }
}

/// Entries of a list that name the same.
fn unique(path: Path<'_>, entries: &Value, field: &str, warnings: &mut Vec<String>) {
    let mut seen: Vec<&Value> = Vec::new();
    for (index, entry) in entries.as_array().into_iter().flatten().enumerate() {
        let value = &entry[field];
        if seen.contains(&value) {
            warnings.push(format!("{path}[{index}].{field}: {value} is listed before"));
        }
        seen.push(value);
    }
}

fn annotations(prefix: &str, template: &Value, containers: &[(String, &Value)], warnings: &mut Vec<String>) {
    let annotations = &template["metadata"]["annotations"];
    if annotations.is_null() {
        return;
    }
    let mut warn = |key: &str, why: &str| {
        if !annotations[key].is_null() {
            warnings.push(format!("{prefix}metadata.annotations[{key}]: {why}"));
        }
    };
    for (key, why) in REPLACED {
        warn(key, why);
    }
    let of_pod = &template["spec"]["securityContext"];
    if of_pod["seccompProfile"].is_null() {
        warn(SECCOMP, "non-functional in v1.27+; use the \"seccompProfile\" field instead");
    }
    for (_, container) in containers {
        let name = container["name"].as_str().unwrap_or_default();
        for (key, field, since) in OF_CONTAINERS {
            let by_pod = *field == "appArmorProfile" && !of_pod[*field].is_null();
            if !by_pod && container["securityContext"][*field].is_null() {
                warn(&format!("{key}{name}"), &format!("{since}; use the \"{field}\" field instead"));
            }
        }
    }
}

fn affinity(path: Path<'_>, affinity: &Value, warnings: &mut Vec<String>) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    for name in ["podAffinity", "podAntiAffinity"] {
        let (path, rules) = (format_args!("{path}.{name}"), &affinity[name]);
        let required =
            list(rules, REQUIRED).map(|(index, term)| (format!("{path}.{REQUIRED}[{index}]"), term));
        let preferred = list(rules, PREFERRED).map(|(index, term)| {
            (format!("{path}.{PREFERRED}[{index}].podAffinityTerm"), &term["podAffinityTerm"])
        });
        for (path, term) in required.chain(preferred) {
            if term["labelSelector"].is_null() {
                warnings.push(format!("{path}.labelSelector: {NULL_SELECTOR}"));
            }
            label(
                &format_args!("{path}.topologyKey"),
                term["topologyKey"].as_str().unwrap_or_default(),
                warnings,
            );
        }
    }
    let node = &affinity["nodeAffinity"];
    let path = format_args!("{path}.nodeAffinity");
    let required = list(&node[REQUIRED], "nodeSelectorTerms")
        .map(|(index, term)| (format!("{path}.{REQUIRED}.nodeSelectorTerms[{index}]"), term));
    let preferred = list(node, PREFERRED)
        .map(|(index, term)| (format!("{path}.{PREFERRED}[{index}].preference"), &term["preference"]));
    for (path, term) in required.chain(preferred) {
        for (index, expression) in list(term, "matchExpressions") {
            let key = expression["key"].as_str().unwrap_or_default();
            label(&format_args!("{path}.matchExpressions[{index}].key"), key, warnings);
        }
    }
}
