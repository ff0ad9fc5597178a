//! Which pods a ReplicaSet makes and which it gives up first.

use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::decide::{Step, decide};

fn replica_set(replicas: i32) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": { "name": "r", "namespace": "n", "uid": "r", "generation": 3 },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": 10,
            "selector": {},
            "template": { "metadata": { "labels": { "app": "a" } } },
        },
    }))
    .unwrap()
}

/// A pod from words: its name, then `on=<node>`, a phase, `ready=<seconds>`, `restarts=<n>`, `cost=<n>`, `going`.
fn pod(text: &str) -> Arc<Pod> {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap();
    let mut pod = json!({
        "metadata": { "name": name, "labels": { "app": "a" }, "creationTimestamp": "1970-01-01T00:00:01Z" },
        "spec": { "containers": [] },
        "status": { "phase": "Running" },
    });
    for word in words {
        match word.split_once('=') {
            Some(("on", node)) => pod["spec"]["nodeName"] = json!(node),
            Some(("ready", second)) => {
                let time = jiff::Timestamp::from_second(second.parse().unwrap()).unwrap().to_string();
                let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": time });
                pod["status"]["conditions"] = json!([ready]);
            }
            Some(("restarts", count)) => {
                let count: i32 = count.parse().unwrap();
                let container =
                    json!({ "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": count });
                pod["status"]["containerStatuses"] = json!([container]);
            }
            Some(("cost", cost)) => {
                pod["metadata"]["annotations"] =
                    json!({ "controller.kubernetes.io/pod-deletion-cost": cost });
            }
            Some(("made", second)) => {
                let time = jiff::Timestamp::from_second(second.parse().unwrap()).unwrap().to_string();
                pod["metadata"]["creationTimestamp"] = json!(time);
            }
            Some(("for", uid)) => pod["metadata"]["labels"]["crest.dev/successor-of"] = json!(uid),
            Some(("replaced", uid)) => {
                pod["metadata"]["uid"] = json!(uid);
                pod["metadata"]["annotations"] = json!({ "crest.dev/being-replaced": "policy" });
            }
            _ if word == "going" => pod["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:02Z"),
            _ => pod["status"]["phase"] = json!(word),
        }
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

/// The plan for `replicas` wanted and one pod per line, 100 s after the epoch.
fn check(replicas: i32, pods: &str, expect: Expect) {
    let pods: Vec<Arc<Pod>> = pods.lines().filter(|line| !line.trim().is_empty()).map(pod).collect();
    let plan = decide(&replica_set(replicas), &pods, jiff::Timestamp::from_second(100).unwrap());
    let step = match plan.step {
        None => "rest".to_owned(),
        Some(Step::Create { count, in_place_of }) => {
            let of = in_place_of.iter().map(|uid| format!(" for {uid}")).collect::<String>();
            format!("create {count}{of}")
        }
        Some(Step::Delete { pods }) => {
            let names: Vec<&str> = pods.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect();
            format!("delete {}", names.join(" "))
        }
    };
    let status = serde_json::to_string(&plan.status).unwrap();
    expect.assert_eq(&format!("{step}\n{status}\n{:?}", plan.check_after));
}

#[test]
fn missing_pods_are_made_and_ended_or_going_ones_replaced() {
    check(
        3,
        "a Running on=x ready=1\nb Failed\nc going",
        expect![[r#"
        create 2
        {"availableReplicas":1,"fullyLabeledReplicas":1,"observedGeneration":3,"readyReplicas":1,"replicas":1,"terminatingReplicas":1}
        None"#]],
    );
    check(
        0,
        "",
        expect![[r#"
        rest
        {"observedGeneration":3,"replicas":0,"terminatingReplicas":0}
        None"#]],
    );
}

#[test]
fn a_ready_pod_becomes_available_after_its_time() {
    check(
        2,
        "a on=x ready=95\nb on=x ready=90",
        expect![[r#"
        rest
        {"availableReplicas":1,"fullyLabeledReplicas":2,"observedGeneration":3,"readyReplicas":2,"replicas":2,"terminatingReplicas":0}
        Some(5s)"#]],
    );
}

#[test]
fn what_serves_least_goes_first() {
    check(
        0,
        "ready-old on=x ready=10
         ready-young on=y ready=50
         restarted on=z ready=10 restarts=3
         crowded-1 on=w ready=10
         crowded-2 on=w ready=10 made=9
         cheap on=v ready=10 cost=-5
         dear on=u ready=60 cost=5
         unready on=t
         pending on=s Pending
         unassigned Pending",
        expect![[r#"
            delete unassigned pending unready cheap crowded-2 crowded-1 ready-young restarted ready-old dear
            {"availableReplicas":7,"fullyLabeledReplicas":10,"observedGeneration":3,"readyReplicas":7,"replicas":10,"terminatingReplicas":0}
            None"#]],
    );
}

#[test]
fn a_pod_that_is_replaced_is_one_with_the_pod_in_its_place() {
    let check = |replicas: i32, pods: &str, expect: Expect| check(replicas, pods, expect);
    check(
        2,
        "a on=n ready=50 replaced=u\nb on=n ready=50",
        expect![[r#"
        create 1 for u
        {"availableReplicas":2,"fullyLabeledReplicas":2,"observedGeneration":3,"readyReplicas":2,"replicas":2,"terminatingReplicas":0}
        None"#]],
    );
    check(
        2,
        "a on=n ready=50 replaced=u\nb on=n ready=50\nc Pending for=u",
        expect![[r#"
        rest
        {"availableReplicas":2,"fullyLabeledReplicas":2,"observedGeneration":3,"readyReplicas":2,"replicas":2,"terminatingReplicas":0}
        None"#]],
    );
    check(
        2,
        "a on=n ready=50 replaced=u\nb on=n ready=50\nc on=m ready=60 for=u",
        expect![[r#"
        rest
        {"availableReplicas":2,"fullyLabeledReplicas":2,"observedGeneration":3,"readyReplicas":2,"replicas":2,"terminatingReplicas":0}
        None"#]],
    );
    // The one that was to go has gone, or is to stay after all.
    check(
        2,
        "b on=n ready=50\nc on=m ready=60 for=u",
        expect![[r#"
        rest
        {"availableReplicas":2,"fullyLabeledReplicas":2,"observedGeneration":3,"readyReplicas":2,"replicas":2,"terminatingReplicas":0}
        None"#]],
    );
    check(
        2,
        "a on=n ready=50\nb on=n ready=50\nc Pending for=u",
        expect![[r#"
        delete c
        {"availableReplicas":2,"fullyLabeledReplicas":3,"observedGeneration":3,"readyReplicas":2,"replicas":3,"terminatingReplicas":0}
        None"#]],
    );
    // Nobody is wanted any more.
    check(
        0,
        "a on=n ready=50 replaced=u\nc Pending for=u",
        expect![[r#"
        delete c a
        {"availableReplicas":1,"fullyLabeledReplicas":1,"observedGeneration":3,"readyReplicas":1,"replicas":1,"terminatingReplicas":0}
        None"#]],
    );
}
