//! What a pod's volumes ask of its node, one case per rule of the documentation.

use sigma::label::Operator;
use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::storage::v1::CSINode;
use serde_json::{Value, json};

use super::super::place::{Found, limits, needs};
use super::{claim, class, on_node, volume};

/// A pod that uses the claim `c`, or has the volume `source`.
fn pod(source: &Value) -> Pod {
    let mut volume = json!({ "name": "v" });
    volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    let spec = json!({ "containers": [], "volumes": [volume] });
    serde_json::from_value(json!({ "metadata": { "name": "p", "namespace": "n" }, "spec": spec })).unwrap()
}

fn say(pod: &Pod, found: &[Found]) -> String {
    let needs = needs(pod, found);
    let mut words = Vec::new();
    let free = needs.choices.iter().filter_map(|choice| choice.place(|_| true));
    for place in needs.volumes.places.iter().cloned().chain(free) {
        let terms = place.terms.iter().map(|term| {
            let labels = term.labels.iter().map(|each| match each.operator {
                Operator::DoesNotExist => format!("!{}", each.key),
                _ => format!("{}={}", each.key, each.values.join("|")),
            });
            labels.collect::<Vec<_>>().join("&")
        });
        let verb = if place.is_bound { "is at" } else { "would be at" };
        words.push(format!("{verb} [{}]", terms.collect::<Vec<_>>().join(", ")));
    }
    words.extend(
        needs.volumes.attached.iter().map(|each| format!("attach {} of {}", each.volume, each.driver)),
    );
    words.extend(needs.volumes.exclusive.iter().map(|claim| format!("alone on {claim}")));
    words.extend(
        needs
            .volumes
            .disks
            .iter()
            .map(|disk| format!("{} {}", if disk.is_read_only { "read" } else { "write" }, disk.name)),
    );
    words.extend(needs.obstacle);
    words.join("; ")
}

/// The claim, changed by `extra`, among what is `found` for it.
fn check(extra: Value, found: Found, expect: Expect) {
    let found = Found { name: "c".to_owned(), claim: Some(Arc::new(claim(extra))), ..found };
    let source = json!({ "persistentVolumeClaim": { "claimName": "c" } });
    expect.assert_eq(&say(&pod(&source), &[found]));
}

fn of_class(provisioner: &str, mode: &str, topologies: Value) -> Found {
    let mut class = class(mode);
    class.provisioner = provisioner.to_owned();
    class.allowed_topologies = serde_json::from_value(topologies).unwrap();
    Found { class: Some(Arc::new(class)), ..Found::default() }
}

#[test]
fn without_its_claim_a_pod_waits() {
    let source = json!({ "persistentVolumeClaim": { "claimName": "c" } });
    let missing = Found { name: "c".to_owned(), ..Found::default() };
    expect![[r#"persistentvolumeclaim "c" not found"#]]
        .assert_eq(&say(&pod(&source), std::slice::from_ref(&missing)));
    let ephemeral = Found { is_ephemeral: true, ..missing };
    expect![[r#"waiting for ephemeral volume controller to create the persistentvolumeclaim "c""#]]
        .assert_eq(&say(&pod(&source), &[ephemeral]));
    let going = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
    check(going, Found::default(), expect![[r#"persistentvolumeclaim "c" is being deleted"#]]);
    let lost = json!({ "spec": { "volumeName": "v" } });
    check(
        lost,
        Found::default(),
        expect![[r#"persistentvolumeclaim "c" bound to non-existent persistentvolume "v""#]],
    );
}

#[test]
fn a_claim_that_should_have_its_volume_already_is_waited_for() {
    check(
        json!({}),
        of_class("example.com/disks", "Immediate", json!(null)),
        expect!["pod has unbound immediate PersistentVolumeClaims"],
    );
    check(json!({}), Found::default(), expect!["pod has unbound immediate PersistentVolumeClaims"]);
    // A directory of a node is made once the node is known, whatever the class says.
    check(
        json!({}),
        of_class("crest.dev/local", "Immediate", json!(null)),
        expect!["attach claim/n/c of crest.dev/local"],
    );
}

#[test]
fn a_volume_that_is_there_says_where_and_what_to_attach() {
    let bound = json!({ "spec": { "volumeName": "v", "accessModes": ["ReadWriteOncePod"] } });
    let found = |volume| Found { volume: Some(volume), ..Found::default() };
    check(
        bound.clone(),
        found(on_node("v", "2Gi", "m")),
        expect!["is at [kubernetes.io/hostname=m]; alone on n/c"],
    );
    let with = |field: &str, value: Value| {
        let mut object = serde_json::to_value(&*volume("v", "2Gi", json!(null))).unwrap();
        object["spec"][field] = value;
        object["metadata"]["labels"] = json!({ "topology.kubernetes.io/zone": "a__b", "other": "x" });
        found(Arc::new(serde_json::from_value(object).unwrap()))
    };
    let plain = json!({ "spec": { "volumeName": "v" } });
    check(
        plain.clone(),
        with("csi", json!({ "driver": "d", "volumeHandle": "h" })),
        expect![
            "is at [!topology.kubernetes.io/zone&!topology.kubernetes.io/region&!failure-domain.beta.kubernetes.io/zone&!failure-domain.beta.kubernetes.io/region, topology.kubernetes.io/zone=a|b]; attach h of d"
        ],
    );
    let mut beta = (*volume("v", "2Gi", json!(null))).clone();
    let label = ("failure-domain.beta.kubernetes.io/zone".to_owned(), "a".to_owned());
    beta.metadata.labels = Some([label].into());
    check(
        plain.clone(),
        found(Arc::new(beta)),
        expect![
            "is at [!topology.kubernetes.io/zone&!topology.kubernetes.io/region&!failure-domain.beta.kubernetes.io/zone&!failure-domain.beta.kubernetes.io/region, topology.kubernetes.io/zone=a&!failure-domain.beta.kubernetes.io/zone, failure-domain.beta.kubernetes.io/zone=a]"
        ],
    );
    check(
        plain,
        with("awsElasticBlockStore", json!({ "volumeID": "vol-1" })),
        expect![
            "is at [!topology.kubernetes.io/zone&!topology.kubernetes.io/region&!failure-domain.beta.kubernetes.io/zone&!failure-domain.beta.kubernetes.io/region, topology.kubernetes.io/zone=a|b]; attach vol-1 of ebs.csi.aws.com"
        ],
    );
}

#[test]
fn a_volume_to_come_is_found_or_made_where_it_can_be() {
    let in_zones = json!([{ "matchLabelExpressions": [{ "key": "zone", "values": ["a", "b"] }] }]);
    let late = "WaitForFirstConsumer";
    check(json!({}), of_class("d", late, json!(null)), expect!["attach claim/n/c of d"]);
    check(
        json!({}),
        of_class("d", late, in_zones.clone()),
        expect!["would be at [zone=a|b]; attach claim/n/c of d"],
    );
    let none = "kubernetes.io/no-provisioner";
    check(json!({}), of_class(none, late, json!(null)), expect!["would be at []"]);
    let free = vec![on_node("v", "2Gi", "m"), on_node("w", "2Gi", "o")];
    check(
        json!({}),
        Found { free: free.clone(), ..of_class(none, late, json!(null)) },
        expect!["would be at [kubernetes.io/hostname=m, kubernetes.io/hostname=o]"],
    );
    check(
        json!({}),
        Found { free, ..of_class("d", late, in_zones) },
        expect![
            "would be at [kubernetes.io/hostname=m, kubernetes.io/hostname=o, zone=a|b]; attach claim/n/c of d"
        ],
    );
    // One that every node reaches.
    check(
        json!({}),
        Found { free: vec![volume("v", "2Gi", json!(null))], ..of_class(none, late, json!(null)) },
        expect![""],
    );
}

#[test]
fn disks_that_a_pod_names_itself() {
    let check = |source: Value, expect: Expect| expect.assert_eq(&say(&pod(&source), &[]));
    check(
        json!({ "gcePersistentDisk": { "pdName": "x", "readOnly": true } }),
        expect!["attach x of pd.csi.storage.gke.io; read gce/x"],
    );
    check(
        json!({ "awsElasticBlockStore": { "volumeID": "x", "readOnly": true } }),
        expect!["attach x of ebs.csi.aws.com; write aws/x"],
    );
    check(json!({ "iscsi": { "targetPortal": "t", "iqn": "x", "lun": 0 } }), expect!["write iscsi/x"]);
    check(
        json!({ "rbd": { "monitors": ["a", "b"], "image": "x" } }),
        expect!["write rbd/a/rbd/x; write rbd/b/rbd/x"],
    );
    check(json!({ "emptyDir": {} }), expect![""]);
}

#[test]
fn a_driver_without_a_count_has_no_limit() {
    let node: CSINode = serde_json::from_value(json!({ "metadata": { "name": "m" }, "spec": { "drivers": [
        { "name": "d", "nodeID": "m", "allocatable": { "count": 3 } }, { "name": "e", "nodeID": "m" },
    ] } }))
    .unwrap();
    assert_eq!(limits(&node), [("d".to_owned(), 3)].into());
}
