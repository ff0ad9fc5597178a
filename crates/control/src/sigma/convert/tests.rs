//! What pods are reckoned with, and which images they look for.

use serde_json::{Value, json};
use sigma::pod::TolerationMatch;
use sigma::resources::Amounts;

use super::{image, pod};

/// The processors that a pod with these resources is reckoned with, in milli.
fn cpu(object: Value) -> u64 {
    let requests: Amounts = pod(&serde_json::from_value(object).unwrap()).requests;
    requests["cpu"]
}

fn resources(milli: u64) -> Value {
    json!({ "requests": { "cpu": format!("{milli}m") } })
}

/// One container that wants, was promised and has so much; the resize is pending for `reason`.
fn resized(wanted: u64, promised: u64, has: u64, reason: &str) -> Value {
    let pending = json!({ "type": "PodResizePending", "status": "True", "reason": reason });
    let status = json!({
        "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
        "allocatedResources": { "cpu": format!("{promised}m") }, "resources": resources(has),
    });
    json!({
        "metadata": { "name": "p" },
        "spec": { "containers": [{ "name": "c", "resources": resources(wanted) }], "nodeName": "n" },
        "status": { "containerStatuses": [status], "conditions": if reason.is_empty() { json!([]) } else { json!([pending]) } },
    })
}

#[test]
fn a_resize_is_reckoned_with_until_it_is_done() {
    let check = |wanted, promised, has, reason: &str, expected| {
        assert_eq!(
            cpu(resized(wanted, promised, has, reason)),
            expected,
            "{wanted} {promised} {has} {reason}"
        );
    };
    check(100, 100, 100, "", 100);
    // It may be granted yet: its room is kept.
    check(200, 100, 100, "Deferred", 200);
    // It will never be granted.
    check(200, 100, 100, "Infeasible", 100);
    check(200, 200, 100, "", 200);
    // Smaller, and not yet shrunk.
    check(50, 50, 100, "", 100);
    check(50, 50, 50, "", 50);
}

#[test]
fn a_container_nobody_reported_on_counts_as_it_is_written() {
    let mut object = resized(200, 0, 0, "");
    object["status"] = json!({});
    assert_eq!(cpu(object), 200);
    let mut object = resized(200, 300, 300, "");
    object["status"]["containerStatuses"][0]["resources"] = json!(null);
    assert_eq!(cpu(object), 200);
}

#[test]
fn what_a_pod_asks_for_as_a_whole_stands_above_its_containers() {
    let containers =
        json!([{ "name": "a", "resources": resources(100) }, { "name": "b", "resources": resources(100) }]);
    let spec = json!({ "containers": containers, "resources": resources(150), "overhead": { "cpu": "10m" } });
    assert_eq!(cpu(json!({ "metadata": { "name": "p" }, "spec": spec })), 160);
}

#[test]
fn ports_of_sidecars_are_taken_on_the_host_too() {
    let with_port =
        |port: u16| json!({ "name": "c", "ports": [{ "containerPort": port, "hostPort": port }] });
    let mut sidecar = with_port(81);
    sidecar["restartPolicy"] = "Always".into();
    let spec = json!({ "initContainers": [with_port(80), sidecar], "containers": [with_port(82)] });
    let pod = pod(&serde_json::from_value(json!({ "spec": spec })).unwrap());
    let ports: Vec<u16> = pod.host_ports.iter().map(|taken| taken.port).collect();
    // The first has ended before the pod's containers start.
    assert_eq!(ports, [82, 81]);
}

#[test]
fn a_limit_of_the_whole_pod_is_asked_for_only_where_its_containers_ask_for_nothing() {
    let check = |container: Value, whole: Value, expected| {
        let spec = json!({ "containers": [{ "name": "c", "resources": container }], "resources": whole });
        assert_eq!(cpu(json!({ "spec": spec })), expected, "{spec}");
    };
    let limits = json!({ "limits": { "cpu": "6" } });
    check(resources(1000), limits.clone(), 1000);
    check(json!({}), limits, 6000);
    check(resources(1000), json!({ "requests": { "cpu": "2" }, "limits": { "cpu": "6" } }), 2000);
}

#[test]
fn tolerations_compare_with_numbers_where_they_say_so() {
    let check = |operator: &str, value: &str, expected| {
        let object = json!({ "key": "k", "operator": operator, "value": value });
        let matches = super::toleration(&serde_json::from_value(object).unwrap()).matches;
        assert_eq!(matches, expected, "{operator} {value}");
    };
    check("Gt", "5", TolerationMatch::Above(5));
    check("Lt", "-5", TolerationMatch::Below(-5));
    check("Gt", "many", TolerationMatch::Nothing);
    check("Equal", "5", TolerationMatch::Equal("5".to_owned()));
}

#[test]
fn images_have_their_tags() {
    assert_eq!(image("nginx"), "nginx:latest");
    assert_eq!(image("localhost:5000/nginx"), "localhost:5000/nginx:latest");
    assert_eq!(image("localhost:5000/nginx:1"), "localhost:5000/nginx:1");
    assert_eq!(image("nginx@sha256:00"), "nginx@sha256:00");
}
