//! Elastic quotas in the queue.

use std::sync::Arc;
use std::time::Instant;

use expect_test::expect;
use model::elastic_quota::ElasticQuota;
use model::reservation::Reservation;
use serde_json::json;

use super::super::decide::Scheduler;
use super::super::quotas::Account;
use super::{changed, check, pod};
use crate::key::ObjectKey;

/// Events about quotas; false when it is none.
pub(super) fn step(scheduler: &mut Scheduler, words: &[&str], now: Instant) -> bool {
    match *words {
        // Of the namespace of its name: how much is guaranteed, and how much allowed.
        ["quota", name, min, max] => {
            let quota = json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "ElasticQuota",
                "metadata": { "name": name, "generation": 1 },
                "spec": { "namespaces": [name], "min": { "cpu": min }, "max": { "cpu": max } } });
            let quota: ElasticQuota = serde_json::from_value(quota).unwrap();
            scheduler.quota_changed(name, Some(&quota), now);
        }
        ["unquota", name] => scheduler.quota_changed(name, None, now),
        // A pod, its namespace, what it asks for and its priority; and the node that it is bound to.
        ["of", name, namespace, cpu, priority] => {
            changed(scheduler, &of([name, namespace, cpu, priority]), now);
        }
        ["of", name, namespace, cpu, priority, "on", node] => {
            let mut pod = of([name, namespace, cpu, priority]);
            pod["spec"]["nodeName"] = json!(node);
            changed(scheduler, &pod, now);
        }
        // The room for the pod in whose place another comes, in the namespace, and that other.
        ["hold", name, namespace, cpu] => {
            let hold = json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "Reservation",
                "metadata": { "name": format!("move-{name}"), "namespace": namespace, "uid": format!("hold-{name}"),
                    "ownerReferences": [{ "apiVersion": "crest.dev/v1alpha1", "kind": "RebalancePolicy",
                        "name": "tidy", "uid": "tidy", "controller": true }] },
                "spec": { "resources": { "cpu": cpu },
                    "owners": { "matchLabels": { "crest.dev/successor-of": name } } } });
            let hold: Reservation = serde_json::from_value(hold).unwrap();
            scheduler.reservation_changed(&ObjectKey::new(namespace, name), Some(&Arc::new(hold)), None, now);
        }
        ["unhold", name, namespace] => {
            scheduler.reservation_changed(&ObjectKey::new(namespace, name), None, None, now);
        }
        ["successor", name, namespace, cpu, before] => {
            let mut pod = of([name, namespace, cpu, "0"]);
            pod["metadata"]["labels"] = json!({ "crest.dev/successor-of": before });
            changed(scheduler, &pod, now);
        }
        // It was told to go.
        ["going", name, namespace, cpu, node] => {
            let mut pod = of([name, namespace, cpu, "0"]);
            pod["spec"]["nodeName"] = json!(node);
            pod["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
            changed(scheduler, &pod, now);
        }
        // As a scheduler before this one has told it.
        ["nominated", name, namespace, cpu, node] => {
            let mut pod = of([name, namespace, cpu, "0"]);
            pod["status"] = json!({ "nominatedNodeName": node });
            changed(scheduler, &pod, now);
        }
        _ => return false,
    }
    true
}

fn of([name, namespace, cpu, priority]: [&str; 4]) -> serde_json::Value {
    let mut pod = pod(name, cpu);
    pod["metadata"]["namespace"] = json!(namespace);
    pod["spec"]["priority"] = json!(priority.parse::<i32>().unwrap());
    pod
}

pub(super) fn show(account: &Account) -> String {
    let milli = |amounts: &std::collections::BTreeMap<String, u128>| amounts.get("cpu").copied().unwrap_or(0);
    format!("{} uses {} borrows {}", account.name, milli(&account.usage.used), milli(&account.usage.borrowed))
}

#[test]
fn what_was_borrowed_is_given_back_when_it_is_asked_for() {
    check(
        "quota a 2 3
         quota b 2 4
         node n 4
         of b1 b 2 9
         of b2 b 2 1
         of b1 b 2 9 on n
         of b2 b 2 1 on n
         of a1 a 1 0
         of b3 b 1 9
         gone b2
         wait 20",
        expect![[r#"
            quota a 2 3: a uses 0 borrows 0
            quota b 2 4: b uses 0 borrows 0
            node n 4:
            of b1 b 2 9: bind b1 to n; b uses 2000 borrows 0
            of b2 b 2 1: bind b2 to n; b uses 4000 borrows 2000
            of b1 b 2 9 on n:
            of b2 b 2 1 on n:
            of a1 a 1 0: a1 Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.; a1 takes n from b2; a uses 1000 borrows 0
            of b3 b 1 9: b3 Unschedulable: quota b: cpu: 4 used and 1 asked for are more than its max of 4; b3 takes n from ; b uses 5000 borrows 3000
            gone b2: bind a1 to n; bind b3 to n; b uses 3000 borrows 1000
            wait 20:"#]],
    );
}

#[test]
fn who_waits_for_room_in_its_quota_is_tried_when_that_comes() {
    check(
        "node n 9
         quota a 2 3
         of a1 a 2 0 on n
         of a2 a 1 0
         quota b 1 1
         wait 20
         of a3 a 1 0
         quota a 2 4
         of b1 b 1 0
         gone a1
         wait 20
         unquota a
         wait 20",
        expect![[r#"
            node n 9:
            quota a 2 3: a uses 0 borrows 0
            of a1 a 2 0 on n: a uses 2000 borrows 0
            of a2 a 1 0: a2 Unschedulable: quota a: cpu: 2 used and 1 asked for are more than its min of 2, and too little is left to borrow: all quotas together use 2 of 2
            quota b 1 1: b uses 0 borrows 0
            wait 20: bind a2 to n; a uses 3000 borrows 1000
            of a3 a 1 0: a3 Unschedulable: quota a: cpu: 3 used and 1 asked for are more than its max of 3
            quota a 2 4:
            of b1 b 1 0: bind b1 to n; b uses 1000 borrows 0
            gone a1: a uses 1000 borrows 0
            wait 20: bind a3 to n; a uses 2000 borrows 0
            unquota a:
            wait 20:"#]],
    );
}

#[test]
fn victims_of_the_own_quota_are_awaited_on_other_nodes_too() {
    check(
        "quota a 4 4
         node m 4
         of a1 a 3 0 on m
         node n 4
         of a2 a 4 5
         gone a1
         of a3 a 1 9
         wait 20",
        expect![[r#"
            quota a 4 4: a uses 0 borrows 0
            node m 4:
            of a1 a 3 0 on m: a uses 3000 borrows 0
            node n 4:
            of a2 a 4 5: a2 Unschedulable: quota a: cpu: 3 used and 4 asked for are more than its max of 4; a2 takes n from a1; a uses 7000 borrows 3000
            gone a1: bind a2 to n; a uses 4000 borrows 0
            of a3 a 1 9: a3 Unschedulable: quota a: cpu: 4 used and 1 asked for are more than its max of 4; a3 takes n from a2; a uses 5000 borrows 1000
            wait 20:"#]],
    );
}

#[test]
fn of_a_batch_those_who_were_only_decided_on_give_way_to_whom_it_is_guaranteed() {
    check(
        "quota a 2 2
         quota b 2 4
         of b1 b 2 9
         of b2 b 2 9
         of a1 a 2 0
         node n 4
         wait 20",
        expect![[r#"
            quota a 2 2: a uses 0 borrows 0
            quota b 2 4: b uses 0 borrows 0
            of b1 b 2 9: b1 Unschedulable: no nodes available to schedule pods
            of b2 b 2 9: b2 Unschedulable: no nodes available to schedule pods
            of a1 a 2 0: a1 Unschedulable: no nodes available to schedule pods
            node n 4:
            wait 20: bind b1 to n; bind a1 to n; a uses 2000 borrows 0; b uses 2000 borrows 0"#]],
    );
}

#[test]
fn who_waits_for_what_is_guaranteed_is_tried_when_another_quota_borrows_more() {
    check(
        "quota a 3 3
         quota b 2 4
         node m 3
         of b1 b 2 0 on m
         of a1 a 3 0
         node n 2
         wait 20
         of b2 b 2 9
         wait 20",
        expect![[r#"
            quota a 3 3: a uses 0 borrows 0
            quota b 2 4: b uses 0 borrows 0
            node m 3:
            of b1 b 2 0 on m: b uses 2000 borrows 0
            of a1 a 3 0: a1 Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.
            node n 2:
            wait 20: a1 Unschedulable: 0/2 nodes are available: 2 Insufficient cpu.
            of b2 b 2 9: bind b2 to n; b uses 4000 borrows 2000
            wait 20: a1 takes m from b1; a uses 3000 borrows 0"#]],
    );
}

#[test]
fn a_pod_and_its_successor_count_once_in_a_full_quota() {
    check(
        "node m 4
         node n 4
         quota a 2 2
         of a1 a 2 0 on m
         hold a1 a 2
         successor a2 a 2 a1
         successor a3 a 2 a1
         gone a1
         unhold a1 a
         wait 20",
        expect![[r#"
            node m 4:
            node n 4:
            quota a 2 2: a uses 0 borrows 0
            of a1 a 2 0 on m: a uses 2000 borrows 0
            hold a1 a 2: a1 Held n
            successor a2 a 2 a1: bind a2 to n
            successor a3 a 2 a1: a3 Unschedulable: quota a: cpu: 2 used and 2 asked for are more than its max of 2
            gone a1:
            unhold a1 a:
            wait 20:"#]],
    );
}

/// Quotas know nothing but who is where: a scheduler that starts anew counts the same, and has nobody else go.
#[test]
fn a_restart_in_the_middle_of_a_preemption_counts_the_same() {
    check(
        "node n 4
         node m 4
         quota a 4 4
         quota b 2 8
         of b1 b 4 0 on n
         of b2 b 2 0 on m
         going b1 b 4 n
         nominated a1 a 3 n
         of b3 b 2 0
         wait 20
         gone b1",
        expect![[r#"
            node n 4:
            node m 4:
            quota a 4 4: a uses 0 borrows 0
            quota b 2 8: b uses 0 borrows 0
            of b1 b 4 0 on n: b uses 4000 borrows 2000
            of b2 b 2 0 on m: b uses 6000 borrows 4000
            going b1 b 4 n:
            nominated a1 a 3 n: a1 Unschedulable: 0/2 nodes are available: 2 Insufficient cpu.; a uses 3000 borrows 0
            of b3 b 2 0: b3 Unschedulable: quota b: cpu: 6 used and 2 asked for are more than its min of 2, and too little is left to borrow: all quotas together use 9 of 6
            wait 20:
            gone b1: bind a1 to n; b3 Unschedulable: quota b: cpu: 2 used and 2 asked for are more than its min of 2, and too little is left to borrow: all quotas together use 5 of 6; b uses 2000 borrows 0"#]],
    );
}

/// Whom it had go is gone already.
#[test]
fn who_was_nominated_before_a_restart_comes_before_its_equals() {
    check(
        "quota a 3 3
         of a1 a 3 0
         nominated a2 a 3 n
         node n 4
         wait 20",
        expect![[r#"
            quota a 3 3: a uses 0 borrows 0
            of a1 a 3 0: a1 Unschedulable: no nodes available to schedule pods
            nominated a2 a 3 n: a2 Unschedulable: no nodes available to schedule pods It has no node in view.
            node n 4:
            wait 20: bind a2 to n; a1 Unschedulable: quota a: cpu: 3 used and 3 asked for are more than its max of 3; a uses 3000 borrows 0"#]],
    );
}
