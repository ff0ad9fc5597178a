//! What may not change of a Job.

use serde_json::Value;

use super::{Faults, IMMUTABLE, list, put, put_each, same, without_nulls};
use crate::status::FieldError;

pub(super) fn check(new: &Value, old: &Value, faults: &mut Faults) {
    for field in [
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        same(new, old, &format!("spec.{field}"), faults);
    }
    completions(&new["spec"], &old["spec"], faults);
    template(new, old, faults);
}

/// An indexed job may be scaled as a whole: completions together with parallelism.
fn completions(spec: &Value, before: &Value, faults: &mut Faults) {
    let is_scaled = spec["completionMode"] == "Indexed"
        && (spec["completions"].is_null() || spec["completions"] == spec["parallelism"]);
    if spec["completions"] != before["completions"] && !is_scaled {
        faults.push(FieldError::invalid("spec.completions", spec["completions"].clone(), IMMUTABLE));
    }
}

/// Where the Pods of a Job that has not begun may run can still be said, and how much each may use.
fn template(new: &Value, old: &Value, faults: &mut Faults) {
    let (template, mut before) = (&new["spec"]["template"], old["spec"]["template"].clone());
    if old["spec"]["suspend"] != true {
        same(new, old, "spec.template", faults);
        return;
    }
    if old["status"]["startTime"].is_null() {
        for field in ["nodeSelector", "tolerations", "schedulingGates"] {
            put(&mut before, &["spec", field], &template["spec"][field]);
        }
        for field in ["annotations", "labels"] {
            put(&mut before, &["metadata", field], &template["metadata"][field]);
        }
        let affinity = &template["spec"]["affinity"]["nodeAffinity"];
        if !affinity.is_null() || before["spec"]["affinity"].is_object() {
            put(&mut before, &["spec", "affinity", "nodeAffinity"], affinity);
        }
    }
    for field in ["containers", "initContainers"] {
        let wanted = list(&template["spec"], field);
        let names = |containers: &[Value]| containers.iter().map(|c| c["name"].clone()).collect::<Vec<_>>();
        if names(wanted) == names(list(&before["spec"], field)) {
            put_each(before.pointer_mut(&format!("/spec/{field}")), "resources", wanted);
        }
    }
    let mut wanted = without_nulls(&template["spec"]);
    let mut had = without_nulls(&before["spec"]);
    for spec in [&mut wanted, &mut had] {
        if spec["affinity"].as_object().is_some_and(serde_json::Map::is_empty) {
            put(spec, &["affinity"], &Value::Null);
        }
    }
    if without_nulls(&wanted) != without_nulls(&had) {
        faults.push(FieldError::invalid("spec.template.spec", Value::Null, IMMUTABLE));
    }
}
