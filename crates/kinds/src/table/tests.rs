//! Rows as kubectl prints them.

use expect_test::{Expect, expect};
use jiff::Timestamp;
use proptest::prelude::{ProptestConfig, proptest};
use serde_json::{Value, json};

use super::{IncludeObject, age, render};
use crate::all;

fn now() -> Timestamp {
    "2024-05-01T12:00:00Z".parse().unwrap()
}

fn check(kind_name: &str, mut object: Value, expected: Expect) {
    let kind = all().iter().find(|kind| kind.kind == kind_name).unwrap();
    object["metadata"]["name"] = "x".into();
    object["metadata"]["creationTimestamp"] = "2024-05-01T11:55:00Z".into();
    let table = render(kind, &[object], now(), IncludeObject::None);
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    let columns = table["columnDefinitions"].as_array().unwrap();
    assert_eq!(cells.len(), columns.len());
    expected.assert_eq(&Value::Array(cells.clone()).to_string());
}

fn pod(status: Value) -> Value {
    json!({"metadata": {}, "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}, "status": status})
}

#[test]
fn pods_in_every_state() {
    let running = json!({"ready": true, "state": {"running": {}}});
    check(
        "Pod",
        pod(json!({"phase": "Pending"})),
        expect![[r#"["x","0/2","Pending","0","5m","<none>","<none>","<none>","<none>"]"#]],
    );
    check(
        "Pod",
        pod(json!({"phase": "Running", "podIP": "10.0.0.2", "containerStatuses": [running, running]})),
        expect![[r#"["x","2/2","Running","0","5m","10.0.0.2","<none>","<none>","<none>"]"#]],
    );
    let crashing = json!({"restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"finishedAt": "2024-05-01T11:59:30Z"}}});
    check(
        "Pod",
        pod(json!({"phase": "Running", "containerStatuses": [crashing, running]})),
        expect![[r#"["x","1/2","CrashLoopBackOff","4 (30s ago)","5m","<none>","<none>","<none>","<none>"]"#]],
    );
    check(
        "Pod",
        pod(
            json!({"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"reason": "Completed"}}}]}),
        ),
        expect![[r#"["x","0/2","Completed","0","5m","<none>","<none>","<none>","<none>"]"#]],
    );
    check(
        "Pod",
        pod(json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]})),
        expect![[r#"["x","0/2","ExitCode:3","0","5m","<none>","<none>","<none>","<none>"]"#]],
    );
    check(
        "Pod",
        pod(json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]})),
        expect![[r#"["x","0/2","Init:0/1","0","5m","<none>","<none>","<none>","<none>"]"#]],
    );
    let mut ending = pod(json!({"phase": "Running", "containerStatuses": [running, running]}));
    ending["metadata"]["deletionTimestamp"] = "2024-05-01T12:00:00Z".into();
    check(
        "Pod",
        ending,
        expect![[r#"["x","2/2","Terminating","0","5m","<none>","<none>","<none>","<none>"]"#]],
    );
}

#[test]
fn tides() {
    check(
        "Tide",
        json!({"metadata": {}, "spec": {}, "status": {"phase": "Draining", "handedOver": 1, "wanted": 3, "window": {"from": "2026-11-27T23:30:00Z", "to": "2026-11-28T02:00:00Z"}, "conditions": [{"type": "AtRisk", "status": "True"}]}}),
        expect![[r#"["x","Draining","1/3","2026-11-27T23:30:00Z","2026-11-28T02:00:00Z","True","5m"]"#]],
    );
    check(
        "Tide",
        json!({"metadata": {}, "spec": {}, "status": {"next": "2026-11-27T23:30:00Z"}}),
        expect![[r#"["x","Calm","0/0","2026-11-27T23:30:00Z","<none>","False","5m"]"#]],
    );
}

#[test]
fn other_kinds() {
    let workload = json!({"metadata": {}, "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}, "status": {"readyReplicas": 1, "replicas": 3}});
    check("Deployment", workload.clone(), expect![[r#"["x","1/3",0,0,"5m","c","i","app=web"]"#]]);
    check("ReplicaSet", workload, expect![[r#"["x",3,3,1,"5m","c","i","app=web"]"#]]);
    check(
        "Job",
        json!({"metadata": {}, "spec": {"completions": 5, "template": {}}, "status": {"succeeded": 2, "startTime": "2024-05-01T11:56:00Z"}}),
        expect![[r#"["x","Running","2/5","4m","5m","<none>","<none>","<none>"]"#]],
    );
    check(
        "DagJob",
        json!({"metadata": {}, "spec": {"tasks": [{"name": "a", "instances": 2}, {"name": "b", "instances": 3}]}, "status": {"phase": "Running", "tasks": {"a": {"succeeded": 2}, "b": {"succeeded": 1, "running": 2, "failedAttempts": 1}}}}),
        expect![[r#"["x","Running","1/2","3/5","","5m",2,"1"]"#]],
    );
    check(
        "BatchQuota",
        json!({"metadata": {}, "spec": {"parent": "all", "weight": 3, "min": {"cpu": "2"}}, "status": {"used": {"cpu": "2500m"}, "conditions": [{"type": "InForce", "status": "True"}]}}),
        expect![[r#"["x","all",3,"cpu: 2","<none>","cpu: 2500m","True","5m"]"#]],
    );
    check(
        "ElasticQuota",
        json!({"metadata": {}, "spec": {"namespaces": ["a"], "min": {"cpu": "2", "memory": "1Gi"}}, "status": {"used": {"cpu": "2500m"}, "borrowed": {"cpu": "500m"}}}),
        expect![[r#"["x","cpu: 2, memory: 1Gi","<none>","cpu: 2500m","cpu: 500m","5m"]"#]],
    );
    check(
        "ColocationPolicy",
        json!({"metadata": {}, "spec": {"nodeSelector": {"matchLabels": {"pool": "web"}}, "cpu": {"marginPercent": 20}, "squeeze": {"waitPercent": 10}}}),
        expect![[r#"["x","pool=web","20%","<none>","10%","5m"]"#]],
    );
    check(
        "ColocationProfile",
        json!({"metadata": {}, "spec": {"class": "batch", "namespaceSelector": {"matchLabels": {"team": "data"}}, "quota": "reports"}}),
        expect![[r#"["x","batch","team=data","<none>","reports","5m"]"#]],
    );
    check(
        "InterferenceRule",
        json!({"metadata": {}, "spec": {"atMost": 2, "pods": {"selector": {"matchLabels": {"app": "b"}}}, "beside": {"selector": {}}, "topologyKey": "host"}}),
        expect![[r#"["x",2,"app=b","<none>","host","5m"]"#]],
    );
    check(
        "RebalancePolicy",
        json!({"metadata": {}, "spec": {"goal": "FreeMachines"}, "status": {"phase": "Moving", "round": [{}, {}], "moved": 3, "failed": 1}}),
        expect![[r#"["x","FreeMachines","Moving",2,3,1,"5m"]"#]],
    );
    check(
        "Reservation",
        json!({"metadata": {}, "spec": {"resources": {"cpu": "2", "memory": "1Gi"}, "owners": {"matchLabels": {"app": "db"}}}, "status": {"phase": "Held", "nodeName": "n"}}),
        expect![[r#"["x","Held","n","cpu: 2, memory: 1Gi","app=db","5m"]"#]],
    );
    check(
        "SchedulingPolicy",
        json!({"metadata": {}, "spec": {"schedulerName": "packer", "placement": "Pack", "priorities": {"min": -5}}}),
        expect![[r#"["x","packer","Pack","-5","<none>","5m"]"#]],
    );
    check(
        "PodGroup",
        json!({"metadata": {}, "spec": {"minMember": 3}, "status": {"phase": "Waiting", "members": 4, "scheduled": 1}}),
        expect![[r#"["x","Waiting",3,4,1,"5m"]"#]],
    );
    check(
        "Service",
        json!({"metadata": {}, "spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "selector": {"b": "2", "a": "1"}, "ports": [{"port": 80, "nodePort": 30001, "protocol": "TCP"}]}}),
        expect![[r#"["x","NodePort","10.96.0.9","<none>","80:30001/TCP","5m","a=1,b=2"]"#]],
    );
    check(
        "Node",
        json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}, "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}], "nodeInfo": {"kubeletVersion": "v1"}}}),
        expect![[
            r#"["x","Ready,SchedulingDisabled","control-plane","5m","v1","10.0.0.1","<none>","<unknown>","<unknown>","<unknown>"]"#
        ]],
    );
    check(
        "Event",
        json!({"metadata": {}, "involvedObject": {"kind": "Pod", "name": "p"}, "reason": "Pulled", "type": "Normal", "message": " done\n", "source": {"component": "crest", "host": "n1"}, "lastTimestamp": "2024-05-01T11:59:50Z", "count": 3}),
        expect![[r#"["10s","Normal","Pulled","pod/p","","crest, n1","done","<unknown>",3,"x"]"#]],
    );
    check(
        "Secret",
        json!({"metadata": {}, "data": {"a": "", "b": ""}, "type": "Opaque"}),
        expect![[r#"["x","Opaque",2,"5m"]"#]],
    );
}

#[test]
fn ages() {
    let seconds = [
        -5,
        -1,
        0,
        119,
        120,
        125,
        600,
        10_799,
        10_800,
        11_000,
        100_000,
        200_000,
        172_800,
        864_000,
        70_000_000,
        300_000_000,
    ];
    let printed: Vec<String> = seconds
        .iter()
        .map(|seconds| age::between(Timestamp::UNIX_EPOCH, Timestamp::new(*seconds, 0).unwrap()))
        .collect();
    expect!["<invalid> 0s 0s 119s 2m 2m5s 10m 179m 3h 3h3m 27h 2d7h 2d 10d 2y80d 9y"]
        .assert_eq(&printed.join(" "));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn rendering_never_panics(index in 0..all().len(), text in ".{0,8}", count in proptest::num::i64::ANY) {
        let values = [json!(text), json!(count), json!([text]), json!({"a": count}), Value::Null];
        for value in values {
            let object = json!({"metadata": {"creationTimestamp": value}, "spec": value, "status": {"conditions": [value], "containerStatuses": value, "startTime": value}, "data": value});
            let table = render(&all()[index], &[object], now(), IncludeObject::Metadata);
            assert!(table["rows"][0]["cells"].is_array());
        }
    }
}
