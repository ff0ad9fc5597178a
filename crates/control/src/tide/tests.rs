//! Tides as they are decided on the API's objects.

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use model::tide::{MarkState, Tide, TideMark, TideOutcome, TideStatus};
use serde_json::{Value, json};

use super::act::owed;
use super::calendar::Calendar;
use super::decide::decide;
use super::view::{Jobs, View};
use super::{Listed, plan};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn tide(spec: Value) -> Tide {
    let metadata = json!({ "name": "t", "creationTimestamp": "2026-11-01T00:10:00Z" });
    serde_json::from_value(
        json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "Tide", "metadata": metadata, "spec": spec }),
    )
    .unwrap()
}

/// The window that is announced or lasts, and the next one, at some times.
fn check_calendar(spec: Value, times: &[&str], expect: &Expect) {
    let tide = tide(spec);
    let calendar = Calendar::of(&tide).unwrap();
    let mut text = String::new();
    for time in times {
        let told = |window: Option<level0::tide::Window>| {
            window.map_or("-".to_owned(), |window| format!("{} to {}", window.from, window.to))
        };
        let (present, next) = (calendar.present(at(time)), calendar.next(at(time)));
        text += &format!("{time}: {}, then {}\n", told(present), told(next));
    }
    expect.assert_eq(&text);
}

#[test]
fn windows_come_by_schedule_and_one_by_one() {
    check_calendar(
        json!({ "hosts": 1, "schedule": "30 23 * * *", "timeZone": "Europe/Paris", "durationSeconds": 7200 }),
        &["2026-11-27T21:59:59Z", "2026-11-27T22:00:00Z", "2026-11-28T00:29:59Z", "2026-11-28T00:30:00Z"],
        &expect![[r#"
            2026-11-27T21:59:59Z: -, then 2026-11-27T22:30:00Z to 2026-11-28T00:30:00Z
            2026-11-27T22:00:00Z: 2026-11-27T22:30:00Z to 2026-11-28T00:30:00Z, then 2026-11-28T22:30:00Z to 2026-11-29T00:30:00Z
            2026-11-28T00:29:59Z: 2026-11-27T22:30:00Z to 2026-11-28T00:30:00Z, then 2026-11-28T22:30:00Z to 2026-11-29T00:30:00Z
            2026-11-28T00:30:00Z: -, then 2026-11-28T22:30:00Z to 2026-11-29T00:30:00Z
        "#]],
    );
    let windows = json!([
        { "from": "2026-11-28T10:00:00Z", "to": "2026-11-28T11:00:00Z" },
        { "from": "2026-11-28T10:30:00Z", "to": "2026-11-28T12:00:00Z" }]);
    check_calendar(
        json!({ "hosts": 1, "leadSeconds": 600, "windows": windows }),
        &["2026-11-28T09:49:00Z", "2026-11-28T09:50:00Z", "2026-11-28T11:00:00Z", "2026-11-28T12:00:00Z"],
        &expect![[r#"
            2026-11-28T09:49:00Z: -, then 2026-11-28T10:00:00Z to 2026-11-28T11:00:00Z
            2026-11-28T09:50:00Z: 2026-11-28T10:00:00Z to 2026-11-28T11:00:00Z, then 2026-11-28T10:30:00Z to 2026-11-28T12:00:00Z
            2026-11-28T11:00:00Z: 2026-11-28T10:30:00Z to 2026-11-28T12:00:00Z, then -
            2026-11-28T12:00:00Z: -, then -
        "#]],
    );
    // The first is undone.
    check_calendar(
        json!({ "hosts": 1, "leadSeconds": 600, "windows": windows, "skipUntil": "2026-11-28T10:15:00Z" }),
        &["2026-11-28T09:55:00Z", "2026-11-28T10:20:00Z"],
        &expect![[r#"
            2026-11-28T09:55:00Z: -, then 2026-11-28T10:30:00Z to 2026-11-28T12:00:00Z
            2026-11-28T10:20:00Z: 2026-11-28T10:30:00Z to 2026-11-28T12:00:00Z, then -
        "#]],
    );
    check_calendar(
        json!({ "hosts": 1, "schedule": "@hourly", "durationSeconds": 60, "skipUntil": "2026-11-28T10:15:00Z" }),
        &["2026-11-28T08:00:00Z"],
        &expect![[r#"
            2026-11-28T08:00:00Z: -, then 2026-11-28T11:00:00Z to 2026-11-28T11:01:00Z
        "#]],
    );
    check_calendar(
        json!({ "hosts": 1, "schedule": "@every 1h", "durationSeconds": 60, "leadSeconds": 60 }),
        &["2026-11-28T08:00:00Z", "2026-11-28T08:09:00Z"],
        &expect![[r#"
            2026-11-28T08:00:00Z: -, then 2026-11-28T08:10:00Z to 2026-11-28T08:11:00Z
            2026-11-28T08:09:00Z: 2026-11-28T08:10:00Z to 2026-11-28T08:11:00Z, then 2026-11-28T09:10:00Z to 2026-11-28T09:11:00Z
        "#]],
    );
    check_calendar(
        json!({ "hosts": 1, "windows": windows, "suspend": true }),
        &["2026-11-28T10:00:00Z"],
        &expect![[r#"
            2026-11-28T10:00:00Z: -, then -
        "#]],
    );
}

#[test]
fn a_calendar_that_cannot_be_read_says_so() {
    let refuse = |spec: Value, expected: &str| {
        let tide = tide(spec);
        assert_eq!(
            kit::Chain(&Calendar::of(&tide).unwrap_err()).to_string().split(':').next(),
            Some(expected)
        );
    };
    refuse(json!({ "timeZone": "Mars/Base" }), "spec.timeZone");
    refuse(json!({ "schedule": "25 25 * * *" }), "spec.schedule");
}

fn node(name: &str, mark: Option<TideMark>) -> Node {
    let mut node: Node = serde_json::from_value(json!({
        "metadata": { "name": name, "resourceVersion": "7" },
        "status": {
            "conditions": [{ "type": "Ready", "status": "True" }],
            "allocatable": { "kubernetes.io/batch-cpu": "4000", "kubernetes.io/batch-memory": "8Gi" },
        },
    }))
    .unwrap();
    node.metadata.annotations = mark.map(|mark| [("crest.dev/tide".to_owned(), mark.to_annotation())].into());
    node
}

#[test]
fn a_taint_goes_with_the_hand_over_and_comes_back_with_the_end() {
    let keeps_away: Taint =
        serde_json::from_value(json!({ "key": "pool", "value": "batch", "effect": "NoSchedule" })).unwrap();
    let other: Taint = serde_json::from_value(json!({ "key": "gpu", "effect": "NoSchedule" })).unwrap();
    let change = |node: &Node, state: Option<MarkState>| {
        owed(node, state.map(|state| TideMark::new("t", state, 100)), Some(&keeps_away))
    };
    let mut host = node("a", Some(TideMark::new("t", MarkState::Draining, 100)));
    host.spec.get_or_insert_default().taints = Some(vec![other.clone(), keeps_away.clone()]);
    assert_eq!(change(&host, Some(MarkState::Draining)), None, "it says so already");
    let handed = change(&host, Some(MarkState::HandedOver)).unwrap();
    assert_eq!(handed["spec"]["taints"], json!([other]));
    assert_eq!(handed["metadata"]["resourceVersion"], "7");
    let annotations = serde_json::from_value(handed["metadata"]["annotations"].clone()).unwrap();
    let mark = TideMark::of(Some(&annotations)).unwrap();
    assert_eq!((mark.state, mark.taint.as_ref()), (MarkState::HandedOver, Some(&keeps_away)));
    host.metadata.annotations = Some(annotations);
    host.spec.get_or_insert_default().taints = Some(vec![other.clone()]);
    assert_eq!(change(&host, Some(MarkState::HandedOver)), None);
    // Whoever ends it, with or without the Tide that began it.
    for back in [change(&host, None).unwrap(), owed(&host, None, None).unwrap()] {
        assert_eq!(back["spec"]["taints"], json!([other, keeps_away]));
        assert_eq!(back["metadata"]["annotations"], json!({ "crest.dev/tide": null }));
    }
    // Another one that its owner names meanwhile stays: the mark keeps only the first.
    let another: Taint = serde_json::from_value(json!({ "key": "other", "effect": "NoSchedule" })).unwrap();
    let mut renamed = host.clone();
    renamed.spec.get_or_insert_default().taints = Some(vec![another.clone()]);
    let mark = TideMark::new("t", MarkState::HandedOver, 100);
    assert_eq!(owed(&renamed, Some(mark), Some(&another)), None);
    assert_eq!(owed(&renamed, None, Some(&another)).unwrap()["spec"]["taints"], json!([another, keeps_away]));
    // A host that never had it does not get it.
    let bare = node("a", Some(TideMark::new("t", MarkState::HandedOver, 100)));
    assert_eq!(change(&bare, None).unwrap().get("spec"), None);
}

fn pod(name: &str, node: &str, more: Value) -> Pod {
    let mut pod = json!({ "metadata": { "name": name, "namespace": "n", "uid": name, "creationTimestamp": "2026-11-28T09:00:00Z" },
        "spec": { "nodeName": node, "schedulerName": "fuxi", "containers": [{ "name": "c", "resources": {
            "requests": { "kubernetes.io/batch-cpu": "1500", "kubernetes.io/batch-memory": "1Gi" } } }] },
        "status": { "phase": "Running", "startTime": "2026-11-28T09:00:00Z" } });
    for (name, value) in more.as_object().unwrap() {
        pod["metadata"][name] = value.clone();
    }
    serde_json::from_value(pod).unwrap()
}

fn jobs() -> Jobs {
    let job = json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "DagJob", "metadata": { "name": "j", "namespace": "n" },
        "spec": { "tasks": [], "priority": 5 },
        "status": { "tasks": { "only": { "instances": 9, "running": 1, "succeeded": 3, "failedAttempts": 0,
            "tookMillis": { "mean": 20_000, "max": 40_000 } } } } });
    [(crate::key::ObjectKey::new("n", "j"), serde_json::from_value(job).unwrap())].into()
}

/// A cluster with three hosts: a worker whose instances take 40 s, a Pod that has 20 s still, and one of which nobody knows.
fn listed() -> Listed {
    let worker = json!({ "labels": { "crest.dev/dagjob": "j", "crest.dev/task": "only" } });
    let daemon = json!({ "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "d", "controller": true }] });
    let pods = vec![
        pod("worker", "a", worker),
        pod("known", "b", json!({ "annotations": { "crest.dev/expected-seconds": "3620" } })),
        pod("unknown", "c", json!({})),
        pod("of-the-node", "c", daemon),
    ];
    Listed { nodes: ["a", "b", "c"].map(|name| node(name, None)).into(), pods, jobs: jobs() }
}

const WINDOW: &str = "2026-11-28T10:10:00Z";

fn two_of_three() -> Tide {
    tide(json!({ "hosts": "60%", "leadSeconds": 600,
        "windows": [{ "from": WINDOW, "to": "2026-11-28T11:00:00Z" }] }))
}

#[test]
fn no_grace_is_a_second() {
    for (grace, told) in [(0, 1), (1, 1), (30, 30), (i64::MAX, u32::MAX)] {
        assert_eq!(super::act::seconds(jiff::SignedDuration::from_secs(grace)), told);
    }
}

/// A master is asked for no job whose workers are all elsewhere.
#[test]
fn only_jobs_on_hosts_that_are_meant_are_asked_for() {
    let check = |names: &[&str], n_jobs: usize| {
        let listed = listed();
        let mut tide = two_of_three();
        let labels = json!({ "matchExpressions": [{ "key": "name", "operator": "In", "values": names }] });
        tide.spec.selector = Some(serde_json::from_value(labels).unwrap());
        let named = |node: &Node| {
            let mut node = node.clone();
            node.metadata.labels = node.metadata.name.clone().map(|name| [("name".to_owned(), name)].into());
            node
        };
        let nodes: Vec<Node> = listed.nodes.iter().map(named).collect();
        let pods = listed.pods.iter().collect();
        let now = at("2026-11-28T10:00:00Z");
        let view = View { nodes: nodes.iter().collect(), pods, jobs: &Jobs::new(), now };
        assert_eq!(view.jobs_of(&tide).len(), n_jobs, "{names:?}");
    };
    check(&["a", "b"], 1);
    check(&["b", "c"], 0);
}

#[test]
fn a_plan_says_what_each_host_loses_and_when_it_is_free() {
    let told = plan(&two_of_three(), &listed(), None, at("2026-11-28T10:00:00Z")).unwrap().unwrap();
    expect![[r#"
        {
          "from": "2026-11-28T10:10:00Z",
          "to": "2026-11-28T11:00:00Z",
          "announced": "2026-11-28T10:00:00Z",
          "wanted": 2,
          "selected": 3,
          "sharePercent": 100,
          "free": "2026-11-28T10:09:25Z",
          "hosts": [
            {
              "host": "b",
              "phase": "Calm",
              "isTaken": true,
              "isOnTime": true,
              "free": "2026-11-28T10:00:23Z",
              "lostCoreSeconds": 0.0,
              "work": [
                {
                  "pod": "n/known",
                  "ends": true,
                  "at": "2026-11-28T10:00:20Z",
                  "lostSeconds": 0
                }
              ]
            },
            {
              "host": "a",
              "phase": "Calm",
              "isTaken": true,
              "isOnTime": true,
              "free": "2026-11-28T10:09:25Z",
              "lostCoreSeconds": 0.0,
              "work": [
                {
                  "pod": "n/worker",
                  "ends": true,
                  "at": "2026-11-28T10:09:22Z",
                  "lostSeconds": 0
                }
              ]
            },
            {
              "host": "c",
              "phase": "Calm",
              "isTaken": false,
              "isOnTime": true,
              "free": "2026-11-28T10:09:55Z",
              "lostCoreSeconds": 6243.0,
              "work": [
                {
                  "pod": "n/unknown",
                  "ends": false,
                  "at": "2026-11-28T10:09:22Z",
                  "lostSeconds": 4162
                }
              ]
            }
          ],
          "unable": []
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&told).unwrap());
    let none = tide(json!({ "hosts": 1 }));
    assert_eq!(plan(&none, &listed(), None, at("2026-11-28T10:00:00Z")).unwrap(), None);
}

/// A world in which Nodes say at once what they are to say, and work ends when it is revoked.
fn live_through(mut tide: Tide, seconds: std::ops::Range<i64>) -> (Vec<String>, TideStatus) {
    let mut listed = listed();
    let mut told = Vec::new();
    for second in seconds {
        let now = at("2026-11-28T10:00:00Z") + jiff::SignedDuration::from_secs(second);
        let calendar = Calendar::of(&tide).unwrap();
        let view = View {
            nodes: listed.nodes.iter().collect(),
            pods: listed.pods.iter().collect(),
            jobs: &listed.jobs,
            now,
        };
        let super::decide::Decision { status, revoked, notes, .. } = decide(&tide, Some(&calendar), &view);
        let hosts = status.hosts.iter().map(|host| format!("{} {:?}", host.node, host.phase));
        let line = hosts.chain(revoked.keys().map(|uid| format!("{uid} has to go")));
        let line = line.chain(notes.iter().map(|note| format!("{}: {}", note.reason, note.message)));
        let line = line.collect::<Vec<_>>().join(", ");
        if told.last().is_none_or(|last: &(i64, String)| last.1 != line) {
            told.push((second, line));
        }
        listed.pods.retain(|pod| {
            let uid = pod.metadata.uid.as_ref().unwrap();
            // The Pod that is known to have 20 s left has.
            !revoked.contains_key(uid) && (uid != "known" || second < 20)
        });
        for host in &status.hosts {
            let mark = super::act::wanted_mark("t", &tide.spec, host.phase);
            let place = listed.nodes.iter_mut().find(|node| node.metadata.name.as_ref() == Some(&host.node));
            *place.unwrap() = node(&host.node, mark);
        }
        tide.status = Some(status);
    }
    let told = told.into_iter().map(|(second, line)| format!("{second}: {line}"));
    (told.collect(), tide.status.unwrap())
}

#[test]
fn hosts_are_handed_over_and_come_back_and_their_owner_hears_of_it() {
    let (told, status) = live_through(two_of_three(), -1..3605);
    expect![[r#"
        -1: 
        0: b Announced, a Announced, Announced: 2 hosts are to be free of batch from 2026-11-28T10:10:00Z to 2026-11-28T11:00:00Z
        1: a Announced, b Announced
        21: a Announced, b Draining
        22: a Announced, b Verified
        25: a Announced, b HandedOver
        510: a Draining, b HandedOver
        590: a Draining, b HandedOver, worker has to go
        591: a Verified, b HandedOver
        594: a HandedOver, b HandedOver, HandedOver: 2 hosts are handed over to services
        595: a HandedOver, b HandedOver
        3600: a Returning, b Returning
        3601: Returned: Batch has all hosts back
        3602: "#]].assert_eq(&told.join("\n"));
    let past = &status.past[0];
    assert_eq!((past.outcome, past.from.0), (TideOutcome::Met, at(WINDOW)));
    assert!(past.free.as_ref().unwrap().0 < at(WINDOW) && status.hosts.is_empty());
}

#[test]
fn windows_that_meet_are_kept_if_hosts_were_free_all_along() {
    let mut tide = two_of_three();
    let windows = json!([
        { "from": WINDOW, "to": "2026-11-28T10:30:00Z" },
        { "from": "2026-11-28T10:20:00Z", "to": "2026-11-28T10:40:00Z" },
        { "from": "2026-11-28T10:40:00Z", "to": "2026-11-28T10:50:00Z" }]);
    tide.spec.windows = serde_json::from_value(windows).unwrap();
    let (told, status) = live_through(tide, 0..3100);
    assert!(!told.iter().any(|line| line.contains("Missed")), "{told:#?}");
    let past: Vec<(TideOutcome, String)> =
        status.past.iter().map(|past| (past.outcome, past.free.as_ref().unwrap().0.to_string())).collect();
    let met = |free: &str| (TideOutcome::Met, format!("2026-11-28T{free}Z"));
    assert_eq!(past, [met("10:40:00"), met("10:20:00"), met("10:09:54")]);
}

#[test]
fn a_host_that_goes_in_a_window_breaks_no_promise() {
    let mut tide = two_of_three();
    tide.spec.hosts = serde_json::from_value(json!(2)).unwrap();
    let (_, status) = live_through(tide.clone(), 0..700);
    assert_eq!(status.handed_over, 2);
    tide.status = Some(status);
    let mark = super::act::wanted_mark("t", &tide.spec, model::tide::TidePhase::HandedOver);
    let (node, jobs) = (node("a", mark), jobs());
    let view = View { nodes: vec![&node], pods: Vec::new(), jobs: &jobs, now: at("2026-11-28T10:20:00Z") };
    let calendar = Calendar::of(&tide).unwrap();
    let decided = decide(&tide, Some(&calendar), &view);
    assert_eq!(decided.status.handed_over, 1);
    assert_eq!(decided.status.conditions[1].status, "False", "{:?}", decided.status.conditions);
}

#[test]
fn a_tide_that_wants_more_than_there_is_says_so_early_and_misses() {
    let mut more = two_of_three();
    more.spec.hosts = None;
    let mut selected = listed();
    selected.nodes[0].spec.get_or_insert_default().unschedulable = Some(true);
    let now = at("2026-11-28T10:05:00Z");
    let decided = |now: Timestamp, tide: &Tide| {
        let calendar = Calendar::of(tide).unwrap();
        let view = View {
            nodes: selected.nodes.iter().collect(),
            pods: selected.pods.iter().collect(),
            jobs: &selected.jobs,
            now,
        };
        decide(tide, Some(&calendar), &view)
    };
    let early = decided(now, &more);
    let condition = &early.status.conditions[0];
    assert_eq!((condition.type_.as_str(), condition.status.as_str()), ("AtRisk", "True"));
    assert_eq!(
        condition.message,
        "0 of 3 hosts are handed over; 1 more are wanted than are ready, selected and in no other tide"
    );
    assert!(early.notes.iter().any(|note| note.reason == "AtRisk"), "{:?}", early.notes);
    more.status = Some(early.status);
    let late = decided(at(WINDOW), &more);
    assert_eq!(late.status.conditions[1].status, "True", "{:?}", late.status.conditions);
    assert!(late.notes.iter().any(|note| note.reason == "Missed"), "{:?}", late.notes);
}
