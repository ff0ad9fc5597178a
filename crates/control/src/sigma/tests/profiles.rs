//! Scheduler names and policies.

use std::time::Instant;

use expect_test::expect;
use serde_json::json;

use super::super::decide::Scheduler;
use super::super::policies::interference;
use super::{changed, check, pod};

/// Events about profiles; false when it is none.
pub(super) fn step(scheduler: &mut Scheduler, words: &[&str], now: Instant) -> bool {
    match *words {
        // A pod that names its scheduler, and has a priority.
        ["for", name, scheduler_name, priority] => {
            let mut pod = pod(name, "1");
            pod["spec"]["schedulerName"] = json!(scheduler_name);
            pod["spec"]["priority"] = json!(priority.parse::<i32>().unwrap());
            changed(scheduler, &pod, now);
        }
        ["policy", name, spec] => {
            let policy = json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "SchedulingPolicy",
                "metadata": { "name": name }, "spec": serde_json::from_str::<serde_json::Value>(spec).unwrap() });
            scheduler.policy_changed(name, Some(&serde_json::from_value(policy).unwrap()), now);
        }
        ["unpolicy", name] => scheduler.policy_changed(name, None, now),
        _ => return false,
    }
    true
}

#[test]
fn pods_of_unknown_schedulers_are_left_alone_until_a_policy_names_them() {
    check(
        r#"node a 9
        for p packer 0
        for q other 0
        policy z {"schedulerName":"packer","placement":"Pack"}
        for r packer 0
        lost a
        for s packer 0
        unpolicy z
        node a 9
        policy z {"schedulerName":"packer"}"#,
        expect![[r#"
            node a 9:
            for p packer 0:
            for q other 0:
            policy z {"schedulerName":"packer","placement":"Pack"}: bind p to a
            for r packer 0: bind r to a
            lost a:
            for s packer 0: s Unschedulable: no nodes available to schedule pods
            unpolicy z:
            node a 9:
            policy z {"schedulerName":"packer"}: bind p to a; bind r to a; bind s to a"#]],
    );
}

#[test]
fn the_band_of_a_priority_says_how_nodes_are_filled() {
    check(
        r#"node a 9
        node b 9
        policy low {"placement":"Pack","priorities":{"max":9}}
        policy high {"placement":"Spread","priorities":{"min":10}}
        for l1 default-scheduler 0
        for l2 default-scheduler 0
        for l3 default-scheduler 9
        for h1 default-scheduler 10
        for h2 default-scheduler 99
        policy higher {"placement":"Pack","priorities":{"min":90}}
        for h3 default-scheduler 99"#,
        expect![[r#"
            node a 9:
            node b 9:
            policy low {"placement":"Pack","priorities":{"max":9}}:
            policy high {"placement":"Spread","priorities":{"min":10}}:
            for l1 default-scheduler 0: bind l1 to b
            for l2 default-scheduler 0: bind l2 to b
            for l3 default-scheduler 9: bind l3 to b
            for h1 default-scheduler 10: bind h1 to a
            for h2 default-scheduler 99: bind h2 to a
            policy higher {"placement":"Pack","priorities":{"min":90}}:
            for h3 default-scheduler 99: bind h3 to b"#]],
    );
}

#[test]
fn rules_speak_of_all_namespaces_unless_they_name_some() {
    let rule = |pods: serde_json::Value| {
        let rule = json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "InterferenceRule", "metadata": { "name": "r" },
            "spec": { "pods": pods, "beside": { "selector": {} }, "atMost": 2 } });
        interference(&serde_json::from_value(rule).unwrap())
    };
    let pod = |namespace: &str| sigma::Pod { namespace: namespace.to_owned(), ..sigma::Pod::default() };
    let none = sigma::pod::Namespaces::new();
    let all = rule(json!({ "selector": {} }));
    assert!(all.pods.matches(&pod("any"), &none));
    assert_eq!((all.pods.topology_key.as_str(), all.at_most), ("kubernetes.io/hostname", 2));
    let some = rule(json!({ "selector": {}, "namespaces": ["n"] }));
    assert!(some.pods.matches(&pod("n"), &none) && !some.pods.matches(&pod("any"), &none));
}
