//! What a Service tells of its pods.

use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::decide::{Plan, View, decide};

fn service(ports: Value) -> Service {
    serde_json::from_value(json!({
        "metadata": {
            "name": "s", "namespace": "n", "uid": "u", "labels": { "team": "t" },
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": { "selector": { "app": "a" }, "ports": ports, "clusterIP": "10.96.0.9" },
    }))
    .unwrap()
}

/// A pod from words: its name and address, then `ready`, `going`, `ended`.
fn pod(text: &str) -> Arc<Pod> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut pod = json!({
        "metadata": { "name": words[0], "namespace": "n", "uid": words[0], "labels": { "app": "a" } },
        "spec": { "nodeName": "m", "containers": [
            { "name": "c", "ports": [{ "name": "web", "containerPort": 8080 }] },
        ]},
        "status": { "phase": "Running", "podIP": words[1] },
    });
    for word in &words[2..] {
        match *word {
            "ready" => {
                let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T00:00:00Z" });
                pod["status"]["conditions"] = json!([ready]);
            }
            "going" => pod["metadata"]["deletionTimestamp"] = json!("2026-01-03T00:00:00Z"),
            _ => pod["status"]["phase"] = json!("Failed"),
        }
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn plan(service: &Service, pods: &str, slices: &[Arc<EndpointSlice>]) -> Plan {
    let pods: Vec<Arc<Pod>> = pods.lines().filter(|line| !line.trim().is_empty()).map(pod).collect();
    decide(&View { service, pods: &pods, slices, endpoints: None, zone: &|_| None })
}

fn told(slice: &EndpointSlice) -> String {
    let endpoints = slice.endpoints.iter().flatten().map(|endpoint| {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let flags = [conditions.ready, conditions.serving, conditions.terminating];
        let flags: String = flags.iter().map(|flag| if *flag == Some(true) { 'y' } else { 'n' }).collect();
        format!("{} {flags}", endpoint.addresses.join(","))
    });
    let ports = slice.ports.iter().flatten();
    let ports: Vec<String> =
        ports.map(|port| format!("{}:{}", port.name.as_deref().unwrap(), port.port.unwrap())).collect();
    let trigger = slice.metadata.annotations.iter().flat_map(|all| all.values().cloned()).next();
    format!("[{}] {:?} {}", ports.join(" "), endpoints.collect::<Vec<_>>(), trigger.unwrap_or_default())
}

fn check(ports: Value, pods: &str, expect: Expect) {
    let plan = plan(&service(ports), pods, &[]);
    let mut lines: Vec<String> = plan.create.iter().map(told).collect();
    lines.push(serde_json::to_string(&plan.endpoints.unwrap().subsets).unwrap());
    expect.assert_eq(&lines.join("\n"));
}

#[test]
fn pods_are_told_with_their_state_and_their_ports() {
    check(
        json!([{ "port": 80, "targetPort": "web" }]),
        "p 10.0.0.1 ready\nq 10.0.0.2\nr 10.0.0.3 ready going\ns 10.0.0.4 ready ended",
        expect![[r#"
            [:8080] ["10.0.0.1 yyn", "10.0.0.2 nnn", "10.0.0.3 nyy"] 2026-01-01T00:00:00Z
            [{"addresses":[{"ip":"10.0.0.1","nodeName":"m","targetRef":{"kind":"Pod","name":"p","namespace":"n","uid":"p"}}],"notReadyAddresses":[{"ip":"10.0.0.2","nodeName":"m","targetRef":{"kind":"Pod","name":"q","namespace":"n","uid":"q"}}],"ports":[{"port":8080,"protocol":"TCP"}]}]"#]],
    );
    check(
        json!([{ "port": 80, "targetPort": "nope" }]),
        "",
        expect![[r#"
            [] [] 2026-01-01T00:00:00Z
            null"#]],
    );
}

#[test]
fn endpoints_stay_in_their_slice_and_an_empty_slice_is_used_again() {
    let service = service(json!([{ "port": 80 }]));
    let seen = |mut slice: EndpointSlice, name: &str| {
        slice.metadata.name = Some(name.to_owned());
        slice.metadata.resource_version = Some("1".to_owned());
        Arc::new(slice)
    };
    let empty = seen(plan(&service, "", &[]).create.remove(0), "s-1");
    let mut filled = plan(&service, "p 10.0.0.1 ready", &[empty]);
    assert_eq!((filled.create.len(), filled.update.len(), filled.delete.len()), (0, 1, 0));
    let first = filled.update.remove(0);
    assert_eq!(first.metadata.name.as_deref(), Some("s-1"));
    let first = Arc::new(first);
    let same = plan(&service, "p 10.0.0.1 ready", &[Arc::clone(&first)]);
    assert_eq!((same.create.len(), same.update.len(), same.delete.len()), (0, 0, 0));
    let many: String = (0..150).map(|i| format!("p{i} 10.0.1.{i} ready\n")).collect();
    let grown = plan(&service, &format!("p 10.0.0.1 ready\n{many}"), &[Arc::clone(&first)]);
    let sizes = |slices: &[EndpointSlice]| -> Vec<usize> {
        slices.iter().map(|slice| slice.endpoints.as_ref().unwrap().len()).collect()
    };
    assert_eq!((sizes(&grown.update), sizes(&grown.create)), (vec![100], vec![51]));
    let gone = plan(&service, "", &[first]);
    assert_eq!((gone.create.len(), sizes(&gone.update), gone.delete.len()), (0, vec![0], 0));
}
