//! What must hold of what decides on numbers of Pods and times of Jobs.

use serde_json::{Map, Value};

use super::schedule::{self, Schedule};
use super::{Faults, in_range, items, list, one_of, required, text};
use crate::status::FieldError;

const METRICS: &[(&str, &str)] = &[
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
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

fn metric(path: &str, metric: &Value, faults: &mut Faults) {
    required(path, metric, "type", faults);
    let kind = text(metric, "type");
    if kind.is_empty() {
        return;
    }
    let Some((_, field)) = METRICS.iter().find(|(name, _)| *name == kind) else {
        let names: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
        faults.push(FieldError::not_supported(format!("{path}.type"), kind, &names));
        return;
    };
    if metric[*field].is_null() {
        let message = "must populate information for the given metric source";
        faults.push(FieldError::required(format!("{path}.{field}"), message));
    }
    for (_, other) in METRICS.iter().filter(|(_, other)| other != field && !metric[*other].is_null()) {
        let message = "must populate the given metric source only";
        faults.push(FieldError::forbidden(format!("{path}.{other}"), message));
    }
    let source = &metric[*field];
    if !source.is_null() {
        metric_source(&format!("{path}.{field}"), kind, source, faults);
    }
}

fn metric_source(path: &str, kind: &str, source: &Value, faults: &mut Faults) {
    if matches!(kind, "Resource" | "ContainerResource") {
        required(path, source, "name", faults);
    } else {
        required(&format!("{path}.metric"), &source["metric"], "name", faults);
    }
    if kind == "ContainerResource" {
        required(path, source, "container", faults);
    }
    let (path, target) = (format!("{path}.target"), &source["target"]);
    required(&path, target, "type", faults);
    one_of(&path, target, "type", &["AverageValue", "Utilization", "Value"], faults);
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
        one_of(&path, policy, "type", &["Percent", "Pods"], faults);
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
        let path = format!("spec.{field}");
        let share = super::workload::share(&path, &spec[field], faults);
        if spec[field].is_string() && share.is_some_and(|percent| percent > 100) {
            faults.push(FieldError::invalid(path, spec[field].clone(), "must not be greater than 100%"));
        }
    }
}

pub(super) fn cron_job(object: &Value, faults: &mut Faults) {
    const MAX_NAME: usize = 52;
    let (spec, name) = (&object["spec"], text(&object["metadata"], "name"));
    if name.len() > MAX_NAME {
        let message = format!("must be no more than {MAX_NAME} characters");
        faults.push(FieldError::invalid("metadata.name", name, message));
    }
    let when = text(spec, "schedule");
    if when.contains("TZ") {
        let message = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        faults.push(FieldError::invalid("spec.schedule", when, message));
    } else if !when.is_empty()
        && let Err(error) = when.parse::<Schedule>()
    {
        faults.push(FieldError::invalid("spec.schedule", when, error.to_string()));
    }
    if let Some(zone) = spec["timeZone"].as_str()
        && !schedule::is_time_zone(zone)
    {
        faults.push(FieldError::invalid("spec.timeZone", zone, format!("unknown time zone {zone}")));
    }
    let job = &spec["jobTemplate"]["spec"];
    super::workload::job_spec("spec.jobTemplate.spec", job, faults);
}

pub(super) fn daemon_set(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    super::workload::of_pods(spec, "daemonset", faults);
    let strategy = &spec["updateStrategy"];
    let rolling = &strategy["rollingUpdate"];
    const PATH: &str = "spec.updateStrategy.rollingUpdate";
    match text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" if rolling.is_null() => faults.push(FieldError::required(PATH, "")),
        "RollingUpdate" => {
            let of = |field: &str, faults: &mut Faults| {
                super::workload::share(&format!("{PATH}.{field}"), &rolling[field], faults)
                    .unwrap_or_default()
            };
            let (unavailable, surge) = (of("maxUnavailable", faults), of("maxSurge", faults));
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

pub(super) fn stateful_set(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    let policy = text(spec, "podManagementPolicy");
    if !matches!(policy, "OrderedReady" | "Parallel") {
        let message = "must be 'OrderedReady' or 'Parallel'";
        faults.push(FieldError::invalid("spec.podManagementPolicy", policy, message));
    }
    let strategy = &spec["updateStrategy"];
    match text(strategy, "type") {
        "RollingUpdate" => {}
        "OnDelete" if strategy["rollingUpdate"].as_object().is_none_or(Map::is_empty) => {}
        "OnDelete" => {
            let message = "only allowed for updateStrategy 'RollingUpdate'";
            let value = strategy["rollingUpdate"].clone();
            faults.push(FieldError::invalid("spec.updateStrategy.rollingUpdate", value, message));
        }
        _ => {
            let message = "must be 'RollingUpdate' or 'OnDelete'";
            faults.push(FieldError::invalid("spec.updateStrategy", strategy.clone(), message));
        }
    }
    super::workload::of_pods(spec, "statefulset", faults);
}
