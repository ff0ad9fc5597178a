//! What must hold of what limits use: LimitRanges and ResourceQuotas.

use std::collections::{BTreeSet, HashSet};

use model::quantity::Quantity;
use serde_json::Value;

use super::{Faults, items, list, names, one_of, text};
use crate::status::FieldError;

const LIMITS: [&str; 5] = ["default", "defaultRequest", "max", "maxLimitRequestRatio", "min"];

pub(super) fn limit_range(object: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (path, limit) in items("spec", &object["spec"], "limits") {
        let kind = text(limit, "type");
        let standard = matches!(kind, "Container" | "Pod" | "PersistentVolumeClaim");
        let mut faulty = names::qualified_name(kind);
        if !kind.contains('/') && !standard {
            faulty.push("must be a standard limit type or fully qualified".to_owned());
        }
        faults
            .extend(faulty.into_iter().map(|fault| FieldError::invalid(format!("{path}.type"), kind, fault)));
        super::unique(&mut seen, kind, format!("{path}.type"), faults);
        if kind == "Pod" {
            for field in ["default", "defaultRequest"] {
                if !limit[field].is_null() {
                    let message = "may not be specified when `type` is 'Pod'";
                    faults.push(FieldError::forbidden(format!("{path}.{field}"), message));
                }
            }
        }
        if kind == "PersistentVolumeClaim"
            && limit["min"]["storage"].is_null()
            && limit["max"]["storage"].is_null()
        {
            let message = "either minimum or maximum storage value is required, but neither was provided";
            faults.push(FieldError::required(path.clone(), message));
        }
        for resource in resources(limit) {
            amounts(&path, limit, resource, faults);
        }
    }
}

fn resources(limit: &Value) -> BTreeSet<&str> {
    let maps = LIMITS.iter().filter_map(|field| limit[*field].as_object());
    maps.flatten().map(|(name, _)| name.as_str()).collect()
}

/// The least, the usual and the most must stand in this order.
fn amounts(path: &str, limit: &Value, resource: &str, faults: &mut Faults) {
    let of = |field: &str| limit[field][resource].as_str().and_then(|text| Quantity::parse(text).ok());
    let mut ordered = |field: &str, low: &str, high: &str| {
        if let (Some(least), Some(most)) = (of(low), of(high))
            && least > most
        {
            let message = format!("{low} value is greater than {high} value");
            let value = limit[field][resource].clone();
            faults.push(FieldError::invalid(format!("{path}.{field}[{resource}]"), value, message));
        }
    };
    ordered("min", "min", "max");
    ordered("defaultRequest", "min", "defaultRequest");
    ordered("defaultRequest", "defaultRequest", "max");
    ordered("defaultRequest", "defaultRequest", "default");
    ordered("default", "min", "default");
    ordered("default", "default", "max");
    let ratio = of("maxLimitRequestRatio");
    if ratio.is_some_and(|ratio| ratio.to_milli() < 1000) {
        let path = format!("{path}.maxLimitRequestRatio[{resource}]");
        let value = limit["maxLimitRequestRatio"][resource].clone();
        faults.push(FieldError::invalid(path, value, "ratio is less than 1"));
    }
}

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
/// Resources that are counted whole.
const COUNTED: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
const MEASURED: &[&str] = &[
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
];

pub(super) fn resource_quota(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    for (name, quantity) in spec["hard"].as_object().into_iter().flatten() {
        hard(name, quantity, faults);
    }
    let scopes: Vec<&str> = list(spec, "scopes").iter().filter_map(Value::as_str).collect();
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            faults.push(FieldError::invalid("spec.scopes", spec["scopes"].clone(), "unsupported scope"));
            continue;
        }
        for (name, _) in spec["hard"].as_object().into_iter().flatten() {
            if is_standard(name) && !fits_scope(name, scope) {
                let message = "unsupported scope applied to resource";
                faults.push(FieldError::invalid("spec.scopes", spec["scopes"].clone(), message));
            }
        }
    }
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(&one) && scopes.contains(&other) {
            faults.push(FieldError::invalid("spec.scopes", spec["scopes"].clone(), "conflicting scopes"));
        }
    }
    scope_selector(spec, faults);
}

fn hard(name: &str, quantity: &Value, faults: &mut Faults) {
    let path = format!("spec.hard[{name}]");
    let mut faulty = names::qualified_name(name);
    if !name.contains('/') && !is_standard(name) {
        faulty.push("must be a standard resource for quota".to_owned());
    }
    faults.extend(faulty.into_iter().map(|fault| FieldError::invalid(path.clone(), name, fault)));
    let Some(parsed) = quantity.as_str().and_then(|text| Quantity::parse(text).ok()) else { return };
    if parsed.is_negative() {
        let message = "must be greater than or equal to 0";
        faults.push(FieldError::invalid(path.clone(), quantity.clone(), message));
    }
    if COUNTED.contains(&name) && parsed.to_milli() % 1000 != 0 {
        faults.push(FieldError::invalid(path, quantity.clone(), "must be an integer"));
    }
}

fn is_standard(name: &str) -> bool {
    COUNTED.contains(&name)
        || MEASURED.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

/// What runs at best effort has no amounts to be limited, only a number.
fn fits_scope(name: &str, scope: &str) -> bool {
    let of_pods = name == "pods" || (MEASURED.contains(&name) && name != "requests.storage");
    match scope {
        "BestEffort" => name == "pods",
        "NotBestEffort" | "NotTerminating" | "Terminating" | "PriorityClass" => of_pods,
        _ => true,
    }
}

fn scope_selector(spec: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.scopeSelector.matchExpressions";
    for expression in list(&spec["scopeSelector"], "matchExpressions") {
        let scope = text(expression, "scopeName");
        if !SCOPES.contains(&scope) {
            let message = "unsupported scope";
            faults.push(FieldError::invalid(format!("{PATH}.scopeName"), scope, message));
        }
        one_of(PATH, expression, "operator", &["DoesNotExist", "Exists", "In", "NotIn"], faults);
        let values = list(expression, "values").len();
        match text(expression, "operator") {
            "In" | "NotIn" if values == 0 => {
                let message =
                    "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                faults.push(FieldError::required(format!("{PATH}.values"), message));
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                let message =
                    "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                faults.push(FieldError::invalid(
                    format!("{PATH}.values"),
                    expression["values"].clone(),
                    message,
                ));
            }
            _ => {}
        }
    }
}
