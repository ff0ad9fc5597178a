//! Defaults that depend on other fields of the same object, of kinds that make no Pods.

use serde_json::{Map, Value, json};

use super::{existing, fill, fill_zero, items, object};

/// A container's limits follow its maximum, its requests follow its limits, then its minimum.
pub(super) fn limit_range(fields: &mut Map<String, Value>) {
    let Some(spec) = existing(fields, "spec") else { return };
    for limit in items(spec, "limits").filter(|limit| limit.get("type") == Some(&"Container".into())) {
        for (to, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
            let Some(given) = existing(limit, from).map(|given| given.clone()) else { continue };
            let Some(filled) = object(limit, to) else { continue };
            for (resource, quantity) in given {
                fill(filled, &resource, quantity);
            }
        }
    }
}

/// Without rules a direction is not restricted, so it is not named.
pub(super) fn network_policy(fields: &mut Map<String, Value>) {
    let Some(spec) = existing(fields, "spec") else { return };
    let mut types = vec![Value::from("Ingress")];
    if spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty()) {
        types.push("Egress".into());
    }
    fill(spec, "policyTypes", types);
}

/// Users and groups are of this group, service accounts are objects of the core group.
pub(super) fn role_binding(fields: &mut Map<String, Value>) {
    for subject in items(fields, "subjects") {
        if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
            fill_zero(subject, "apiGroup", "rbac.authorization.k8s.io");
        }
    }
}

/// Asking for so many devices of a class means one unless a number is named.
pub(super) fn resource_claim(fields: &mut Map<String, Value>) {
    let Some(mut spec) = existing(fields, "spec") else { return };
    if spec.contains_key("spec") {
        let Some(inner) = existing(spec, "spec") else { return };
        spec = inner;
    }
    let Some(devices) = existing(spec, "devices") else { return };
    for request in items(devices, "requests") {
        if let Some(exactly) = existing(request, "exactly") {
            one_device(exactly);
        }
        items(request, "firstAvailable").for_each(one_device);
    }
}

fn one_device(request: &mut Map<String, Value>) {
    if request.get("allocationMode") == Some(&"ExactCount".into()) {
        fill_zero(request, "count", 1);
    }
}

/// How many requests may wait is only said where they may wait.
pub(super) fn priority_level(fields: &mut Map<String, Value>) {
    let Some(spec) = existing(fields, "spec") else { return };
    if spec.get("type") == Some(&"Exempt".into())
        && let Some(exempt) = object(spec, "exempt")
    {
        fill(exempt, "nominalConcurrencyShares", 0);
        fill(exempt, "lendablePercent", 0);
    }
}

/// Scales on CPU unless told otherwise; each direction that is named at all has its usual policies.
pub(super) fn autoscaler(fields: &mut Map<String, Value>) {
    let Some(spec) = existing(fields, "spec") else { return };
    let metrics = json!([{"type": "Resource", "resource":
        {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
    fill(spec, "metrics", metrics);
    let Some(behavior) = existing(spec, "behavior") else { return };
    if let Some(up) = object(behavior, "scaleUp") {
        fill(up, "stabilizationWindowSeconds", 0);
        let policies = json!([
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ]);
        rules(up, policies);
    }
    if let Some(down) = object(behavior, "scaleDown") {
        rules(down, json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
    }
}

fn rules(direction: &mut Map<String, Value>, policies: Value) {
    fill_zero(direction, "selectPolicy", "Max");
    fill(direction, "policies", policies);
}

/// The names that follow from the kind's, and objects that are the same in all versions.
pub(super) fn definition(fields: &mut Map<String, Value>) {
    stored_versions(fields);
    let Some(spec) = existing(fields, "spec") else { return };
    if let Some(names) = existing(spec, "names") {
        let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !kind.is_empty() {
            fill_zero(names, "singular", kind.to_lowercase());
            fill_zero(names, "listKind", format!("{kind}List"));
        }
    }
    if spec.get("preserveUnknownFields").is_some_and(|value| *value == false) {
        spec.remove("preserveUnknownFields");
    }
    let Some(conversion) = object(spec, "conversion") else { return };
    fill_zero(conversion, "strategy", "None");
    let service = existing(conversion, "webhook")
        .and_then(|webhook| existing(webhook, "clientConfig"))
        .and_then(|client| existing(client, "service"));
    if let Some(service) = service {
        fill(service, "port", 443);
    }
}

/// The version that objects are stored in now is one that they may be stored in, whatever a writer of the status says.
fn stored_versions(fields: &mut Map<String, Value>) {
    let versions = fields.get("spec").and_then(|spec| spec["versions"].as_array()).into_iter().flatten();
    let mut stored =
        versions.filter(|version| version["storage"] == true).map(|version| version["name"].clone());
    let (Some(stored), Some(status)) = (stored.next(), existing(fields, "status")) else { return };
    if status.get("storedVersions").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        status.insert("storedVersions".into(), json!([stored]));
    }
}
