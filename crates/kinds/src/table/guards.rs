//! Cells of what grants access, guards the API or extends it.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::age;
use super::cell::{NONE, condition, count, created, joined, list, name, text_or};

const UNSET: &str = "<unset>";

pub(super) fn cells(kind: &str, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
    let spec = &object["spec"];
    let middle: Vec<Value> = match kind {
        "CertificateSigningRequest" => return Some(signing_request(object, now)),
        "ClusterRoleBinding" | "RoleBinding" => return Some(binding(object, now)),
        "FlowSchema" => return Some(flow_schema(object, now)),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            vec![list(&object["webhooks"]).len().into()]
        }
        "MutatingAdmissionPolicy" => vec![list(&spec["mutations"]).len().into(), param_kind(spec)],
        "ValidatingAdmissionPolicy" => vec![list(&spec["validations"]).len().into(), param_kind(spec)],
        "MutatingAdmissionPolicyBinding" | "ValidatingAdmissionPolicyBinding" => {
            vec![text_or(&spec["policyName"], ""), param_ref(&spec["paramRef"])]
        }
        "PriorityLevelConfiguration" => priority_level(spec),
        "APIService" => api_service(object),
        _ => return None,
    };
    let mut cells = vec![name(object)];
    cells.extend(middle);
    cells.push(created(object, now));
    Some(cells)
}

fn param_kind(spec: &Value) -> Value {
    let kind = &spec["paramKind"];
    match (kind["apiVersion"].as_str(), kind["kind"].as_str()) {
        (Some(version), Some(kind)) => format!("{version}/{kind}").into(),
        _ => UNSET.into(),
    }
}

fn param_ref(reference: &Value) -> Value {
    let Some(name) = reference["name"].as_str() else {
        return if reference["selector"].is_null() {
            UNSET.into()
        } else {
            super::cell::selector(&reference["selector"])
        };
    };
    match reference["namespace"].as_str() {
        Some(namespace) => format!("{namespace}/{name}").into(),
        None => format!("*/{name}").into(),
    }
}

fn signing_request(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let lasts = spec["expirationSeconds"].as_i64().map_or_else(
        || NONE.to_owned(),
        |seconds| {
            let end = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
            age::between(now, end)
        },
    );
    vec![
        name(object),
        created(object, now),
        text_or(&spec["signerName"], NONE),
        text_or(&spec["username"], ""),
        lasts.into(),
        signing_state(object).into(),
    ]
}

fn signing_state(object: &Value) -> String {
    let has = |kind: &str| condition(object, kind).is_some();
    let mut state = match () {
        () if has("Denied") => "Denied",
        () if has("Approved") => "Approved",
        () => "Pending",
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if object["status"]["certificate"].as_str().is_some_and(|certificate| !certificate.is_empty()) {
        state.push_str(",Issued");
    }
    state
}

fn binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let of = |kind: &str| -> Value {
        let subjects = list(&object["subjects"]).iter().filter(|subject| subject["kind"] == kind);
        let names: Vec<String> = subjects
            .map(|subject| {
                let name = subject["name"].as_str().unwrap_or_default();
                match kind {
                    "ServiceAccount" => {
                        format!("{}/{name}", subject["namespace"].as_str().unwrap_or_default())
                    }
                    _ => name.to_owned(),
                }
            })
            .collect();
        names.join(", ").into()
    };
    let role = &object["roleRef"];
    let role = [&role["kind"], &role["name"]].map(|part| part.as_str().unwrap_or_default()).join("/");
    vec![name(object), role.into(), created(object, now), of("User"), of("Group"), of("ServiceAccount")]
}

fn flow_schema(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let missing = match condition(object, "Dangling") {
        Some("True") => "True",
        Some("False") => "False",
        _ => "?",
    };
    vec![
        name(object),
        text_or(&spec["priorityLevelConfiguration"]["name"], ""),
        count(&spec["matchingPrecedence"]).into(),
        text_or(&spec["distinguisherMethod"]["type"], NONE),
        created(object, now),
        missing.into(),
    ]
}

fn priority_level(spec: &Value) -> Vec<Value> {
    let queuing = &spec["limited"]["limitResponse"]["queuing"];
    let number = |value: &Value| value.as_i64().map_or_else(|| NONE.into(), Value::from);
    let side = if spec["limited"].is_null() { "exempt" } else { "limited" };
    vec![
        text_or(&spec["type"], ""),
        number(&spec[side]["nominalConcurrencyShares"]),
        number(&queuing["queues"]),
        number(&queuing["handSize"]),
        number(&queuing["queueLengthLimit"]),
    ]
}

fn api_service(object: &Value) -> Vec<Value> {
    let service = &object["spec"]["service"];
    let of = |field: &str| service[field].as_str().unwrap_or_default();
    let place =
        if service.is_null() { "Local".to_owned() } else { format!("{}/{}", of("namespace"), of("name")) };
    let found =
        list(&object["status"]["conditions"]).iter().find(|condition| condition["type"] == "Available");
    let available = found.map_or_else(
        || "Unknown".to_owned(),
        |found| match (found["status"].as_str(), found["reason"].as_str()) {
            (Some("True"), _) => "True".to_owned(),
            (status, reason) => {
                format!("{} ({})", status.unwrap_or("Unknown"), reason.unwrap_or_default())
            }
        },
    );
    vec![place.into(), available.into()]
}

/// The components of a control plane, as clients still ask for them.
pub(super) fn component_status(object: &Value) -> Vec<Value> {
    let conditions = list(&object["conditions"]);
    let healthy = conditions.iter().find(|condition| condition["type"] == "Healthy");
    let of = |field: &str| healthy.map_or("".into(), |condition| text_or(&condition[field], ""));
    let status =
        if healthy.is_some_and(|condition| condition["status"] == "True") { "Healthy" } else { "Unhealthy" };
    vec![name(object), status.into(), of("message"), of("error")]
}

/// A claim's state is made of what stands in its status.
pub(super) fn resource_claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = &object["status"];
    let mut states = Vec::new();
    if object["metadata"]["deletionTimestamp"].is_string() {
        states.push("deleted");
    }
    if status["allocation"].is_null() {
        if states.is_empty() {
            states.push("pending");
        }
    } else {
        states.push("allocated");
        if !list(&status["reservedFor"]).is_empty() {
            states.push("reserved");
        }
    }
    vec![name(object), joined(states.into_iter()), created(object, now)]
}

pub(super) fn resource_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    vec![
        name(object),
        text_or(&spec["nodeName"], if spec["allNodes"] == true { "<all>" } else { UNSET }),
        text_or(&spec["driver"], ""),
        text_or(&spec["pool"]["name"], ""),
        created(object, now),
    ]
}
