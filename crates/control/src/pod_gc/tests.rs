//! Which pods are nobody's.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::decide::decide;

/// `name`, then `on=<node>`, `going`, or a phase.
fn pod(text: &str) -> Arc<Pod> {
    let mut words = text.split(' ');
    let mut pod = json!({ "metadata": { "name": words.next() }, "spec": { "containers": [] }, "status": {} });
    for word in words {
        match word.split_once('=') {
            Some((_, node)) => pod["spec"]["nodeName"] = json!(node),
            None if word == "going" => pod["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:00Z"),
            None => pod["status"]["phase"] = json!(word),
        }
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn check(pods: &[&str], max_ended: usize, expected: &[&str]) {
    let pods: Vec<Arc<Pod>> = pods.iter().map(|text| pod(text)).collect();
    let doomed = decide(&pods, &["n".to_owned()].into(), max_ended);
    let names: Vec<&str> = doomed.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
    assert_eq!(names, expected);
}

#[test]
fn pods_of_lost_nodes_and_pods_never_placed() {
    check(&["a on=n", "b on=lost", "c going", "d on=n going", "e"], 9, &["b", "c"]);
}

#[test]
fn the_oldest_of_too_many_ended_pods() {
    check(&["a on=n Succeeded", "b on=n Failed", "c on=n Succeeded", "d on=n Running"], 1, &["a", "b"]);
    check(&["a on=n Succeeded"], 1, &[]);
}
