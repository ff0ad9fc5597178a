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
    expect![[r#"{"apiVersion":"v1","kind":"APIGroup","name":"apps","preferredVersion":{"groupVersion":"apps/v1","version":"v1"},"versions":[{"groupVersion":"apps/v1","version":"v1"}]}"#]]
        .assert_eq(&json(&table.group("apps").unwrap()).to_string());
    expect![[r#"{"apiVersion":"v1","groupVersion":"crest.dev/v1alpha1","kind":"APIResourceList","resources":[{"kind":"BatchQuota","name":"batchquotas","namespaced":false,"shortNames":["bq"],"singularName":"batchquota","verbs":["create","delete","deletecollection","get","list","patch","update","watch"]},{"kind":"BatchQuota","name":"batchquotas/status","namespaced":false,"singularName":"","verbs":["get","patch","update"]},{"kind":"BindingBatch","name":"bindingbatches","namespaced":true,"singularName":"bindingbatch","verbs":["create"]},{"kind":"ColocationPolicy","name":"colocationpolicies","namespaced":false,"shortNames":["cpol"],"singularName":"colocationpolicy","verbs":["create","delete","deletecollection","get","list","patch","update","watch"]},{"kind":"ColocationProfile","name":"colocationprofiles","namespaced":false,"shortNames":["cp"],"singularName":"colocationprofile","verbs":["create","delete","deletecollection","get","list","patch","update","watch"]},{"categories":["all"],"kind":"DagJob","name":"dagjobs","namespaced":true,"shortNames":["dj"],"singularName":"dagjob","verbs":["create","delete","deletecollection","get","list","patch","update","watch"]},{"kind":"DagJob","name":"dagjobs/status","namespaced":true,"singularName":"","verbs":["get","patch","update"]},{"kind":"ElasticQuota","name":"elasticquotas","namespaced":false,"shortNames":["eq"],"singularName":"elasticquota","verbs":["create","delete","deletecollection","get","list","patch","update","watch"]},{"kind":"ElasticQuota","name":"elasticquotas/status","namespaced":false,"singularName":"","verbs":["get","patch","update"]},{"kind":"InterferenceRule","name":"interferencerules","namespaced":false,"singularName":"interferencerule","verbs":["create","delete","deletecollection","get","list","patch","update","watch"]},{"kind":"PodExplanation","name":"podexplanations","namespaced":true,"shortNames":["podex"],"singularName":"podexplanation","verbs":["get"]},{"kind":"PodGroup","name":"podgroups","namespaced":true,"shortNames":["pg"],"singularName":"podgroup","verbs":["create","delete","deletecollection","get","list","patch","update","watch"]},{"kind":"PodGroup","name":"podgroups/status","namespaced":true,"singularName":"","verbs":["get","patch","update"]},{"kind":"PreemptionBatch","name":"preemptionbatches","namespaced":true,"singularName":"preemptionbatch","verbs":["create"]},{"kind":"RebalancePolicy","name":"rebalancepolicies","namespaced":false,"shortNames":["rbp"],"singularName":"rebalancepolicy","verbs":["create","delete","deletecollection","get","list","patch","update","watch"]},{"kind":"RebalancePolicy","name":"rebalancepolicies/status","namespaced":false,"singularName":"","verbs":["get","patch","update"]},{"kind":"Reservation","name":"reservations","namespaced":true,"shortNames":["resv"],"singularName":"reservation","verbs":["create","delete","deletecollection","get","list","patch","update","watch"]},{"kind":"Reservation","name":"reservations/status","namespaced":true,"singularName":"","verbs":["get","patch","update"]},{"kind":"SchedulingPolicy","name":"schedulingpolicies","namespaced":false,"shortNames":["spol"],"singularName":"schedulingpolicy","verbs":["create","delete","deletecollection","get","list","patch","update","watch"]},{"kind":"Tide","name":"tides","namespaced":false,"singularName":"tide","verbs":["create","delete","deletecollection","get","list","patch","update","watch"]},{"kind":"Tide","name":"tides/status","namespaced":false,"singularName":"","verbs":["get","patch","update"]}]}"#]]
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
