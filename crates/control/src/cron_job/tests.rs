//! When a CronJob makes a Job.

use std::sync::Arc;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use serde_json::{Value, json};

use super::decide::{View, decide};
use super::schedule::Schedule;

/// A Job from words: its name, then `complete` or `failed`.
fn job(text: &str) -> Arc<Job> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut job = json!({ "metadata": { "name": words[0], "uid": words[0] }, "status": {} });
    if let Some(end) = words.get(1) {
        let kind = if *end == "complete" { "Complete" } else { "Failed" };
        job["status"]["conditions"] = json!([{ "type": kind, "status": "True" }]);
        job["status"]["startTime"] = json!("2026-03-01T00:00:00Z");
    }
    Arc::new(serde_json::from_value(job).unwrap())
}

/// The plan at `now` for a CronJob that was made at midnight.
fn check(spec: Value, jobs: &str, now: &str, expect: Expect) {
    let mut whole = json!({ "schedule": "0 * * * *", "jobTemplate": { "spec": { "template": {} } } });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let zone = spec["timeZone"].as_str().map_or(TimeZone::UTC, |name| TimeZone::get(name).unwrap());
    let cron_job: CronJob = serde_json::from_value(json!({
        "metadata": { "name": "c", "namespace": "n", "uid": "u", "creationTimestamp": "2026-03-01T00:00:00Z" },
        "spec": whole,
    }))
    .unwrap();
    let schedule = Schedule::parse(whole["schedule"].as_str().unwrap(), zone).unwrap();
    let jobs: Vec<Arc<Job>> = jobs.lines().filter(|line| !line.trim().is_empty()).map(job).collect();
    let now: Timestamp = now.parse().unwrap();
    let plan = decide(&View { cron_job: &cron_job, jobs: &jobs, schedule: Some(&schedule), now });
    let mut lines: Vec<String> =
        plan.delete.iter().map(|job| format!("delete {}", job.metadata.name.as_deref().unwrap())).collect();
    lines.extend(plan.create.iter().map(|job| {
        let annotations = job.metadata.annotations.as_ref().unwrap();
        format!(
            "create {} for {}",
            job.metadata.name.as_deref().unwrap(),
            annotations.values().next().unwrap()
        )
    }));
    lines.extend(plan.notes.iter().map(|note| note.reason.to_owned()));
    lines.push(format!("next in {:?}", plan.check_after));
    expect.assert_eq(&lines.join("\n"));
}

#[test]
fn a_job_is_made_once_per_scheduled_time() {
    check(json!({}), "", "2026-03-01T00:30:00Z", expect!["next in Some(1800s)"]);
    check(
        json!({}),
        "",
        "2026-03-01T02:00:05Z",
        expect![[r#"
            create c-29538840 for 2026-03-01T02:00:00Z
            next in Some(3595s)"#]],
    );
    check(json!({}), "c-29538840", "2026-03-01T02:00:05Z", expect!["next in Some(3595s)"]);
    check(json!({ "suspend": true }), "", "2026-03-01T02:00:05Z", expect!["next in None"]);
    check(
        json!({ "startingDeadlineSeconds": 10 }),
        "",
        "2026-03-01T02:00:30Z",
        expect!["next in Some(3570s)"],
    );
}

#[test]
fn the_policy_decides_on_jobs_that_still_run() {
    check(
        json!({ "concurrencyPolicy": "Forbid" }),
        "c-1",
        "2026-03-01T02:00:05Z",
        expect![[r#"
            JobAlreadyActive
            next in Some(3595s)"#]],
    );
    check(
        json!({ "concurrencyPolicy": "Replace" }),
        "c-1",
        "2026-03-01T02:00:05Z",
        expect![[r#"
            delete c-1
            create c-29538840 for 2026-03-01T02:00:00Z
            next in Some(3595s)"#]],
    );
}

#[test]
fn history_is_bounded() {
    check(
        json!({ "successfulJobsHistoryLimit": 1, "suspend": true }),
        "c-1 complete\nc-2 complete\nc-3 failed\nc-4 failed",
        "2026-03-01T00:00:00Z",
        expect![[r#"
            delete c-1
            delete c-3
            next in None"#]],
    );
}

#[test]
fn time_zones_and_periods() {
    check(
        json!({ "schedule": "30 9 * * *", "timeZone": "Asia/Kolkata" }),
        "",
        "2026-03-01T04:00:00Z",
        expect![[r#"
            create c-29538960 for 2026-03-01T09:30:00+05:30
            next in Some(86400s)"#]],
    );
    check(
        json!({ "schedule": "@every 1h30m" }),
        "",
        "2026-03-01T04:00:00Z",
        expect![[r#"
            create c-29538900 for 2026-03-01T03:00:00Z
            next in Some(1800s)"#]],
    );
    check(json!({ "schedule": "0 0 30 2 *" }), "", "2026-03-01T04:00:00Z", expect!["next in None"]);
}
