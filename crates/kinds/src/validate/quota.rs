//! What must hold of what limits use: LimitRanges, ResourceQuotas, ElasticQuotas and BatchQuotas.

use std::collections::{BTreeSet, HashSet};

use model::batch_quota::RESOURCES;
use model::quantity::Quantity;
use serde_json::Value;

use super::container::{self, Holder, MEASURED};
use super::{Faults, items, list, names, text};
use crate::resources::COUNTED;
use crate::status::FieldError;

const LIMITS: [&str; 5] = ["default", "defaultRequest", "max", "maxLimitRequestRatio", "min"];

pub(super) fn limit_range(object: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (path, limit) in items("spec", &object["spec"], "limits") {
        let kind = text(limit, "type");
        let standard = matches!(kind, "Container" | "Pod" | "PersistentVolumeClaim");
        let mut faulty = names::qualified_name(kind);
        if faulty.is_empty() && !kind.contains('/') && !standard {
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
            faults.push(FieldError::required(format!("{path}.limits"), message));
        }
        resource_names(&path, limit, kind, faults);
        for resource in resources(limit) {
            amounts(&path, limit, resource, faults);
        }
    }
}

/// Each name wherever it stands. What a Pod as a whole may not have is not looked at.
fn resource_names(path: &str, limit: &Value, kind: &str, faults: &mut Faults) {
    let holder = if matches!(kind, "Container" | "Pod") { Holder::Container } else { Holder::Anything };
    let judged = LIMITS.iter().filter(|field| kind != "Pod" || !field.starts_with("default"));
    for field in judged {
        for (name, _) in limit[*field].as_object().into_iter().flatten() {
            container::resource_name(&format!("{path}.{field}[{name}]"), name, holder, faults);
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
    let refused = |field: &str, message: &str| {
        let path = format!("{path}.{field}[{resource}]");
        FieldError::invalid(path, limit[field][resource].clone(), message)
    };
    if let (Some(ratio), Some(least), Some(most)) = (ratio, of("min"), of("max"))
        && ratio.to_milli().saturating_mul(least.to_milli()) > most.to_milli().saturating_mul(1000)
    {
        faults.push(refused("maxLimitRequestRatio", "ratio is greater than max/min"));
    }
    let (default, request) = (of("default"), of("defaultRequest"));
    if !container::can_be_shared(resource) && default.is_some() && request.is_some() && default != request {
        faults.push(refused("defaultRequest", "must be equal to default"));
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
pub(super) fn resource_quota(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    for (name, quantity) in spec["hard"].as_object().into_iter().flatten() {
        amount("spec.hard", name, quantity, faults);
    }
    let scopes: Vec<&str> = list(spec, "scopes").iter().filter_map(Value::as_str).collect();
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            faults.push(FieldError::invalid("spec.scopes", spec["scopes"].clone(), "unsupported scope"));
        }
        for _ in misfits(spec, scope) {
            let message = "unsupported scope applied to resource";
            faults.push(FieldError::invalid("spec.scopes", spec["scopes"].clone(), message));
        }
    }
    conflicts(spec, &scopes, faults);
    scope_selector(spec, faults);
}

/// Resources that a scope has nothing to do with.
fn misfits<'a>(spec: &'a Value, scope: &'a str) -> impl Iterator<Item = &'a String> {
    let names = spec["hard"].as_object().into_iter().flatten().map(|(name, _)| name);
    names.filter(move |name| is_standard(name) && !fits_scope(name, scope))
}

/// Scopes that nothing can be in together.
fn conflicts(spec: &Value, scopes: &[&str], faults: &mut Faults) {
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(&one) && scopes.contains(&other) {
            faults.push(FieldError::invalid("spec.scopes", spec["scopes"].clone(), "conflicting scopes"));
        }
    }
}

/// An amount of what is counted or measured in a namespace.
fn amount(path: &str, name: &str, quantity: &Value, faults: &mut Faults) {
    let path = format!("{path}[{name}]");
    container::resource_name(&path, name, Holder::Anything, faults);
    if !name.contains('/') && !is_standard(name) {
        let message = "must be a standard resource for quota";
        faults.push(FieldError::invalid(path.as_str(), name, message));
    }
    container::quantity(&path, name, quantity, faults);
}

/// What a controller found to be used.
pub(super) fn status(status: &Value, faults: &mut Faults) {
    for field in ["hard", "used"] {
        for (name, quantity) in status[field].as_object().into_iter().flatten() {
            amount(&format!("status.{field}"), name, quantity, faults);
        }
    }
}

fn is_standard(name: &str) -> bool {
    let is_measured = MEASURED.contains(&name) && name != "storage";
    COUNTED.contains(&name)
        || is_measured
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

/// What runs at best effort has no amounts to be limited, only a number.
fn fits_scope(name: &str, scope: &str) -> bool {
    const COMPUTE: &[&str] =
        &["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];
    match scope {
        "BestEffort" => name == "pods",
        "CrossNamespacePodAffinity"
        | "NotBestEffort"
        | "NotTerminating"
        | "Terminating"
        | "PriorityClass" => name == "pods" || COMPUTE.contains(&name),
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

fn scope_selector(spec: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.scopeSelector.matchExpressions";
    let expressions = list(&spec["scopeSelector"], "matchExpressions");
    for expression in expressions {
        let (scope, operator) = (text(expression, "scopeName"), text(expression, "operator"));
        if !SCOPES.contains(&scope) {
            let message = "unsupported scope";
            faults.push(FieldError::invalid(format!("{PATH}.scopeName"), scope, message));
        }
        for _ in misfits(spec, scope) {
            let message = "unsupported scope applied to resource";
            faults.push(FieldError::invalid(PATH, spec["scopeSelector"].clone(), message));
        }
        let has_values =
            matches!(scope, "PriorityClass" | "VolumeAttributesClass") || !SCOPES.contains(&scope);
        if !has_values && operator != "Exists" {
            let message = "must be 'Exists' for scopes that have no values";
            faults.push(FieldError::invalid(format!("{PATH}.operator"), operator, message));
        }
        let (values, place) = (list(expression, "values"), format!("{PATH}.values"));
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let message = "must be at least one value when `operator` is 'In' or 'NotIn'";
                faults.push(FieldError::required(place, message));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let message = "must be no value when `operator` is 'Exists' or 'DoesNotExist'";
                faults.push(FieldError::invalid(place, values.to_vec(), message));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => {
                let message = "not a valid selector operator";
                faults.push(FieldError::invalid(format!("{PATH}.operator"), operator, message));
            }
        }
    }
    let scopes: Vec<&str> = expressions.iter().map(|expression| text(expression, "scopeName")).collect();
    conflicts(spec, &scopes, faults);
}

/// Whose it is must be said, and what is guaranteed must be within what is allowed.
pub(super) fn elastic_quota(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    let names = spec["namespaces"].as_array().map_or(0, Vec::len);
    if names == 0 && spec["namespaceSelector"].is_null() {
        faults
            .push(FieldError::required("spec.namespaces", "name namespaces, or select them by their labels"));
    }
    let mut seen = HashSet::new();
    for (at, name) in spec["namespaces"].as_array().into_iter().flatten().enumerate() {
        if name.as_str().is_some_and(|name| !seen.insert(name)) {
            faults.push(FieldError::duplicate(format!("spec.namespaces[{at}]"), name.clone()));
        }
    }
    guarantees(spec, faults, |path, name, faults| {
        container::resource_name(path, name, Holder::Anything, faults);
    });
}

/// What is guaranteed of resources that batch counts must be within what is allowed. Whether all quotas fit together is
/// said by their status: they come one by one.
pub(super) fn batch_quota(object: &Value, faults: &mut Faults) {
    guarantees(&object["spec"], faults, |path, name, faults| {
        if !RESOURCES.contains(&name) {
            faults.push(FieldError::not_supported(path, name, &RESOURCES));
        }
    });
    if object["spec"]["parent"] == object["metadata"]["name"] {
        let message = "a quota is no part of itself";
        faults.push(FieldError::invalid("spec.parent", object["spec"]["parent"].clone(), message));
    }
}

/// What `spec.min` and `spec.max` say, where `judge` knows which resources there are.
fn guarantees(spec: &Value, faults: &mut Faults, judge: impl Fn(&str, &str, &mut Faults)) {
    let amount =
        |side: &str, name: &str| spec[side][name].as_str().and_then(|text| Quantity::parse(text).ok());
    for side in ["min", "max"] {
        for (name, value) in spec[side].as_object().into_iter().flatten() {
            let path = format!("spec.{side}[{name}]");
            judge(&path, name, faults);
            if amount(side, name).is_none_or(|amount| amount.is_negative()) {
                let message = "must be a quantity that is not negative, such as 500m or 2Gi";
                faults.push(FieldError::invalid(path, value.clone(), message));
            }
        }
    }
    for (name, min) in spec["min"].as_object().into_iter().flatten() {
        let both = amount("min", name).zip(amount("max", name));
        if both.is_some_and(|(min, max)| min > max) {
            let message = format!("must be at most spec.max[{name}], which is {}", text(&spec["max"], name));
            faults.push(FieldError::invalid(format!("spec.min[{name}]"), min.clone(), message));
        }
    }
}
