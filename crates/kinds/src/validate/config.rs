//! What must hold of configuration and of the small kinds.

use base64::engine::{Engine, general_purpose::STANDARD};
use model::colocation_policy::{self, ColocationPolicySpec};
use model::dagjob::DagJobSpec;
use model::dagjob::check::FaultKind;
use model::rebalance_policy::RebalanceWindow;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Faults, address, container, in_range, items, list, names, not_negative, one_of, placement, text, volume,
};
use crate::status::FieldError;

/// The largest ConfigMap or Secret, all values together.
const MAX_BYTES: usize = 1024 * 1024;
/// Priorities above this are for the system's own classes.
const MAX_USER_PRIORITY: i64 = 1_000_000_000;

pub(super) fn config_map(object: &Value, faults: &mut Faults) {
    keys(object, "data", faults);
    keys(object, "binaryData", faults);
    for (key, _) in object["data"].as_object().into_iter().flatten() {
        if object["binaryData"].get(key).is_some() {
            let message = "duplicate of key present in binaryData";
            faults.push(FieldError::invalid(format!("data[{key}]"), key.as_str(), message));
        }
    }
    size(object, &["data", "binaryData"], "[]", faults);
}

fn keys(object: &Value, field: &str, faults: &mut Faults) {
    for (key, _) in object[field].as_object().into_iter().flatten() {
        let faulty = names::config_key(key).into_iter();
        faults
            .extend(faulty.map(|fault| FieldError::invalid(format!("{field}[{key}]"), key.as_str(), fault)));
    }
}

/// `path` names all the values together, as clients know it.
fn size(object: &Value, fields: &[&str], path: &str, faults: &mut Faults) {
    let texts = fields.iter().filter_map(|field| object[*field].as_object()).flatten();
    let bytes: usize = texts.filter_map(|(_, value)| value.as_str()).map(str::len).sum();
    if bytes > MAX_BYTES {
        faults.push(FieldError::too_long(path, MAX_BYTES));
    }
}

pub(super) fn secret(object: &Value, faults: &mut Faults) {
    keys(object, "data", faults);
    size(object, &["data"], "data", faults);
    let needed: &[&str] = match text(object, "type") {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/basic-auth"
            if object["data"]["username"].is_null() && object["data"]["password"].is_null() =>
        {
            &["username", "password"]
        }
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        _ => &[],
    };
    if text(object, "type") == "kubernetes.io/service-account-token" {
        const ACCOUNT: &str = "kubernetes.io/service-account.name";
        if text(&object["metadata"]["annotations"], ACCOUNT).is_empty() {
            faults.push(FieldError::required(format!("metadata.annotations[{ACCOUNT}]"), ""));
        }
    }
    for key in needed {
        let value = &object["data"][*key];
        // A key of this kind is of no use without any content.
        if value.is_null() || (*key == "ssh-privatekey" && *value == "") {
            faults.push(FieldError::required(format!("data[{key}]"), ""));
        }
    }
    for key in [".dockerconfigjson", ".dockercfg"] {
        let Some(encoded) = object["data"][key].as_str().filter(|_| needed.contains(&key)) else { continue };
        let json =
            STANDARD.decode(encoded).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        if !json.is_some_and(|json| json.is_object() || json.is_null()) {
            let message = "the value is no JSON document";
            faults.push(FieldError::invalid(format!("data[{key}]"), "<secret contents redacted>", message));
        }
    }
}

pub(super) fn node(object: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.podCIDRs";
    // The path is Kubernetes' own slip, which clients may know.
    placement::taints("metadata", &object["spec"], faults);
    for field in ["capacity", "allocatable"] {
        for (name, amount) in object["status"][field].as_object().into_iter().flatten() {
            container::quantity(&format!("status.{field}.{name}"), name, amount, faults);
        }
    }
    let ranges = list(&object["spec"], "podCIDRs");
    for (path, range) in items("spec", &object["spec"], "podCIDRs") {
        address::check_network(&path, range.as_str().unwrap_or_default(), faults);
    }
    let parsed: Vec<_> = ranges.iter().filter_map(|range| address::parse_network(range.as_str()?)).collect();
    let is_pair = match parsed.as_slice() {
        [(one, _), (other, _)] => one.is_ipv4() != other.is_ipv4(),
        several => several.len() < 2,
    };
    if !is_pair {
        let message = "may specify no more than one network for each IP family";
        faults.push(FieldError::invalid(PATH, ranges.to_vec(), message));
    }
}

pub(super) fn event(field: &str, object: &Value, faults: &mut Faults) {
    let about = text(&object[field], "namespace");
    let namespace = text(&object["metadata"], "namespace");
    // Events of cluster-wide objects are kept in the default namespace.
    let matches = about == namespace || (about.is_empty() && matches!(namespace, "default" | "kube-system"));
    if !matches {
        let message = "does not match event.namespace";
        faults.push(FieldError::invalid("involvedObject.namespace", about, message));
    }
}

pub(super) fn new_event(object: &Value, faults: &mut Faults) {
    if object["eventTime"].is_null() {
        faults.push(FieldError::required("eventTime", ""));
    }
    let kind = text(object, "type");
    if !matches!(kind, "Normal" | "Warning") {
        faults.push(FieldError::invalid("type", kind, format!("has invalid value: {kind}")));
    }
}

/// The classes that every cluster has.
const SYSTEM_PRIORITIES: &[(&str, i64)] =
    &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

pub(super) fn priority_class(object: &Value, faults: &mut Faults) {
    let value = object["value"].as_i64().unwrap_or_default();
    let name = text(&object["metadata"], "name");
    let system = name.starts_with("system-");
    if system && !SYSTEM_PRIORITIES.contains(&(name, value)) {
        let message = "priority class names with 'system-' prefix are reserved for system use only";
        faults.push(FieldError::forbidden("metadata.name", message));
    }
    if value > MAX_USER_PRIORITY && !system {
        let message = format!("maximum allowed value of a user defined priority is {MAX_USER_PRIORITY}");
        faults.push(FieldError::forbidden("value", message));
    }
    let policy = &object["preemptionPolicy"];
    let supported = ["PreemptLowerPriority", "Never"];
    if !policy.is_null() && !policy.as_str().is_some_and(|policy| supported.contains(&policy)) {
        faults.push(FieldError::not_supported("preemptionPolicy", policy.clone(), &supported));
    }
}

pub(super) fn lease(spec: &Value, faults: &mut Faults) {
    if let Some(seconds) = spec["leaseDurationSeconds"].as_i64()
        && seconds <= 0
    {
        faults.push(FieldError::invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"));
    }
    not_negative("spec", spec, "leaseTransitions", faults);
    one_of("spec", spec, "strategy", &["OldestEmulationVersion"], faults);
}

/// Amounts that can be held, by name.
pub(super) fn reservation(object: &Value, faults: &mut Faults) {
    for (name, amount) in object["spec"]["resources"].as_object().into_iter().flatten() {
        let path = format!("spec.resources[{name}]");
        let quantity = amount.as_str().map(model::Quantity::parse);
        if name == "nvidia.com/gpu" || name.starts_with("koordinator.sh/gpu") {
            faults.push(FieldError::forbidden(path, "GPUs cannot be reserved"));
        } else if !quantity.is_some_and(|quantity| quantity.is_ok_and(|quantity| quantity.to_milli() >= 0)) {
            let message = "must be a quantity that is not negative, such as 500m or 2Gi";
            faults.push(FieldError::invalid(path, amount.clone(), message));
        }
    }
    placement::tolerations("spec", &object["spec"], faults);
}

/// A window has two times of the day.
pub(super) fn rebalance_policy(object: &Value, faults: &mut Faults) {
    let window = &object["spec"]["window"];
    let minutes = |field: &str| window[field].as_str().map(RebalanceWindow::minutes);
    for field in ["start", "end"] {
        if minutes(field) == Some(None) {
            let message = "must be a time of the day in UTC, such as 22:00";
            faults.push(FieldError::invalid(format!("spec.window.{field}"), window[field].clone(), message));
        }
    }
    if let (Some(Some(start)), Some(Some(end))) = (minutes("start"), minutes("end"))
        && start == end
    {
        let message = "must not be spec.window.start: leave the window out to move at any time";
        faults.push(FieldError::invalid("spec.window.end", window["end"].clone(), message));
    }
}

/// The policy's own rules are `model`'s, as its reader keeps them, too.
pub(super) fn colocation_policy(object: &Value, faults: &mut Faults) {
    match ColocationPolicySpec::deserialize(&object["spec"]) {
        Ok(spec) => faults.extend(
            colocation_policy::faults(&spec)
                .into_iter()
                .map(|fault| FieldError::invalid(fault.field, fault.value, fault.message)),
        ),
        // The table of rules may have named it already, and better.
        Err(error) if faults.is_empty() => {
            faults.push(FieldError::invalid("spec", object["spec"].clone(), error.to_string()));
        }
        Err(_) => {}
    }
}

/// A band has its least and its most in this order.
pub(super) fn scheduling_policy(object: &Value, faults: &mut Faults) {
    let band = &object["spec"]["priorities"];
    if let (Some(min), Some(max)) = (band["min"].as_i64(), band["max"].as_i64())
        && min > max
    {
        let message = format!("must be at least spec.priorities.min, which is {min}");
        faults.push(FieldError::invalid("spec.priorities.max", max, message));
    }
}

/// The job's own rules are `model`'s; those of its volumes and environments are a Pod's.
pub(super) fn dag_job(object: &Value, faults: &mut Faults) {
    let spec = match DagJobSpec::deserialize(&object["spec"]) {
        Ok(spec) => spec,
        Err(error) => {
            faults.push(FieldError::required("spec", error.to_string()));
            return;
        }
    };
    for fault in model::dagjob::check::faults(&spec) {
        faults.push(match fault.kind {
            FaultKind::Required => FieldError::required(fault.field, fault.message),
            FaultKind::Invalid => FieldError::invalid(fault.field, fault.value, fault.message),
            FaultKind::Duplicate => FieldError::duplicate(fault.field, fault.value).explained(fault.message),
            FaultKind::NotFound => FieldError::not_found(fault.field, fault.value).explained(fault.message),
        });
    }
    in_range("spec", &object["spec"], "priority", -MAX_USER_PRIORITY..=MAX_USER_PRIORITY, faults);
    let volumes = volume::check("spec", &object["spec"], faults);
    for (path, task) in items("spec", &object["spec"], "tasks") {
        container::environment(&path, task, faults);
        container::mounts(&path, task, &volumes, faults);
    }
}
