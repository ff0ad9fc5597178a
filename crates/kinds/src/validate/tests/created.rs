//! What is refused of new objects: each row a faulty object, with the reasons and places that are told of it.

use serde_json::{Value, json};

use super::{complete, kind, told};
use crate::validate::create;

fn check(rows: &[(&str, Value, &[&str])]) {
    for (name, body, expected) in rows {
        let object = complete(name, body);
        assert_eq!(told(&create(kind(name), &object)), *expected, "{name} {body}");
    }
}

/// A Pod of one container, with `container` and `spec` over it.
fn pod(container: &Value, spec: &Value) -> Value {
    let mut whole = json!({"name": "c", "image": "i"});
    json_patch::merge(&mut whole, container);
    let mut pod = json!({"spec": {"containers": [whole]}});
    json_patch::merge(&mut pod["spec"], spec);
    pod
}

#[test]
fn containers() {
    let c = |container: Value| pod(&container, &json!({}));
    let probe = |probe: Value| c(json!({"livenessProbe": probe}));
    check(&[
        (
            "Pod",
            c(
                json!({"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
            ),
            &["Invalid spec.containers[0].env[0].valueFrom"],
        ),
        (
            "Pod",
            c(json!({"env": [{"name": "A", "valueFrom": {}}]})),
            &["Invalid spec.containers[0].env[0].valueFrom"],
        ),
        (
            "Pod",
            c(json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nothing"}}}]})),
            &["Invalid spec.containers[0].env[0].valueFrom.fieldRef.fieldPath"],
        ),
        (
            "Pod",
            c(json!({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": ""}}}]})),
            &["Required spec.containers[0].env[0].valueFrom.configMapKeyRef.key"],
        ),
        ("Pod", c(json!({"envFrom": [{}]})), &["Invalid spec.containers[0].envFrom"]),
        ("Pod", probe(json!({})), &["Required spec.containers[0].livenessProbe"]),
        (
            "Pod",
            probe(json!({"exec": {"command": []}})),
            &["Required spec.containers[0].livenessProbe.exec.command"],
        ),
        (
            "Pod",
            probe(json!({"tcpSocket": {"port": 0}})),
            &["Invalid spec.containers[0].livenessProbe.tcpSocket.port"],
        ),
        (
            "Pod",
            probe(json!({"exec": {"command": ["x"]}, "periodSeconds": -1})),
            &["Invalid spec.containers[0].livenessProbe.periodSeconds"],
        ),
    ]);
}

#[test]
fn what_containers_are_given() {
    let c = |container: Value| pod(&container, &json!({}));
    check(&[
        ("Pod", c(json!({"imagePullPolicy": "Maybe"})), &["NotSupported spec.containers[0].imagePullPolicy"]),
        (
            "Pod",
            c(json!({"terminationMessagePolicy": "X"})),
            &["NotSupported spec.containers[0].terminationMessagePolicy"],
        ),
        (
            "Pod",
            c(json!({"ports": [{"containerPort": 80, "protocol": "X"}]})),
            &["NotSupported spec.containers[0].ports[0].protocol"],
        ),
        (
            "Pod",
            c(json!({"ports": [{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}]})),
            &["Duplicate spec.containers[0].ports[1].name"],
        ),
        (
            "Pod",
            c(
                json!({"ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 80}]}),
            ),
            &["Duplicate spec.containers[0].ports[1].hostPort"],
        ),
        (
            "Pod",
            c(json!({"volumeMounts": [{"name": "v", "mountPath": ""}]})),
            &[
                "NotFound spec.containers[0].volumeMounts[0].name",
                "Required spec.containers[0].volumeMounts[0].mountPath",
            ],
        ),
        (
            "Pod",
            c(json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": false}})),
            &["Invalid spec.containers[0].securityContext"],
        ),
        (
            "Pod",
            c(json!({"securityContext": {"runAsUser": -1}})),
            &["Invalid spec.containers[0].securityContext.runAsUser"],
        ),
        ("Pod", c(json!({"lifecycle": {"preStop": {}}})), &["Required spec.containers[0].lifecycle.preStop"]),
        (
            "Pod",
            c(json!({"resizePolicy": [{"resourceName": "gpu", "restartPolicy": "NotRequired"}]})),
            &["NotSupported spec.containers[0].resizePolicy"],
        ),
        (
            "Pod",
            pod(&json!({}), &json!({"initContainers": [{"name": "c", "image": "i"}]})),
            &["Duplicate spec.initContainers[0].name"],
        ),
        (
            "Pod",
            pod(&json!({}), &json!({"ephemeralContainers": [{"name": "e", "image": "i"}]})),
            &["Forbidden spec.ephemeralContainers"],
        ),
    ]);
}

#[test]
fn pods() {
    let p = |spec: Value| pod(&json!({}), &spec);
    check(&[
        ("Pod", json!({"spec": {"containers": []}}), &["Required spec.containers"]),
        ("Pod", p(json!({"restartPolicy": "Sometimes"})), &["NotSupported spec.restartPolicy"]),
        ("Pod", p(json!({"dnsPolicy": "Mine"})), &["NotSupported spec.dnsPolicy"]),
        ("Pod", p(json!({"activeDeadlineSeconds": 0})), &["Invalid spec.activeDeadlineSeconds"]),
        ("Pod", p(json!({"hostname": "A_B"})), &["Invalid spec.hostname"]),
        ("Pod", p(json!({"serviceAccountName": "A_B"})), &["Invalid spec.serviceAccountName"]),
        ("Pod", p(json!({"nodeName": "A_B"})), &["Invalid spec.nodeName"]),
        ("Pod", p(json!({"nodeSelector": {"a": "b c"}})), &["Invalid spec.nodeSelector"]),
        (
            "Pod",
            p(json!({"hostAliases": [{"ip": "1.2.3", "hostnames": ["A_"]}]})),
            &["Invalid spec.hostAliases[0].ip", "Invalid spec.hostAliases[0].hostnames[0]"],
        ),
        (
            "Pod",
            p(json!({"schedulingGates": [{"name": "a"}, {"name": "a"}]})),
            &["Duplicate spec.schedulingGates[1]"],
        ),
        (
            "Pod",
            p(json!({"readinessGates": [{"conditionType": "a b"}]})),
            &["Invalid spec.readinessGates[0].conditionType"],
        ),
        (
            "Pod",
            p(json!({"tolerations": [{"operator": "Exists", "value": "v", "key": "k"}]})),
            &["Invalid spec.tolerations[0].operator"],
        ),
        (
            "Pod",
            p(json!({"tolerations": [{"key": "k", "effect": "NoSchedule", "tolerationSeconds": 1}]})),
            &["Invalid spec.tolerations[0].effect"],
        ),
        ("Pod", p(json!({"os": {"name": "plan9"}})), &["NotSupported spec.os"]),
        ("Pod", p(json!({"preemptionPolicy": "X"})), &["NotSupported spec.preemptionPolicy"]),
        ("Pod", p(json!({"runtimeClassName": "A_"})), &["Invalid spec.runtimeClassName"]),
        ("Pod", p(json!({"priorityClassName": "A_"})), &["Invalid spec.priorityClassName"]),
        (
            "Pod",
            p(json!({"securityContext": {"sysctls": [{"name": "a b", "value": "1"}]}})),
            &["Invalid spec.securityContext.sysctls[0].name"],
        ),
        ("Pod", p(json!({"securityContext": {"fsGroup": -1}})), &["Invalid spec.securityContext.fsGroup"]),
        (
            "Pod",
            p(
                json!({"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "X"}]}),
            ),
            &[
                "Invalid spec.topologySpreadConstraints[0].maxSkew",
                "Required spec.topologySpreadConstraints[0].topologyKey",
                "NotSupported spec.topologySpreadConstraints[0].whenUnsatisfiable",
            ],
        ),
    ]);
}

#[test]
fn volumes() {
    let p = |spec: Value| pod(&json!({}), &spec);
    check(&[
        (
            "Pod",
            p(json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]})),
            &["Duplicate spec.volumes[1].name"],
        ),
        (
            "Pod",
            p(json!({"volumes": [{"name": "v", "hostPath": {"path": ""}}]})),
            &["Required spec.volumes[0].hostPath.path"],
        ),
        (
            "Pod",
            p(json!({"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]})),
            &["Forbidden spec.volumes[0].hostPath"],
        ),
        (
            "Pod",
            p(json!({"volumes": [{"name": "v", "secret": {"secretName": ""}}]})),
            &["Required spec.volumes[0].secret.secretName"],
        ),
        (
            "Pod",
            p(json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": ""}}]})),
            &["Required spec.volumes[0].persistentVolumeClaim.claimName"],
        ),
        (
            "Pod",
            p(
                json!({"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "", "expirationSeconds": 1}}]}}]}),
            ),
            &[
                "Invalid spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds",
                "Required spec.volumes[0].projected.path",
            ],
        ),
    ]);
}

#[test]
fn services() {
    let s = |spec: Value| json!({"spec": spec});
    let port = json!([{"port": 80}]);
    check(&[
        ("Service", s(json!({"ports": []})), &["Required spec.ports"]),
        (
            "Service",
            s(json!({"ports": [{"port": 0}]})),
            &["Invalid spec.ports[0].port", "Invalid spec.ports[0].targetPort"],
        ),
        (
            "Service",
            s(json!({"ports": [{"port": 80}, {"port": 81}]})),
            &["Required spec.ports[0].name", "Required spec.ports[1].name"],
        ),
        ("Service", s(json!({"ports": port, "type": "Other"})), &["NotSupported spec.type"]),
        (
            "Service",
            s(json!({"ports": port, "sessionAffinity": "X"})),
            &["NotSupported spec.sessionAffinity"],
        ),
        ("Service", s(json!({"type": "ExternalName"})), &["Required spec.externalName"]),
        (
            "Service",
            s(json!({"ports": port, "externalIPs": ["127.0.0.1"]})),
            &["Invalid spec.externalIPs[0]"],
        ),
        ("Service", s(json!({"ports": port, "selector": {"a": "b c"}})), &["Invalid spec.selector"]),
        (
            "Service",
            s(json!({"ports": [{"port": 80, "nodePort": 30000}]})),
            &["Forbidden spec.ports[0].nodePort"],
        ),
        (
            "Service",
            s(json!({"ports": port, "loadBalancerClass": "a/b"})),
            &["Forbidden spec.loadBalancerClass"],
        ),
    ]);
}

#[test]
fn workloads() {
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let with = |spec: Value| {
        let mut whole = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
        json_patch::merge(&mut whole["spec"], &spec);
        whole
    };
    let job = |spec: Value| {
        let mut whole = json!({"spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}]}}}});
        json_patch::merge(&mut whole["spec"], &spec);
        whole
    };
    let cron = |spec: Value| {
        let mut whole = json!({"spec": {"schedule": "* * * * *", "jobTemplate": job(json!({}))}});
        json_patch::merge(&mut whole["spec"], &spec);
        whole
    };
    check(&[
        ("Deployment", with(json!({"replicas": -1})), &["Invalid spec.replicas"]),
        (
            "Deployment",
            with(json!({"selector": {"matchLabels": {"a": "c"}}})),
            &["Invalid spec.template.metadata.labels"],
        ),
        (
            "Deployment",
            with(json!({"template": {"spec": {"restartPolicy": "Never"}}})),
            &["NotSupported spec.template.spec.restartPolicy"],
        ),
        ("Deployment", with(json!({"strategy": {"type": "X"}})), &["NotSupported spec.strategy"]),
        (
            "Deployment",
            with(json!({"template": {"spec": {"activeDeadlineSeconds": 5}}})),
            &["Forbidden spec.template.spec.activeDeadlineSeconds"],
        ),
        ("StatefulSet", with(json!({"podManagementPolicy": "X"})), &["Invalid spec.podManagementPolicy"]),
        ("StatefulSet", with(json!({"updateStrategy": {"type": "X"}})), &["Invalid spec.updateStrategy"]),
        ("DaemonSet", with(json!({"updateStrategy": {"type": "X"}})), &["NotSupported spec.updateStrategy"]),
        ("Job", job(json!({"parallelism": -1})), &["Invalid spec.parallelism"]),
        ("Job", job(json!({"completionMode": "X"})), &["NotSupported spec.completionMode"]),
        ("Job", job(json!({"completionMode": "Indexed", "parallelism": 2})), &["Required spec.completions"]),
        (
            "Job",
            job(json!({"template": {"spec": {"restartPolicy": "Always"}}})),
            &["Required spec.template.spec.restartPolicy"],
        ),
        ("CronJob", cron(json!({"schedule": "x"})), &["Invalid spec.schedule"]),
        ("CronJob", cron(json!({"concurrencyPolicy": "X"})), &["NotSupported spec.concurrencyPolicy"]),
        ("CronJob", cron(json!({"timeZone": "Mars/Base"})), &["Invalid spec.timeZone"]),
        (
            "CronJob",
            cron(json!({"successfulJobsHistoryLimit": -1})),
            &["Invalid spec.successfulJobsHistoryLimit"],
        ),
    ]);
}
