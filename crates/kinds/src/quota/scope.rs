//! A quota's scopes: of which Pods it speaks.

use serde_json::Value;

use crate::Kind;

/// Whether all scopes of `quota` hold of `object`. Only Pods are told apart by scopes, and claims by their class of
/// attributes; a quota with scopes is about nothing else.
pub(super) fn matches(quota: &Value, kind: &Kind, object: &Value) -> bool {
    let spec = &quota["spec"];
    let scopes = spec["scopes"].as_array().into_iter().flatten();
    let plain = scopes.filter_map(Value::as_str).map(|name| (name, "Exists", &Value::Null));
    let expressions = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    let selected = expressions.map(|expression| {
        let text = |field: &str| expression[field].as_str().unwrap_or_default();
        (text("scopeName"), text("operator"), &expression["values"])
    });
    plain.chain(selected).all(|(name, operator, values)| match (kind.group, kind.plural) {
        ("", "pods") => pod_is(object, name, operator, values),
        ("", "persistentvolumeclaims") if name == "VolumeAttributesClass" => {
            let class = object["spec"]["volumeAttributesClassName"].as_str().unwrap_or_default();
            holds(class, operator, values)
        }
        _ => false,
    })
}

fn pod_is(pod: &Value, scope: &str, operator: &str, values: &Value) -> bool {
    let spec = &pod["spec"];
    let has_deadline = spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0);
    match scope {
        "Terminating" => has_deadline,
        "NotTerminating" => !has_deadline,
        "BestEffort" => asks_nothing(spec),
        "NotBestEffort" => !asks_nothing(spec),
        "PriorityClass" => holds(spec["priorityClassName"].as_str().unwrap_or_default(), operator, values),
        "CrossNamespacePodAffinity" => looks_elsewhere(&spec["affinity"]),
        _ => false,
    }
}

fn holds(value: &str, operator: &str, values: &Value) -> bool {
    let is_listed = values.as_array().into_iter().flatten().any(|wanted| *wanted == *value);
    match operator {
        "In" => !value.is_empty() && is_listed,
        "NotIn" => value.is_empty() || !is_listed,
        "Exists" => !value.is_empty(),
        "DoesNotExist" => value.is_empty(),
        _ => false,
    }
}

fn asks_nothing(spec: &Value) -> bool {
    let lists = ["containers", "initContainers"];
    let containers = lists.iter().flat_map(|list| spec[*list].as_array().into_iter().flatten());
    let is_set = |resources: &Value| {
        ["requests", "limits"]
            .iter()
            .any(|field| ["cpu", "memory"].iter().any(|name| !resources[*field][*name].is_null()))
    };
    !is_set(&spec["resources"]) && !containers.into_iter().any(|container| is_set(&container["resources"]))
}

/// Whether the Pod wants to be near, or far from, Pods of other namespaces.
fn looks_elsewhere(affinity: &Value) -> bool {
    let crosses = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|names| !names.is_empty())
            || !term["namespaceSelector"].is_null()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let terms = |field: &str| affinity[*kind][field].as_array().cloned().unwrap_or_default();
        terms("requiredDuringSchedulingIgnoredDuringExecution").iter().any(crosses)
            || terms("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|weighted| crosses(&weighted["podAffinityTerm"]))
    })
}
