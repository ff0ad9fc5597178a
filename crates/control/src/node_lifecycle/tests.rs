//! Nodes that fall silent and come back.

use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::decide::{decide, evictions};

fn node(ready: Option<&str>, taints: Value) -> Node {
    let conditions: Vec<Value> =
        ready.iter().map(|status| json!({ "type": "Ready", "status": status })).collect();
    serde_json::from_value(json!({
        "metadata": { "name": "n" },
        "spec": { "taints": taints },
        "status": { "conditions": conditions },
    }))
    .unwrap()
}

fn check(ready: Option<&str>, taints: Value, silence: u64, expect: Expect) {
    let now = jiff::Timestamp::from_second(1000).unwrap();
    let plan = decide(&node(ready, taints), Duration::from_secs(silence), now);
    let conditions = plan.conditions.iter().flatten().map(|each| format!("{}={}", each.type_, each.status));
    let taints = plan.taints.map(|taints| {
        taints.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect::<Vec<_>>()
    });
    expect.assert_eq(&format!("{:?} {taints:?}", conditions.collect::<Vec<_>>()));
}

#[test]
fn a_silent_node_is_unreachable_and_one_that_speaks_again_is_clean() {
    check(Some("True"), json!([]), 10, expect!["[] None"]);
    check(
        Some("True"),
        json!([]),
        40,
        expect![[
            r#"["Ready=Unknown"] Some(["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"])"#
        ]],
    );
    check(None, json!([]), 10, expect![[r#"[] Some(["node.kubernetes.io/not-ready:NoSchedule"])"#]]);
    check(
        Some("False"),
        json!([]),
        10,
        expect![[
            r#"[] Some(["node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"])"#
        ]],
    );
    let foreign = json!({ "key": "mine", "effect": "NoSchedule" });
    let unreachable = json!({ "key": "node.kubernetes.io/unreachable", "effect": "NoExecute" });
    check(Some("True"), json!([foreign, unreachable]), 1, expect![[r#"[] Some(["mine:NoSchedule"])"#]]);
    let both = json!([
        { "key": "node.kubernetes.io/unreachable", "effect": "NoSchedule" },
        { "key": "node.kubernetes.io/unreachable", "effect": "NoExecute" },
    ]);
    check(Some("Unknown"), both, 100, expect!["[] None"]);
}

/// When a pod with these tolerations leaves a node that is unreachable since second 0.
fn leaves(tolerations: Value, now: i64) -> (usize, Option<u64>) {
    let taint = json!({
        "key": "node.kubernetes.io/unreachable",
        "effect": "NoExecute",
        "timeAdded": "1970-01-01T00:00:00Z",
    });
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "p" },
        "spec": { "containers": [], "nodeName": "n", "tolerations": tolerations },
    }))
    .unwrap();
    let now = jiff::Timestamp::from_second(now).unwrap();
    let (due, next) = evictions(&node(Some("Unknown"), json!([taint])), &[Arc::new(pod)], now);
    (due.len(), next.map(|next| next.as_secs()))
}

#[test]
fn pods_stay_as_long_as_they_tolerate() {
    let tolerant = |seconds: Value| json!([{ "key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": seconds }]);
    assert_eq!(leaves(tolerant(json!(60)), 20), (0, Some(40)));
    assert_eq!(leaves(tolerant(json!(60)), 60), (1, None));
    assert_eq!(leaves(tolerant(Value::Null), 1_000_000), (0, None));
    assert_eq!(leaves(json!([]), 100), (0, Some(200)));
    assert_eq!(leaves(json!([]), 300), (1, None));
}
