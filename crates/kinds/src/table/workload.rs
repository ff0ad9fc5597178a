//! Cells of Deployments and ReplicaSets.

use jiff::Timestamp;
use serde_json::Value;

use super::cell::{count, created, name, wide};

pub(super) fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = &object["status"];
    let ready = format!("{}/{}", count(&status["readyReplicas"]), wanted(object));
    let mut cells = vec![
        name(object),
        ready.into(),
        count(&status["updatedReplicas"]).into(),
        count(&status["availableReplicas"]).into(),
        created(object, now),
    ];
    cells.extend(wide(object));
    cells
}

pub(super) fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = &object["status"];
    let mut cells = vec![
        name(object),
        wanted(object).into(),
        count(&status["replicas"]).into(),
        count(&status["readyReplicas"]).into(),
        created(object, now),
    ];
    cells.extend(wide(object));
    cells
}

fn wanted(object: &Value) -> i64 {
    object["spec"]["replicas"].as_i64().unwrap_or(1)
}
