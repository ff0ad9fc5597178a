//! Cells of Jobs and DagJobs.

use jiff::Timestamp;
use serde_json::Value;

use super::age;
use super::cell::{condition, count, created, list, name, text_or, wide};

pub(super) fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![
        name(object),
        job_status(object).into(),
        completions(object).into(),
        duration(&object["status"], now).into(),
        created(object, now),
    ];
    cells.extend(wide(object));
    cells
}

fn job_status(object: &Value) -> &'static str {
    let holds = |kind: &str| condition(object, kind) == Some("True");
    match () {
        () if holds("Complete") => "Complete",
        () if holds("Failed") => "Failed",
        () if object["metadata"]["deletionTimestamp"].is_string() => "Terminating",
        () if holds("Suspended") => "Suspended",
        () if holds("FailureTarget") => "FailureTarget",
        () if holds("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(object: &Value) -> String {
    let succeeded = count(&object["status"]["succeeded"]);
    let parallelism = object["spec"]["parallelism"].as_i64().unwrap_or(1);
    match object["spec"]["completions"].as_i64() {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    }
}

/// From the start to the end, or to now.
fn duration(status: &Value, now: Timestamp) -> String {
    let Some(start) = age::parse(&status["startTime"]) else { return String::new() };
    age::between(start, age::parse(&status["completionTime"]).unwrap_or(now))
}

pub(super) fn dag_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = &object["status"];
    let tasks = list(&object["spec"]["tasks"]);
    let of = |task: &Value, field: &str| {
        let name = task["name"].as_str().unwrap_or_default();
        count(&status["tasks"][name][field])
    };
    let finished = tasks.iter().filter(|task| of(task, "succeeded") >= count(&task["instances"])).count();
    let total = |field: &str| -> i64 { tasks.iter().map(|task| of(task, field)).sum() };
    let instances: i64 = tasks.iter().map(|task| count(&task["instances"])).sum();
    let ends = object["metadata"]["deletionTimestamp"].is_string();
    vec![
        name(object),
        if ends { "Terminating".into() } else { text_or(&status["phase"], "Pending") },
        format!("{finished}/{}", tasks.len()).into(),
        format!("{}/{instances}", total("succeeded")).into(),
        duration(status, now).into(),
        created(object, now),
        total("running").into(),
        total("failedAttempts").to_string().into(),
    ]
}
