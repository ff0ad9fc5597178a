//! The scheduler's queue, told by events and a made-up clock.

mod gangs;
mod pinned;
mod profiles;
mod quotas;
mod reports;
mod reservations;

use std::sync::Arc;
use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1 as k8s;
use serde_json::json;
use sigma::PodId;

use super::bind::Bind;
use super::decide::{Decision, Scheduler};
use super::group::Standing;

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
    let mut scheduler = Scheduler::new(&super::Config {
        scheduler_name: model::names::SIGMA_SCHEDULER.to_owned(),
        seed: 1,
        load: Some(Default::default()),
    });
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
        ["stays", name] => scheduler.stays(&PodId::new(name), *now),
        ["gone", name] => scheduler.pod_gone(&PodId::new(name), *now),
        ["failed", name] => scheduler.bind_failed(&PodId::new(name), *now),
        ["wait", seconds] => *now += Duration::from_secs(seconds.parse().unwrap()),
        _ if gangs::step(scheduler, words, *now)
            || profiles::step(scheduler, words, *now)
            || quotas::step(scheduler, words, *now)
            || reports::step(scheduler, words, *now)
            || reservations::step(scheduler, words, *now) => {}
        _ => step_around(scheduler, words, *now),
    }
}

/// What changes about pods that are there, and around them.
fn step_around(scheduler: &mut Scheduler, words: &[&str], now: Instant) {
    match *words {
        // The pod's volumes keep it from every node, or no longer.
        ["hindered", name, obstacle] => {
            let obstacle = Some(obstacle.to_owned());
            let needs = crate::volumes::Needs { obstacle, ..Default::default() };
            scheduler.needs_changed(&PodId::new(name), needs);
        }
        ["unhindered", name] => scheduler.needs_changed(&PodId::new(name), Default::default()),
        ["resized", name, cpu, has, node] => {
            let mut pod = pod(name, cpu);
            pod["spec"]["nodeName"] = json!(node);
            pod["status"] = json!({ "containerStatuses": [{
                "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "resources": { "requests": { "cpu": has } } }] });
            changed(scheduler, &pod, now);
        }
        // Milli-cores that the node was measured to use, so many seconds ago.
        ["uses", name, cpu, ago] => {
            let usage = sigma::Usage { cpu: cpu.parse().unwrap(), memory: 0 };
            let age = Duration::from_secs(ago.parse().unwrap());
            scheduler.usage_changed(&[(name.to_owned(), usage, age)], now);
        }
        _ => panic!("no such event: {words:?}"),
    }
}

fn changed(scheduler: &mut Scheduler, pod: &serde_json::Value, now: Instant) {
    scheduler.pod_changed(&Arc::new(serde_json::from_value(pod.clone()).unwrap()), now);
}

fn show(decision: &Decision) -> String {
    match decision {
        Decision::Bind(Bind { id, node, .. }) => format!("bind {} to {node}", id.as_str()),
        Decision::Preempt { pod, node, victims, report } => {
            let victims: Vec<&str> = victims.iter().map(|victim| victim.key.name.as_str()).collect();
            let before: String = report.iter().map(|report| reports::show(pod, report) + "; ").collect();
            let name = pod.metadata.name.as_deref().unwrap();
            format!("{before}{name} takes {node} from {}", victims.join(" "))
        }
        Decision::Tell { key, standing, .. } => {
            let Standing { phase, members, scheduled, reason, .. } = standing;
            format!("{} {phase:?} {members}/{scheduled} {reason}", key.name)
        }
        Decision::Account(account) => quotas::show(account),
        Decision::Reserve { key, status } => {
            let place = status.node_name.as_ref().or(status.message.as_ref());
            format!("{} {:?} {}", key.name, status.phase, place.map_or("", String::as_str))
        }
        Decision::Report { pod, report } => reports::show(pod, report),
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
            wait 20: p Unschedulable: 0/1 nodes are available: 1 Insufficient cpu. It has no node in view.
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
fn who_waits_for_a_claim_is_placed_once_it_is_there() {
    check(
        "node a 2
        hindered p missing
        pod p 1
        node a 3
        wait 5
        unhindered p",
        expect![[r#"
            node a 2:
            hindered p missing:
            pod p 1: p Unschedulable: 0/1 nodes are available: missing.
            node a 3:
            wait 5:
            unhindered p: bind p to a"#]],
    );
}

#[test]
fn a_pod_that_shrinks_in_place_leaves_room_for_others() {
    check(
        "node a 4
        bound big 3 a
        pod p 2
        wait 20
        resized big 1 3 a
        wait 20
        resized big 1 1 a",
        expect![[r#"
            node a 4:
            bound big 3 a:
            pod p 2: p Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.
            wait 20:
            resized big 1 3 a:
            wait 20:
            resized big 1 1 a: bind p to a"#]],
    );
}

#[test]
fn a_hot_node_takes_no_pods_until_it_is_cool_or_nobody_knows() {
    check(
        "node a 4
        uses a 3000 10
        pod p 1
        uses a 3000 200
        wait 100
        wait 69
        wait 1
        uses a 3000 0
        pod q 1
        wait 20
        uses a 2000 0",
        expect![[r#"
            node a 4:
            uses a 3000 10:
            pod p 1: p Unschedulable: 0/1 nodes are available: 1 node(s) cpu usage exceed threshold.
            uses a 3000 200:
            wait 100:
            wait 69:
            wait 1: bind p to a
            uses a 3000 0:
            pod q 1: q Unschedulable: 0/1 nodes are available: 1 node(s) cpu usage exceed threshold.
            wait 20:
            uses a 2000 0:"#]],
    );
}

#[test]
fn pods_show_in_what_is_measured_only_after_a_while() {
    check(
        "node a 4
        uses a 100 0
        pod p 3
        wait 30
        uses a 200 0
        pod q 1
        wait 70
        uses a 200 0",
        expect![[r#"
            node a 4:
            uses a 100 0:
            pod p 3: bind p to a
            wait 30:
            uses a 200 0:
            pod q 1: q Unschedulable: 0/1 nodes are available: 1 node(s) cpu usage exceed threshold.
            wait 70:
            uses a 200 0: bind q to a"#]],
    );
}

#[test]
fn a_nominated_pod_looks_elsewhere_now_and_then() {
    check(
        "node a 2
        bound low-1 1 a
        bound low-2 1 a
        important top 2 9
        node b 1
        node c 2
        wait 1",
        expect![[r#"
            node a 2:
            bound low-1 1 a:
            bound low-2 1 a:
            important top 2 9: top Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.; top takes a from low-1 low-2
            node b 1:
            node c 2:
            wait 1: bind top to c"#]],
    );
}

#[test]
fn who_found_a_node_needs_nobody_to_go() {
    let mut scheduler = Scheduler::new(&super::Config {
        scheduler_name: model::names::SIGMA_SCHEDULER.to_owned(),
        seed: 1,
        load: None,
    });
    let mut now = kit::clock::monotonic();
    for event in ["node a 1", "bound low 1 a", "important top 1 9"] {
        step(&mut scheduler, &event.split(' ').collect::<Vec<_>>(), &mut now);
    }
    let decisions = scheduler.decide(now);
    let preemption = decisions.iter().find(|each| matches!(each, Decision::Preempt { .. })).unwrap();
    assert!(scheduler.still_means(preemption));
    step(&mut scheduler, &["node", "b", "1"], &mut now);
    assert!(matches!(scheduler.decide(now).as_slice(), [Decision::Bind(_)]));
    assert!(!scheduler.still_means(preemption));
}

#[test]
fn who_waits_for_others_to_go_and_loses_its_claim_is_not_bound_elsewhere() {
    check(
        "node a 2
        bound lesser 2 a
        important great 2 1
        hindered great no-claim
        node b 2
        wait 2
        unhindered great",
        expect![[r#"
            node a 2:
            bound lesser 2 a:
            important great 2 1: great Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.; great takes a from lesser
            hindered great no-claim: great Unschedulable: 0/1 nodes are available: no-claim.
            node b 2: great Unschedulable: 0/2 nodes are available: no-claim.
            wait 2:
            unhindered great: bind great to b"#]],
    );
}
