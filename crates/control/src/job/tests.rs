//! Jobs told as a story: pods as `name=Phase`, and what the Job owes next.

use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::decide::{decide, indexes};

fn job(spec: Value, status: Value) -> Job {
    let mut job = json!({
        "metadata": { "name": "j", "namespace": "n", "uid": "j" },
        "spec": { "template": { "spec": { "containers": [{ "name": "c" }], "restartPolicy": "Never" } } },
        "status": status,
    });
    job["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(job).unwrap()
}

/// `name=Phase`, `name=Phase@<second of its end>`, `name:<index>=Phase`, `name:<index>+<failures before>=Phase`,
/// `name=Phase!` (being deleted).
fn pod(text: &str) -> Arc<Pod> {
    let (name, phase) = text.split_once('=').unwrap();
    let (name, index) = name.split_once(':').unwrap_or((name, ""));
    let (phase, end) = phase.split_once('@').unwrap_or((phase, "0"));
    let end = jiff::Timestamp::from_second(end.parse().unwrap()).unwrap().to_string();
    let mut pod = json!({
        "metadata": { "name": name, "uid": name, "creationTimestamp": end },
        "status": { "phase": phase.trim_end_matches('!') },
    });
    if !index.is_empty() {
        let (index, failures) = index.split_once('+').unwrap_or((index, "0"));
        pod["metadata"]["annotations"] = json!({ indexes::INDEX: index, indexes::FAILURES: failures });
    }
    if phase.ends_with('!') {
        pod["metadata"]["deletionTimestamp"] = json!(end);
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

/// What a Job owes 100 s after the epoch.
fn check((spec, status): (Value, Value), pods: &str, expect: Expect) {
    let owned: Vec<Arc<Pod>> = pods.split_whitespace().map(pod).collect();
    let plan = decide(&job(spec, status), &owned, jiff::Timestamp::from_second(100).unwrap());
    let delete: Vec<&str> = plan.delete.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect();
    let indexed: Vec<u32> = plan.create.iter().flatten().copied().collect();
    let status = &plan.status;
    let lines = [
        format!("create {} {indexed:?}, delete {delete:?}, turn {:?}", plan.create.len(), plan.turn),
        format!(
            "active {:?} succeeded {:?} failed {:?} indexes {:?}",
            status.active, status.succeeded, status.failed, status.completed_indexes
        ),
        format!("again {:?}, expired {}", plan.check_after, plan.is_expired),
    ];
    expect.assert_eq(&lines.join("\n"));
}

#[test]
fn as_many_pods_as_parallelism_and_the_rest_of_the_work_allow() {
    let spec = || (json!({ "parallelism": 3, "completions": 5 }), json!({}));
    check(
        spec(),
        "",
        expect![[r#"
        create 3 [], delete [], turn None
        active None succeeded None failed None indexes None
        again None, expired false"#]],
    );
    check(
        spec(),
        "a=Succeeded b=Succeeded c=Succeeded d=Running",
        expect![[r#"
        create 1 [], delete [], turn None
        active Some(1) succeeded Some(3) failed None indexes None
        again None, expired false"#]],
    );
    check(
        spec(),
        "a=Running b=Running c=Running d=Pending",
        expect![[r#"
            create 0 [], delete ["d"], turn None
            active Some(4) succeeded None failed None indexes None
            again None, expired false"#]],
    );
    check(
        (json!({ "parallelism": 1, "completions": 1 }), json!({})),
        "a=Succeeded",
        expect![[r#"
        create 0 [], delete [], turn Some(Completed(AllDone))
        active None succeeded Some(1) failed None indexes None
        again None, expired false"#]],
    );
}

#[test]
fn failures_pause_the_job_and_too_many_end_it() {
    let spec = |limit: i32| (json!({ "completions": 1, "backoffLimit": limit }), json!({}));
    check(
        spec(6),
        "a=Failed@95",
        expect![[r#"
        create 0 [], delete [], turn None
        active None succeeded None failed Some(1) indexes None
        again Some(5s), expired false"#]],
    );
    check(
        spec(6),
        "a=Failed@70 b=Failed@85",
        expect![[r#"
        create 0 [], delete [], turn None
        active None succeeded None failed Some(2) indexes None
        again Some(5s), expired false"#]],
    );
    check(
        spec(6),
        "a=Failed@10",
        expect![[r#"
        create 1 [], delete [], turn None
        active None succeeded None failed Some(1) indexes None
        again None, expired false"#]],
    );
    check(
        spec(1),
        "a=Failed@10 b=Failed@20 c=Running",
        expect![[r#"
        create 0 [], delete ["c"], turn Some(Failed { reason: "BackoffLimitExceeded", message: "Job has reached the specified backoff limit" })
        active None succeeded None failed Some(2) indexes None
        again None, expired false"#]],
    );
    check(
        spec(0),
        "a=Failed@10",
        expect![[r#"
        create 0 [], delete [], turn Some(Failed { reason: "BackoffLimitExceeded", message: "Job has reached the specified backoff limit" })
        active None succeeded None failed Some(1) indexes None
        again None, expired false"#]],
    );
}

#[test]
fn a_deadline_ends_the_job_and_suspension_takes_its_pods_away() {
    let late = json!({ "startTime": "1970-01-01T00:00:10Z" });
    check(
        (json!({ "completions": 1, "activeDeadlineSeconds": 60 }), late.clone()),
        "a=Running",
        expect![[r#"
            create 0 [], delete ["a"], turn Some(Failed { reason: "DeadlineExceeded", message: "Job was active longer than specified deadline" })
            active None succeeded None failed None indexes None
            again None, expired false"#]],
    );
    check(
        (json!({ "completions": 1, "activeDeadlineSeconds": 600 }), late.clone()),
        "a=Running",
        expect![[r#"
            create 0 [], delete [], turn None
            active Some(1) succeeded None failed None indexes None
            again Some(511s), expired false"#]],
    );
    check(
        (json!({ "completions": 1, "suspend": true }), late),
        "a=Running",
        expect![[r#"
        create 0 [], delete ["a"], turn Some(Suspended)
        active None succeeded None failed None indexes None
        again None, expired false"#]],
    );
    let suspended = json!({ "conditions": [{ "type": "Suspended", "status": "True" }] });
    check(
        (json!({ "completions": 1, "suspend": false }), suspended),
        "",
        expect![[r#"
        create 1 [], delete [], turn Some(Resumed)
        active None succeeded None failed None indexes None
        again None, expired false"#]],
    );
}

#[test]
fn an_ended_job_is_cleaned_away_in_time() {
    let ended = |second: i64| {
        let time = jiff::Timestamp::from_second(second).unwrap().to_string();
        json!({ "succeeded": 1, "conditions": [
            { "type": "Complete", "status": "True", "lastTransitionTime": time },
        ]})
    };
    check(
        (json!({ "ttlSecondsAfterFinished": 30 }), ended(90)),
        "a=Succeeded",
        expect![[r#"
        create 0 [], delete [], turn None
        active None succeeded Some(1) failed None indexes None
        again Some(20s), expired false"#]],
    );
    check(
        (json!({ "ttlSecondsAfterFinished": 30 }), ended(60)),
        "a=Succeeded",
        expect![[r#"
        create 0 [], delete [], turn None
        active None succeeded Some(1) failed None indexes None
        again None, expired true"#]],
    );
    check(
        (json!({}), ended(60)),
        "",
        expect![[r#"
        create 0 [], delete [], turn None
        active None succeeded Some(1) failed None indexes None
        again None, expired false"#]],
    );
}

#[test]
fn indexed_jobs_fill_the_open_indexes() {
    let spec = json!({ "completionMode": "Indexed", "completions": 5, "parallelism": 3 });
    check(
        (spec.clone(), json!({})),
        "",
        expect![[r#"
        create 3 [0, 1, 2], delete [], turn None
        active None succeeded None failed None indexes None
        again None, expired false"#]],
    );
    check(
        (spec, json!({ "completedIndexes": "0,2" })),
        "a:1=Running b:3=Succeeded c:4=Failed@10",
        expect![[r#"
            create 1 [4], delete [], turn None
            active Some(1) succeeded Some(3) failed Some(1) indexes Some("0,2,3")
            again None, expired false"#]],
    );
}

#[test]
fn an_index_with_a_limit_of_its_own_waits_alone_after_a_failure() {
    let spec = |limit: i32| json!({ "parallelism": 4, "completions": 4, "completionMode": "Indexed", "backoffLimitPerIndex": limit });
    check(
        (spec(3), json!({})),
        "a:0=Failed@95 b:1=Failed@50 c:1=Failed@60 d:2=Succeeded",
        expect![[r#"
        create 2 [1, 3], delete [], turn None
        active None succeeded Some(1) failed Some(3) indexes Some("2")
        again Some(5s), expired false"#]],
    );
    // What was there before is written on who came after.
    check(
        (spec(3), json!({})),
        "c:1+3=Failed@60",
        expect![[r#"
        create 3 [0, 2, 3], delete [], turn None
        active None succeeded None failed Some(1) indexes None
        again None, expired false"#]],
    );
}

#[test]
fn who_is_replaced_only_once_it_has_failed_holds_its_place_until_then() {
    let spec = |policy: &str| {
        let spec = json!({ "parallelism": 2, "completions": 3, "completionMode": "Indexed", "podReplacementPolicy": policy });
        (spec, json!({}))
    };
    check(
        spec("Failed"),
        "a:0=Running! b:1=Running",
        expect![[r#"
        create 0 [], delete [], turn None
        active Some(1) succeeded None failed None indexes None
        again None, expired false"#]],
    );
    check(
        spec("TerminatingOrFailed"),
        "a:0=Running! b:1=Running",
        expect![[r#"
        create 1 [0], delete [], turn None
        active Some(1) succeeded None failed None indexes None
        again None, expired false"#]],
    );
}

#[test]
fn a_work_queue_is_done_when_one_ended_well_and_the_others_are_out() {
    check(
        (json!({ "parallelism": 2 }), json!({})),
        "a=Succeeded b=Running",
        expect![[r#"
        create 0 [], delete [], turn None
        active Some(1) succeeded Some(1) failed None indexes None
        again None, expired false"#]],
    );
    check(
        (json!({ "parallelism": 2 }), json!({})),
        "a=Succeeded b=Succeeded",
        expect![[r#"
        create 0 [], delete [], turn Some(Completed(AllDone))
        active None succeeded Some(2) failed None indexes None
        again None, expired false"#]],
    );
}

proptest! {
    #[test]
    fn lists_of_indexes_read_back(indexes in proptest::collection::btree_set(0..50_u32, 0..30)) {
        prop_assert_eq!(indexes::parse(&indexes::format(&indexes), 50), indexes);
    }

    #[test]
    fn no_list_makes_the_reader_panic(text in ".{0,20}") {
        let _parsed = indexes::parse(&text, 10);
    }
}
