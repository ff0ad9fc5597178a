//! What must hold of the kinds that make Pods from a template.

use serde_json::Value;

use super::{Faults, list, metadata, not_negative, pod, text};
use crate::selector::Labels;
use crate::status::FieldError;

pub(super) fn deployment(spec: &Value, faults: &mut Faults) {
    not_negative("spec", spec, "replicas", faults);
    selector(spec, "deployment", faults);
    template("spec", spec, faults);
    only_always(spec, faults);
    strategy(&spec["strategy"], faults);
    not_negative("spec", spec, "minReadySeconds", faults);
    not_negative("spec", spec, "revisionHistoryLimit", faults);
    not_negative("spec", spec, "progressDeadlineSeconds", faults);
    let ready = spec["minReadySeconds"].as_i64().unwrap_or_default();
    if let Some(deadline) = spec["progressDeadlineSeconds"].as_i64()
        && deadline <= ready
    {
        let message = "must be greater than minReadySeconds";
        faults.push(FieldError::invalid("spec.progressDeadlineSeconds", deadline, message));
    }
}

pub(super) fn replica_set(spec: &Value, faults: &mut Faults) {
    not_negative("spec", spec, "replicas", faults);
    not_negative("spec", spec, "minReadySeconds", faults);
    of_pods(spec, "replica set", faults);
}

/// The selector must be there, must select something, and must select the template's Pods.
fn selector(spec: &Value, what: &str, faults: &mut Faults) {
    let selector = &spec["selector"];
    if selector.is_null() {
        faults.push(FieldError::required("spec.selector", ""));
    } else if is_empty(selector) {
        let message = format!("empty selector is invalid for {what}");
        faults.push(FieldError::invalid("spec.selector", selector.clone(), message));
        return;
    }
    metadata::selector("spec.selector", selector, faults);
    let labels = &spec["template"]["metadata"]["labels"];
    let matches = match Labels::from_spec(selector) {
        Ok(selector) => selector.is_some_and(|selector| selector.match_labels(labels)),
        Err(failure) => {
            faults.push(FieldError::invalid("spec.selector", selector.clone(), failure.message()));
            return;
        }
    };
    if !matches {
        let message = "`selector` does not match template `labels`";
        faults.push(FieldError::invalid("spec.template.metadata.labels", labels.clone(), message));
    }
}

/// Whether a selector names nothing to select by.
fn is_empty(selector: &Value) -> bool {
    selector["matchLabels"].as_object().is_none_or(serde_json::Map::is_empty)
        && list(selector, "matchExpressions").is_empty()
}

fn template(path: &str, spec: &Value, faults: &mut Faults) {
    pod_template(&format!("{path}.template"), &spec["template"], faults);
}

/// A Pod template at `path`.
pub(super) fn pod_template(path: &str, template: &Value, faults: &mut Faults) {
    metadata::labels(&format!("{path}.labels"), &template["metadata"]["labels"], faults);
    metadata::annotations(&format!("{path}.annotations"), &template["metadata"]["annotations"], faults);
    pod::check_template(path, template, faults);
    if !list(&template["spec"], "ephemeralContainers").is_empty() {
        let message = "ephemeral containers not allowed in pod template";
        faults.push(FieldError::forbidden(format!("{path}.spec.ephemeralContainers"), message));
    }
}

/// What holds of every controller that keeps Pods running: a selector that fits its template.
pub(super) fn of_pods(spec: &Value, what: &str, faults: &mut Faults) {
    selector(spec, what, faults);
    template("spec", spec, faults);
    only_always(spec, faults);
}

/// The selector of a ReplicationController is a plain map.
pub(super) fn replication_controller(spec: &Value, faults: &mut Faults) {
    let (wanted, labels) = (spec["selector"].as_object(), &spec["template"]["metadata"]["labels"]);
    if spec["template"].is_null() {
        faults.push(FieldError::required("spec.template", ""));
        return;
    }
    if !wanted.into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value)) {
        let message = "`selector` does not match template `labels`";
        faults.push(FieldError::invalid("spec.template.metadata.labels", labels.clone(), message));
    }
    template("spec", spec, faults);
    only_always(spec, faults);
}

/// What runs on has no end: Pods that end, or must end, are a Job's.
fn only_always(spec: &Value, faults: &mut Faults) {
    if !spec["template"]["spec"]["activeDeadlineSeconds"].is_null() {
        let message = "only the Pods of Jobs may have a deadline";
        faults.push(FieldError::forbidden("spec.template.spec.activeDeadlineSeconds", message));
    }
    let policy = text(&spec["template"]["spec"], "restartPolicy");
    if !matches!(policy, "" | "Always") {
        faults.push(FieldError::not_supported("spec.template.spec.restartPolicy", policy, &["Always"]));
    }
}

fn strategy(strategy: &Value, faults: &mut Faults) {
    let rolling = &strategy["rollingUpdate"];
    match text(strategy, "type") {
        "Recreate" if rolling.is_object() => {
            let message = "may not be specified when strategy `type` is 'Recreate'";
            faults.push(FieldError::forbidden("spec.strategy.rollingUpdate", message));
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let of = |field: &str, faults: &mut Faults| {
                share(&format!("spec.strategy.rollingUpdate.{field}"), &rolling[field], faults)
            };
            let (unavailable, surge) = (of("maxUnavailable", faults), of("maxSurge", faults));
            if unavailable == Some(0) && surge == Some(0) {
                let message = "may not be 0 when `maxSurge` is 0";
                let path = "spec.strategy.rollingUpdate.maxUnavailable";
                faults.push(FieldError::invalid(path, rolling["maxUnavailable"].clone(), message));
            }
            if rolling["maxUnavailable"].is_string() && unavailable.is_some_and(|percent| percent > 100) {
                let path = "spec.strategy.rollingUpdate.maxUnavailable";
                let message = "must not be greater than 100%";
                faults.push(FieldError::invalid(path, rolling["maxUnavailable"].clone(), message));
            }
        }
        _ => {
            let supported = ["Recreate", "RollingUpdate"];
            faults.push(FieldError::not_supported("spec.strategy", strategy.clone(), &supported));
        }
    }
}

/// A count or a percentage; `None` when it is neither.
pub(super) fn share(path: &str, value: &Value, faults: &mut Faults) -> Option<i64> {
    const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
    let (number, message) = match value {
        Value::Number(number) => {
            (number.as_i64().filter(|number| *number >= 0), "must be greater than or equal to 0")
        }
        Value::String(text) => {
            let digits =
                text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            (digits.and_then(|digits| digits.parse().ok()), PERCENT)
        }
        _ => return None,
    };
    if number.is_none() {
        faults.push(FieldError::invalid(path, value.clone(), message));
    }
    number
}
