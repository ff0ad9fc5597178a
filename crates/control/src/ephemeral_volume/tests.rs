use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use super::decide::{Missing, wanted};

/// A Pod with a volume `v` of a template, changed by `extra`.
fn pod(extra: &Value) -> Pod {
    let template = json!({ "metadata": { "labels": { "a": "b" }, "annotations": { "c": "d" } },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } });
    let mut pod = json!({ "metadata": { "name": "p", "namespace": "n", "uid": "u" }, "spec": { "containers": [],
        "volumes": [{ "name": "v", "ephemeral": { "volumeClaimTemplate": template } },
            { "name": "w", "persistentVolumeClaim": { "claimName": "p-w" } }] } });
    for (name, value) in extra.as_object().unwrap() {
        pod[name] = value.clone();
    }
    serde_json::from_value(pod).unwrap()
}

fn claim(owner: Option<&str>) -> Arc<PersistentVolumeClaim> {
    let owners: Vec<Value> = owner
        .map(|uid| json!({ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true }))
        .into_iter()
        .collect();
    Arc::new(
        serde_json::from_value(json!({ "metadata": { "name": "p-v", "ownerReferences": owners } })).unwrap(),
    )
}

#[test]
fn a_claim_is_made_from_its_template_and_is_the_pods() {
    let missing = wanted(&pod(&json!({})), |_| None);
    let [Missing::Claim(claim)] = &missing[..] else { panic!("{missing:?}") };
    let claim = serde_json::to_value(claim).unwrap();
    assert_eq!(
        claim,
        json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "name": "p-v", "namespace": "n", "labels": { "a": "b" }, "annotations": { "c": "d" },
                "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u",
                    "controller": true, "blockOwnerDeletion": true }] },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } })
    );
}

#[test]
fn who_has_its_claim_lacks_nothing_and_anothers_is_left_alone() {
    let pod = pod(&json!({}));
    assert_eq!(wanted(&pod, |_| Some(claim(Some("u")))), []);
    for other in [None, Some("before")] {
        assert_eq!(wanted(&pod, |_| Some(claim(other))), [Missing::Name("p-v".to_owned())]);
    }
}

#[test]
fn who_goes_or_has_ended_needs_none() {
    let ended = pod(&json!({ "status": { "phase": "Succeeded" } }));
    assert_eq!(wanted(&ended, |_| None), []);
    let mut going = pod(&json!({}));
    going.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    assert_eq!(wanted(&going, |_| None), []);
}
