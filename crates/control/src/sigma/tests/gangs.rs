//! Gangs in the queue.

use std::time::{Duration, Instant};

use expect_test::expect;
use k8s_openapi::api::core::v1 as k8s;
use serde_json::json;

use super::super::decide::Scheduler;
use super::super::group::{Group, Membership, Origin};
use super::{changed, check, pod};
use crate::key::ObjectKey;

/// Events about gangs; false when it is none.
pub(super) fn step(scheduler: &mut Scheduler, words: &[&str], now: Instant) -> bool {
    match *words {
        // A pod of a gang: name, gang, cpu, and priority or the node that it is bound to.
        ["member", name, gang, cpu] => changed(scheduler, &member(name, gang, cpu), now),
        ["member", name, gang, cpu, priority] => {
            let mut pod = member(name, gang, cpu);
            pod["spec"]["priority"] = json!(priority.parse::<i32>().unwrap());
            changed(scheduler, &pod, now);
        }
        ["member", name, gang, cpu, "on", node] => {
            let mut pod = member(name, gang, cpu);
            pod["spec"]["nodeName"] = json!(node);
            changed(scheduler, &pod, now);
        }
        ["done", name, gang, cpu, node] => {
            let mut pod = member(name, gang, cpu);
            pod["spec"]["nodeName"] = json!(node);
            pod["status"] = json!({ "phase": "Succeeded" });
            changed(scheduler, &pod, now);
        }
        ["group", name, least] => set_group(scheduler, name, Some((least, None))),
        ["group", name, least, seconds] => set_group(scheduler, name, Some((least, Some(seconds)))),
        ["ungroup", name] => set_group(scheduler, name, None),
        _ => return false,
    }
    true
}

fn member(name: &str, gang: &str, cpu: &str) -> serde_json::Value {
    let mut pod = pod(name, cpu);
    pod["metadata"]["labels"] = json!({ "crest.dev/pod-group": gang });
    pod
}

fn set_group(scheduler: &mut Scheduler, name: &str, spec: Option<(&str, Option<&str>)>) {
    let group = spec.map(|(least, seconds)| Group {
        min_member: Some(least.parse().unwrap()),
        timeout: seconds.map(|seconds| Duration::from_secs(seconds.parse().unwrap())),
    });
    scheduler.group_changed(&ObjectKey::new("default", name), Origin::Ours, group);
}

#[test]
fn a_gang_waits_for_its_object_and_for_enough_pods() {
    check(
        "node a 4
        member x g 1
        member y g 1
        group g 3
        member z g 1
        member late g 1
        member x g 1 on a
        gone x",
        expect![[r#"
            node a 4:
            member x g 1: x Unschedulable: gang g: there is no PodGroup of this name
            member y g 1: y Unschedulable: gang g: there is no PodGroup of this name
            group g 3: x Unschedulable: gang g: 2 of 3 pods are there; y Unschedulable: gang g: 2 of 3 pods are there; g Pending 2/0 Incomplete
            member z g 1: bind x to a; bind y to a; bind z to a; g Scheduled 3/3 Scheduled
            member late g 1: bind late to a; g Scheduled 4/4 Scheduled
            member x g 1 on a:
            gone x: g Scheduled 3/3 Scheduled"#]],
    );
}

#[test]
fn a_gang_is_bound_whole_or_not_at_all() {
    check(
        "node a 2
        group g 3
        member x g 1
        member y g 1
        member z g 1
        pod p 2
        node b 1
        wait 2
        gone p
        wait 2",
        expect![[r#"
            node a 2:
            group g 3: g Pending 0/0 Incomplete
            member x g 1: x Unschedulable: gang g: 1 of 3 pods are there; g Pending 1/0 Incomplete
            member y g 1: x Unschedulable: gang g: 2 of 3 pods are there; y Unschedulable: gang g: 2 of 3 pods are there; g Pending 2/0 Incomplete
            member z g 1: x Unschedulable: gang g: 2 of 3 fit: 0/1 nodes are available: 1 Insufficient cpu.; y Unschedulable: gang g: 2 of 3 fit: 0/1 nodes are available: 1 Insufficient cpu.; z Unschedulable: gang g: 2 of 3 fit: 0/1 nodes are available: 1 Insufficient cpu.; g Waiting 3/0 Unschedulable
            pod p 2: bind p to a
            node b 1:
            wait 2: x Unschedulable: gang g: 1 of 3 fit: 0/2 nodes are available: 2 Insufficient cpu.; y Unschedulable: gang g: 1 of 3 fit: 0/2 nodes are available: 2 Insufficient cpu.; z Unschedulable: gang g: 1 of 3 fit: 0/2 nodes are available: 2 Insufficient cpu.; g Waiting 3/0 Unschedulable
            gone p:
            wait 2: bind x to a; bind y to b; bind z to a; g Scheduled 3/3 Scheduled"#]],
    );
}

#[test]
fn two_gangs_never_hold_half_each() {
    check(
        "node a 3
        group g 3
        group h 3
        member g1 g 1
        member h1 h 1
        member g2 g 1
        member h2 h 1
        member g3 g 1
        member h3 h 1
        wait 5
        gone g1
        gone g2
        gone g3",
        expect![[r#"
            node a 3:
            group g 3: g Pending 0/0 Incomplete
            group h 3: h Pending 0/0 Incomplete
            member g1 g 1: g1 Unschedulable: gang g: 1 of 3 pods are there; g Pending 1/0 Incomplete
            member h1 h 1: h1 Unschedulable: gang h: 1 of 3 pods are there; h Pending 1/0 Incomplete
            member g2 g 1: g1 Unschedulable: gang g: 2 of 3 pods are there; g2 Unschedulable: gang g: 2 of 3 pods are there; g Pending 2/0 Incomplete
            member h2 h 1: h1 Unschedulable: gang h: 2 of 3 pods are there; h2 Unschedulable: gang h: 2 of 3 pods are there; h Pending 2/0 Incomplete
            member g3 g 1: bind g1 to a; bind g2 to a; bind g3 to a; g Scheduled 3/3 Scheduled
            member h3 h 1: h1 Unschedulable: gang h: 0 of 3 fit: 0/1 nodes are available: 1 Insufficient cpu.; h2 Unschedulable: gang h: 0 of 3 fit: 0/1 nodes are available: 1 Insufficient cpu.; h3 Unschedulable: gang h: 0 of 3 fit: 0/1 nodes are available: 1 Insufficient cpu.; h Waiting 3/0 Unschedulable
            wait 5:
            gone g1: h1 Unschedulable: gang h: 1 of 3 fit: 0/1 nodes are available: 1 Insufficient cpu.; h2 Unschedulable: gang h: 1 of 3 fit: 0/1 nodes are available: 1 Insufficient cpu.; h3 Unschedulable: gang h: 1 of 3 fit: 0/1 nodes are available: 1 Insufficient cpu.; g Pending 2/2 Incomplete; h Waiting 3/0 Unschedulable
            gone g2: g Pending 1/1 Incomplete
            gone g3: g Pending 0/0 Incomplete"#]],
    );
}

#[test]
fn a_gang_member_whose_binding_failed_counts_on_those_that_are_bound() {
    check(
        "node a 2
        group g 2
        member x g 1
        member y g 1
        member x g 1 on a
        failed y
        wait 2
        member y g 1 on a
        done x g 1 a
        gone y
        member z g 1",
        expect![[r#"
            node a 2:
            group g 2: g Pending 0/0 Incomplete
            member x g 1: x Unschedulable: gang g: 1 of 2 pods are there; g Pending 1/0 Incomplete
            member y g 1: bind x to a; bind y to a; g Scheduled 2/2 Scheduled
            member x g 1 on a:
            failed y: g Waiting 2/1 Unschedulable
            wait 2: bind y to a; g Scheduled 2/2 Scheduled
            member y g 1 on a:
            done x g 1 a:
            gone y: g Pending 1/1 Incomplete
            member z g 1: bind z to a; g Scheduled 2/2 Scheduled"#]],
    );
}

#[test]
fn others_go_for_a_whole_gang_and_it_waits_for_all_of_them() {
    check(
        "node a 1
        node b 1
        bound low 1 a
        bound lower 1 b
        group g 2
        member x g 1 9
        member y g 1 9
        gone low
        gone lower
        group h 3
        member k h 1 99
        member l h 1 99
        member m h 1 99",
        expect![[r#"
            node a 1:
            node b 1:
            bound low 1 a:
            bound lower 1 b:
            group g 2: g Pending 0/0 Incomplete
            member x g 1 9: x Unschedulable: gang g: 1 of 2 pods are there; g Pending 1/0 Incomplete
            member y g 1 9: x Unschedulable: gang g: 0 of 2 fit: 0/2 nodes are available: 2 Insufficient cpu.; y Unschedulable: gang g: 0 of 2 fit: 0/2 nodes are available: 2 Insufficient cpu.; x takes b from lower; y takes a from low; g Waiting 2/0 Unschedulable
            gone low: x Unschedulable: gang g: 1 of 2 fit: 0/2 nodes are available: 2 Insufficient cpu.; y Unschedulable: gang g: 1 of 2 fit: 0/2 nodes are available: 2 Insufficient cpu.; x takes a from ; y takes b from ; g Waiting 2/0 Unschedulable
            gone lower: bind x to b; bind y to a; g Scheduled 2/2 Scheduled
            group h 3: h Pending 0/0 Incomplete
            member k h 1 99: k Unschedulable: gang h: 1 of 3 pods are there; h Pending 1/0 Incomplete
            member l h 1 99: k Unschedulable: gang h: 2 of 3 pods are there; l Unschedulable: gang h: 2 of 3 pods are there; h Pending 2/0 Incomplete
            member m h 1 99: k Unschedulable: gang h: 0 of 3 fit: 0/2 nodes are available: 2 Insufficient cpu.; l Unschedulable: gang h: 0 of 3 fit: 0/2 nodes are available: 2 Insufficient cpu.; m Unschedulable: gang h: 0 of 3 fit: 0/2 nodes are available: 2 Insufficient cpu.; h Waiting 3/0 Unschedulable"#]],
    );
}

#[test]
fn room_that_is_held_too_long_is_given_back() {
    check(
        "node a 2
        bound low 2 a
        group g 2 30
        member x g 1 9
        member y g 1 9
        wait 29
        wait 1
        gone low
        wait 20",
        expect![[r#"
            node a 2:
            bound low 2 a:
            group g 2 30: g Pending 0/0 Incomplete
            member x g 1 9: x Unschedulable: gang g: 1 of 2 pods are there; g Pending 1/0 Incomplete
            member y g 1 9: x Unschedulable: gang g: 0 of 2 fit: 0/1 nodes are available: 1 Insufficient cpu.; y Unschedulable: gang g: 0 of 2 fit: 0/1 nodes are available: 1 Insufficient cpu.; x takes a from low; y takes a from ; g Waiting 2/0 Unschedulable
            wait 29:
            wait 1: g Waiting 2/0 Timeout
            gone low:
            wait 20: bind x to a; bind y to a; g Scheduled 2/2 Scheduled"#]],
    );
}

#[test]
fn a_gang_whose_object_goes_is_not_placed_any_more() {
    check(
        "group g 1
        member x g 1
        ungroup g
        node a 1
        group g 1",
        expect![[r#"
            group g 1: g Pending 0/0 Incomplete
            member x g 1: x Unschedulable: gang g: 0 of 1 fit: no nodes available to schedule pods; g Waiting 1/0 Unschedulable
            ungroup g: x Unschedulable: gang g: there is no PodGroup of this name
            node a 1:
            group g 1: bind x to a; g Scheduled 1/1 Scheduled"#]],
    );
}

#[test]
fn a_pod_names_its_gang_in_several_ways() {
    let check =
        |metadata: serde_json::Value, spec: serde_json::Value, expected: Option<(&str, Option<usize>)>| {
            let mut pod = json!({ "metadata": metadata, "spec": spec });
            pod["spec"]["containers"] = json!([]);
            let pod: k8s::Pod = serde_json::from_value(pod).unwrap();
            let found = Membership::of(&pod);
            let found = found.as_ref().map(|member| {
                (member.key.name.as_str(), member.declared.as_ref().and_then(|group| group.min_member))
            });
            assert_eq!(found, expected);
        };
    let labelled = |key: &str| json!({ "namespace": "n", "labels": { key: "g" } });
    check(json!({}), json!({ "schedulingGroup": { "podGroupName": "g" } }), Some(("g", None)));
    check(labelled("crest.dev/pod-group"), json!({}), Some(("g", None)));
    check(labelled("scheduling.x-k8s.io/pod-group"), json!({}), Some(("g", None)));
    let koordinator = json!({ "annotations": {
        "gang.scheduling.koordinator.sh/name": "g", "gang.scheduling.koordinator.sh/min-available": "3" } });
    check(koordinator, json!({}), Some(("g", Some(3))));
    check(labelled("app"), json!({}), None);
}

#[test]
fn without_the_least_of_its_pods_a_gang_may_take_the_place_of_more() {
    check(
        "node a 3
        member done g 0 on a
        bound lesser 1 a
        group g 2
        member least g 3 0
        member great g 3 1
        gone least
        wait 2",
        expect![[r#"
            node a 3:
            member done g 0 on a:
            bound lesser 1 a:
            group g 2: g Pending 1/1 Incomplete
            member least g 3 0: least Unschedulable: gang g: 1 of 2 fit, 1 of them bound already: 0/1 nodes are available: 1 Insufficient cpu.; g Waiting 2/1 Unschedulable
            member great g 3 1: great Unschedulable: gang g: 1 of 2 fit, 1 of them bound already: 0/1 nodes are available: 1 Insufficient cpu.; g Waiting 3/1 Unschedulable
            gone least: g Waiting 2/1 Unschedulable
            wait 2: great takes a from lesser"#]],
    );
}
