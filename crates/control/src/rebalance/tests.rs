//! Clusters written as objects, plans told as text.

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use sigma::optimise::Objective;

use super::*;
use crate::key::ObjectKey;

fn node(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True"}]
        }
    })
}

fn pod(name: &str, node: &str, cpu: &str) -> Value {
    let owner =
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": true});
    json!({
        "metadata": {"namespace": "shop", "name": name, "labels": {"app": name}, "ownerReferences": [owner]},
        "spec": {"nodeName": node, "containers": [{"name": "main", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]},
        "status": {"phase": "Running"}
    })
}

/// `change` in the object that it is the like of.
fn with(mut object: Value, change: Value) -> Value {
    merge(&mut object, change);
    object
}

fn merge(object: &mut Value, change: Value) {
    match (object, change) {
        (Value::Object(object), Value::Object(change)) => {
            change
                .into_iter()
                .for_each(|(key, value)| merge(object.entry(key).or_insert(Value::Null), value));
        }
        (object, change) => *object = change,
    }
}

fn listed(nodes: Vec<Value>, pods: Vec<Value>, budgets: Vec<Value>) -> Listed {
    fn all<T: serde::de::DeserializeOwned>(values: Vec<Value>) -> Vec<T> {
        values.into_iter().map(|value| serde_json::from_value(value).unwrap()).collect()
    }
    Listed { nodes: all(nodes), pods: all(pods), budgets: all(budgets), ..Listed::default() }
}

const AIM: Aim = Aim { objective: Objective::machines(0.9, 0.9), at_once: 5, in_all: 10, least_gain: 0.05 };

fn check(listed: &Listed, aim: &Aim, expected: Expect) {
    let report = plan(listed, aim, || false).unwrap();
    let mut text = String::new();
    for (number, round) in (1..).zip(&report.rounds) {
        let moves: Vec<_> =
            round.iter().map(|each| format!("{} {}>{}", each.pod, each.from, each.to)).collect();
        text += &format!("{number}: {}\n", moves.join(", "));
    }
    text += &format!(
        "freed {:?} cooled {:?} held {:?}\n",
        report.freed_nodes, report.cooled_nodes, report.held_pods
    );
    expected.assert_eq(&text);
}

/// Two nodes: three Pods on one, one on the other.
fn two_nodes(of_second: Value) -> Listed {
    let pods = vec![
        pod("a", "n1", "1"),
        pod("b", "n1", "500m"),
        pod("c", "n1", "500m"),
        with(pod("d", "n2", "1"), of_second),
    ];
    listed(vec![node("n1"), node("n2")], pods, Vec::new())
}

#[test]
fn the_emptier_node_comes_free() {
    check(
        &two_nodes(json!({})),
        &AIM,
        expect![[r#"
        1: d n2>n1
        freed ["n2"] cooled [] held {}
    "#]],
    );
}

#[test]
fn what_is_bound_to_its_node_stays() {
    let stays =
        |change: Value, expected: Expect| check(&two_nodes(change), &Aim { in_all: 1, ..AIM }, expected);
    let owner = |kind: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "x", "controller": true}]);
    stays(
        json!({"metadata": {"ownerReferences": []}}),
        expect![[r#"
        freed [] cooled [] held {NoController: 1}
    "#]],
    );
    stays(
        json!({"metadata": {"ownerReferences": owner("DaemonSet")}}),
        expect![[r#"
        freed [] cooled [] held {OfTheNode: 1}
    "#]],
    );
    stays(
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        expect![[r#"
        freed [] cooled [] held {Terminating: 1}
    "#]],
    );
    stays(
        json!({"spec": {"volumes": [{"name": "data", "emptyDir": {}}]}}),
        expect![[r#"
        freed [] cooled [] held {LocalVolume: 1}
    "#]],
    );
    stays(
        json!({"spec": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}}),
        expect![[r#"
        freed [] cooled [] held {VolumeClaim: 1}
    "#]],
    );
    stays(
        json!({"spec": {"priority": 2_000_001_000}}),
        expect![[r#"
        freed [] cooled [] held {SystemCritical: 1}
    "#]],
    );
    stays(
        json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": "n2"}}}),
        expect![[r#"
        freed [] cooled [] held {}
    "#]],
    );
    let safe = json!({"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"});
    stays(
        json!({"metadata": {"annotations": safe}, "spec": {"volumes": [{"name": "data", "emptyDir": {}}]}}),
        expect![[r#"
        1: d n2>n1
        freed ["n2"] cooled [] held {}
    "#]],
    );
}

#[test]
fn pods_that_must_be_apart_on_nodes_stay_apart() {
    let apart = json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": "kubernetes.io/hostname"}
    ]}}}});
    check(
        &two_nodes(apart),
        &Aim { in_all: 1, ..AIM },
        expect![[r#"
        freed [] cooled [] held {}
    "#]],
    );
    let near = json!({"spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "d"}}, "topologyKey": "topology.kubernetes.io/zone"}
    ]}}}});
    check(
        &two_nodes(near),
        &Aim { in_all: 1, ..AIM },
        expect![[r#"
        freed [] cooled [] held {Neighbours: 1}
    "#]],
    );
    let port =
        json!({"spec": {"containers": [{"name": "main", "ports": [{"containerPort": 80, "hostPort": 80}]}]}});
    let pods = vec![with(pod("a", "n1", "1"), port.clone()), with(pod("b", "n2", "1"), port)];
    check(
        &listed(vec![node("n1"), node("n2")], pods, Vec::new()),
        &AIM,
        expect![[r#"
        freed [] cooled [] held {}
    "#]],
    );
}

#[test]
fn a_disruption_budget_sets_the_size_of_rounds() {
    let budget = |name: &str, allowed: i32| {
        json!({
            "metadata": {"namespace": "shop", "name": name},
            "spec": {"selector": {"matchLabels": {"tier": "front"}}},
            "status": {"disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}
        })
    };
    let front = json!({"metadata": {"labels": {"tier": "front"}}});
    let cluster = |budgets: Vec<Value>| {
        let mut pods: Vec<Value> =
            ["a", "b"].iter().map(|name| with(pod(name, "n1", "500m"), front.clone())).collect();
        pods.extend(["c", "d", "e"].iter().map(|name| pod(name, "n2", "500m")));
        listed(vec![node("n1"), node("n2")], pods, budgets)
    };
    check(
        &cluster(Vec::new()),
        &AIM,
        expect![[r#"
        1: a n1>n2, b n1>n2
        freed ["n1"] cooled [] held {}
    "#]],
    );
    check(
        &cluster(vec![budget("one", 1)]),
        &AIM,
        expect![[r#"
        1: a n1>n2
        2: b n1>n2
        freed ["n1"] cooled [] held {}
    "#]],
    );
    check(
        &cluster(vec![budget("none", 0)]),
        &Aim { in_all: 2, ..AIM },
        expect![[r#"
        freed [] cooled [] held {}
    "#]],
    );
    check(
        &cluster(vec![budget("one", 1), budget("two", 1)]),
        &Aim { in_all: 2, ..AIM },
        expect![[r#"
        freed [] cooled [] held {SeveralBudgets: 2}
    "#]],
    );
    let mut elsewhere = budget("elsewhere", 0);
    elsewhere["metadata"]["namespace"] = json!("other");
    check(
        &cluster(vec![elsewhere]),
        &AIM,
        expect![[r#"
        1: a n1>n2, b n1>n2
        freed ["n1"] cooled [] held {}
    "#]],
    );
}

#[test]
fn nothing_goes_to_a_node_that_takes_no_pods() {
    let to = |change: Value, expected: Expect| {
        let pods = vec![pod("a", "n1", "1"), pod("b", "n2", "1"), pod("c", "n2", "1")];
        check(
            &listed(vec![node("n1"), with(node("n2"), change)], pods, Vec::new()),
            &Aim { in_all: 1, ..AIM },
            expected,
        );
    };
    let nothing = || {
        expect![[r#"
        freed [] cooled [] held {}
    "#]]
    };
    to(json!({"spec": {"unschedulable": true}}), nothing());
    to(json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}), nothing());
    to(json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}), nothing());
    to(json!({"status": {"allocatable": {"pods": "2"}}}), nothing());
    to(
        json!({}),
        expect![[r#"
        1: a n1>n2
        freed ["n1"] cooled [] held {}
    "#]],
    );
}

#[test]
fn a_hot_node_is_cooled_onto_an_empty_one() {
    let aim = Aim { objective: Objective::hot_spots(0.6, 0.9), least_gain: 0.01, ..AIM };
    let pods = vec![pod("a", "n1", "1500m"), pod("b", "n1", "1500m")];
    check(
        &listed(vec![node("n1"), node("n2")], pods, Vec::new()),
        &aim,
        expect![[r#"
        1: a n1>n2
        freed [] cooled ["n1"] held {}
    "#]],
    );
}

#[test]
fn an_empty_cluster_needs_no_plan() {
    check(
        &Listed::default(),
        &AIM,
        expect![[r#"
        freed [] cooled [] held {}
    "#]],
    );
}

#[test]
fn a_report_is_json_with_names_as_kubernetes_has_them() {
    let report = plan(&two_nodes(json!({})), &AIM, || false).unwrap();
    let document = serde_json::to_value(report).unwrap();
    assert_eq!(document["rounds"][0][0], json!({"namespace": "shop", "pod": "d", "from": "n2", "to": "n1"}));
    assert_eq!(document["freedNodes"], json!(["n2"]));
    assert_eq!(document["before"]["usedNodes"], 2);
}

/// A cluster by what it uses: of each node so many milli-cores, of each Pod so many.
fn check_measured(listed: &Listed, nodes: &[(&str, u64)], pods: &[(&str, u64)], expected: Expect) {
    let usage = |cpu: u64| sigma::Usage { cpu, memory: 0 };
    let measured = Measured {
        nodes: nodes.iter().map(|(name, cpu)| ((*name).to_owned(), usage(*cpu))).collect(),
        pods: pods.iter().map(|(name, cpu)| (ObjectKey::new("shop", name), usage(*cpu))).collect(),
    };
    let view = View {
        nodes: listed.nodes.iter().collect(),
        pods: listed.pods.iter().collect(),
        measured: Some(&measured),
        ..View::default()
    };
    let aim = Aim { objective: Objective::hot_spots(0.6, 0.9), least_gain: 0.01, ..AIM };
    let report = plan_of(&view, &aim, || false).unwrap();
    let moves = report.rounds.iter().flatten().map(|each| format!("{} {}>{}", each.pod, each.from, each.to));
    let moves: Vec<String> = moves.collect();
    expected.assert_eq(&format!(
        "{} hot {:?} cooled {:?}",
        moves.join(", "),
        report.hot,
        report.cooled_nodes
    ));
}

#[test]
fn by_measured_use_a_node_is_hot_that_promises_little() {
    let pods = || vec![pod("a", "n1", "100m"), pod("b", "n1", "100m"), pod("c", "n2", "3500m")];
    let cluster = |pods: Vec<Value>| listed(vec![node("n1"), node("n2"), node("n3")], pods, Vec::new());
    let used = [("a", 1500), ("b", 1400), ("c", 100)];
    let of_nodes = [("n1", 2900), ("n2", 100), ("n3", 0)];
    check_measured(&cluster(pods()), &of_nodes, &used, expect![[r#"a n1>n3 hot ["n1"] cooled ["n1"]"#]]);
    // What runs beside the pods counts for its node, and stays there.
    check_measured(
        &cluster(pods()),
        &[("n1", 2900), ("n2", 100), ("n3", 2300)],
        &used,
        expect![[r#"a n1>n2 hot ["n1"] cooled ["n1"]"#]],
    );
    // What is asked for must fit all the same.
    let greedy = vec![pod("a", "n1", "1"), pod("b", "n1", "1"), pod("c", "n2", "3500m")];
    check_measured(
        &cluster(greedy),
        &[("n1", 2900), ("n2", 100), ("n3", 2300)],
        &used,
        expect![[r#" hot ["n1"] cooled []"#]],
    );
}

#[test]
fn nothing_is_moved_into_room_that_is_held() {
    let cluster = two_nodes(json!({}));
    let held = json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "Reservation", "metadata": { "name": "r" },
        "spec": { "resources": { "cpu": "1500m" }, "owners": {} }, "status": { "phase": "Held", "nodeName": "n1" } });
    let held: model::reservation::Reservation = serde_json::from_value(held).unwrap();
    let moves = |reservations: Vec<&model::reservation::Reservation>| {
        let (nodes, pods) = (cluster.nodes.iter().collect(), cluster.pods.iter().collect());
        let view = View { nodes, pods, reservations, ..View::default() };
        plan_of(&view, &Aim { in_all: 1, ..AIM }, || false).unwrap().moves
    };
    assert_eq!((moves(Vec::new()), moves(vec![&held])), (1, 0));
}

#[test]
fn who_a_rule_against_interference_names_stays() {
    let rule = |beside: &str| {
        let rule = json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "InterferenceRule",
            "metadata": { "name": "i" }, "spec": { "atMost": 1,
                "pods": { "selector": { "matchLabels": { "app": "none" } } },
                "beside": { "selector": {}, "namespaces": [beside] } } });
        Listed { interference_rules: vec![serde_json::from_value(rule).unwrap()], ..two_nodes(json!({})) }
    };
    let moves = |listed: &Listed| plan(listed, &Aim { in_all: 1, ..AIM }, || false).unwrap().moves;
    assert_eq!((moves(&rule("elsewhere")), moves(&rule("shop"))), (1, 0));
}

#[test]
fn a_budget_of_replicas_that_are_replaced_first_lets_one_go() {
    let budget = json!({
        "metadata": {"namespace": "shop", "name": "all"},
        "spec": {"selector": {}},
        "status": {"disruptionsAllowed": 0, "currentHealthy": 4, "desiredHealthy": 4, "expectedPods": 4}
    });
    let mut cluster = two_nodes(json!({}));
    cluster.budgets = vec![serde_json::from_value(budget).unwrap()];
    let moves = |replaces: bool| {
        let (nodes, pods) = (cluster.nodes.iter().collect(), cluster.pods.iter().collect());
        let view =
            View { nodes, pods, budgets: cluster.budgets.iter().collect(), replaces, ..View::default() };
        plan_of(&view, &AIM, || false).unwrap().moves
    };
    assert_eq!((moves(false), moves(true)), (0, 1));
}
