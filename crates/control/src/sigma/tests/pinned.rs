//! Pinned Pods: what is bound says which CPUs, a scheduler that starts anew knows them, and those of a binding that failed
//! are free again.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as k8s;
use model::names::{CPU_POLICY, CPU_SET, CPU_TOPOLOGY};
use serde_json::{Value, json};
use sigma::PodId;

use super::super::bind::Bind;
use super::super::decide::{Decision, Scheduler};

fn node(topology: Option<&str>) -> k8s::Node {
    let annotations: serde_json::Map<String, Value> =
        topology.map(|told| (CPU_TOPOLOGY.to_owned(), told.into())).into_iter().collect();
    serde_json::from_value(json!({
        "metadata": { "name": "n", "annotations": annotations },
        "status": { "allocatable": { "cpu": "8", "memory": "8Gi", "pods": "10" } },
    }))
    .unwrap()
}

/// Two NUMA nodes of two cores with two hyper-threads.
const TOLD: &str =
    r#"{"numa":[{"id":0,"socket":0,"cores":["0,4","1,5"]},{"id":1,"socket":1,"cores":["2,6","3,7"]}]}"#;

fn pod(name: &str, cpu: &str, policy: &str) -> Value {
    let amounts = json!({ "cpu": cpu, "memory": "1Gi" });
    json!({
        "metadata": { "name": name, "namespace": "default", "uid": name, "annotations": { CPU_POLICY: policy } },
        "spec": { "containers": [{ "name": "c", "resources": { "requests": amounts, "limits": amounts } }] },
    })
}

fn scheduler(topology: Option<&str>) -> Scheduler {
    let mut scheduler = Scheduler::new(&super::super::Config {
        scheduler_name: model::names::SIGMA_SCHEDULER.to_owned(),
        seed: 1,
        load: None,
    });
    scheduler.node_changed("n", Some(&node(topology)), kit::clock::monotonic());
    scheduler
}

fn changed(scheduler: &mut Scheduler, pod: &Value) {
    let pod: k8s::Pod = serde_json::from_value(pod.clone()).unwrap();
    scheduler.pod_changed(&Arc::new(pod), kit::clock::monotonic());
}

/// The CPUs that a new Pod is bound to, or why it is not.
fn bound(scheduler: &mut Scheduler, pod: &Value) -> String {
    changed(scheduler, pod);
    decided(scheduler, Duration::ZERO)
}

fn decided(scheduler: &mut Scheduler, later: Duration) -> String {
    let decisions = scheduler.decide(kit::clock::monotonic() + later);
    let told = decisions.into_iter().map(|decision| match decision {
        Decision::Bind(Bind { cpus, .. }) => cpus.to_string(),
        Decision::Report { report, .. } => report.message,
        other => panic!("{other:?}"),
    });
    told.collect::<Vec<_>>().join("; ")
}

#[test]
fn a_binding_says_which_cpus() {
    let mut scheduler = scheduler(Some(TOLD));
    assert_eq!(bound(&mut scheduler, &pod("a", "2", "full-cores")), "0,4");
    assert_eq!(bound(&mut scheduler, &pod("b", "2", "spread-cores")), "2-3");
    assert_eq!(
        bound(&mut scheduler, &pod("c", "4", "full-cores")),
        "0/1 nodes are available: 1 node(s) didn't have enough CPUs that are not pinned yet."
    );
    assert_eq!(
        bound(&mut scheduler, &pod("d", "500m", "pinned")),
        "0/1 nodes are available: 1 crest.dev/cpu-policy of the pod needs a whole number of CPUs; this pod asks for 500m."
    );
}

#[test]
fn a_scheduler_that_starts_anew_reads_them_back() {
    let mut scheduler = scheduler(Some(TOLD));
    let mut running = pod("a", "2", "pinned");
    running["spec"]["nodeName"] = "n".into();
    running["metadata"]["annotations"][CPU_SET] = "1,5".into();
    changed(&mut scheduler, &running);
    // Others bound this one, and gave it no CPUs.
    let mut stranger = pod("b", "2", "pinned");
    stranger["spec"]["nodeName"] = "n".into();
    changed(&mut scheduler, &stranger);
    assert_eq!(bound(&mut scheduler, &pod("c", "2", "full-cores")), "0,4");
}

#[test]
fn a_binding_that_failed_gives_them_back() {
    let mut scheduler = scheduler(Some(TOLD));
    assert_eq!(bound(&mut scheduler, &pod("a", "4", "full-cores")), "0-1,4-5");
    scheduler.bind_failed(&PodId::new("a"), kit::clock::monotonic());
    assert_eq!(bound(&mut scheduler, &pod("b", "2", "full-cores")), "0,4");
    // It is tried again after a pause, and finds what is left.
    assert_eq!(decided(&mut scheduler, Duration::from_secs(60)), "2-3,6-7");
}

#[test]
fn a_node_that_tells_its_topology_later_is_found() {
    let mut scheduler = scheduler(None);
    assert_eq!(
        bound(&mut scheduler, &pod("a", "2", "pinned")),
        "0/1 nodes are available: 1 node(s) didn't tell their CPU topology, which a pinned pod needs."
    );
    scheduler.node_changed("n", Some(&node(Some(TOLD))), kit::clock::monotonic());
    assert_eq!(decided(&mut scheduler, Duration::from_secs(60)), "0,4");
}
