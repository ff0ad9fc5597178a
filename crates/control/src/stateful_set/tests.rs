//! The order in which a StatefulSet makes, replaces and gives up its pods.

use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::decide::{View, decide};
use crate::revisions::History;

fn set(spec: Value) -> StatefulSet {
    let mut whole = json!({ "serviceName": "s", "selector": {}, "template": {} });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "metadata": { "name": "s", "namespace": "n", "uid": "u", "generation": 2 },
        "spec": whole,
        "status": { "replicas": 0, "currentRevision": "old" },
    }))
    .unwrap()
}

fn revision(name: &str, number: i64) -> Arc<ControllerRevision> {
    Arc::new(serde_json::from_value(json!({ "metadata": { "name": name }, "revision": number })).unwrap())
}

/// A pod from words: its ordinal, `old` or `new`, then `ready`, `going`, `failed`.
fn pod(text: &str) -> Arc<Pod> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut pod = json!({
        "metadata": { "name": format!("s-{}", words[0]), "labels": { "controller-revision-hash": words[1] } },
        "status": { "phase": "Running" },
    });
    for word in &words[2..] {
        match *word {
            "ready" => {
                let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:09Z" });
                pod["status"]["conditions"] = json!([ready]);
            }
            "going" => pod["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:02Z"),
            _ => pod["status"]["phase"] = json!("Failed"),
        }
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

/// What is done about pods, one per line, 10 s after the epoch.
fn check(spec: Value, pods: &str, expect: Expect) {
    let pods: Vec<Arc<Pod>> = pods.lines().filter(|line| !line.trim().is_empty()).map(pod).collect();
    let history = History { update: revision("new", 2), others: vec![revision("old", 1)] };
    let set = set(spec);
    let now = jiff::Timestamp::from_second(10).unwrap();
    let plan = decide(&View { set: &set, pods: &pods, history: &history, now });
    let mut lines: Vec<String> =
        plan.create.iter().map(|new| format!("create {} {}", new.ordinal, new.revision)).collect();
    lines.extend(plan.delete.iter().map(|pod| format!("delete {}", pod.metadata.name.as_deref().unwrap())));
    lines.push(serde_json::to_string(&plan.status).unwrap());
    expect.assert_eq(&lines.join("\n"));
}

#[test]
fn an_ordered_set_grows_one_by_one_and_a_parallel_one_at_once() {
    check(
        json!({ "replicas": 3 }),
        "0 new ready",
        expect![[r#"
            create 1 new
            {"availableReplicas":1,"collisionCount":0,"currentRevision":"old","observedGeneration":2,"readyReplicas":1,"replicas":1,"updateRevision":"new","updatedReplicas":1}"#]],
    );
    check(
        json!({ "replicas": 3 }),
        "0 new",
        expect![[
            r#"{"availableReplicas":0,"collisionCount":0,"currentRevision":"old","observedGeneration":2,"replicas":1,"updateRevision":"new","updatedReplicas":1}"#
        ]],
    );
    check(
        json!({ "replicas": 3, "podManagementPolicy": "Parallel" }),
        "1 new",
        expect![[r#"
            create 0 new
            create 2 new
            {"availableReplicas":0,"collisionCount":0,"currentRevision":"old","observedGeneration":2,"replicas":1,"updateRevision":"new","updatedReplicas":1}"#]],
    );
}

#[test]
fn a_failed_pod_is_replaced_and_the_surplus_goes_from_the_end() {
    check(
        json!({ "replicas": 1 }),
        "0 new failed",
        expect![[r#"
            delete s-0
            {"availableReplicas":0,"collisionCount":0,"currentRevision":"old","observedGeneration":2,"replicas":1,"updateRevision":"new","updatedReplicas":1}"#]],
    );
    check(
        json!({ "replicas": 1 }),
        "0 new ready\n1 new ready\n2 new ready",
        expect![[r#"
            delete s-2
            {"availableReplicas":3,"collisionCount":0,"currentRevision":"old","observedGeneration":2,"readyReplicas":3,"replicas":3,"updateRevision":"new","updatedReplicas":3}"#]],
    );
    check(
        json!({ "replicas": 1 }),
        "0 new ready\n1 new ready\n2 new ready going",
        expect![[
            r#"{"availableReplicas":2,"collisionCount":0,"currentRevision":"old","observedGeneration":2,"readyReplicas":3,"replicas":3,"updateRevision":"new","updatedReplicas":2}"#
        ]],
    );
}

#[test]
fn an_update_goes_from_the_end_down_to_the_partition_and_ends() {
    let partition =
        |at: i32| json!({ "replicas": 3, "updateStrategy": { "rollingUpdate": { "partition": at } } });
    check(
        partition(0),
        "0 old ready\n1 old ready\n2 old ready",
        expect![[r#"
            delete s-2
            {"availableReplicas":3,"collisionCount":0,"currentReplicas":3,"currentRevision":"old","observedGeneration":2,"readyReplicas":3,"replicas":3,"updateRevision":"new"}"#]],
    );
    check(
        partition(0),
        "0 old ready\n1 old ready\n2 new",
        expect![[
            r#"{"availableReplicas":2,"collisionCount":0,"currentReplicas":2,"currentRevision":"old","observedGeneration":2,"readyReplicas":2,"replicas":3,"updateRevision":"new","updatedReplicas":1}"#
        ]],
    );
    check(
        partition(2),
        "0 old ready\n2 new ready",
        expect![[r#"
            create 1 old
            {"availableReplicas":2,"collisionCount":0,"currentReplicas":1,"currentRevision":"old","observedGeneration":2,"readyReplicas":2,"replicas":2,"updateRevision":"new","updatedReplicas":1}"#]],
    );
    check(
        partition(0),
        "0 new ready\n1 new ready\n2 new ready",
        expect![[
            r#"{"availableReplicas":3,"collisionCount":0,"currentReplicas":3,"currentRevision":"new","observedGeneration":2,"readyReplicas":3,"replicas":3,"updateRevision":"new","updatedReplicas":3}"#
        ]],
    );
    check(
        json!({ "replicas": 1, "updateStrategy": { "type": "OnDelete" } }),
        "0 old ready",
        expect![[
            r#"{"availableReplicas":1,"collisionCount":0,"currentReplicas":1,"currentRevision":"old","observedGeneration":2,"readyReplicas":1,"replicas":1,"updateRevision":"new"}"#
        ]],
    );
}
