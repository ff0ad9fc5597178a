//! What must hold of what decides on numbers of Pods and times of Jobs.

use model::Quantity;
use serde_json::{Value, json};

use super::{Faults, container, in_range, items, list, names, one_of, pod, required, text};
use crate::status::FieldError;

/// The types of metrics with their fields, in the order in which Kubernetes looks for them.
const METRICS: &[(&str, &str)] = &[
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

pub(super) fn autoscaler(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    let (least, most) = (spec["minReplicas"].as_i64(), spec["maxReplicas"].as_i64().unwrap_or_default());
    if least.is_some_and(|least| least < 1) {
        let message = "must be greater than or equal to 1";
        faults.push(FieldError::invalid("spec.minReplicas", least, message));
    }
    match most {
        0 => faults.push(FieldError::required("spec.maxReplicas", "must be set and greater than 0")),
        ..0 => faults.push(FieldError::invalid("spec.maxReplicas", most, "must be greater than 0")),
        _ => {}
    }
    if least.is_some_and(|least| most < least) {
        let message = "must be greater than or equal to `minReplicas`";
        faults.push(FieldError::invalid("spec.maxReplicas", most, message));
    }
    let target = &spec["scaleTargetRef"];
    if text(target, "apiVersion").is_empty() && text(target, "kind") != "ReplicationController" {
        let message = "apiVersion must specify API group";
        faults.push(FieldError::invalid("spec.scaleTargetRef.apiVersion", "", message));
    }
    if target.is_null() {
        required("spec.scaleTargetRef", target, "kind", faults);
        required("spec.scaleTargetRef", target, "name", faults);
    }
    for (path, metric) in items("spec", spec, "metrics") {
        self::metric(&path, metric, faults);
    }
    let counts =
        list(spec, "metrics").iter().any(|metric| metric["type"] == "Object" || metric["type"] == "External");
    if least == Some(0) && !counts {
        let message =
            "must specify at least one Object or External metric to support scaling to zero replicas";
        faults.push(FieldError::forbidden("spec.metrics", message));
    }
    for direction in ["scaleUp", "scaleDown"] {
        let path = format!("spec.behavior.{direction}");
        behavior(&path, &spec["behavior"][direction], faults);
    }
}

/// The first source counts, whatever the type; others are too many, but for the one that the type names.
fn metric(path: &str, metric: &Value, faults: &mut Faults) {
    let kind = text(metric, "type");
    let known = METRICS.iter().find(|(name, _)| *name == kind);
    if kind.is_empty() {
        faults.push(FieldError::required(format!("{path}.type"), "must specify a metric source type"));
    }
    if known.is_none() {
        // Told twice, as Kubernetes does.
        let names: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
        let fault = FieldError::not_supported(format!("{path}.type"), kind, &names);
        faults.extend([fault.clone(), fault]);
    }
    let given: Vec<&(&str, &str)> = METRICS.iter().filter(|(_, field)| !metric[*field].is_null()).collect();
    if let Some((kind, field)) = given.first() {
        metric_source(&format!("{path}.{field}"), kind, &metric[*field], faults);
    }
    if let Some((_, field)) = known
        && metric[*field].is_null()
    {
        let message = "must populate information for the given metric source";
        faults.push(FieldError::required(format!("{path}.{field}"), message));
    }
    if given.len() > 1 {
        for (_, other) in given.iter().filter(|(name, _)| *name != kind) {
            let message = "must populate the given metric source only";
            faults.push(FieldError::forbidden(format!("{path}.{other}"), message));
        }
    }
}

fn metric_source(path: &str, kind: &str, source: &Value, faults: &mut Faults) {
    if matches!(kind, "Resource" | "ContainerResource") {
        required(path, source, "name", faults);
    } else {
        let of_metric = format!("{path}.metric");
        required(&of_metric, &source["metric"], "name", faults);
        pod::named(&of_metric, &source["metric"], "name", names::path_segment, faults);
    }
    if kind == "ContainerResource" {
        required(path, source, "container", faults);
        pod::named(path, source, "container", names::label, faults);
        if !text(source, "name").is_empty() {
            let path = format!("{path}.name");
            container::resource_name(&path, text(source, "name"), container::Holder::Container, faults);
        }
    }
    if kind == "Object" {
        let path = format!("{path}.describedObject");
        for field in ["kind", "name"] {
            required(&path, &source["describedObject"], field, faults);
            pod::named(&path, &source["describedObject"], field, names::path_segment, faults);
        }
    }
    metric_target(&format!("{path}.target"), kind, &source["target"], faults);
}

fn metric_target(path: &str, kind: &str, target: &Value, faults: &mut Faults) {
    required(path, target, "type", faults);
    let of_type = text(target, "type");
    if !matches!(of_type, "AverageValue" | "Utilization" | "Value") {
        let message = "must be either Utilization, Value, or AverageValue";
        faults.push(FieldError::invalid(format!("{path}.type"), of_type, message));
    }
    for field in ["value", "averageValue"] {
        let amount = target[field].as_str().and_then(|text| Quantity::parse(text).ok());
        if amount.is_some_and(|amount| amount.to_milli() <= 0) {
            faults.push(FieldError::invalid(
                format!("{path}.{field}"),
                target[field].clone(),
                "must be positive",
            ));
        }
    }
    let has = |field: &str| !target[field].is_null();
    if target["averageUtilization"].as_i64().is_some_and(|share| share < 1) {
        let message = "must be greater than 0";
        let value = target["averageUtilization"].clone();
        faults.push(FieldError::invalid(format!("{path}.averageUtilization"), value, message));
    }
    match kind {
        "Resource" | "ContainerResource" if !has("averageUtilization") && !has("averageValue") => {
            let message = "must set either a target raw value or a target utilization";
            faults.push(FieldError::required(format!("{path}.averageUtilization"), message));
        }
        "Resource" | "ContainerResource" if has("averageUtilization") && has("averageValue") => {
            let message = "may not set both a target raw value and a target utilization";
            faults.push(FieldError::forbidden(format!("{path}.averageValue"), message));
        }
        "Pods" if !has("averageValue") => {
            let message = "must specify a positive target averageValue";
            faults.push(FieldError::required(format!("{path}.averageValue"), message));
        }
        "Object" | "External" if !has("value") && !has("averageValue") => {
            let message = "must set either a target value for metric or a per-pod target";
            faults.push(FieldError::required(format!("{path}.averageValue"), message));
        }
        "External" if has("value") && has("averageValue") => {
            let message = "may not set both a target value for metric and a per-pod target";
            faults.push(FieldError::forbidden(format!("{path}.value"), message));
        }
        _ => {}
    }
}

fn behavior(path: &str, behavior: &Value, faults: &mut Faults) {
    if behavior.is_null() {
        return;
    }
    in_range(path, behavior, "stabilizationWindowSeconds", 0..=3600, faults);
    one_of(path, behavior, "selectPolicy", &["Disabled", "Max", "Min"], faults);
    if list(behavior, "policies").is_empty() {
        let message = "must specify at least one Policy";
        faults.push(FieldError::required(format!("{path}.policies"), message));
    }
    for (path, policy) in items(path, behavior, "policies") {
        if !matches!(text(policy, "type"), "Percent" | "Pods") {
            let found = text(policy, "type");
            faults.push(FieldError::not_supported(format!("{path}.type"), found, &["Percent", "Pods"]));
        }
        let value = policy["value"].as_i64().unwrap_or_default();
        if value <= 0 {
            faults.push(FieldError::invalid(format!("{path}.value"), value, "must be greater than zero"));
        }
        let period = policy["periodSeconds"].as_i64().unwrap_or_default();
        if !(1..=1800).contains(&period) {
            let message = "must be greater than zero and less than or equal to 1800";
            faults.push(FieldError::invalid(format!("{path}.periodSeconds"), period, message));
        }
    }
}

pub(super) fn disruption_budget(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        let message = "minAvailable and maxUnavailable cannot be both set";
        faults.push(FieldError::invalid("spec", spec.clone(), message));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        part("spec", spec, field, faults);
    }
}

pub(super) fn daemon_set(object: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.updateStrategy.rollingUpdate";
    let spec = &object["spec"];
    super::workload::of_pods(spec, "daemonset", faults);
    let strategy = &spec["updateStrategy"];
    let rolling = &strategy["rollingUpdate"];
    match text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" if rolling.is_null() => faults.push(FieldError::required(PATH, "")),
        "RollingUpdate" => {
            let (unavailable, surge) =
                (part(PATH, rolling, "maxUnavailable", faults), part(PATH, rolling, "maxSurge", faults));
            if unavailable != 0 && surge != 0 {
                let message = "may not be set when `maxUnavailable` is non-zero";
                let value = rolling["maxSurge"].clone();
                faults.push(FieldError::invalid(format!("{PATH}.maxSurge"), value, message));
            } else if unavailable == 0 && surge == 0 {
                let message = "cannot be 0 when `maxSurge` is 0";
                faults.push(FieldError::required(format!("{PATH}.maxUnavailable"), message));
            }
        }
        other => {
            let supported = ["OnDelete", "RollingUpdate"];
            faults.push(FieldError::not_supported("spec.updateStrategy", other, &supported));
        }
    }
}

/// A count or a share of the whole, which is not more than all.
fn part(path: &str, object: &Value, field: &str, faults: &mut Faults) -> i64 {
    let (path, value) = (format!("{path}.{field}"), &object[field]);
    let share = super::workload::share(&path, value, faults);
    if value.is_string() && share.is_some_and(|percent| percent > 100) {
        faults.push(FieldError::invalid(path, value.clone(), "must not be greater than 100%"));
    }
    share.unwrap_or_default()
}

pub(super) fn stateful_set(object: &Value, faults: &mut Faults) {
    const ROLLING: &str = "spec.updateStrategy.rollingUpdate";
    let spec = &object["spec"];
    let policy = text(spec, "podManagementPolicy");
    if !matches!(policy, "OrderedReady" | "Parallel") {
        let message = "must be 'OrderedReady' or 'Parallel'";
        faults.push(FieldError::invalid("spec.podManagementPolicy", policy, message));
    }
    let strategy = &spec["updateStrategy"];
    let rolling = &strategy["rollingUpdate"];
    match text(strategy, "type") {
        "RollingUpdate" if rolling["maxUnavailable"].is_null() => {}
        "RollingUpdate" => {
            if part(ROLLING, rolling, "maxUnavailable", faults) == 0 {
                let value = rolling["maxUnavailable"].clone();
                faults.push(FieldError::invalid(format!("{ROLLING}.maxUnavailable"), value, "cannot be 0"));
            }
        }
        "OnDelete" if rolling.is_null() => {}
        "OnDelete" => {
            let message = "only allowed for updateStrategy 'RollingUpdate'";
            faults.push(FieldError::invalid(ROLLING, rolling.clone(), message));
        }
        _ => {
            let message = "must be 'RollingUpdate' or 'OnDelete'";
            faults.push(FieldError::invalid("spec.updateStrategy", strategy.clone(), message));
        }
    }
    let metadata = &spec["template"]["metadata"];
    super::workload::of_pods(&with_claims(spec), "statefulset", faults);
    // The template's labels and annotations are looked at twice.
    super::metadata::labels("spec.template.labels", &metadata["labels"], faults);
    super::metadata::annotations("spec.template.annotations", &metadata["annotations"], faults);
}

/// What holds of a new set only: what it promises to its Pods cannot change, so that old faults stay.
pub(super) fn new_stateful_set(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    pod::named("spec", spec, "serviceName", names::label, faults);
    for (path, claim) in items("spec", spec, "volumeClaimTemplates") {
        super::storage::claim_spec(&format!("{path}.spec"), &claim["spec"], faults);
    }
}

/// As its Pods will be: with the volumes that the set claims for each, and with names of the set's making.
fn with_claims(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let claims: Vec<Value> = list(&spec, "volumeClaimTemplates")
        .iter()
        .map(|claim| claim["metadata"]["name"].clone())
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
        .collect();
    let pod = spec.pointer_mut("/template/spec").and_then(Value::as_object_mut);
    let Some(pod) = pod else { return spec };
    pod.remove("hostname");
    pod.remove("subdomain");
    if !claims.is_empty() {
        let own = pod.get("volumes").and_then(Value::as_array).into_iter().flatten();
        let own = own.filter(|volume| !claims.iter().any(|claim| claim["name"] == volume["name"])).cloned();
        let volumes: Vec<Value> = claims.iter().cloned().chain(own).collect();
        pod.insert("volumes".into(), volumes.into());
    }
    spec
}
