//! What must hold of Tides.

use jiff::Timestamp;
use model::tide::{DEFAULT_GRACE, DEFAULT_LEAD, LEAST_SLACK, parse_percent};
use serde_json::Value;

use super::{Faults, items, job, list, metadata, names, placement, text};
use crate::status::FieldError;

pub(super) fn tide(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    how_many(spec, faults);
    let (schedule, prediction) = (&spec["schedule"], &spec["prediction"]);
    if schedule.is_null() && prediction.is_null() {
        if !spec["timeZone"].is_null() {
            let message = "is that of spec.schedule and spec.prediction, which are not given: spec.windows have their own";
            faults.push(FieldError::invalid("spec.timeZone", spec["timeZone"].clone(), message));
        }
    } else {
        job::times(spec, faults);
    }
    if !prediction.is_null() && !spec["sharePercent"].is_null() {
        let message =
            "must not be given beside spec.sharePercent: it says how many hosts are needed, up to spec.hosts";
        faults.push(FieldError::invalid("spec.prediction", prediction.clone(), message));
    }
    if !schedule.is_null() {
        if text(spec, "schedule").is_empty() {
            let message =
                "must say when windows begin, as \"30 23 * * *\"; leave it out for spec.windows alone";
            faults.push(FieldError::invalid("spec.schedule", spec["schedule"].clone(), message));
        }
        if spec["durationSeconds"].is_null() {
            let message = "a window of spec.schedule lasts so long";
            faults.push(FieldError::required("spec.durationSeconds", message));
        }
    }
    for (path, window) in items("spec", spec, "windows") {
        self::window(&path, window, faults);
    }
    for (path, rule) in items("spec", spec, "resize") {
        resize(&path, rule, spec, faults);
    }
    lead(spec, faults);
    if !spec["taint"].is_null() {
        placement::taint("spec.taint", &spec["taint"], faults);
    }
}

fn how_many(spec: &Value, faults: &mut Faults) {
    const HOSTS: &str = "spec.hosts";
    let (hosts, share) = (&spec["hosts"], &spec["sharePercent"]);
    match (hosts.is_null(), share.is_null()) {
        (true, true) => {
            let message = "say how many hosts are to be free, as 3 or \"60%\", or give spec.sharePercent";
            faults.push(FieldError::required(HOSTS, message));
        }
        (false, false) => {
            let message =
                "must not be given beside spec.sharePercent: a tide takes whole hosts or a share of each";
            faults.push(FieldError::invalid(HOSTS, hosts.clone(), message));
        }
        (true, false) => {}
        (false, true) => {
            let is_count = hosts.as_i64().is_some_and(|count| count >= 0);
            let is_percent = hosts.as_str().is_some_and(|text| parse_percent(text).is_some());
            if !is_count && !is_percent {
                let message =
                    "must be a number of hosts, as 3, or a percentage of them from 0% to 100%, as \"60%\"";
                faults.push(FieldError::invalid(HOSTS, hosts.clone(), message));
            }
        }
    }
}

fn window(path: &str, window: &Value, faults: &mut Faults) {
    let mut time = |field: &str| {
        let text = window[field].as_str()?;
        let time: Option<Timestamp> = text.parse().ok();
        if time.is_none() {
            let message = "must be a time as 2026-11-27T23:30:00Z";
            faults.push(FieldError::invalid(format!("{path}.{field}"), text, message));
        }
        time
    };
    if let (Some(from), Some(to)) = (time("from"), time("to"))
        && to <= from
    {
        let message = format!("must be later than {path}.from, which is {from}");
        faults.push(FieldError::invalid(format!("{path}.to"), text(window, "to"), message));
    }
}

/// Services are only made bigger, on hosts that are all theirs.
fn resize(path: &str, rule: &Value, spec: &Value, faults: &mut Faults) {
    if !spec["sharePercent"].is_null() {
        let message = "must not be given beside spec.sharePercent: services grow on hosts that batch has left, as of spec.hosts";
        faults.push(FieldError::invalid(path, rule.clone(), message));
    }
    for (index, namespace) in list(rule, "namespaces").iter().enumerate() {
        let name = namespace.as_str().unwrap_or_default();
        let faulty = names::label(name).into_iter();
        faults.extend(
            faulty.map(|fault| FieldError::invalid(format!("{path}.namespaces[{index}]"), name, fault)),
        );
    }
    if rule["selector"].is_null() {
        let message = "say which Pods, by their labels; {} is all of these namespaces";
        faults.push(FieldError::required(format!("{path}.selector"), message));
    }
    metadata::selector(&format!("{path}.selector"), &rule["selector"], faults);
    let fields = ["cpuPercent", "memoryPercent"];
    if fields.iter().all(|field| rule[*field].is_null()) {
        let message = "say what these services get, as 200 for twice as much, or give memoryPercent";
        faults.push(FieldError::required(format!("{path}.cpuPercent"), message));
    }
    for field in fields {
        let percent = &rule[field];
        if !percent.is_null() && !percent.as_i64().is_some_and(|percent| (100..=1000).contains(&percent)) {
            let message = "must be from 100, which is as it was, to 1000: a tide makes services bigger, and puts them back";
            faults.push(FieldError::invalid(format!("{path}.{field}"), percent.clone(), message));
        }
    }
}

/// What has to go must have its grace, and all must hear of it, before the window.
fn lead(spec: &Value, faults: &mut Faults) {
    let seconds =
        |field: &str, otherwise: jiff::SignedDuration| spec[field].as_i64().unwrap_or(otherwise.as_secs());
    let (lead, grace) = (seconds("leadSeconds", DEFAULT_LEAD), seconds("graceSeconds", DEFAULT_GRACE));
    let least = grace.saturating_add(LEAST_SLACK.as_secs());
    if (1..least).contains(&lead) {
        let message = format!(
            "must be at least {least}: spec.graceSeconds, which is {grace}, and {} to hear of it",
            LEAST_SLACK.as_secs()
        );
        faults.push(FieldError::invalid("spec.leadSeconds", lead, message));
    }
}
