//! Which nodes a DaemonSet is on, and in which order it renews its pods.

use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::decide::{View, decide};

fn set(strategy: Value) -> DaemonSet {
    serde_json::from_value(json!({
        "metadata": { "name": "d", "namespace": "n", "uid": "u", "generation": 1 },
        "spec": {
            "selector": {},
            "updateStrategy": strategy,
            "template": { "spec": { "containers": [], "nodeSelector": { "disk": "ssd" } } },
        },
    }))
    .unwrap()
}

/// A node from words: its name, then `hdd`, `pressed`, `tainted`, `expelling`.
fn node(text: &str) -> Arc<Node> {
    let mut words = text.split_whitespace();
    let mut node = json!({ "metadata": { "name": words.next().unwrap(), "labels": { "disk": "ssd" } } });
    for word in words {
        let taint = |key: &str, effect: &str| json!([{ "key": key, "effect": effect }]);
        match word {
            "hdd" => node["metadata"]["labels"]["disk"] = json!("hdd"),
            "pressed" => node["spec"]["taints"] = taint("node.kubernetes.io/memory-pressure", "NoSchedule"),
            "tainted" => node["spec"]["taints"] = taint("mine", "NoSchedule"),
            _ => node["spec"]["taints"] = taint("mine", "NoExecute"),
        }
    }
    Arc::new(serde_json::from_value(node).unwrap())
}

/// A pod from words: its node and revision, then `ready`, `going`, `failed`.
fn pod(text: &str) -> Arc<Pod> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut pod = json!({
        "metadata": {
            "name": words[..2].join("-"),
            "labels": { "controller-revision-hash": words[1] },
            "creationTimestamp": "1970-01-01T00:00:00Z",
        },
        "spec": { "containers": [], "nodeName": words[0] },
        "status": { "phase": "Running" },
    });
    for word in &words[2..] {
        match *word {
            "ready" => pod["status"]["conditions"] = json!([{ "type": "Ready", "status": "True" }]),
            "going" => pod["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:02Z"),
            _ => pod["status"]["phase"] = json!("Failed"),
        }
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn lines<T>(text: &str, read: impl Fn(&str) -> T) -> Vec<T> {
    text.lines().filter(|line| !line.trim().is_empty()).map(read).collect()
}

fn check(strategy: Value, (nodes, pods): (&str, &str), expect: Expect) {
    let (nodes, pods) = (lines(nodes, node), lines(pods, pod));
    let set = set(strategy);
    let now = jiff::Timestamp::from_second(100).unwrap();
    let plan = decide(&View { set: &set, nodes: &nodes, pods: &pods, update: "new", now });
    let mut said: Vec<String> = plan.create.iter().map(|node| format!("create on {node}")).collect();
    said.extend(plan.delete.iter().map(|pod| format!("delete {}", pod.metadata.name.as_deref().unwrap())));
    said.push(serde_json::to_string(&plan.status).unwrap());
    expect.assert_eq(&said.join("\n"));
}

#[test]
fn it_is_on_every_fit_node_and_on_no_other() {
    check(
        json!({}),
        ("a\nb hdd\nc pressed\nd tainted\ne expelling", "b new ready\nd new ready\ne new ready"),
        expect![[r#"
            create on a
            create on c
            delete b-new
            delete e-new
            {"currentNumberScheduled":1,"desiredNumberScheduled":3,"numberAvailable":1,"numberMisscheduled":2,"numberReady":1,"numberUnavailable":2,"observedGeneration":1,"updatedNumberScheduled":1}"#]],
    );
}

#[test]
fn a_failed_pod_and_a_double_go() {
    check(
        json!({}),
        ("a\nb", "a new failed\nb new ready\nb new"),
        expect![[r#"
            delete a-new
            delete b-new
            {"currentNumberScheduled":1,"desiredNumberScheduled":2,"numberAvailable":1,"numberMisscheduled":0,"numberReady":1,"numberUnavailable":1,"observedGeneration":1,"updatedNumberScheduled":1}"#]],
    );
}

#[test]
fn an_update_takes_one_node_after_another_and_first_those_that_serve_nobody() {
    check(
        json!({}),
        ("a\nb\nc", "a old ready\nb old ready\nc old ready"),
        expect![[r#"
            delete a-old
            {"currentNumberScheduled":3,"desiredNumberScheduled":3,"numberAvailable":3,"numberMisscheduled":0,"numberReady":3,"observedGeneration":1}"#]],
    );
    check(
        json!({}),
        ("a\nb\nc", "a new\nb old ready\nc old"),
        expect![[r#"
            delete c-old
            {"currentNumberScheduled":3,"desiredNumberScheduled":3,"numberAvailable":1,"numberMisscheduled":0,"numberReady":1,"numberUnavailable":2,"observedGeneration":1,"updatedNumberScheduled":1}"#]],
    );
    check(
        json!({ "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } }),
        ("a\nb", "a old ready\nb old ready\nb new ready"),
        expect![[r#"
            create on a
            delete b-old
            {"currentNumberScheduled":2,"desiredNumberScheduled":2,"numberAvailable":2,"numberMisscheduled":0,"numberReady":2,"observedGeneration":1,"updatedNumberScheduled":1}"#]],
    );
    check(
        json!({ "type": "OnDelete" }),
        ("a", "a old ready"),
        expect![[
            r#"{"currentNumberScheduled":1,"desiredNumberScheduled":1,"numberAvailable":1,"numberMisscheduled":0,"numberReady":1,"observedGeneration":1}"#
        ]],
    );
}
