//! What must hold of where a Pod may run: node selector, tolerations, spread, affinity.

use std::collections::HashSet;

use serde_json::Value;

use super::{Faults, in_range, items, list, metadata, names, one_of, text};
use crate::status::FieldError;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn check(path: &str, spec: &Value, faults: &mut Faults) {
    metadata::labels(&format!("{path}.nodeSelector"), &spec["nodeSelector"], faults);
    tolerations(path, spec, faults);
    spread_constraints(path, spec, faults);
    for affinity in ["podAffinity", "podAntiAffinity"] {
        let path = format!("{path}.affinity.{affinity}");
        pod_affinity(&path, &spec["affinity"][affinity], faults);
    }
    node_affinity(&format!("{path}.affinity.nodeAffinity"), &spec["affinity"]["nodeAffinity"], faults);
}

pub(super) fn tolerations(path: &str, spec: &Value, faults: &mut Faults) {
    for (path, toleration) in items(path, spec, "tolerations") {
        self::toleration(&path, toleration, faults);
    }
}

fn toleration(path: &str, toleration: &Value, faults: &mut Faults) {
    let (key, operator, value) =
        (text(toleration, "key"), text(toleration, "operator"), text(toleration, "value"));
    if !key.is_empty() {
        let faulty = names::qualified_name(key).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.key"), key, fault)));
    } else if operator != "Exists" {
        let message =
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        faults.push(FieldError::invalid(format!("{path}.operator"), operator, message));
    }
    match operator {
        "" | "Equal" => {
            let fault = names::label_value(value);
            faults.extend(fault.map(|fault| FieldError::invalid(format!("{path}.operator"), value, fault)));
        }
        "Exists" if !value.is_empty() => {
            let message = "value must be empty when `operator` is 'Exists'";
            faults.push(FieldError::invalid(format!("{path}.operator"), value, message));
        }
        "Exists" => {}
        _ => one_of(path, toleration, "operator", &["Equal", "Exists"], faults),
    }
    if !text(toleration, "effect").is_empty() {
        one_of(path, toleration, "effect", EFFECTS, faults);
    }
    if !toleration["tolerationSeconds"].is_null() && toleration["effect"] != "NoExecute" {
        let message = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        faults.push(FieldError::invalid(format!("{path}.effect"), text(toleration, "effect"), message));
    }
}

/// The taints of a node, each key and effect once.
pub(super) fn taints(path: &str, spec: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (path, taint) in items(path, spec, "taints") {
        self::taint(&path, taint, faults);
        if !seen.insert((text(taint, "key"), text(taint, "effect"))) {
            let fault = FieldError::duplicate(path, taint.clone());
            faults.push(fault.explained("taints must be unique by key and effect pair"));
        }
    }
}

pub(super) fn taint(path: &str, taint: &Value, faults: &mut Faults) {
    let (key, value) = (text(taint, "key"), text(taint, "value"));
    let faulty = names::qualified_name(key).into_iter();
    faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.key"), key, fault)));
    faults.extend(
        names::label_value(value).map(|fault| FieldError::invalid(format!("{path}.value"), value, fault)),
    );
    if text(taint, "effect").is_empty() {
        faults.push(FieldError::required(format!("{path}.effect"), ""));
    } else {
        one_of(path, taint, "effect", EFFECTS, faults);
    }
}

fn spread_constraints(path: &str, spec: &Value, faults: &mut Faults) {
    let all = list(spec, "topologySpreadConstraints");
    let is = |left: &Value, right: &Value| {
        ["topologyKey", "whenUnsatisfiable"].iter().all(|field| left[*field] == right[*field])
    };
    for (index, (path, constraint)) in items(path, spec, "topologySpreadConstraints").enumerate() {
        spread(&path, constraint, faults);
        if all[index + 1..].iter().any(|later| is(constraint, later)) {
            let path = format!("{path}.{{topologyKey, whenUnsatisfiable}}");
            faults.push(FieldError::duplicate(path, text(constraint, "topologyKey")));
        }
    }
}

fn spread(path: &str, constraint: &Value, faults: &mut Faults) {
    let skew = constraint["maxSkew"].as_i64().unwrap_or_default();
    if skew <= 0 {
        faults.push(FieldError::invalid(format!("{path}.maxSkew"), skew, "must be greater than zero"));
    }
    if text(constraint, "topologyKey").is_empty() {
        faults.push(FieldError::required(format!("{path}.topologyKey"), "can not be empty"));
    }
    let action = text(constraint, "whenUnsatisfiable");
    if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
        let supported = ["DoNotSchedule", "ScheduleAnyway"];
        faults.push(FieldError::not_supported(format!("{path}.whenUnsatisfiable"), action, &supported));
    }
    let domains = &constraint["minDomains"];
    if !domains.is_null() {
        in_range(path, constraint, "minDomains", 1..=i64::MAX, faults);
        if action != "DoNotSchedule" {
            let message = "can only be used where whenUnsatisfiable is DoNotSchedule";
            faults.push(FieldError::invalid(format!("{path}.minDomains"), domains.clone(), message));
        }
    }
    for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        one_of(path, constraint, field, &["Honor", "Ignore"], faults);
    }
    label_keys(path, constraint, faults);
    metadata::selector(&format!("{path}.labelSelector"), &constraint["labelSelector"], faults);
}

/// Keys whose values are those of the Pod itself, beside a selector.
fn label_keys(path: &str, term: &Value, faults: &mut Faults) {
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        if term["labelSelector"].is_null() && !list(term, field).is_empty() {
            let message = "must not be specified when labelSelector is not set";
            faults.push(FieldError::forbidden(format!("{path}.{field}"), message));
            continue;
        }
        for (path, key) in items(path, term, field) {
            let key = key.as_str().unwrap_or_default();
            let faulty = names::qualified_name(key).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(path.clone(), key, fault)));
        }
    }
    let expressions = list(&term["labelSelector"], "matchExpressions");
    for (index, key) in list(term, "matchLabelKeys").iter().enumerate() {
        let named = expressions.iter().filter(|expression| expression["key"] == *key).count();
        let is_label = key.as_str().is_some_and(|key| !term["labelSelector"]["matchLabels"][key].is_null());
        if named > 1 || (named == 1 && is_label) {
            let message = "exists in both matchLabelKeys and labelSelector";
            faults.push(FieldError::invalid(format!("{path}[{index}]"), key.clone(), message));
        }
        if list(term, "mismatchLabelKeys").contains(key) {
            let message = "exists in both matchLabelKeys and mismatchLabelKeys";
            let path = format!("{path}.matchLabelKeys[{index}]");
            faults.push(FieldError::invalid(path, key.clone(), message));
        }
    }
}

fn pod_affinity(path: &str, affinity: &Value, faults: &mut Faults) {
    for (path, term) in items(path, affinity, REQUIRED) {
        affinity_term(&path, term, faults);
    }
    for (path, weighted) in items(path, affinity, PREFERRED) {
        weight(&path, weighted, faults);
        affinity_term(&format!("{path}.podAffinityTerm"), &weighted["podAffinityTerm"], faults);
    }
}

fn weight(path: &str, weighted: &Value, faults: &mut Faults) {
    let weight = weighted["weight"].as_i64().unwrap_or_default();
    if !(1..=100).contains(&weight) {
        faults.push(FieldError::invalid(format!("{path}.weight"), weight, "must be in the range 1-100"));
    }
}

fn affinity_term(path: &str, term: &Value, faults: &mut Faults) {
    for field in ["labelSelector", "namespaceSelector"] {
        metadata::selector(&format!("{path}.{field}"), &term[field], faults);
    }
    for name in list(term, "namespaces").iter().filter_map(Value::as_str) {
        // The field is told without its last letter.
        let faulty = names::label(name).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.namespace"), name, fault)));
    }
    label_keys(path, term, faults);
    let key = text(term, "topologyKey");
    let path = format!("{path}.topologyKey");
    if key.is_empty() {
        faults.push(FieldError::required(path.clone(), "can not be empty"));
    }
    faults.extend(
        names::qualified_name(key).into_iter().map(|fault| FieldError::invalid(path.clone(), key, fault)),
    );
}

fn node_affinity(path: &str, affinity: &Value, faults: &mut Faults) {
    if affinity[REQUIRED].is_object() {
        node_selector(&format!("{path}.{REQUIRED}"), &affinity[REQUIRED], faults);
    }
    for (path, weighted) in items(path, affinity, PREFERRED) {
        weight(&path, weighted, faults);
        // What is merely preferred may have values that no node can have.
        node_term(&format!("{path}.preference"), &weighted["preference"], false, faults);
    }
}

/// A selector of nodes, of a Pod or of a volume.
pub(super) fn node_selector(path: &str, selector: &Value, faults: &mut Faults) {
    if list(selector, "nodeSelectorTerms").is_empty() {
        let message = "must have at least one node selector term";
        faults.push(FieldError::required(format!("{path}.nodeSelectorTerms"), message));
    }
    for (path, term) in items(path, selector, "nodeSelectorTerms") {
        node_term(&path, term, true, faults);
    }
}

fn node_term(path: &str, term: &Value, judges_values: bool, faults: &mut Faults) {
    for (path, expression) in items(path, term, "matchExpressions") {
        node_expression(&path, expression, faults);
        for (path, value) in items(&path, expression, "values").filter(|_| judges_values) {
            let value = value.as_str().unwrap_or_default();
            let fault = names::label_value(value);
            faults.extend(fault.map(|fault| FieldError::invalid(path, value, fault)));
        }
    }
    for (path, expression) in items(path, term, "matchFields") {
        let (operator, key) = (text(expression, "operator"), text(expression, "key"));
        if !matches!(operator, "In" | "NotIn") {
            let message = "not a valid selector operator";
            faults.push(FieldError::invalid(format!("{path}.operator"), operator, message));
        } else if list(expression, "values").len() != 1 {
            let message = "must be only one value for a field of a node";
            faults.push(FieldError::required(format!("{path}.values"), message));
        }
        if key != "metadata.name" {
            let message = "not a valid field selector key";
            faults.push(FieldError::invalid(format!("{path}.key"), key, message));
            continue;
        }
        for (path, value) in items(&path, expression, "values") {
            let value = value.as_str().unwrap_or_default();
            let faulty = names::subdomain(value).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(path.clone(), value, fault)));
        }
    }
}

/// A requirement on a label of nodes, where numbers can be compared as well.
fn node_expression(path: &str, expression: &Value, faults: &mut Faults) {
    if !matches!(text(expression, "operator"), "Gt" | "Lt") {
        return metadata::requirement(path, expression, faults);
    }
    if list(expression, "values").len() != 1 {
        let message = "must be specified single value when `operator` is 'Lt' or 'Gt'";
        faults.push(FieldError::required(format!("{path}.values"), message));
    }
    metadata::requirement_key(path, expression, faults);
}
