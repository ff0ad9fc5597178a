use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{counts, may_go_unhealthy, spend};

fn pod(phase: &str, ready: &str) -> Value {
    let conditions = json!([{"type": "Ready", "status": ready}]);
    json!({"metadata": {"name": "p"}, "status": {"phase": phase, "conditions": conditions}})
}

/// A budget with these numbers in its status: observed generation, allowed, healthy, desired.
fn budget([observed, allowed, healthy, desired]: [i64; 4], policy: &str) -> Value {
    json!({"metadata": {"name": "b", "generation": 2}, "spec": {"unhealthyPodEvictionPolicy": policy},
        "status": {"observedGeneration": observed, "disruptionsAllowed": allowed, "currentHealthy": healthy,
            "desiredHealthy": desired}})
}

/// How an eviction ends, in a line.
fn check(pod: &Value, budget: &Value, expected: Expect) {
    let kind = kinds::find("", "v1", "pods").unwrap();
    let said = if !counts(pod) {
        "does not count".to_owned()
    } else if may_go_unhealthy(pod, budget) {
        "may go unhealthy".to_owned()
    } else {
        match spend(kind, budget, "p", "now") {
            Ok(next) => format!("{} {}", next["status"]["disruptedPods"], next["status"]["conditions"]),
            Err(failure) => {
                let (code, status) = failure.to_response();
                format!("{code} {}", status["details"])
            }
        }
    };
    expected.assert_eq(&said);
}

#[test]
fn pods_that_do_not_run_do_not_count() {
    let none = budget([2, 0, 0, 0], "IfHealthyBudget");
    check(&pod("Pending", "False"), &none, expect!["does not count"]);
    check(&pod("Succeeded", "False"), &none, expect!["does not count"]);
    let mut going = pod("Running", "True");
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    check(&going, &none, expect!["does not count"]);
}

#[test]
fn a_pod_that_is_not_ready_goes_while_its_budget_holds_without_it() {
    let sick = pod("Running", "False");
    check(&sick, &budget([2, 0, 2, 2], "IfHealthyBudget"), expect!["may go unhealthy"]);
    check(&sick, &budget([2, 0, 1, 2], "AlwaysAllow"), expect!["may go unhealthy"]);
    check(
        &sick,
        &budget([2, 0, 1, 2], "IfHealthyBudget"),
        expect![[
            r#"429 {"causes":[{"message":"The disruption budget b needs 2 healthy pods and has 1 currently","reason":"DisruptionBudget"}]}"#
        ]],
    );
    check(
        &sick,
        &budget([2, 0, 0, 0], "IfHealthyBudget"),
        expect![[
            r#"429 {"causes":[{"message":"The disruption budget b needs 0 healthy pods and has 0 currently","reason":"DisruptionBudget"}]}"#
        ]],
    );
}

#[test]
fn a_disruption_is_spent_once_and_only_from_a_budget_that_was_looked_at() {
    let well = pod("Running", "True");
    check(
        &well,
        &budget([1, 1, 2, 1], "IfHealthyBudget"),
        expect![[
            r#"429 {"causes":[{"message":"The disruption budget b is still being processed by the server.","reason":"DisruptionBudget"}],"retryAfterSeconds":10}"#
        ]],
    );
    check(
        &well,
        &budget([2, 1, 2, 1], "IfHealthyBudget"),
        expect![[
            r#"{"p":"now"} [{"lastTransitionTime":"now","message":"","observedGeneration":2,"reason":"InsufficientPods","status":"False","type":"DisruptionAllowed"}]"#
        ]],
    );
    check(&well, &budget([2, 2, 3, 1], "IfHealthyBudget"), expect![[r#"{"p":"now"} null"#]]);
    check(
        &well,
        &budget([2, 0, 1, 1], "IfHealthyBudget"),
        expect![[
            r#"429 {"causes":[{"message":"The disruption budget b needs 1 healthy pods and has 1 currently","reason":"DisruptionBudget"}]}"#
        ]],
    );
}
