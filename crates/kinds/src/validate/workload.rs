//! What must hold of the kinds that make Pods from a template.

use serde_json::Value;

use super::{Faults, items, list, metadata, not_negative, one_of, pod, text};
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

pub(super) fn job(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    // Before the server makes the selector, and with it the object, there is none to match.
    let is_made = !object["metadata"]["creationTimestamp"].is_null();
    if is_made || spec["manualSelector"] == true || spec["selector"].is_object() {
        selector(spec, "job", faults);
    }
    job_spec("spec", spec, faults);
}

/// What of a Job holds in a CronJob's template too.
pub(super) fn job_spec(path: &str, spec: &Value, faults: &mut Faults) {
    for field in
        ["parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"]
    {
        not_negative(path, spec, field, faults);
    }
    one_of(path, spec, "completionMode", &["NonIndexed", "Indexed"], faults);
    one_of(path, spec, "podReplacementPolicy", &["Failed", "TerminatingOrFailed"], faults);
    let indexed = spec["completionMode"] == "Indexed";
    if indexed && spec["completions"].is_null() {
        faults.push(FieldError::required(format!("{path}.completions"), "when completion mode is Indexed"));
    }
    for field in ["backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"] {
        if !indexed && !spec[field].is_null() {
            let message = "requires indexed completion mode";
            faults.push(FieldError::invalid(format!("{path}.{field}"), spec[field].clone(), message));
        }
    }
    failure_policy(path, spec, faults);
    template(path, spec, faults);
    let policy = &spec["template"]["spec"]["restartPolicy"];
    if *policy == "Always" || policy.is_null() {
        let message = "valid values: \"OnFailure\", \"Never\"";
        faults.push(FieldError::required(format!("{path}.template.spec.restartPolicy"), message));
    }
}

fn failure_policy(path: &str, spec: &Value, faults: &mut Faults) {
    for (path, rule) in items(&format!("{path}.podFailurePolicy"), &spec["podFailurePolicy"], "rules") {
        one_of(&path, rule, "action", &["Count", "FailIndex", "FailJob", "Ignore"], faults);
        let codes = &rule["onExitCodes"];
        one_of(&format!("{path}.onExitCodes"), codes, "operator", &["In", "NotIn"], faults);
        for (path, code) in items(&format!("{path}.onExitCodes"), codes, "values") {
            if codes["operator"] == "In" && *code == 0 {
                faults.push(FieldError::invalid(path, 0, "must not be 0 for the In operator"));
            }
        }
    }
}

/// The selector must be there, must select something, and must select the template's Pods.
fn selector(spec: &Value, what: &str, faults: &mut Faults) {
    let selector = &spec["selector"];
    if selector.is_null() {
        faults.push(FieldError::required("spec.selector", ""));
    } else if selector.as_object().is_some_and(serde_json::Map::is_empty) {
        let message = format!("empty selector is invalid for {what}");
        faults.push(FieldError::invalid("spec.selector", selector.clone(), message));
        return;
    }
    metadata::labels("spec.selector.matchLabels", &selector["matchLabels"], faults);
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

fn template(path: &str, spec: &Value, faults: &mut Faults) {
    pod_template(&format!("{path}.template"), &spec["template"], faults);
}

/// A Pod template at `path`.
pub(super) fn pod_template(path: &str, template: &Value, faults: &mut Faults) {
    metadata::labels(&format!("{path}.labels"), &template["metadata"]["labels"], faults);
    metadata::annotations(&format!("{path}.annotations"), &template["metadata"]["annotations"], faults);
    pod::check(&format!("{path}.spec"), &template["spec"], faults);
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

fn only_always(spec: &Value, faults: &mut Faults) {
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
