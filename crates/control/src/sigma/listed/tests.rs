use serde_json::{Value, json};
use sigma::gpu::GpuSet;

use super::*;

fn listed(pods: &[Value]) -> Listed {
    let mut listed = Listed::default();
    let node: k8s::Node = serde_json::from_value(json!({
        "metadata": { "name": "n" }, "status": { "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "10",
            "nvidia.com/gpu": "2" } } }))
    .unwrap();
    listed.add_node(&node);
    pods.iter().for_each(|pod| listed.add_pod(&serde_json::from_value(pod.clone()).unwrap()));
    listed
}

fn names(listed: &Listed) -> (Vec<&str>, Vec<&str>) {
    let bound = listed.bound.iter().map(|bound| bound.id.as_str());
    (bound.collect(), listed.pending.iter().map(|pending| pending.id.as_str()).collect())
}

#[test]
fn ended_gated_and_going_pods_are_left_out() {
    let pod = |name: &str, spec: Value, phase: &str| json!({ "metadata": { "name": name, "namespace": "d" }, "spec": spec, "status": { "phase": phase } });
    let mut going = pod("going", json!({ "containers": [] }), "Pending");
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let listed = listed(&[
        pod("bound", json!({ "containers": [], "nodeName": "n" }), "Running"),
        pod("ended", json!({ "containers": [], "nodeName": "n" }), "Succeeded"),
        pod("gated", json!({ "containers": [], "schedulingGates": [{ "name": "g" }] }), "Pending"),
        pod("waits", json!({ "containers": [], "schedulerName": "another" }), "Pending"),
        going,
    ]);
    assert_eq!(names(&listed), (vec!["d/bound"], vec!["d/waits"]));
}

#[test]
fn bound_pods_keep_the_gpus_that_they_hold() {
    let container = json!({ "name": "c", "resources": { "limits": { "koordinator.sh/gpu": "30" } } });
    let listed = listed(&[json!({
        "metadata": { "name": "p", "namespace": "d", "annotations": { "alibabacloud.com/gpu-index": "1" } },
        "spec": { "containers": [container], "nodeName": "n" } })]);
    assert_eq!(listed.bound[0].gpus, Some(GpuSet::new([1])));
    assert_eq!(listed.nodes[0].gpus.count, 2);
}
