//! What discovery says of the table of kinds.

use expect_test::expect;
use serde_json::{Value, json};

use super::{Discovery, Document, priority};

fn json(document: &Document) -> Value {
    serde_json::from_slice(&document.bytes).unwrap()
}

#[test]
fn groups_and_resources() {
    let table = Discovery::of(&[]);
    expect![[r#"{"kind":"APIGroup","apiVersion":"v1","name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}],"preferredVersion":{"groupVersion":"apps/v1","version":"v1"}}"#]]
        .assert_eq(&json(&table.group("apps").unwrap()).to_string());
    expect![[r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"crest.dev/v1alpha1","resources":[{"name":"bindingbatches","singularName":"bindingbatch","namespaced":true,"kind":"BindingBatch","verbs":["create"]},{"name":"dagjobs","singularName":"dagjob","namespaced":true,"kind":"DagJob","verbs":["create","delete","deletecollection","get","list","patch","update","watch"],"shortNames":["dj"],"categories":["all"]},{"name":"dagjobs/status","singularName":"","namespaced":true,"kind":"DagJob","verbs":["get","patch","update"]},{"name":"elasticquotas","singularName":"elasticquota","namespaced":false,"kind":"ElasticQuota","verbs":["create","delete","deletecollection","get","list","patch","update","watch"],"shortNames":["eq"]},{"name":"elasticquotas/status","singularName":"","namespaced":false,"kind":"ElasticQuota","verbs":["get","patch","update"]},{"name":"interferencerules","singularName":"interferencerule","namespaced":false,"kind":"InterferenceRule","verbs":["create","delete","deletecollection","get","list","patch","update","watch"]},{"name":"podexplanations","singularName":"podexplanation","namespaced":true,"kind":"PodExplanation","verbs":["get"],"shortNames":["podex"]},{"name":"podgroups","singularName":"podgroup","namespaced":true,"kind":"PodGroup","verbs":["create","delete","deletecollection","get","list","patch","update","watch"],"shortNames":["pg"]},{"name":"podgroups/status","singularName":"","namespaced":true,"kind":"PodGroup","verbs":["get","patch","update"]},{"name":"rebalancepolicies","singularName":"rebalancepolicy","namespaced":false,"kind":"RebalancePolicy","verbs":["create","delete","deletecollection","get","list","patch","update","watch"],"shortNames":["rbp"]},{"name":"rebalancepolicies/status","singularName":"","namespaced":false,"kind":"RebalancePolicy","verbs":["get","patch","update"]},{"name":"reservations","singularName":"reservation","namespaced":true,"kind":"Reservation","verbs":["create","delete","deletecollection","get","list","patch","update","watch"],"shortNames":["resv"]},{"name":"reservations/status","singularName":"","namespaced":true,"kind":"Reservation","verbs":["get","patch","update"]},{"name":"schedulingpolicies","singularName":"schedulingpolicy","namespaced":false,"kind":"SchedulingPolicy","verbs":["create","delete","deletecollection","get","list","patch","update","watch"],"shortNames":["spol"]}]}"#]]
        .assert_eq(&json(&table.resource_list("crest.dev", "v1alpha1").unwrap()).to_string());
    assert!(table.group("").is_none());
    assert!(table.resource_list("apps", "v2").is_none());
    assert_eq!(json(&table.group_list())["groups"].as_array().unwrap().len(), 21);
}

#[test]
fn aggregated_documents_hold_every_kind() {
    let table = Discovery::of(&[]);
    let core = json(&table.aggregated_core());
    let resources = &core["items"][0]["versions"][0]["resources"];
    assert_eq!(resources.as_array().unwrap().len(), 17);
    assert_eq!(resources[0]["responseKind"], json!({"group": "", "version": "", "kind": "Binding"}));
    let groups = json(&table.aggregated_groups());
    assert_eq!(groups["apiVersion"], "apidiscovery.k8s.io/v2");
    let deployments = &groups["items"][1]["versions"][0]["resources"][2];
    let scale = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
    assert_eq!(deployments["subresources"][0]["responseKind"], scale);
    assert_ne!(table.aggregated_core().hash, table.aggregated_groups().hash);
}

#[test]
fn the_root_names_all_paths() {
    let root = json(&Discovery::of(&[]).paths());
    let paths = root["paths"].as_array().unwrap();
    for path in ["/api/v1", "/apis/apps", "/apis/apps/v1", "/openapi/v3", "/version"] {
        assert!(paths.contains(&path.into()), "{path}");
    }
}

#[test]
fn versions_are_ordered_by_how_stable_they_are() {
    let mut versions = ["v1alpha1", "foo1", "v2", "v1beta2", "v10", "v1", "v1beta1", "v11alpha2", "foo10"];
    versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
    assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v11alpha2", "v1alpha1", "foo1", "foo10"]);
}
