use expect_test::{Expect, expect};
use model::names::SIGMA_SCHEDULER;
use model::pod_explanation::PodExplanationStatus;
use serde_json::{Value, json};
use sigma::LoadPolicy;

use super::*;

fn snapshot(objects: &[Value]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for object in objects {
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        snapshot.add(group, object["kind"].as_str().unwrap(), object.clone()).unwrap();
    }
    snapshot
}

fn node(name: &str, cpu: &str) -> Value {
    let amounts = json!({ "cpu": cpu, "memory": "8Gi", "pods": "10", "nvidia.com/gpu": "2" });
    json!({ "kind": "Node", "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name,
        "topology.kubernetes.io/zone": format!("zone-{name}") } }, "status": { "allocatable": amounts } })
}

/// A pod that asks for so much; `more` goes into its spec.
fn pod(name: &str, cpu: &str, more: &Value) -> Value {
    let container = json!({ "name": "c", "resources": { "requests": { "cpu": cpu } } });
    let mut pod = json!({ "kind": "Pod", "metadata": { "name": name, "namespace": "d", "labels": { "app": name } },
        "spec": { "containers": [container], "schedulerName": SIGMA_SCHEDULER } });
    for (key, value) in more.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

fn on(node: &str) -> Value {
    json!({ "nodeName": node })
}

fn rehearsal(snapshot: Snapshot) -> Rehearsal {
    let load = (!snapshot.usage.is_empty()).then(LoadPolicy::default);
    let config = Config { scheduler_name: SIGMA_SCHEDULER.to_owned(), seed: 1, load };
    Rehearsal::new(snapshot, &config, kit::clock::monotonic())
}

fn told(told: &PodExplanation) -> String {
    let mut lines = vec![format!("{:?}: {}", told.state, told.message)];
    lines.extend(told.notes.iter().map(|note| format!("note: {note}")));
    let reasons = told.waiting.iter().flat_map(|waiting| &waiting.reasons);
    lines.extend(reasons.map(|count| format!("{} {}", count.nodes, count.reason)));
    let preemption = told.preemption.iter();
    lines.extend(preemption.map(|each| format!("on {} for {}", each.node, each.victims.join(" "))));
    if let Some(placed) = &told.placed {
        let ranks = placed.scores.iter().map(|score| format!("{} {}", score.rank, score.node));
        lines.push(format!(
            "{:?} {:?} {}",
            placed.rank,
            placed.refusals,
            ranks.collect::<Vec<_>>().join(", ")
        ));
    }
    lines.join("\n")
}

/// What is said of the pod `asked`, twice: the first answer must change nothing.
fn check_snapshot(snapshot: Snapshot, expected: Expect) {
    let mut rehearsal = rehearsal(snapshot);
    let first = rehearsal.explain("d", "asked").unwrap();
    expected.assert_eq(&told(&first));
    let published: Result<PodExplanationStatus, _> =
        serde_json::from_value(serde_json::to_value(&first).unwrap());
    assert_eq!(published.unwrap().message, first.message);
    assert_eq!(rehearsal.explain("d", "asked"), Some(first));
}

fn check(objects: &[Value], expected: Expect) {
    check_snapshot(snapshot(objects), expected);
}

#[test]
fn a_pod_that_is_not_tried_says_why() {
    let nodes = [node("a", "1"), node("b", "1")];
    let with = |pod: Value| [&nodes[..], &[pod]].concat();
    let none = json!({});
    let gated = pod("asked", "1", &json!({ "schedulingGates": [{ "name": "g" }, { "name": "h" }] }));
    check(&with(gated), expect!["HeldBack: it is held back by scheduling gates: g, h"]);
    let mut going = pod("asked", "1", &none);
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    check(&with(going), expect!["HeldBack: it is being deleted"]);
    let mut ended = pod("asked", "1", &on("a"));
    ended["status"] = json!({ "phase": "Succeeded" });
    check(&with(ended), expect!["Ended: it has ended (Succeeded)"]);
    check(
        &with(pod("asked", "2", &json!({ "schedulerName": "another" }))),
        expect![[r#"
        Waiting: 0/2 nodes are available: 2 Insufficient cpu.
        note: it waits for scheduler another, which is not this one
        2 Insufficient cpu"#]],
    );
    check(&with(pod("asked", "1", &none)), expect!["Waiting: 2 of 2 nodes would take it: node b"]);
    assert_eq!(rehearsal(snapshot(&nodes)).explain("d", "asked"), None);
}

#[test]
fn a_placed_pod_is_compared_to_what_would_be_today() {
    let objects = [node("a", "2"), node("b", "4"), pod("asked", "1", &on("a")), pod("other", "1", &on("a"))];
    check(
        &objects,
        expect![[r#"
        Placed: it has node a
        Some(2) [] 1 b, 2 a"#]],
    );
    let strange = pod("asked", "1", &json!({ "nodeName": "gone", "schedulerName": "another" }));
    check(
        &[node("a", "2"), strange],
        expect![[r#"
        Placed: it has node gone
        note: scheduler another placed it, for reasons of its own
        note: there is no node gone any more
        None [] 1 a"#]],
    );
}

#[test]
fn gangs_are_explained_as_a_whole() {
    let member = |name: &str| {
        let mut member = pod(name, "1", &json!({}));
        member["metadata"]["labels"] = json!({ "crest.dev/pod-group": "train" });
        member
    };
    let group = json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "PodGroup",
        "metadata": { "name": "train", "namespace": "d" }, "spec": { "minMember": 3 } });
    let crew = [member("asked"), member("x"), member("y")];
    check(
        &[&[node("a", "2")], &crew[..]].concat(),
        expect!["Waiting: gang train: there is no PodGroup of this name"],
    );
    check(
        &[&[node("a", "2"), group.clone()], &crew[..2]].concat(),
        expect!["Waiting: gang train: 2 of 3 pods are there"],
    );
    check(
        &[&[node("a", "2"), group.clone()], &crew[..]].concat(),
        expect!["Waiting: gang train: 2 of 3 fit: 0/1 nodes are available: 1 Insufficient cpu."],
    );
    check(
        &[&[node("a", "4"), group], &crew[..]].concat(),
        expect![[r#"
        Waiting: 1 of 1 nodes would take it: node a
        note: gang train: 3 pods of it find room together"#]],
    );
}

#[test]
fn volumes_are_looked_at() {
    let using = json!({ "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }] });
    let mut objects = vec![node("a", "1"), node("b", "1"), pod("asked", "1", &using)];
    check(
        &objects,
        expect![[r#"Waiting: 0/2 nodes are available: persistentvolumeclaim "data" not found."#]],
    );
    let terms = json!([{ "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": ["b"] }] }]);
    objects.push(json!({ "kind": "PersistentVolumeClaim", "metadata": { "name": "data", "namespace": "d" },
        "spec": { "volumeName": "pv" } }));
    objects.push(json!({ "kind": "PersistentVolume", "metadata": { "name": "pv" },
        "spec": { "nodeAffinity": { "required": { "nodeSelectorTerms": terms } },
            "csi": { "driver": "disk", "volumeHandle": "1" } } }));
    check(
        &objects,
        expect![[r#"
        Waiting: 1 of 2 nodes would take it: node b
        1 node(s) didn't match PersistentVolume's node affinity"#]],
    );
    objects.push(json!({ "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": { "name": "b" },
        "spec": { "drivers": [{ "name": "disk", "nodeID": "b", "allocatable": { "count": 0 } }] } }));
    check(
        &objects,
        expect![[r#"
        Waiting: 0/2 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity, 1 node(s) exceed max volume count.
        1 node(s) didn't match PersistentVolume's node affinity
        1 node(s) exceed max volume count"#]],
    );
}

#[test]
fn reservations_rules_ports_and_use_are_looked_at() {
    let port = |name: &str, more: &Value| {
        let mut pod = pod(name, "100m", more);
        pod["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 80, "hostPort": 80 }]);
        pod
    };
    let rule = json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "InterferenceRule", "metadata": { "name": "apart" },
        "spec": { "atMost": 0, "pods": { "selector": { "matchLabels": { "app": "asked" } } },
            "beside": { "selector": { "matchLabels": { "app": "shop" } } } } });
    let reservation = json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "Reservation",
        "metadata": { "name": "room", "namespace": "d", "uid": "r" },
        "spec": { "resources": { "cpu": "950m" }, "owners": { "matchLabels": { "app": "db" } } },
        "status": { "phase": "Held", "nodeName": "c" } });
    let objects = [
        node("a", "1"),
        node("b", "1"),
        node("c", "1"),
        node("hot", "1"),
        port("asked", &json!({})),
        port("first", &on("a")),
        pod("shop", "100m", &on("b")),
        rule,
        reservation,
    ];
    let mut snapshot = snapshot(&objects);
    let usage = sigma::Usage { cpu: 900, memory: 0 };
    snapshot.usage = vec![("hot".to_owned(), usage, std::time::Duration::from_secs(1))];
    check_snapshot(
        snapshot,
        expect![[r#"
        Waiting: 0/4 nodes are available: 1 Insufficient cpu, 1 node(s) cpu usage exceed threshold, 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) didn't keep the interference rule apart.
        1 Insufficient cpu
        1 node(s) cpu usage exceed threshold
        1 node(s) didn't have free ports for the requested pod ports
        1 node(s) didn't keep the interference rule apart"#]],
    );
}

#[test]
fn who_would_go_is_named() {
    let urgent = json!({ "priority": 10 });
    let objects = [node("a", "1"), pod("asked", "1", &urgent), pod("lesser", "1", &on("a"))];
    check(
        &objects,
        expect![[r#"
        Waiting: 0/1 nodes are available: 1 Insufficient cpu.
        1 Insufficient cpu
        on a for d/lesser"#]],
    );
    let meek = json!({ "priority": 10, "preemptionPolicy": "Never" });
    let objects = [node("a", "1"), pod("asked", "1", &meek), pod("lesser", "1", &on("a"))];
    check(
        &objects,
        expect![[r#"
        Waiting: 0/1 nodes are available: 1 Insufficient cpu.
        1 Insufficient cpu"#]],
    );
}

#[test]
fn all_that_waits_is_placed_as_the_scheduler_would() {
    let gpus = |mut pod: Value| {
        pod["spec"]["containers"][0]["resources"]["requests"]["koordinator.sh/gpu"] = "30".into();
        pod
    };
    let mut held = gpus(pod("held", "100m", &on("a")));
    held["metadata"]["annotations"] = json!({ "alibabacloud.com/gpu-index": "1" });
    let mut ended = pod("ended", "1", &on("a"));
    ended["status"] = json!({ "phase": "Succeeded" });
    let mut snapshot = snapshot(&[
        node("a", "1"),
        held,
        ended,
        gpus(pod("shares", "100m", &json!({}))),
        pod("other", "100m", &json!({ "schedulerName": "another" })),
        pod("large", "2", &json!({})),
        pod("urgent", "1", &json!({ "priority": 10 })),
        pod("gated", "100m", &json!({ "schedulingGates": [{ "name": "g" }] })),
    ]);
    snapshot.adopt_waiting(SIGMA_SCHEDULER);
    let report = rehearsal(snapshot).run();
    expect![[r#"
        {
          "seed": 1,
          "nodes": 1,
          "boundBefore": 1,
          "placed": [],
          "unplaced": [
            {
              "pod": "d/large",
              "message": "0/1 nodes are available: 1 Insufficient cpu."
            },
            {
              "pod": "d/other",
              "message": "more important pods come first: it is tried again after them"
            },
            {
              "pod": "d/shares",
              "message": "more important pods come first: it is tried again after them"
            },
            {
              "pod": "d/urgent",
              "message": "0/1 nodes are available: 1 Insufficient cpu."
            }
          ],
          "preempting": [
            {
              "pod": "d/urgent",
              "node": "a",
              "victims": [
                "d/held"
              ]
            }
          ],
          "reasons": {
            "Insufficient cpu": 2,
            "more important pods come first: it is tried again after them": 2
          },
          "utilisation": {
            "cpu (milli-cores)": {
              "used": 1100,
              "capacity": 1000
            },
            "gpu (milli)": {
              "used": 300,
              "capacity": 2000
            },
            "memory (bytes)": {
              "used": 0,
              "capacity": 8589934592
            }
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&report).unwrap());
}

#[test]
fn a_quota_that_leaves_too_little_is_named_and_so_is_who_would_give_back() {
    let quota = |name: &str, max: &str| {
        json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "ElasticQuota", "metadata": { "name": name },
            "spec": { "namespaces": [name], "min": { "cpu": "2" }, "max": { "cpu": max } } })
    };
    let of = |namespace: &str, mut pod: Value| {
        pod["metadata"]["namespace"] = json!(namespace);
        pod
    };
    let snapshot = snapshot(&[
        node("n", "4"),
        quota("a", "2"),
        quota("b", "4"),
        of("b", pod("b1", "2", &on("n"))),
        of("b", pod("b2", "2", &on("n"))),
        of("a", pod("large", "3", &json!({}))),
        of("a", pod("small", "1", &json!({}))),
    ]);
    let mut rehearsal = rehearsal(snapshot);
    expect![[r#"
        Waiting: quota a: cpu: 0 used and 3 asked for are more than its max of 2
        1 Insufficient cpu"#]]
    .assert_eq(&told(&rehearsal.explain("a", "large").unwrap()));
    expect![[r#"
        Waiting: 0/1 nodes are available: 1 Insufficient cpu.
        1 Insufficient cpu
        on n for b/b2"#]]
    .assert_eq(&told(&rehearsal.explain("a", "small").unwrap()));
    let report = rehearsal.run();
    assert_eq!(report.preempting.len(), 1, "{report:?}");
}

#[test]
fn who_could_not_go_with_the_first_goes_with_the_next() {
    let mut group = pod("m1", "1", &json!({}));
    let near = json!({ "labelSelector": { "matchLabels": { "app": "z" } }, "topologyKey": "kubernetes.io/hostname" });
    let needs_company = json!({ "affinity": { "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [near] } } });
    let mut other = pod("m2", "1", &needs_company);
    for member in [&mut group, &mut other] {
        member["metadata"]["labels"]["crest.dev/pod-group"] = "g".into();
    }
    let gang = json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "PodGroup",
        "metadata": { "name": "g", "namespace": "d" }, "spec": { "minMember": 2 } });
    let company = pod("z", "100m", &json!({}));
    let mut rehearsal = rehearsal(snapshot(&[node("a", "4"), gang, group, other, company]));
    let report = rehearsal.run();
    let placed: std::collections::BTreeSet<&str> =
        report.placed.iter().map(|seat| seat.pod.as_str()).collect();
    assert_eq!(placed, ["d/m1", "d/m2", "d/z"].into());
    assert_eq!(report.unplaced, []);
}

#[test]
fn what_would_be_placed_goes_by_the_cluster_as_it_is_however_often_it_is_tried() {
    let objects =
        [node("a", "1"), node("hot", "1"), pod("fits", "500m", &json!({})), pod("large", "800m", &json!({}))];
    let mut snapshot = snapshot(&objects);
    let usage = sigma::Usage { cpu: 900, memory: 0 };
    snapshot.usage = vec![("hot".to_owned(), usage, std::time::Duration::from_secs(1))];
    let mut rehearsal = rehearsal(snapshot);
    let report = rehearsal.run();
    assert_eq!((report.placed.len(), report.unplaced.len()), (1, 1), "figures that grow old make room");
}
