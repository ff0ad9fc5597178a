//! What must hold of Jobs, and of the Jobs that CronJobs make.

mod status;

use std::collections::HashSet;

use serde_json::Value;

pub(super) use self::status::check as status;
use super::{Faults, items, list, metadata, names, network, not_negative, one_of, text, unique, workload};
use crate::selector::Labels;
use crate::status::FieldError;

/// Above so many completions less may fail, and less may run at once.
const MANY: i64 = 100_000;
const WITH_MANY: i64 = 10_000;

pub(super) fn check(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    let selector = &spec["selector"];
    // Before the server makes the selector, and with it the object, there is none to match.
    let is_made = !object["metadata"]["creationTimestamp"].is_null();
    if is_made || spec["manualSelector"] == true || selector.is_object() {
        if selector.is_object() && spec["manualSelector"] != true {
            generated(object, faults);
        }
        self::selector(spec, faults);
    }
    self::spec("spec", spec, faults);
    // Each Pod's host is called by the Job's name and the Pod's index.
    if let Some(last) = spec["completions"].as_i64().filter(|count| *count > 0)
        && spec["completionMode"] == "Indexed"
    {
        let name = text(&object["metadata"], "name");
        if !names::label(&format!("{name}-{}", last - 1)).is_empty() {
            let message = "the names of its Pods' hosts would not be DNS labels";
            faults.push(FieldError::invalid("metadata.name", name, message));
        }
    }
}

fn selector(spec: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.selector";
    let selector = &spec["selector"];
    if selector.is_null() {
        faults.push(FieldError::required(PATH, ""));
    } else {
        metadata::selector(PATH, selector, faults);
    }
    let labels = &spec["template"]["metadata"]["labels"];
    let Ok(parsed) = Labels::from_spec(selector) else { return };
    if !parsed.is_some_and(|selector| selector.match_labels(labels)) {
        let message = "`selector` does not match template `labels`";
        faults.push(FieldError::invalid("spec.template.metadata.labels", labels.clone(), message));
    }
}

/// What the server makes, so that each Job counts its own Pods, is not for others to write.
fn generated(object: &Value, faults: &mut Faults) {
    let (name, uid) = (&object["metadata"]["name"], &object["metadata"]["uid"]);
    let labels = &object["spec"]["template"]["metadata"]["labels"];
    let expected = [
        ("controller-uid", uid),
        ("job-name", name),
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
    ];
    for (label, value) in expected {
        let path = format!("spec.template.metadata.labels[{label}]");
        let message = format!("must be {value}");
        if labels[label].is_null() {
            faults.push(FieldError::required(path, message));
        } else if labels[label] != *value {
            faults.push(FieldError::invalid(path, labels.clone(), message));
        }
    }
    let all = expected.iter().map(|(label, value)| ((*label).to_owned(), (*value).clone())).collect();
    let selector = &object["spec"]["selector"];
    let Ok(parsed) = Labels::from_spec(selector) else { return };
    if !parsed.is_some_and(|selector| selector.match_labels(&Value::Object(all))) {
        let message = "`selector` not auto-generated";
        faults.push(FieldError::invalid("spec.selector", selector.clone(), message));
    }
}

/// The template of a CronJob's Jobs, whose selectors are always made.
pub(super) fn template(path: &str, template: &Value, faults: &mut Faults) {
    let path = format!("{path}.spec");
    let spec = &template["spec"];
    self::spec(&path, spec, faults);
    if !spec["selector"].is_null() {
        let message = "`selector` will be auto-generated";
        faults.push(FieldError::invalid(format!("{path}.selector"), spec["selector"].clone(), message));
    }
    if spec["manualSelector"] == true {
        let supported = ["false", "nil"];
        faults.push(FieldError::not_supported(format!("{path}.manualSelector"), true, &supported));
    }
}

fn spec(path: &str, spec: &Value, faults: &mut Faults) {
    const MAX_MANAGER: usize = 63;
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        not_negative(path, spec, field, faults);
    }
    if let Some(manager) = spec["managedBy"].as_str() {
        let path = format!("{path}.managedBy");
        network::domain_path(&path, manager, faults);
        if manager.len() > MAX_MANAGER {
            faults.push(FieldError::too_long(path, MAX_MANAGER));
        }
    }
    one_of(path, spec, "completionMode", &["NonIndexed", "Indexed"], faults);
    if !spec["maxFailedIndexes"].is_null() && spec["backoffLimitPerIndex"].is_null() {
        let message = "when maxFailedIndexes is specified";
        faults.push(FieldError::required(format!("{path}.backoffLimitPerIndex"), message));
    }
    if spec["completionMode"] == "Indexed" {
        indexed(path, spec, faults);
    } else {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"] {
            let is_unknown = !matches!(text(spec, "completionMode"), "" | "NonIndexed");
            if !spec[field].is_null() && (field == "successPolicy" || !is_unknown) {
                let message = "requires indexed completion mode";
                faults.push(FieldError::invalid(format!("{path}.{field}"), spec[field].clone(), message));
            }
        }
    }
    failure_policy(path, spec, faults);
    let replacements: &[&str] =
        if spec["podFailurePolicy"].is_null() { &["Failed", "TerminatingOrFailed"] } else { &["Failed"] };
    one_of(path, spec, "podReplacementPolicy", replacements, faults);
    workload::pod_template(&format!("{path}.template"), &spec["template"], faults);
    restart_policy(&format!("{path}.template.spec.restartPolicy"), spec, faults);
}

fn restart_policy(path: &str, spec: &Value, faults: &mut Faults) {
    let supported = ["Never", "OnFailure"];
    match text(&spec["template"]["spec"], "restartPolicy") {
        "Always" | "" => {
            faults.push(FieldError::required(path, "valid values: \"OnFailure\", \"Never\""));
        }
        "OnFailure" if !spec["podFailurePolicy"].is_null() => {
            let message = "only \"Never\" is supported when podFailurePolicy is specified";
            faults.push(FieldError::invalid(path, "OnFailure", message));
        }
        policy if !supported.contains(&policy) => {
            faults.push(FieldError::not_supported(path, policy, &supported));
        }
        _ => {}
    }
}

/// The Pods of an indexed Job are numbered, and what its status says of the numbers must not grow without bound.
fn indexed(path: &str, spec: &Value, faults: &mut Faults) {
    let of = |field: &str| spec[field].as_i64();
    let (parallelism, completions, failed) = (of("parallelism"), of("completions"), of("maxFailedIndexes"));
    let mut at_most = |field: &str, limit: Option<i64>| {
        if let (Some(value), Some(limit)) = (of(field), limit)
            && value > limit
        {
            let message = format!("must be less than or equal to {limit} for an indexed Job of this size");
            faults.push(FieldError::invalid(format!("{path}.{field}"), value, message));
        }
    };
    at_most("parallelism", Some(MANY));
    at_most("maxFailedIndexes", completions);
    at_most("maxFailedIndexes", Some(MANY));
    let is_many = completions.is_some_and(|count| count > MANY) && !spec["backoffLimitPerIndex"].is_null();
    if is_many {
        at_most("parallelism", Some(WITH_MANY).filter(|_| parallelism.is_some()));
        at_most("maxFailedIndexes", Some(WITH_MANY));
        if failed.is_none() {
            let message = format!("must be specified when completions is above {MANY}");
            faults.push(FieldError::required(format!("{path}.maxFailedIndexes"), message));
        }
    }
    if completions.is_none() {
        faults.push(FieldError::required(format!("{path}.completions"), "when completion mode is Indexed"));
    }
    if !spec["successPolicy"].is_null() {
        success_policy(path, spec, completions.unwrap_or_default(), faults);
    }
}

fn success_policy(path: &str, spec: &Value, completions: i64, faults: &mut Faults) {
    const MOST: usize = 20;
    const MOST_BYTES: usize = 64 * 1024;
    let path = format!("{path}.successPolicy");
    let count = list(&spec["successPolicy"], "rules").len();
    if count == 0 {
        faults.push(FieldError::required(format!("{path}.rules"), "at least one rule must be specified"));
    }
    if count > MOST {
        faults.push(FieldError::too_many(format!("{path}.rules"), count, MOST));
    }
    for (path, rule) in items(&path, &spec["successPolicy"], "rules") {
        let (indexes, wanted) = (rule["succeededIndexes"].as_str(), rule["succeededCount"].as_i64());
        if indexes.is_none() && wanted.is_none() {
            let message = "at least one of succeededCount or succeededIndexes must be specified";
            faults.push(FieldError::required(path.as_str(), message));
        }
        let mut named = 0;
        if let Some(indexes) = indexes {
            let path = format!("{path}.succeededIndexes");
            if indexes.len() > MOST_BYTES {
                faults.push(FieldError::too_long(path.as_str(), MOST_BYTES));
            }
            match count_indexes(indexes, completions) {
                Some(count) => named = count,
                None => {
                    let message = "must be indexes or ranges of them, in their order and below completions";
                    faults.push(FieldError::invalid(path, indexes, message));
                }
            }
        }
        not_negative(&path, rule, "succeededCount", faults);
        let Some(wanted) = wanted else { continue };
        let mut at_most = |limit: i64| {
            if wanted > limit {
                let message = format!("must be less than or equal to {limit}");
                faults.push(FieldError::invalid(format!("{path}.succeededCount"), wanted, message));
            }
        };
        at_most(completions);
        if indexes.is_some() {
            at_most(named);
        }
    }
}

/// How many indexes a text like `1,3-5` names; `None` where it is none.
fn count_indexes(text: &str, completions: i64) -> Option<i64> {
    let (mut count, mut last) = (0, -1);
    for interval in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = match interval.split_once('-') {
            Some((first, end)) => {
                (first.parse::<i64>().ok()?, end.parse::<i64>().ok().filter(|end| *end >= 0)?)
            }
            None => {
                let index = interval.parse::<i64>().ok()?;
                (index, index)
            }
        };
        let is_ordered = first > last && (first < end || !interval.contains('-'));
        if !is_ordered || end >= completions {
            return None;
        }
        count += end - first + 1;
        last = end;
    }
    Some(count)
}

fn failure_policy(path: &str, spec: &Value, faults: &mut Faults) {
    const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
    const MOST: usize = 20;
    let path = format!("{path}.podFailurePolicy");
    let count = list(&spec["podFailurePolicy"], "rules").len();
    if count > MOST {
        faults.push(FieldError::too_many(format!("{path}.rules"), count, MOST));
    }
    for (path, rule) in items(&path, &spec["podFailurePolicy"], "rules") {
        let place = format!("{path}.action");
        match text(rule, "action") {
            "" => faults.push(FieldError::required(place, "must say what is to be done")),
            "FailIndex" if spec["backoffLimitPerIndex"].is_null() => {
                let message = "requires the backoffLimitPerIndex to be set";
                faults.push(FieldError::invalid(place, "FailIndex", message));
            }
            action if !ACTIONS.contains(&action) => {
                faults.push(FieldError::not_supported(place, action, ACTIONS));
            }
            _ => {}
        }
        let (codes, conditions) = (&rule["onExitCodes"], list(rule, "onPodConditions"));
        if !codes.is_null() {
            exit_codes(&format!("{path}.onExitCodes"), codes, &spec["template"]["spec"], faults);
        }
        conditions_of_rule(&path, rule, faults);
        if codes.is_null() == conditions.is_empty() {
            let message = "must specify one of onExitCodes and onPodConditions, and not both";
            faults.push(FieldError::invalid(path, Value::Null, message));
        }
    }
}

fn conditions_of_rule(path: &str, rule: &Value, faults: &mut Faults) {
    const MOST: usize = 20;
    let count = list(rule, "onPodConditions").len();
    if count > MOST {
        faults.push(FieldError::too_many(format!("{path}.onPodConditions"), count, MOST));
    }
    for (path, pattern) in items(path, rule, "onPodConditions") {
        let kind = text(pattern, "type");
        let faulty = names::qualified_name(kind).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.type"), kind, fault)));
        if text(pattern, "status").is_empty() {
            faults.push(FieldError::required(format!("{path}.status"), ""));
        } else {
            one_of(&path, pattern, "status", &["False", "True", "Unknown"], faults);
        }
    }
}

fn exit_codes(path: &str, codes: &Value, pod: &Value, faults: &mut Faults) {
    const MOST: usize = 255;
    if text(codes, "operator").is_empty() {
        faults.push(FieldError::required(format!("{path}.operator"), ""));
    } else {
        one_of(path, codes, "operator", &["In", "NotIn"], faults);
    }
    if let Some(name) = codes["containerName"].as_str() {
        let mut all = ["containers", "initContainers"].iter().flat_map(|field| list(pod, field));
        if !all.any(|container| text(container, "name") == name) {
            let message = "must be one of the containers of the template";
            faults.push(FieldError::invalid(format!("{path}.containerName"), name, message));
        }
    }
    let values: Vec<i64> = list(codes, "values").iter().filter_map(Value::as_i64).collect();
    let place = format!("{path}.values");
    if values.is_empty() {
        faults.push(FieldError::invalid(place.as_str(), Value::Null, "at least one value is required"));
    } else if values.len() > MOST {
        faults.push(FieldError::too_many(place.as_str(), values.len(), MOST));
    }
    let mut seen = HashSet::new();
    for (index, value) in values.iter().enumerate() {
        let path = format!("{place}[{index}]");
        if codes["operator"] == "In" && *value == 0 {
            faults.push(FieldError::invalid(path.as_str(), 0, "must not be 0 for the In operator"));
        }
        if !seen.insert(value) {
            faults.push(FieldError::duplicate(path, *value));
        }
    }
    if !values.is_sorted() {
        faults.push(FieldError::invalid(place, codes["values"].clone(), "must be ordered"));
    }
}

pub(super) fn cron_job(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    times(spec, faults);
    template("spec.jobTemplate", &spec["jobTemplate"], faults);
}

/// When something is due again and again.
pub(super) fn times(spec: &Value, faults: &mut Faults) {
    let when = text(spec, "schedule");
    if !when.is_empty() {
        schedule(when, faults);
    }
    if let Some(zone) = spec["timeZone"].as_str()
        && !super::schedule::is_time_zone(zone)
    {
        faults.push(FieldError::invalid("spec.timeZone", zone, format!("unknown time zone {zone}")));
    }
}

fn schedule(when: &str, faults: &mut Faults) {
    const PATH: &str = "spec.schedule";
    let zoned = ["TZ=", "CRON_TZ="].iter().find_map(|prefix| when.strip_prefix(prefix));
    let bare = match zoned {
        Some(rest) => rest.split_once(' ').map_or("", |(_, rest)| rest),
        None => when,
    };
    if let Err(error) = bare.parse::<super::schedule::Schedule>() {
        faults.push(FieldError::invalid(PATH, when, error.to_string()));
    }
    if when.contains("TZ") {
        let message = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        faults.push(FieldError::invalid(PATH, when, message));
    }
}

/// A name that leaves room for the times that a CronJob's Jobs are called by.
pub(super) fn new_cron_job(object: &Value, faults: &mut Faults) {
    const MAX_NAME: usize = 52;
    let name = text(&object["metadata"], "name");
    if name.len() > MAX_NAME {
        let message = format!("must be no more than {MAX_NAME} characters");
        faults.push(FieldError::invalid("metadata.name", name, message));
    }
}

/// Names that come twice among those that a list says.
fn unique_in(path: &str, values: &Value, field: &str, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (path, value) in items(path, values, field) {
        unique(&mut seen, value.as_str().unwrap_or_default(), path, faults);
    }
}

#[cfg(test)]
mod tests {
    use super::count_indexes;

    #[test]
    fn indexes_are_counted() {
        for (text, count) in [
            ("", Some(0)),
            ("0", Some(1)),
            ("1,3-5", Some(4)),
            ("3,1", None),
            ("1-1", None),
            ("4-9", None),
            ("x", None),
            ("1-2-3", None),
        ] {
            assert_eq!(count_indexes(text, 8), count, "{text}");
        }
    }
}
