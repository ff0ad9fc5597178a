//! What pods are told while they wait.

use std::time::{Duration, Instant};

use expect_test::expect;
use k8s_openapi::api::core::v1 as k8s;
use serde_json::json;
use sigma::PodId;

use super::super::decide::{Decision, Report, Scheduler};
use super::{changed, check, node, pod};

/// Events about what could not be told; false when it is none.
pub(super) fn step(scheduler: &mut Scheduler, words: &[&str], now: Instant) -> bool {
    match *words {
        ["untold", name] => scheduler.untold(&PodId::new(name), now),
        _ => return false,
    }
    true
}

pub(super) fn show(pod: &k8s::Pod, Report { reason, message, ends_nomination, .. }: &Report) -> String {
    let end = if *ends_nomination { " It has no node in view." } else { "" };
    format!("{} {reason}: {message}{end}", pod.metadata.name.as_deref().unwrap())
}

fn scheduler() -> Scheduler {
    Scheduler::new(&super::super::Config {
        scheduler_name: model::names::SIGMA_SCHEDULER.to_owned(),
        seed: 1,
        load: None,
    })
}

#[test]
fn what_could_not_be_written_is_told_again_after_a_pause() {
    check(
        "node a 1
        pod p 2
        wait 20
        untold p
        wait 20
        gone p
        untold p",
        expect![[r#"
            node a 1:
            pod p 2: p Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.
            wait 20:
            untold p:
            wait 20: p Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.
            gone p:
            untold p:"#]],
    );
}

#[test]
fn a_pod_that_is_bound_after_all_is_not_told_that_it_waits() {
    let (mut scheduler, now) = (scheduler(), kit::clock::monotonic());
    scheduler.node_changed("a", Some(&node("a", "4")), now);
    let mut joining = pod("p", "1");
    joining["spec"]["affinity"] = json!({ "podAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{
            "labelSelector": { "matchLabels": { "app": "cache" } }, "topologyKey": "host" }] } });
    changed(&mut scheduler, &joining, now);
    let mut cache = pod("q", "1");
    cache["metadata"]["labels"] = json!({ "app": "cache" });
    changed(&mut scheduler, &cache, now);
    let told: Vec<String> = scheduler.decide(now).iter().map(super::show).collect();
    assert_eq!(told, ["bind q to a", "bind p to a"]);
}

#[test]
fn what_is_owed_is_not_told_when_the_pod_has_found_a_node_meanwhile() {
    let (mut scheduler, now) = (scheduler(), kit::clock::monotonic());
    changed(&mut scheduler, &pod("p", "1"), now);
    let owed = scheduler.decide(now);
    let [Decision::Report { .. }] = &owed[..] else { panic!("{owed:?}") };
    assert!(scheduler.still_means(&owed[0]));
    scheduler.node_changed("a", Some(&node("a", "4")), now);
    let later = now + Duration::from_secs(20);
    let bound: Vec<String> = scheduler.decide(later).iter().map(super::show).collect();
    assert_eq!(bound, ["bind p to a"]);
    assert!(!scheduler.still_means(&owed[0]));
}

#[test]
fn a_pod_whose_node_in_view_is_gone_says_so() {
    check(
        "node a 4
        bound x 4 a
        important p 4 9
        lost a
        wait 20",
        expect![[r#"
            node a 4:
            bound x 4 a:
            important p 4 9: p Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.; p takes a from x
            lost a: p Unschedulable: no nodes available to schedule pods It has no node in view.
            wait 20:"#]],
    );
}
