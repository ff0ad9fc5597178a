//! What must hold of where a Pod may run: node selector, tolerations, spread, affinity, gates.

use serde_json::Value;

use super::{Faults, items, list, metadata, names, one_of, required, text};
use crate::status::FieldError;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn check(path: &str, spec: &Value, faults: &mut Faults) {
    metadata::labels(&format!("{path}.nodeSelector"), &spec["nodeSelector"], faults);
    for (path, toleration) in items(path, spec, "tolerations") {
        self::toleration(&path, toleration, faults);
    }
    for (path, constraint) in items(path, spec, "topologySpreadConstraints") {
        spread(&path, constraint, faults);
    }
    for affinity in ["podAffinity", "podAntiAffinity"] {
        let path = format!("{path}.affinity.{affinity}");
        pod_affinity(&path, &spec["affinity"][affinity], faults);
    }
    node_affinity(&format!("{path}.affinity.nodeAffinity"), &spec["affinity"]["nodeAffinity"], faults);
    for (path, gate) in items(path, spec, "schedulingGates") {
        required(&path, gate, "name", faults);
    }
    if !list(spec, "schedulingGates").is_empty() && !text(spec, "nodeName").is_empty() {
        let message = "cannot be set until all schedulingGates have been cleared";
        faults.push(FieldError::forbidden(format!("{path}.nodeName"), message));
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

/// A taint of a node.
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

fn spread(path: &str, constraint: &Value, faults: &mut Faults) {
    let skew = constraint["maxSkew"].as_i64().unwrap_or_default();
    if skew <= 0 {
        faults.push(FieldError::invalid(format!("{path}.maxSkew"), skew, "must be greater than zero"));
    }
    if text(constraint, "topologyKey").is_empty() {
        faults.push(FieldError::required(format!("{path}.topologyKey"), "can not be empty"));
    }
    let field = "whenUnsatisfiable";
    if constraint[field].is_null() {
        faults.push(FieldError::not_supported(
            format!("{path}.{field}"),
            "",
            &["DoNotSchedule", "ScheduleAnyway"],
        ));
    }
    one_of(path, constraint, field, &["DoNotSchedule", "ScheduleAnyway"], faults);
}

fn pod_affinity(path: &str, affinity: &Value, faults: &mut Faults) {
    for (path, term) in items(path, affinity, "requiredDuringSchedulingIgnoredDuringExecution") {
        affinity_term(&path, term, faults);
    }
    for (path, weighted) in items(path, affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
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
    let hard = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms_path = format!("{path}.{hard}");
    if affinity[hard].is_object() && list(&affinity[hard], "nodeSelectorTerms").is_empty() {
        let message = "must have at least one node selector term";
        faults.push(FieldError::required(format!("{terms_path}.nodeSelectorTerms"), message));
    }
    for (path, term) in items(&terms_path, &affinity[hard], "nodeSelectorTerms") {
        node_term(&path, term, faults);
    }
    for (path, weighted) in items(path, affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
        weight(&path, weighted, faults);
        node_term(&format!("{path}.preference"), &weighted["preference"], faults);
    }
}

fn node_term(path: &str, term: &Value, faults: &mut Faults) {
    for (path, expression) in items(path, term, "matchExpressions") {
        let operators = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
        if !operators.contains(&text(expression, "operator")) {
            let operator = text(expression, "operator");
            faults.push(FieldError::invalid(
                format!("{path}.operator"),
                operator,
                "not a valid selector operator",
            ));
        }
        let key = text(expression, "key");
        let faulty = names::qualified_name(key).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.key"), key, fault)));
        let n_values = list(expression, "values").len();
        let values = format!("{path}.values");
        match text(expression, "operator") {
            "In" | "NotIn" if n_values == 0 => {
                faults.push(FieldError::required(
                    values,
                    "must be specified when `operator` is 'In' or 'NotIn'",
                ));
            }
            "Exists" | "DoesNotExist" if n_values > 0 => {
                let message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                faults.push(FieldError::forbidden(values, message));
            }
            "Gt" | "Lt" if n_values != 1 => {
                faults.push(FieldError::required(
                    values,
                    "must be specified single value when `operator` is 'Lt' or 'Gt'",
                ));
            }
            _ => {}
        }
    }
}
