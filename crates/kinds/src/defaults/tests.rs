//! Minimal objects, and what the server makes of them.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::apply;
use crate::all;

fn check(kind_name: &str, mut object: Value, expected: Expect) {
    let kind = all().iter().find(|kind| kind.kind == kind_name).unwrap();
    apply(kind, &mut object);
    let once = object.clone();
    apply(kind, &mut object);
    assert_eq!(object, once, "filling in twice changes nothing");
    expected.assert_eq(&object.to_string());
}

#[test]
fn pods() {
    check(
        "Pod",
        json!({"spec": {"containers": [{"name": "c", "image": "nginx:1.25", "resources": {"limits": {"cpu": "1"}}}]}}),
        expect![[
            r#"{"spec":{"containers":[{"name":"c","image":"nginx:1.25","resources":{"limits":{"cpu":"1"},"requests":{"cpu":"1"}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","securityContext":{},"schedulerName":"default-scheduler","enableServiceLinks":true},"status":{"phase":"Pending","qosClass":"Burstable"}}"#
        ]],
    );
}

#[test]
fn workloads() {
    check(
        "Deployment",
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx"}]}}}}),
        expect![[
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"nginx","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"Always"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","securityContext":{},"schedulerName":"default-scheduler"}},"replicas":1,"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":"25%","maxSurge":"25%"}},"revisionHistoryLimit":10,"progressDeadlineSeconds":600},"status":{}}"#
        ]],
    );
    check(
        "Job",
        json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"spec": {"containers": []}}}}),
        expect![[
            r#"{"metadata":{"name":"j","uid":"u","labels":{"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"j","controller-uid":"u","job-name":"j"}},"spec":{"template":{"spec":{"containers":[],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","securityContext":{},"schedulerName":"default-scheduler"},"metadata":{"labels":{"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"j","controller-uid":"u","job-name":"j"}}},"completions":1,"parallelism":1,"backoffLimit":6,"completionMode":"NonIndexed","suspend":false,"manualSelector":false,"podReplacementPolicy":"TerminatingOrFailed","selector":{"matchLabels":{"batch.kubernetes.io/controller-uid":"u"}}},"status":{}}"#
        ]],
    );
}

#[test]
fn secrets_services_and_dagjobs() {
    check(
        "Secret",
        json!({"stringData": {"pw": "hello"}, "data": {"x": "eA=="}}),
        expect![[r#"{"data":{"x":"eA==","pw":"aGVsbG8="},"type":"Opaque"}"#]],
    );
    check(
        "Service",
        json!({"spec": {"ports": [{"port": 80}]}}),
        expect![[
            r#"{"spec":{"ports":[{"port":80,"protocol":"TCP","targetPort":80}],"type":"ClusterIP","sessionAffinity":"None","internalTrafficPolicy":"Cluster"},"status":{"loadBalancer":{}}}"#
        ]],
    );
    check(
        "DagJob",
        json!({"spec": {"tasks": [{"name": "a"}]}}),
        expect![[
            r#"{"spec":{"tasks":[{"name":"a","maxAttempts":3,"resources":{"cpu":"1","memory":"256Mi"}}],"priority":0}}"#
        ]],
    );
}
