//! Which volume a claim gets; and what volumes ask of the node that a pod goes to, see `needs`.

mod needs;

use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use super::decide::{self, Step, Verdict, View};

fn claim(extra: Value) -> PersistentVolumeClaim {
    let mut claim = json!({
        "metadata": { "name": "c", "namespace": "n", "uid": "u" },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
            "resources": { "requests": { "storage": "2Gi" } },
        },
    });
    json_patch(&mut claim, &extra);
    serde_json::from_value(claim).unwrap()
}

fn json_patch(target: &mut Value, patch: &Value) {
    for (key, value) in patch.as_object().unwrap() {
        match (target.get_mut(key), value.is_object()) {
            (Some(known), true) => json_patch(known, value),
            _ => target[key] = value.clone(),
        }
    }
}

fn volume(name: &str, size: &str, claim: Value) -> Arc<PersistentVolume> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": {
                "accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "storageClassName": "fast",
                "capacity": { "storage": size }, "claimRef": claim,
            },
        }))
        .unwrap(),
    )
}

fn class(mode: &str) -> StorageClass {
    serde_json::from_value(json!({
        "metadata": { "name": "fast" }, "provisioner": "crest.dev/local", "reclaimPolicy": "Delete",
        "volumeBindingMode": mode, "parameters": { "path": "/disk/" },
    }))
    .unwrap()
}

fn user(node: &str) -> Arc<Pod> {
    let volume = json!({ "name": "v", "persistentVolumeClaim": { "claimName": "c" } });
    let spec = json!({ "containers": [], "nodeName": node, "volumes": [volume] });
    Arc::new(serde_json::from_value(json!({ "metadata": { "name": "p" }, "spec": spec })).unwrap())
}

fn node(name: &str) -> Node {
    let labels = json!({ "kubernetes.io/hostname": name });
    serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } })).unwrap()
}

/// A volume that only one node reaches.
fn on_node(name: &str, size: &str, node: &str) -> Arc<PersistentVolume> {
    let mut volume = (*volume(name, size, json!(null))).clone();
    let here = json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": [node] });
    let affinity = json!({ "required": { "nodeSelectorTerms": [{ "matchExpressions": [here] }] } });
    volume.spec.as_mut().unwrap().node_affinity = serde_json::from_value(affinity).unwrap();
    Arc::new(volume)
}

fn told(step: &Step) -> String {
    match step {
        Step::Release => "release".to_owned(),
        Step::Provision(volume) => {
            let spec = volume.spec.as_ref().unwrap();
            let path = &spec.host_path.as_ref().unwrap().path;
            format!("provision {} at {path}", volume.metadata.name.as_deref().unwrap())
        }
        Step::TakeVolume { name, .. } => format!("take {name}"),
        Step::TakeClaim(patch) => format!("claim has {}", patch["spec"]["volumeName"]),
        Step::Status(patch) => format!("claim is {}", patch["status"]["phase"]),
    }
}

fn check(extra: Value, volumes: &[Arc<PersistentVolume>], users: &[Arc<Pod>], expect: Expect) {
    check_class(&class("WaitForFirstConsumer"), extra, volumes, users, expect);
}

fn check_class(
    class: &StorageClass,
    extra: Value,
    volumes: &[Arc<PersistentVolume>],
    users: &[Arc<Pod>],
    expect: Expect,
) {
    let claim = claim(extra);
    let place: Option<Node> = users.iter().find_map(|pod| crate::pods::node_name(pod)).map(node);
    let view = View { claim: &claim, users, class: Some(class), volumes, place: place.as_ref() };
    let said = match decide::claim(&view) {
        Verdict::Rest => "rest".to_owned(),
        Verdict::Tell { reason, .. } => reason.to_owned(),
        Verdict::Do(steps) => steps.iter().map(told).collect::<Vec<_>>().join(", "),
    };
    expect.assert_eq(&said);
}

#[test]
fn a_claim_gets_the_smallest_volume_that_fits_or_a_new_one_where_its_pod_is() {
    let volumes = [
        volume("big", "9Gi", json!(null)),
        volume("right", "2Gi", json!(null)),
        volume("small", "1Gi", json!(null)),
    ];
    check(json!({}), &volumes, &[], expect!["WaitForFirstConsumer"]);
    check(json!({}), &volumes, &[user("m")], expect![[r#"take right, claim has "right", claim is "Bound""#]]);
    check(
        json!({}),
        &volumes[2..],
        &[user("m")],
        expect![[r#"provision pvc-u at /disk/pvc-u, claim is "Pending""#]],
    );
    let own = volume("own", "2Gi", json!({ "namespace": "n", "name": "c", "uid": "u" }));
    check(json!({}), &[own], &[], expect![[r#"claim has "own", claim is "Bound""#]]);
    let other = volume("right", "2Gi", json!({ "namespace": "n", "name": "c", "uid": "another" }));
    check(json!({ "spec": { "volumeName": "right" } }), &[other], &[], expect!["rest"]);
}

#[test]
fn a_volume_is_bound_only_where_the_pod_reaches_it() {
    let volumes = [on_node("there", "2Gi", "other"), on_node("here", "9Gi", "m")];
    check(json!({}), &volumes, &[user("m")], expect![[r#"take here, claim has "here", claim is "Bound""#]]);
    let taken = expect![[r#"provision pvc-u at /disk/pvc-u, claim is "Pending""#]];
    check(json!({}), &volumes[..1], &[user("m")], taken);
}

#[test]
fn others_are_asked_for_a_volume_at_once_or_when_the_pod_has_its_node() {
    let class = |mode: &str| StorageClass { provisioner: "example.com/disks".to_owned(), ..class(mode) };
    check_class(&class("Immediate"), json!({}), &[], &[], expect!["ExternalProvisioning"]);
    check_class(&class("WaitForFirstConsumer"), json!({}), &[], &[], expect!["WaitForFirstConsumer"]);
    check_class(
        &class("WaitForFirstConsumer"),
        json!({}),
        &[],
        &[user("m")],
        expect!["ExternalProvisioning"],
    );
}

#[test]
fn a_bound_claim_rests_and_a_deleted_one_is_let_go_once_unused() {
    let own = volume("own", "2Gi", json!({ "namespace": "n", "name": "c", "uid": "u" }));
    let bound = json!({ "spec": { "volumeName": "own" }, "status": { "phase": "Bound", "capacity": { "storage": "2Gi" } } });
    check(bound.clone(), &[own], &[], expect!["rest"]);
    check(bound, &[], &[], expect![[r#"claim is "Lost""#]]);
    let going = json!({ "metadata": {
        "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["kubernetes.io/pvc-protection"],
    }});
    check(going.clone(), &[], &[user("m")], expect!["rest"]);
    check(going, &[], &[], expect!["release"]);
}

#[test]
fn a_local_volume_goes_when_its_claim_is_gone() {
    let mut local = (*volume("v", "2Gi", json!({ "namespace": "n", "name": "c", "uid": "u" }))).clone();
    local.metadata.annotations =
        Some([("pv.kubernetes.io/provisioned-by".to_owned(), "crest.dev/local".to_owned())].into());
    local.spec.as_mut().unwrap().persistent_volume_reclaim_policy = Some("Delete".to_owned());
    assert_eq!(decide::volume(&local, None).phase, Some("Available"), "its claim was not seen yet");
    let bound = claim(json!({ "spec": { "volumeName": "v" } }));
    assert_eq!(decide::volume(&local, Some(&bound)).phase, Some("Bound"));
    local.status = Some(serde_json::from_value(json!({ "phase": "Bound" })).unwrap());
    assert_eq!(decide::volume(&local, Some(&bound)).phase, None);
    let fate = decide::volume(&local, None);
    assert_eq!((fate.phase, fate.is_deleted), (Some("Released"), true));
}
