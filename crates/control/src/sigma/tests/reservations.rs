//! Reservations in the queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use expect_test::expect;
use serde_json::{Value, json};

use super::super::decide::Scheduler;
use super::{changed, check, pod};
use crate::key::ObjectKey;

/// Events about reservations; false when it is none.
pub(super) fn step(scheduler: &mut Scheduler, words: &[&str], now: Instant) -> bool {
    match *words {
        // For the pods with this label; held where it was before, if it says so.
        ["reserve", name, app, cpu] => reserve(scheduler, [name, app, cpu], json!({}), now),
        ["reserve", name, app, cpu, "on", node] => {
            reserve(scheduler, [name, app, cpu], json!({ "phase": "Held", "nodeName": node }), now);
        }
        ["reserve", name, app, cpu, seconds] => {
            let left = Some(Duration::from_secs(seconds.parse().unwrap()));
            let object = object([name, app, cpu], &json!({}));
            scheduler.reservation_changed(&ObjectKey::new("default", name), Some(&object), left, now);
        }
        ["unreserve", name] => {
            scheduler.reservation_changed(&ObjectKey::new("default", name), None, None, now);
        }
        ["unheld", name, node] => {
            let status = json!({ "phase": "Held", "nodeName": node });
            let status = serde_json::from_value(status).unwrap();
            scheduler.reservation_untold(ObjectKey::new("default", name), status, now);
        }
        ["app", name, app, cpu] => {
            let mut pod = pod(name, cpu);
            pod["metadata"]["labels"] = json!({ "app": app });
            changed(scheduler, &pod, now);
        }
        _ => return false,
    }
    true
}

fn object([name, app, cpu]: [&str; 3], status: &Value) -> Arc<model::reservation::Reservation> {
    let object = json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "Reservation",
        "metadata": { "name": name, "namespace": "default", "uid": format!("reservation-{name}") },
        "spec": { "resources": { "cpu": cpu }, "owners": { "matchLabels": { "app": app } } }, "status": status });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn reserve(scheduler: &mut Scheduler, shape: [&str; 3], status: Value, now: Instant) {
    let key = ObjectKey::new("default", shape[0]);
    scheduler.reservation_changed(&key, Some(&object(shape, &status)), None, now);
}

#[test]
fn room_is_held_for_its_owners_and_nobody_else() {
    check(
        "node a 2
        reserve r db 2
        app x web 1
        app y db 1
        wait 20
        unreserve r
        app z db 1",
        expect![[r#"
            node a 2:
            reserve r db 2: r Held a
            app x web 1: x Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.
            app y db 1: bind y to a
            wait 20:
            unreserve r: bind x to a
            app z db 1: z Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."#]],
    );
}

#[test]
fn a_reservation_waits_as_pods_do_and_ends_in_time() {
    check(
        "reserve r db 2 30
        node a 1
        node b 2
        app x web 2
        wait 29
        wait 1
        wait 20",
        expect![[r#"
            reserve r db 2 30: r Pending no nodes available to schedule pods
            node a 1:
            node b 2:
            app x web 2: bind x to b
            wait 29: r Pending 0/2 nodes are available: 2 Insufficient cpu.
            wait 1: r Expired
            wait 20:"#]],
    );
}

#[test]
fn it_stands_where_it_stood_before_a_restart_and_moves_when_the_node_goes() {
    check(
        "node a 2
        reserve r db 2 on a
        node b 2
        app x web 2
        lost a
        gone x
        wait 20",
        expect![[r#"
            node a 2:
            reserve r db 2 on a:
            node b 2:
            app x web 2: bind x to b
            lost a: r Pending 0/1 nodes are available: 1 Insufficient cpu.
            gone x:
            wait 20: r Held b"#]],
    );
}

#[test]
fn how_a_reservation_stands_is_told_until_it_is_heard() {
    check(
        "node a 2
        reserve r db 2
        unheld r a
        wait 2
        unheld r b
        wait 2",
        expect![[r#"
            node a 2:
            reserve r db 2: r Held a
            unheld r a:
            wait 2: r Held a
            unheld r b:
            wait 2:"#]],
    );
}
