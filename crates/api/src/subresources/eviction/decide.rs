//! Whether a Pod may be evicted now, and what its budget says afterwards. Pure.

use kinds::Kind;
use kinds::status::Failure;
use serde_json::{Value, json};

use crate::object;

/// As many disrupted Pods as a budget remembers: more would say that its controller is not there.
const MAX_DISRUPTED: usize = 2000;
/// Seconds until a budget that was just written should have been looked at.
const UNOBSERVED_RETRY_SECONDS: u32 = 10;

/// Whether the Pod counts for its budget: it runs, and is to go on running.
pub(super) fn counts(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    !matches!(phase, "Pending" | "Succeeded" | "Failed") && !object::is_being_deleted(pod)
}

/// Whether a Pod that is not ready may go without a word to its budget: always, or while the budget holds without it.
pub(super) fn may_go_unhealthy(pod: &Value, budget: &Value) -> bool {
    let (status, conditions) = (&budget["status"], pod["status"]["conditions"].as_array());
    let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    if conditions.is_some_and(|conditions| conditions.iter().any(is_ready)) {
        return false;
    }
    let desired = status["desiredHealthy"].as_i64().unwrap_or(0);
    let holds = desired > 0 && status["currentHealthy"].as_i64().unwrap_or(0) >= desired;
    holds || budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
}

/// The budget with one disruption less, by this Pod; 429 when none is left.
pub(super) fn spend(kind: &Kind, budget: &Value, pod: &str, now: &str) -> Result<Value, Failure> {
    let name = object::name(budget);
    let status = &budget["status"];
    let generation = budget["metadata"]["generation"].as_i64().unwrap_or(0);
    if status["observedGeneration"].as_i64().unwrap_or(0) < generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(&why).with_retry_after(UNOBSERVED_RETRY_SECONDS));
    }
    let allowed = status["disruptionsAllowed"].as_i64().unwrap_or(0);
    if allowed < 0 {
        return Err(Failure::forbidden(kind, name, "pod disruption budget is negative"));
    }
    let n_disrupted = status["disruptedPods"].as_object().map_or(0, serde_json::Map::len);
    if n_disrupted > MAX_DISRUPTED {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Failure::forbidden(kind, name, why));
    }
    if allowed == 0 {
        let count = |field: &str| status[field].as_i64().unwrap_or(0);
        let (desired, healthy) = (count("desiredHealthy"), count("currentHealthy"));
        let why =
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
        return Err(refused(&why));
    }
    let mut next = budget.clone();
    let status = object::entry_object(&mut next, "status");
    status.insert("disruptionsAllowed".into(), (allowed - 1).into());
    object::entry_object(&mut next["status"], "disruptedPods").insert(pod.to_owned(), now.into());
    if allowed == 1 {
        let condition = json!({"type": "DisruptionAllowed", "status": "False",
            "observedGeneration": generation, "lastTransitionTime": now,
            "reason": "InsufficientPods", "message": ""});
        set_condition(&mut next["status"], condition);
    }
    Ok(next)
}

fn refused(why: &str) -> Failure {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    Failure::new(429, "TooManyRequests", message).with_cause("DisruptionBudget", why, "")
}

/// The Pod with the condition that says why it goes.
pub(super) fn disrupted(pod: &Value, now: &str) -> Value {
    let mut pod = pod.clone();
    object::entry_object(&mut pod, "status");
    let condition = json!({"type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": now, "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"});
    set_condition(&mut pod["status"], condition);
    pod
}

/// Puts a condition in the place of the one of its type. One that says the same keeps the time since when.
pub(in crate::subresources) fn set_condition(status: &mut Value, mut condition: Value) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) else { return };
    match conditions.iter_mut().find(|had| had["type"] == condition["type"]) {
        Some(had) => {
            if had["status"] == condition["status"] {
                condition["lastTransitionTime"] = had["lastTransitionTime"].clone();
            }
            *had = condition;
        }
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests;
