//! What is refused of changes: each row an object, what is merged into it, and what is told of that.

use serde_json::{Value, json};

use super::{complete, kind, told};
use crate::Kind;
use crate::status::FieldError;
use crate::validate::{update, update_status};

fn check(rules: fn(&Kind, &Value, &Value) -> Vec<FieldError>, rows: &[(&str, Value, Value, &[&str])]) {
    for (name, body, change, expected) in rows {
        let old = complete(name, body);
        let mut new = old.clone();
        json_patch::merge(&mut new, change);
        assert_eq!(told(&rules(kind(name), &new, &old)), *expected, "{name} {change}");
    }
}

#[test]
fn pods() {
    let pod = json!({"spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}],
        "tolerations": [{"key": "a", "operator": "Exists"}]}});
    let gated = json!({"spec": {"containers": [{"name": "c", "image": "i"}], "schedulingGates": [{"name": "a.b/c"}]}});
    check(
        update,
        &[
            ("Pod", pod.clone(), json!({"spec": {"hostNetwork": true}}), &["Forbidden spec"]),
            ("Pod", pod.clone(), json!({"spec": {"activeDeadlineSeconds": 5}}), &[]),
            ("Pod", pod.clone(), json!({"spec": {"tolerations": []}}), &["Forbidden spec.tolerations"]),
            (
                "Pod",
                pod.clone(),
                json!({"spec": {"schedulingGates": [{"name": "a"}]}}),
                &["Forbidden spec.schedulingGates[0].name"],
            ),
            ("Pod", pod.clone(), json!({"metadata": {"labels": {"a": "b"}}}), &[]),
            ("Pod", gated.clone(), json!({"spec": {"schedulingGates": null}}), &[]),
            ("Pod", gated, json!({"spec": {"nodeSelector": {"a": "b"}}}), &[]),
            (
                "ConfigMap",
                json!({}),
                json!({"metadata": {"uid": "u"}}),
                &["Invalid metadata.uid", "Invalid metadata.uid"],
            ),
        ],
    );
    check(
        update_status,
        &[
            ("Pod", pod.clone(), json!({"status": {"podIPs": [{"ip": "x"}]}}), &["Invalid status.podIPs[0]"]),
            (
                "Pod",
                pod,
                json!({"status": {"nominatedNodeName": "n"}}),
                &["Forbidden status.nominatedNodeName"],
            ),
        ],
    );
}

#[test]
fn what_is_fixed() {
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let set =
        json!({"spec": {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let secret = json!({"type": "a/b", "immutable": true, "data": {"a": "Yg=="}});
    let binding = json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}});
    check(
        update,
        &[
            ("Secret", secret.clone(), json!({"type": "c/d"}), &["Invalid type"]),
            ("Secret", secret.clone(), json!({"immutable": null}), &["Forbidden immutable"]),
            ("Secret", secret, json!({"data": {"a": "Yw=="}}), &["Forbidden data"]),
            ("StatefulSet", set.clone(), json!({"spec": {"serviceName": "t"}}), &["Forbidden spec"]),
            ("StatefulSet", set.clone(), json!({"spec": {"replicas": 3, "minReadySeconds": 5}}), &[]),
            ("StatefulSet", set, json!({"spec": {"podManagementPolicy": "Parallel"}}), &["Forbidden spec"]),
            ("PriorityClass", json!({"value": 1}), json!({"value": 2}), &["Forbidden value"]),
            (
                "PriorityClass",
                json!({"value": 1}),
                json!({"preemptionPolicy": "Never"}),
                &["Invalid preemptionPolicy"],
            ),
            ("RoleBinding", binding, json!({"roleRef": {"name": "other"}}), &["Invalid roleRef"]),
            (
                "StorageClass",
                json!({"provisioner": "p"}),
                json!({"provisioner": "q"}),
                &["Forbidden provisioner"],
            ),
            (
                "StorageClass",
                json!({"provisioner": "p"}),
                json!({"parameters": {"a": "b"}}),
                &["Forbidden parameters"],
            ),
            ("RuntimeClass", json!({"handler": "h"}), json!({"handler": "g"}), &["Invalid handler"]),
            (
                "IngressClass",
                json!({"spec": {"controller": "a.b/c"}}),
                json!({"spec": {"controller": "a.b/d"}}),
                &["Invalid spec.controller"],
            ),
            (
                "CSIDriver",
                json!({"spec": {}}),
                json!({"spec": {"attachRequired": false}}),
                &["Invalid spec.attachedRequired"],
            ),
            (
                "Node",
                json!({"spec": {"providerID": "a"}}),
                json!({"spec": {"providerID": "b"}}),
                &["Forbidden spec.providerID"],
            ),
        ],
    );
}

#[test]
fn statuses() {
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let owner = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}, "status": {"collisionCount": 2}});
    check(
        update_status,
        &[
            (
                "Deployment",
                owner.clone(),
                json!({"status": {"replicas": 1, "readyReplicas": 2}}),
                &["Invalid status.readyReplicas"],
            ),
            (
                "Deployment",
                owner.clone(),
                json!({"status": {"collisionCount": 1}}),
                &["Invalid status.collisionCount"],
            ),
            (
                "ReplicaSet",
                owner.clone(),
                json!({"status": {"replicas": 1, "terminatingReplicas": -1}}),
                &["Invalid status.terminatingReplicas"],
            ),
            ("DaemonSet", owner, json!({"status": {"numberReady": -1}}), &["Invalid status.numberReady"]),
            ("Namespace", json!({}), json!({"status": {"phase": "Terminating"}}), &["Invalid status.Phase"]),
        ],
    );
}
