//! Requests for certificates: who asks is the server's word, and each part has its own writers.
//!
//! ```text
//!   /            labels and annotations only
//!   /approval    the conditions, Approved and Denied among them
//!   /status      the certificate and all other conditions
//! ```

use kinds::Kind;
use serde_json::{Value, json};

use super::copy_field;
use crate::authentication::User;
use crate::object;

/// Conditions that only approvers set.
const VERDICTS: [&str; 2] = ["Approved", "Denied"];
/// What a request says of its sender.
const SENDER: [&str; 4] = ["username", "uid", "groups", "extra"];

fn is_request(kind: &Kind) -> bool {
    kind.group == "certificates.k8s.io" && kind.kind == "CertificateSigningRequest"
}

/// Writes down who asks, whatever the client says of that.
pub(crate) fn identify(kind: &Kind, request: &mut Value, sender: &User) {
    if !is_request(kind) {
        return;
    }
    let spec = object::entry_object(request, "spec");
    SENDER.iter().for_each(|field| drop(spec.remove(*field)));
    if let Value::Object(mut facts) = sender.to_value() {
        spec.append(&mut facts);
    }
}

/// An approval is its conditions, and nothing else.
pub(super) fn keep_all_but_conditions(new: &mut Value, old: &Value) {
    let conditions = new["status"].get("conditions").cloned();
    object::replace_all_but_managers(new, old);
    let status = object::entry_object(new, "status");
    match conditions {
        Some(conditions) => drop(status.insert("conditions".into(), conditions)),
        None => drop(status.remove("conditions")),
    }
}

/// What was asked for stays as it was.
pub(super) fn keep_spec(kind: &Kind, new: &mut Value, old: &Value) {
    if is_request(kind) {
        copy_field(new, old, "spec");
    }
}

/// A signer finds the verdicts as they are, and leaves them so.
pub(super) fn keep_verdicts(kind: &Kind, new: &mut Value, old: &Value) {
    if !is_request(kind) {
        return;
    }
    let verdict = |condition: &&Value| VERDICTS.iter().any(|verdict| condition["type"] == **verdict);
    let own = conditions(new).iter().filter(|condition| !verdict(condition));
    let kept: Vec<Value> = conditions(old).iter().filter(verdict).chain(own).cloned().collect();
    if !kept.is_empty() {
        object::entry_object(new, "status").insert("conditions".into(), kept.into());
    }
}

/// Dates the conditions that have no date yet.
pub(crate) fn date(kind: &Kind, new: &mut Value, old: &Value, now: &str) {
    if !is_request(kind) {
        return;
    }
    let Some(dated) = new["status"].get_mut("conditions").and_then(Value::as_array_mut) else { return };
    for condition in dated.iter_mut().filter(|condition| condition.is_object()) {
        let is_same =
            |before: &&Value| ["type", "status"].iter().all(|field| before[*field] == condition[*field]);
        let before = conditions(old).iter().find(is_same).map(|before| before["lastTransitionTime"].clone());
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = json!(now);
        }
        if condition["lastTransitionTime"].is_null() {
            let since = before.filter(|since| !since.is_null());
            condition["lastTransitionTime"] = since.unwrap_or_else(|| json!(now));
        }
    }
}

fn conditions(request: &Value) -> &[Value] {
    request["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default()
}
