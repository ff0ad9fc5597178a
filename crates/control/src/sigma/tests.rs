//! The scheduler's queue, told by events and a made-up clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1 as k8s;
use serde_json::json;
use sigma::PodId;

use super::decide::{Decision, Scheduler};
use super::group::{Group, Membership, Origin, Standing};
use crate::key::ObjectKey;

fn node(name: &str, cpu: &str) -> k8s::Node {
    serde_json::from_value(json!({
        "metadata": { "name": name, "labels": { "host": name } },
        "status": { "allocatable": { "cpu": cpu, "memory": "1Gi", "pods": "10" } },
    }))
    .unwrap()
}

fn pod(name: &str, cpu: &str) -> serde_json::Value {
    json!({
        "metadata": { "name": name, "namespace": "default", "uid": name },
        "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu } } }] },
    })
}

/// Runs a script of one event per line and prints what is decided after each.
fn check(script: &str, expect: Expect) {
    let start = kit::clock::monotonic();
    let mut scheduler =
        Scheduler::new(&super::Config { scheduler_name: model::names::SIGMA_SCHEDULER.to_owned(), seed: 1 });
    let mut now = start;
    let mut lines = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        step(&mut scheduler, &words, &mut now);
        let decisions: Vec<String> = scheduler.decide(now).iter().map(show).collect();
        lines.push(format!("{line}: {}", decisions.join("; ")).trim_end().to_owned());
    }
    expect.assert_eq(&lines.join("\n"));
}

fn step(scheduler: &mut Scheduler, words: &[&str], now: &mut Instant) {
    match *words {
        ["node", name, cpu] => scheduler.node_changed(name, Some(&node(name, cpu)), *now),
        ["lost", name] => scheduler.node_changed(name, None, *now),
        ["pod", name, cpu] => changed(scheduler, &pod(name, cpu), *now),
        ["gated", name] => {
            let mut pod = pod(name, "1");
            pod["spec"]["schedulingGates"] = json!([{ "name": "g" }]);
            changed(scheduler, &pod, *now);
        }
        // Wants a pod with this label on its node.
        ["joining", name, app] => {
            let mut pod = pod(name, "1");
            pod["spec"]["affinity"] = json!({ "podAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{
                    "labelSelector": { "matchLabels": { "app": app } }, "topologyKey": "host" }] } });
            changed(scheduler, &pod, *now);
        }
        ["labelled", name, app, node] => {
            let mut pod = pod(name, "1");
            pod["metadata"]["labels"] = json!({ "app": app });
            if node != "-" {
                pod["spec"]["nodeName"] = json!(node);
            }
            changed(scheduler, &pod, *now);
        }
        ["bound", name, cpu, node] => {
            let mut pod = pod(name, cpu);
            pod["spec"]["nodeName"] = json!(node);
            changed(scheduler, &pod, *now);
        }
        ["ended", name, cpu, node] => {
            let mut pod = pod(name, cpu);
            pod["spec"]["nodeName"] = json!(node);
            pod["status"] = json!({ "phase": "Succeeded" });
            changed(scheduler, &pod, *now);
        }
        ["important", name, cpu, priority] => {
            let mut pod = pod(name, cpu);
            pod["spec"]["priority"] = json!(priority.parse::<i32>().unwrap());
            changed(scheduler, &pod, *now);
        }
        // A pod of a gang: name, gang, cpu, and priority or the node that it is bound to.
        ["member", name, gang, cpu] => changed(scheduler, &member(name, gang, cpu), *now),
        ["member", name, gang, cpu, priority] => {
            let mut pod = member(name, gang, cpu);
            pod["spec"]["priority"] = json!(priority.parse::<i32>().unwrap());
            changed(scheduler, &pod, *now);
        }
        ["member", name, gang, cpu, "on", node] => {
            let mut pod = member(name, gang, cpu);
            pod["spec"]["nodeName"] = json!(node);
            changed(scheduler, &pod, *now);
        }
        ["done", name, gang, cpu, node] => {
            let mut pod = member(name, gang, cpu);
            pod["spec"]["nodeName"] = json!(node);
            pod["status"] = json!({ "phase": "Succeeded" });
            changed(scheduler, &pod, *now);
        }
        ["group", name, least] => set_group(scheduler, name, Some((least, None))),
        ["group", name, least, seconds] => set_group(scheduler, name, Some((least, Some(seconds)))),
        ["ungroup", name] => set_group(scheduler, name, None),
        ["stays", name] => scheduler.stays(&PodId::new(name), *now),
        ["gone", name] => scheduler.pod_gone(&PodId::new(name), *now),
        ["failed", name] => scheduler.bind_failed(&PodId::new(name), *now),
        ["wait", seconds] => *now += Duration::from_secs(seconds.parse().unwrap()),
        _ => panic!("no such event: {words:?}"),
    }
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

fn changed(scheduler: &mut Scheduler, pod: &serde_json::Value, now: Instant) {
    scheduler.pod_changed(&Arc::new(serde_json::from_value(pod.clone()).unwrap()), now);
}

fn show(decision: &Decision) -> String {
    match decision {
        Decision::Bind { id, node, .. } => format!("bind {} to {node}", id.as_str()),
        Decision::Preempt { pod, node, victims } => {
            let victims: Vec<&str> = victims.iter().map(|victim| victim.key.name.as_str()).collect();
            format!("{} takes {node} from {}", pod.metadata.name.as_deref().unwrap(), victims.join(" "))
        }
        Decision::Tell { key, standing, .. } => {
            let Standing { phase, members, scheduled, reason, .. } = standing;
            format!("{} {phase:?} {members}/{scheduled} {reason}", key.name)
        }
        Decision::Report { pod, reason, message } => {
            format!("{} {reason}: {message}", pod.metadata.name.as_deref().unwrap())
        }
    }
}

#[test]
fn a_pod_is_placed_once_and_its_room_is_taken_at_once() {
    check(
        "node a 2
         pod p 2
         pod p 2
         pod q 1
         bound p 2 a
         wait 20
         node a 2
         gone p",
        expect![[r#"
            node a 2:
            pod p 2: bind p to a
            pod p 2:
            pod q 1: q Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.
            bound p 2 a:
            wait 20:
            node a 2:
            gone p: bind q to a"#]],
    );
}

#[test]
fn a_failed_binding_gives_the_room_back_and_is_tried_after_a_pause() {
    check(
        "node a 1
         pod p 1
         failed p
         wait 1
         failed p
         wait 1
         wait 1
         failed unknown",
        expect![[r#"
            node a 1:
            pod p 1: bind p to a
            failed p:
            wait 1: bind p to a
            failed p:
            wait 1:
            wait 1: bind p to a
            failed unknown:"#]],
    );
}

#[test]
fn gates_hold_a_pod_back_and_ended_pods_hold_nothing() {
    check(
        "node a 1
         gated p
         bound q 1 a
         pod p 1
         wait 5
         ended q 1 a",
        expect![[r#"
            node a 1:
            gated p:
            bound q 1 a:
            pod p 1: p Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.
            wait 5:
            ended q 1 a: bind p to a"#]],
    );
}

#[test]
fn a_pod_deleted_while_it_is_bound_leaves_nothing_behind() {
    check(
        "node a 1
         pod p 1
         gone p
         failed p
         pod q 1
         lost a
         pod r 1",
        expect![[r#"
            node a 1:
            pod p 1: bind p to a
            gone p:
            failed p:
            pod q 1: bind q to a
            lost a:
            pod r 1: r Unschedulable: no nodes available to schedule pods"#]],
    );
}

#[test]
fn who_waits_for_company_is_tried_again_when_it_comes() {
    check(
        "node a 4
        node b 4
        joining j web
        wait 2
        labelled other db a
        labelled w web b
        wait 1
        joining k cache
        labelled c cache -
        wait 1",
        expect![[r#"
            node a 4:
            node b 4:
            joining j web: j Unschedulable: 0/2 nodes are available: 2 node(s) didn't match pod affinity rules.
            wait 2:
            labelled other db a:
            labelled w web b:
            wait 1:
            joining k cache: k Unschedulable: 0/2 nodes are available: 2 node(s) didn't match pod affinity rules.
            labelled c cache -: bind c to b
            wait 1: bind j to b; bind k to b"#]],
    );
}

#[test]
fn a_more_important_pod_has_lesser_ones_go_and_holds_their_room() {
    check(
        "node a 2
        bound low 2 a
        important top 1 9
        pod p 1
        important next 1 9
        wait 20
        gone low
        wait 20",
        expect![[r#"
            node a 2:
            bound low 2 a:
            important top 1 9: top Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.; top takes a from low
            pod p 1: p Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.; p takes a from
            important next 1 9: next Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.; next takes a from
            wait 20:
            gone low: bind top to a; bind next to a
            wait 20:"#]],
    );
}

#[test]
fn a_victim_that_cannot_go_is_looked_at_again() {
    check(
        "node a 2
        bound low 2 a
        important top 1 9
        stays low
        wait 2
        gone top
        gone low
        pod p 2",
        expect![[r#"
            node a 2:
            bound low 2 a:
            important top 1 9: top Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.; top takes a from low
            stays low:
            wait 2: top takes a from low
            gone top:
            gone low:
            pod p 2: bind p to a"#]],
    );
}

#[test]
fn who_waits_for_others_to_go_takes_room_that_comes_sooner() {
    check(
        "node a 2
        bound low 2 a
        important top 1 9
        bound other 1 a
        node b 1
        pod p 1
        gone low",
        expect![[r#"
            node a 2:
            bound low 2 a:
            important top 1 9: top Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.; top takes a from low
            bound other 1 a:
            node b 1: bind top to b
            pod p 1: p Unschedulable: 0/2 nodes are available: 2 Insufficient cpu.; p takes a from
            gone low: bind p to a"#]],
    );
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
