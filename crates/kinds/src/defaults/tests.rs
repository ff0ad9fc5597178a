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
            r#"{"spec":{"containers":[{"image":"nginx:1.25","imagePullPolicy":"IfNotPresent","name":"c","resources":{"limits":{"cpu":"1"},"requests":{"cpu":"1"}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","enableServiceLinks":true,"restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30},"status":{"phase":"Pending","qosClass":"Burstable"}}"#
        ]],
    );
}

fn check_whole(resources: Value, of_container: Value, expected: &str) {
    let kind = all().iter().find(|kind| kind.kind == "Pod").unwrap();
    let container = json!({"name": "c", "image": "nginx:1.25", "resources": of_container});
    let mut pod = json!({"spec": {"resources": resources, "containers": [container.clone(), container]}});
    apply(kind, &mut pod);
    let told = format!("{} {}", pod["spec"]["resources"], pod["status"]["qosClass"]);
    assert_eq!(told, expected);
}

#[test]
fn whole_pods_need_what_their_containers_need_or_what_they_may_use() {
    let half = json!({"requests": {"cpu": "250m", "memory": "64Mi"}});
    check_whole(
        json!({"limits": {"cpu": "2"}}),
        json!({}),
        r#"{"limits":{"cpu":"2"},"requests":{"cpu":"2"}} "Burstable""#,
    );
    check_whole(
        json!({"limits": {"cpu": "2", "memory": "1Gi"}}),
        json!({}),
        r#"{"limits":{"cpu":"2","memory":"1Gi"},"requests":{"cpu":"2","memory":"1Gi"}} "Guaranteed""#,
    );
    check_whole(
        json!({"limits": {"cpu": "2"}}),
        half.clone(),
        r#"{"limits":{"cpu":"2"},"requests":{"cpu":"500m","memory":"128Mi"}} "Burstable""#,
    );
    check_whole(
        json!({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}),
        half.clone(),
        r#"{"limits":{"cpu":"2"},"requests":{"cpu":"1","memory":"128Mi"}} "Burstable""#,
    );
    check_whole(json!({"requests": {"cpu": "1"}}), half, r#"{"requests":{"cpu":"1"}} "Burstable""#);
    check_whole(json!({}), json!({}), r#"{} "BestEffort""#);
}

#[test]
fn workloads() {
    check(
        "Deployment",
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx"}]}}}}),
        expect![[
            r#"{"spec":{"progressDeadlineSeconds":600,"replicas":1,"revisionHistoryLimit":10,"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"},"template":{"spec":{"containers":[{"image":"nginx","imagePullPolicy":"Always","name":"c","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}},"status":{}}"#
        ]],
    );
    check(
        "Job",
        json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"spec": {"containers": []}}}}),
        expect![[
            r#"{"metadata":{"labels":{"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"j","controller-uid":"u","job-name":"j"},"name":"j","uid":"u"},"spec":{"backoffLimit":6,"completionMode":"NonIndexed","completions":1,"manualSelector":false,"parallelism":1,"podReplacementPolicy":"TerminatingOrFailed","selector":{"matchLabels":{"batch.kubernetes.io/controller-uid":"u"}},"suspend":false,"template":{"metadata":{"labels":{"batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"j","controller-uid":"u","job-name":"j"}},"spec":{"containers":[],"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}},"status":{}}"#
        ]],
    );
}

#[test]
fn secrets_services_and_dagjobs() {
    check(
        "Secret",
        json!({"stringData": {"pw": "hello"}, "data": {"x": "eA=="}}),
        expect![[r#"{"data":{"pw":"aGVsbG8=","x":"eA=="},"type":"Opaque"}"#]],
    );
    check(
        "Service",
        json!({"spec": {"ports": [{"port": 80}]}}),
        expect![[
            r#"{"spec":{"internalTrafficPolicy":"Cluster","ports":[{"port":80,"protocol":"TCP","targetPort":80}],"sessionAffinity":"None","type":"ClusterIP"},"status":{"loadBalancer":{}}}"#
        ]],
    );
    check(
        "DagJob",
        json!({"spec": {"tasks": [{"name": "a"}]}}),
        expect![[
            r#"{"spec":{"priority":0,"tasks":[{"maxAttempts":3,"name":"a","resources":{"cpu":"1","memory":"256Mi"}}]}}"#
        ]],
    );
}
