//! Rollouts told as a story: ReplicaSets as `name=replicas/available`, and what the Deployment owes next.

use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use serde_json::{Value, json};

use super::decide::{Plan, Step, View, decide};

fn deployment(spec: Value) -> Value {
    let mut deployment = json!({
        "metadata": { "name": "d", "namespace": "n", "uid": "d", "generation": 1 },
        "spec": {
            "selector": { "matchLabels": { "app": "a" } },
            "template": template("new"),
            "progressDeadlineSeconds": 600,
        },
    });
    let own = deployment["spec"].as_object_mut().unwrap();
    own.extend(spec.as_object().unwrap().clone());
    deployment
}

fn template(image: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "a" } },
        "spec": { "containers": [{ "name": "c", "image": image }] },
    })
}

/// Sets of the form `image=replicas/available`, oldest first; the image `new` is the Deployment's.
fn sets(text: &str, desired: i32, max: i32) -> Vec<Arc<ReplicaSet>> {
    let parse = |(index, word): (usize, &str)| {
        let (image, sizes) = word.split_once('=').unwrap();
        let (replicas, available) = sizes.split_once('/').unwrap();
        let (replicas, available): (i32, i32) = (replicas.parse().unwrap(), available.parse().unwrap());
        let set = json!({
            "metadata": {
                "name": image,
                "generation": 1,
                "creationTimestamp": format!("1970-01-01T00:00:{index:02}Z"),
                "annotations": {
                    "deployment.kubernetes.io/revision": (index + 1).to_string(),
                    "deployment.kubernetes.io/desired-replicas": desired.to_string(),
                    "deployment.kubernetes.io/max-replicas": max.to_string(),
                },
            },
            "spec": { "replicas": replicas, "selector": {}, "template": template(image) },
            "status": {
                "replicas": replicas,
                "availableReplicas": available,
                "readyReplicas": available,
                "observedGeneration": 1,
            },
        });
        Arc::new(serde_json::from_value(set).unwrap())
    };
    text.split_whitespace().enumerate().map(parse).collect()
}

fn plan(deployment: &Value, replica_sets: &[Arc<ReplicaSet>], second: i64) -> Plan {
    let deployment: Deployment = serde_json::from_value(deployment.clone()).unwrap();
    let now = jiff::Timestamp::from_second(second).unwrap();
    decide(&View { deployment: &deployment, replica_sets, has_old_pods: false, now })
}

fn show(step: &Step) -> String {
    match step {
        Step::Create(set) => {
            let spec = set.spec.as_ref().unwrap();
            let annotations = set.metadata.annotations.as_ref().unwrap();
            let revision = &annotations["deployment.kubernetes.io/revision"];
            format!("create {} replicas, revision {revision}", spec.replicas.unwrap())
        }
        Step::Update { name, replicas, was, annotations } => {
            let notes = annotations.iter().filter(|(key, _)| key.contains("revision"));
            let notes: Vec<String> =
                notes.map(|(key, value)| format!(" {}={value}", key.rsplit('/').next().unwrap())).collect();
            format!("{name} {was} -> {replicas}{}", notes.concat())
        }
        Step::Delete { name } => format!("delete {name}"),
        Step::Revision(revision) => format!("revision {revision}"),
    }
}

/// The steps for a Deployment with `spec` and `sets`.
fn check(spec: Value, text: &str, expect: Expect) {
    let replicas = i32::try_from(spec["replicas"].as_i64().unwrap()).unwrap();
    let mut deployment = deployment(spec);
    let status: i32 = sets(text, 0, 0).iter().filter_map(|set| set.status.as_ref()?.available_replicas).sum();
    deployment["status"] = json!({ "updatedReplicas": status, "availableReplicas": status });
    let plan = plan(&deployment, &sets(text, replicas, replicas + (replicas + 3) / 4), 0);
    expect.assert_eq(&plan.steps.iter().map(show).collect::<Vec<_>>().join("\n"));
}

fn rolling(replicas: i32, surge: impl Into<Value>, unavailable: impl Into<Value>) -> Value {
    let rolling = json!({ "maxSurge": surge.into(), "maxUnavailable": unavailable.into() });
    json!({ "replicas": replicas, "strategy": { "type": "RollingUpdate", "rollingUpdate": rolling } })
}

#[test]
fn the_first_set_is_made_at_full_size() {
    check(rolling(3, "25%", "25%"), "", expect!["create 3 replicas, revision 1"]);
}

#[test]
fn surge_rounds_up_and_unavailability_down() {
    // 25% of 10: up to 13 pods, at least 8 available.
    check(rolling(10, "25%", "25%"), "v1=10/10", expect!["create 3 replicas, revision 2"]);
    check(
        rolling(10, "25%", "25%"),
        "v1=10/10 new=3/0",
        expect![[r#"
        revision 2
        v1 10 -> 8"#]],
    );
    check(
        rolling(10, "25%", "25%"),
        "v1=8/8 new=5/2",
        expect![[r#"
        revision 2
        v1 8 -> 6"#]],
    );
    check(
        rolling(10, 0, 0),
        "v1=10/10 new=0/0",
        expect![[r#"
        revision 2
        v1 10 -> 9"#]],
    );
    check(rolling(1, 1, 0), "v1=1/1 new=1/0", expect!["revision 2"]);
    check(
        rolling(1, 1, 0),
        "v1=1/1 new=1/1",
        expect![[r#"
        revision 2
        v1 1 -> 0"#]],
    );
}

#[test]
fn pods_that_serve_nobody_go_first() {
    check(
        rolling(4, 1, 1),
        "v1=2/0 v2=2/2 new=1/1",
        expect![[r#"
        revision 3
        v1 2 -> 0"#]],
    );
}

#[test]
fn recreate_takes_all_old_pods_away_first() {
    let recreate = json!({ "replicas": 2, "strategy": { "type": "Recreate" } });
    check(recreate.clone(), "v1=2/2", expect!["v1 2 -> 0"]);
    check(recreate, "v1=0/0", expect!["create 2 replicas, revision 2"]);
}

#[test]
fn undo_uses_the_old_set_again_with_a_new_revision() {
    check(
        rolling(2, 1, 0),
        "new=0/0 v2=2/2",
        expect![[r#"
        new 0 -> 1 revision=3 revision-history=1
        revision 3"#]],
    );
}

#[test]
fn history_beyond_the_limit_is_deleted() {
    let mut spec = rolling(1, 1, 0);
    spec["revisionHistoryLimit"] = json!(1);
    check(
        spec,
        "v1=0/0 v2=0/0 v3=0/0 new=1/1",
        expect![[r#"
        revision 4
        delete v1
        delete v2"#]],
    );
}

#[test]
fn a_paused_rollout_is_scaled_in_proportion() {
    let mut spec = rolling(10, "25%", "25%");
    spec["paused"] = json!(true);
    let mut paused = deployment(spec);
    paused["spec"]["replicas"] = json!(20);
    let steps = plan(&paused, &sets("v1=8/8 new=5/0", 10, 13), 0).steps;
    expect![[r#"
        revision 2
        v1 8 -> 15
        new 5 -> 10"#]]
    .assert_eq(&steps.iter().map(show).collect::<Vec<_>>().join("\n"));
}

/// Runs a Deployment through states and prints its conditions after each.
#[test]
fn conditions_over_a_rollout() {
    let mut deployment = deployment(rolling(2, 1, 0));
    let mut lines = Vec::new();
    let story =
        [("", 0), ("new=2/0", 10), ("new=2/1", 20), ("new=2/1", 700), ("new=2/2", 710), ("new=2/2", 2000)];
    for (text, second) in story {
        let plan = plan(&deployment, &sets(text, 2, 3), second);
        let conditions = plan.status.conditions.clone().unwrap_or_default();
        let shown = conditions.iter().map(|condition| {
            format!("{}={} {}", condition.type_, condition.status, condition.reason.as_deref().unwrap())
        });
        lines.push(format!("{second} s: {}", shown.collect::<Vec<_>>().join(", ")));
        deployment["status"] = serde_json::to_value(&plan.status).unwrap();
    }
    lines.push(deployment["status"]["conditions"][1].to_string());
    expect![[r#"
        0 s: Available=False MinimumReplicasUnavailable, Progressing=True NewReplicaSetCreated
        10 s: Available=False MinimumReplicasUnavailable, Progressing=True ReplicaSetUpdated
        20 s: Available=False MinimumReplicasUnavailable, Progressing=True ReplicaSetUpdated
        700 s: Available=False MinimumReplicasUnavailable, Progressing=False ProgressDeadlineExceeded
        710 s: Available=True MinimumReplicasAvailable, Progressing=True NewReplicaSetAvailable
        2000 s: Available=True MinimumReplicasAvailable, Progressing=True NewReplicaSetAvailable
        {"lastTransitionTime":"1970-01-01T00:11:50Z","lastUpdateTime":"1970-01-01T00:11:50Z","message":"ReplicaSet \"new\" has successfully progressed.","reason":"NewReplicaSetAvailable","status":"True","type":"Progressing"}"#]].assert_eq(&lines.join("\n"));
}

proptest::proptest! {
    /// Whatever the pods do, a rollout ends, and never leaves its bounds on the way.
    #[test]
    fn a_rollout_keeps_its_bounds_and_ends(
        replicas in 1..12_i32,
        surge in 0..5_i32,
        unavailable in 0..5_i32,
        old in 0..3_usize,
    ) {
        let mut sizes: Vec<(String, i32)> = (0..old).map(|each| (format!("v{each}"), 0)).collect();
        if let Some(last) = sizes.last_mut() {
            last.1 = replicas;
        }
        let deployment = deployment(rolling(replicas, surge, unavailable));
        let floor = replicas - if surge == 0 { unavailable.max(1) } else { unavailable };
        for _round in 0..100 {
            // Every pod that runs becomes available between two decisions.
            let text: Vec<String> = sizes.iter().map(|(name, size)| format!("{name}={size}/{size}")).collect();
            let plan = plan(&deployment, &sets(&text.join(" "), replicas, replicas + surge), 0);
            for step in &plan.steps {
                match step {
                    Step::Create(set) => {
                        sizes.push(("new".to_owned(), set.spec.as_ref().unwrap().replicas.unwrap()));
                    }
                    Step::Update { name, replicas, .. } => {
                        sizes.iter_mut().find(|(known, _)| known == name).unwrap().1 = *replicas;
                    }
                    Step::Delete { .. } | Step::Revision(_) => {}
                }
            }
            let total: i32 = sizes.iter().map(|(_, size)| size).sum();
            proptest::prop_assert!(total <= replicas + surge, "{total} pods");
            proptest::prop_assert!(total >= floor.min(replicas) || old == 0, "only {total} pods");
        }
        let done = sizes.iter().all(|(name, size)| *size == if name == "new" { replicas } else { 0 });
        proptest::prop_assert!(done, "{sizes:?}");
    }
}
