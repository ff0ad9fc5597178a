//! What must hold of the status of a Job: what is finished stays so, and says all that belongs to it.

use serde_json::Value;

use super::{Faults, count_indexes, list, not_negative, text, unique_in};
use crate::status::FieldError;

const CONDITIONS: &str = "status.conditions";

fn is_true(status: &Value, kind: &str) -> bool {
    list(status, "conditions")
        .iter()
        .any(|condition| condition["type"] == kind && condition["status"] == "True")
}

pub(in crate::validate) fn check(new: &Value, old: &Value, faults: &mut Faults) {
    let status = &new["status"];
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        not_negative("status", status, field, faults);
    }
    for field in ["succeeded", "failed"] {
        unique_in("status.uncountedTerminatedPods", &status["uncountedTerminatedPods"], field, faults);
    }
    if *status == old["status"] {
        return;
    }
    conditions(new, faults);
    finished(status, faults);
    indexes(new, faults);
    transitions(new, old, faults);
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    if count("ready") > count("active") {
        let message = "cannot set more ready pods than active";
        faults.push(FieldError::invalid("status.ready", count("ready"), message));
    }
}

/// Conditions that exclude or demand one another.
fn conditions(job: &Value, faults: &mut Faults) {
    let status = &job["status"];
    for (one, other) in [
        ("Complete", "Failed"),
        ("Complete", "FailureTarget"),
        ("SuccessCriteriaMet", "Failed"),
        ("SuccessCriteriaMet", "FailureTarget"),
    ] {
        if is_true(status, one) && is_true(status, other) {
            let message = format!("cannot set {one}=True and {other}=True conditions");
            faults.push(FieldError::invalid(CONDITIONS, Value::Null, message));
        }
    }
    for (end, before) in [("Failed", "FailureTarget"), ("Complete", "SuccessCriteriaMet")] {
        if is_true(status, end) && !is_true(status, before) {
            let message = format!("cannot set {end}=True condition without the {before}=True condition");
            faults.push(FieldError::invalid(CONDITIONS, Value::Null, message.as_str()));
            if end == "Complete" && !job["spec"]["successPolicy"].is_null() {
                faults.push(FieldError::invalid(CONDITIONS, Value::Null, message));
            }
        }
    }
}

fn finished(status: &Value, faults: &mut Faults) {
    let (started, completed) = (&status["startTime"], &status["completionTime"]);
    let complete = is_true(status, "Complete");
    match (complete, completed.is_null()) {
        (true, true) => {
            let message = "is required for complete jobs";
            faults.push(FieldError::required("status.completionTime", message));
        }
        (false, false) => {
            let message = "cannot be set when there is no Complete=True condition";
            faults.push(FieldError::invalid("status.completionTime", completed.clone(), message));
        }
        _ => {}
    }
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    if let (Some(started), Some(ended)) = (time(started), time(completed))
        && ended < started
    {
        let message = "must be equal to or after `startTime`";
        faults.push(FieldError::invalid("status.completionTime", completed.clone(), message));
    }
    if !complete && !is_true(status, "Failed") {
        return;
    }
    if started.is_null() {
        faults.push(FieldError::required("status.startTime", "is required for finished jobs"));
    }
    for field in ["active", "terminating"] {
        if status[field].as_i64().is_some_and(|count| count > 0) {
            let message = "must be 0 for a finished job";
            faults.push(FieldError::invalid(format!("status.{field}"), status[field].clone(), message));
        }
    }
    let uncounted = &status["uncountedTerminatedPods"];
    if ["succeeded", "failed"].iter().any(|field| !list(uncounted, field).is_empty()) {
        let message = "must be empty for a finished job";
        faults.push(FieldError::invalid("status.uncountedTerminatedPods", uncounted.clone(), message));
    }
}

fn indexes(job: &Value, faults: &mut Faults) {
    let (spec, status) = (&job["spec"], &job["status"]);
    let (completed, failed) = (text(status, "completedIndexes"), &status["failedIndexes"]);
    let mut refused = |field: &str, message: &str| {
        faults.push(FieldError::invalid(format!("status.{field}"), status[field].clone(), message));
    };
    if !completed.is_empty() && spec["completionMode"] != "Indexed" {
        refused("completedIndexes", "cannot be set when completion mode is not indexed");
    }
    if !failed.is_null() && spec["backoffLimitPerIndex"].is_null() {
        refused("failedIndexes", "cannot be set when backoffLimitPerIndex is not");
    }
    if let Some(completions) = spec["completions"].as_i64() {
        if count_indexes(completed, completions).is_none() {
            refused("completedIndexes", "must be indexes or ranges of them, in their order");
        }
        let failed = failed.as_str().filter(|_| !spec["backoffLimitPerIndex"].is_null());
        if failed.is_some_and(|failed| count_indexes(failed, completions).is_none()) {
            refused("failedIndexes", "must be indexes or ranges of them, in their order");
        }
    }
}

/// What was said once is not taken back.
fn transitions(new: &Value, old: &Value, faults: &mut Faults) {
    let (status, before) = (&new["status"], &old["status"]);
    for kind in ["Failed", "Complete", "FailureTarget", "SuccessCriteriaMet"] {
        if is_true(before, kind) && !is_true(status, kind) {
            let message = format!("cannot disable the terminal {kind}=True condition");
            faults.push(FieldError::invalid(CONDITIONS, Value::Null, message));
        }
    }
    for field in ["failed", "succeeded"] {
        let of = |status: &Value| status[field].as_i64().unwrap_or_default();
        if of(status) < of(before) {
            let message = "cannot be decreased";
            faults.push(FieldError::invalid(format!("status.{field}"), of(status), message));
        }
    }
    let ended = (&status["completionTime"], &before["completionTime"]);
    if !ended.0.is_null() && !ended.1.is_null() && ended.0 != ended.1 {
        faults.push(FieldError::invalid("status.completionTime", ended.0.clone(), "field is immutable"));
    }
    let is_running = new["spec"]["suspend"] != true;
    if !before["startTime"].is_null() && before["startTime"] != status["startTime"] && is_running {
        let message = "cannot be removed or changed for a job that is not suspended";
        faults.push(FieldError::required("status.startTime", message));
    }
}
