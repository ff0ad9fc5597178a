//! Cells of our own kinds about placement.

use jiff::Timestamp;
use serde_json::Value;

use super::cell::{count, created, name, text_or};
use crate::Kind;

pub(super) fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let own: Vec<Value> = match kind.kind {
        "PodGroup" => vec![
            text_or(&status["phase"], "Pending"),
            count(&spec["minMember"]).into(),
            count(&status["members"]).into(),
            count(&status["scheduled"]).into(),
        ],
        _ => Vec::new(),
    };
    std::iter::once(name(object)).chain(own).chain([created(object, now)]).collect()
}
