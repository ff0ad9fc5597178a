//! How many pods a budget lets go.

use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};

use super::decide::{View, decide};

/// A pod from words: its name, then `ready`, `going`, `bare` (of no workload).
fn pod(text: &str) -> Arc<Pod> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut pod = json!({ "metadata": { "name": words[0] }, "status": { "phase": "Running" } });
    for word in &words[1..] {
        match *word {
            "ready" => pod["status"]["conditions"] = json!([{ "type": "Ready", "status": "True" }]),
            "going" => pod["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:02Z"),
            _ => pod["metadata"]["labels"] = json!({ "bare": "" }),
        }
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

/// The counts for a budget over a workload of four, 130 s after the epoch.
fn check(spec: Value, disrupted: Value, pods: &str, expect: Expect) {
    let budget: PodDisruptionBudget = serde_json::from_value(json!({
        "metadata": { "name": "b", "generation": 1 }, "spec": spec,
        "status": {
            "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0,
            "disruptedPods": disrupted,
        },
    }))
    .unwrap();
    let pods: Vec<Arc<Pod>> = pods.lines().filter(|line| !line.trim().is_empty()).map(pod).collect();
    let size_of = |pod: &Pod| {
        let is_bare = pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key("bare"));
        (!is_bare).then(|| ("w".to_owned(), 4))
    };
    let now = jiff::Timestamp::from_second(130).unwrap();
    let plan = decide(&View { budget: &budget, pods: &pods, size_of: &size_of, now });
    let status = plan.status;
    let verdict = &status.conditions.unwrap()[0];
    let disrupted: Vec<String> = status.disrupted_pods.unwrap_or_default().into_keys().collect();
    expect.assert_eq(&format!(
        "allowed {} of {} healthy, {} needed, {} expected, {} {} {disrupted:?} {:?}",
        status.disruptions_allowed.unwrap(),
        status.current_healthy.unwrap(),
        status.desired_healthy.unwrap(),
        status.expected_pods.unwrap(),
        verdict.status,
        verdict.reason,
        plan.check_after,
    ));
}

#[test]
fn counts_and_shares() {
    let four = "a ready\nb ready\nc ready\nd ready";
    check(
        json!({ "minAvailable": 1 }),
        json!({}),
        "",
        expect!["allowed 0 of 0 healthy, 1 needed, 0 expected, False InsufficientPods [] None"],
    );
    check(
        json!({ "minAvailable": "50%" }),
        json!({}),
        four,
        expect!["allowed 2 of 4 healthy, 2 needed, 4 expected, True SufficientPods [] None"],
    );
    check(
        json!({ "maxUnavailable": 1 }),
        json!({}),
        "a ready\nb ready\nc ready going\nd",
        expect!["allowed 0 of 2 healthy, 3 needed, 4 expected, False InsufficientPods [] None"],
    );
    check(
        json!({ "maxUnavailable": 1 }),
        json!({}),
        "a ready bare",
        expect!["allowed 0 of 1 healthy, 0 needed, 0 expected, False InsufficientPods [] None"],
    );
}

#[test]
fn a_granted_eviction_counts_until_it_is_carried_out_or_forgotten() {
    check(
        json!({ "maxUnavailable": 2 }),
        json!({ "a": "1970-01-01T00:02:00Z", "b": "1970-01-01T00:00:05Z", "gone": "1970-01-01T00:02:00Z" }),
        "a ready\nb ready\nc ready\nd ready",
        expect![[r#"allowed 1 of 3 healthy, 2 needed, 4 expected, True SufficientPods ["a"] Some(110s)"#]],
    );
}
