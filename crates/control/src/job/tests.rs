//! Jobs told as a story: pods as `name=Phase`, and what the Job owes next.

use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
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
/// `name=Phase!` (asked to go at second 60), `name=Phase!!` (with no time left). `^` before the name: held until it is counted.
fn pod(text: &str) -> Arc<Pod> {
    let (name, phase) = text.split_once('=').unwrap();
    let (name, index) = name.split_once(':').unwrap_or((name, ""));
    let (phase, deletion) = phase.split_at(phase.find('!').unwrap_or(phase.len()));
    let (phase, end) = phase.split_once('@').unwrap_or((phase, "0"));
    let end = jiff::Timestamp::from_second(end.parse().unwrap()).unwrap().to_string();
    let (name, is_held) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
    let mut pod = json!({
        "metadata": { "name": name, "uid": name, "creationTimestamp": end },
        "status": { "phase": phase },
    });
    if !index.is_empty() {
        let (index, failures) = index.split_once('+').unwrap_or((index, "0"));
        pod["metadata"]["annotations"] = json!({ indexes::INDEX: index, indexes::FAILURES: failures });
    }
    if is_held {
        pod["metadata"]["finalizers"] = json!([super::tracking::FINALIZER]);
    }
    let grace = match deletion {
        "!" => Some((90, 30)),
        "!!" => Some((60, 0)),
        _ => None,
    };
    if let Some((time, seconds)) = grace {
        pod["metadata"]["deletionTimestamp"] = json!(jiff::Timestamp::from_second(time).unwrap());
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(seconds);
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
            create 0 [], delete ["c"], turn None
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
            create 0 [], delete ["a"], turn None
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

/// What happens to the pods themselves, and what the status says of their number.
fn check_count((spec, status): (Value, Value), pods: &str, expect: Expect) {
    let owned: Vec<Arc<Pod>> = pods.split_whitespace().map(pod).collect();
    let plan = decide(&job(spec, status), &owned, jiff::Timestamp::from_second(100).unwrap());
    let names = |pods: &[Arc<Pod>]| pods.iter().map(|pod| pod.name_any()).collect::<Vec<_>>().join(" ");
    let uncounted = plan.status.uncounted_terminated_pods.unwrap_or_default();
    expect.assert_eq(&format!(
        "hold [{}], release [{}], once stored [{}]\nsucceeded {:?} and {:?}, failed {:?} and {:?}",
        names(&plan.hold),
        names(&plan.release),
        names(&plan.release_counted),
        plan.status.succeeded,
        uncounted.succeeded.unwrap_or_default(),
        plan.status.failed,
        uncounted.failed.unwrap_or_default(),
    ));
}

#[test]
fn a_pod_that_ended_is_listed_then_released_then_counted() {
    let spec = || json!({ "completions": 9, "parallelism": 9 });
    check_count(
        (spec(), json!({})),
        "^a=Succeeded ^b=Failed@9 ^c=Running d=Running",
        expect![[r#"
        hold [d], release [], once stored [a b]
        succeeded None and ["a"], failed None and ["b"]"#]],
    );
    let listed = json!({ "uncountedTerminatedPods": { "succeeded": ["a"], "failed": ["b"] } });
    check_count(
        (spec(), listed.clone()),
        "^a=Succeeded ^b=Failed@9",
        expect![[r#"
        hold [], release [], once stored [a b]
        succeeded None and ["a"], failed None and ["b"]"#]],
    );
    // Released: whether they are still there or not.
    check_count(
        (spec(), listed),
        "a=Succeeded",
        expect![[r#"
        hold [], release [], once stored []
        succeeded Some(1) and [], failed Some(1) and []"#]],
    );
    check_count(
        (spec(), json!({ "succeeded": 1, "failed": 1 })),
        "a=Succeeded b=Failed@9 ^c=Succeeded",
        expect![[r#"
            hold [], release [], once stored [c]
            succeeded Some(1) and ["c"], failed Some(1) and []"#]],
    );
    // Of an older version: nothing has held them.
    check_count(
        (spec(), json!({ "succeeded": 1 })),
        "a=Succeeded b=Succeeded ^c=Succeeded",
        expect![[r#"
        hold [], release [], once stored [c]
        succeeded Some(2) and ["c"], failed None and []"#]],
    );
}

#[test]
fn a_pod_that_is_told_to_go_is_counted_only_for_what_it_did_before() {
    let spec = || (json!({ "completions": 9, "parallelism": 9 }), json!({}));
    check_count(
        spec(),
        "^a=Failed@50! ^b=Failed@70! ^c=Succeeded! ^d=Pending!! ^e=Running!",
        expect![[r#"
        hold [], release [b d], once stored [a c]
        succeeded None and ["c"], failed None and ["a"]"#]],
    );
    let going = json!({ "conditions": [{ "type": "SuccessCriteriaMet", "status": "True" }], "succeeded": 9 });
    check_count(
        (spec().0, going),
        "^a=Succeeded",
        expect![[r#"
        hold [], release [], once stored [a]
        succeeded Some(10) and [], failed None and []"#]],
    );
    let ended = json!({ "conditions": [{ "type": "Complete", "status": "True" }], "succeeded": 9 });
    check_count(
        (spec().0, ended),
        "^a=Succeeded ^b=Failed! ^c=Running",
        expect![[r#"
        hold [], release [a b c], once stored []
        succeeded Some(9) and [], failed None and []"#]],
    );
}

/// What may happen to a Job's pods, and to who counts them.
#[derive(Clone, Copy, Debug)]
enum Step {
    End(usize),
    TakeAway(usize),
    /// The controller looks, and gets so far: the status is stored, pods are released.
    Look {
        is_stored: bool,
        is_released: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let look = (any::<bool>(), any::<bool>())
        .prop_map(|(is_stored, is_released)| Step::Look { is_stored, is_released });
    let step = prop_oneof![(0..6_usize).prop_map(Step::End), (0..6_usize).prop_map(Step::TakeAway), look];
    proptest::collection::vec(step, 0..60)
}

/// A pod as it is, whether it is asked to go, and whether it is there.
struct Told {
    phase: &'static str,
    is_asked: bool,
    is_held: bool,
}

proptest! {
    /// Each pod that ended is counted once, wherever the controller was killed and whatever was taken away.
    #[test]
    fn each_end_counts_once(steps in steps()) {
        let mut pods: Vec<Told> =
            (0..6).map(|_| Told { phase: "Running", is_asked: false, is_held: true }).collect();
        let (mut ended, mut status) = ([false; 6], json!({}));
        for step in steps {
            let texts = pods.iter().enumerate().filter(|(_, told)| told.is_held || !told.is_asked);
            let texts = texts.map(|(at, told)| {
                let (held, asked) = (if told.is_held { "^" } else { "" }, if told.is_asked { "!!" } else { "" });
                format!("{held}{at}={}{asked}", told.phase)
            });
            let owned: Vec<Arc<Pod>> = texts.map(|text| pod(&text)).collect();
            let spec = json!({ "completions": 100, "parallelism": 100 });
            let plan = decide(&job(spec, status.clone()), &owned, jiff::Timestamp::from_second(100).unwrap());
            let n_ended = ended.iter().filter(|ended| **ended).count();
            prop_assert_eq!(plan.create.len() + owned.iter().filter(|pod| crate::pods::is_active(pod)).count() + n_ended, 100);
            match step {
                Step::End(at) if !pods[at].is_asked => {
                    (pods[at].phase, ended[at]) = ("Succeeded", true);
                }
                Step::TakeAway(at) if ended[at] => pods[at].is_asked = true,
                Step::End(_) | Step::TakeAway(_) => {}
                Step::Look { is_stored: false, .. } => {}
                Step::Look { is_released, .. } => {
                    status = json!(plan.status);
                    for pod in plan.release_counted.iter().filter(|_| is_released) {
                        pods[pod.name_any().parse::<usize>().unwrap()].is_held = false;
                    }
                }
            }
        }
    }

    #[test]
    fn lists_of_indexes_read_back(indexes in proptest::collection::btree_set(0..50_u32, 0..30)) {
        prop_assert_eq!(indexes::parse(&indexes::format(&indexes), 50), indexes);
    }

    #[test]
    fn no_list_makes_the_reader_panic(text in ".{0,20}") {
        let _parsed = indexes::parse(&text, 10);
    }
}
