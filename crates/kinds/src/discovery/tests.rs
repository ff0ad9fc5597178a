//! What discovery says of the table of kinds.

use expect_test::expect;
use serde_json::{Value, json};

use super::{aggregated_core, aggregated_groups, group, group_list, paths, resource_list};
use crate::discovery::Document;

fn json(document: &Document) -> Value {
    serde_json::from_slice(&document.bytes).unwrap()
}

#[test]
fn groups_and_resources() {
    expect![[r#"{"kind":"APIGroup","apiVersion":"v1","name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}],"preferredVersion":{"groupVersion":"apps/v1","version":"v1"}}"#]]
        .assert_eq(&json(group("apps").unwrap()).to_string());
    expect![[r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"crest.dev/v1alpha1","resources":[{"name":"dagjobs","singularName":"dagjob","namespaced":true,"kind":"DagJob","verbs":["create","delete","deletecollection","get","list","patch","update","watch"],"shortNames":["dj"],"categories":["all"]},{"name":"dagjobs/status","singularName":"","namespaced":true,"kind":"DagJob","verbs":["get","patch","update"]}]}"#]]
        .assert_eq(&json(resource_list("crest.dev", "v1alpha1").unwrap()).to_string());
    assert!(group("").is_none());
    assert!(resource_list("apps", "v2").is_none());
    assert_eq!(json(group_list())["groups"].as_array().unwrap().len(), 21);
}

#[test]
fn aggregated_documents_hold_every_kind() {
    let core = json(aggregated_core());
    let resources = &core["items"][0]["versions"][0]["resources"];
    assert_eq!(resources.as_array().unwrap().len(), 17);
    assert_eq!(resources[0]["responseKind"], json!({"group": "", "version": "", "kind": "Binding"}));
    let groups = json(aggregated_groups());
    assert_eq!(groups["apiVersion"], "apidiscovery.k8s.io/v2");
    let deployments = &groups["items"][1]["versions"][0]["resources"][2];
    let scale = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
    assert_eq!(deployments["subresources"][0]["responseKind"], scale);
    assert_ne!(aggregated_core().hash, aggregated_groups().hash);
}

#[test]
fn the_root_names_all_paths() {
    let root = json(paths());
    let paths = root["paths"].as_array().unwrap();
    for path in ["/api/v1", "/apis/apps", "/apis/apps/v1", "/openapi/v3", "/version"] {
        assert!(paths.contains(&path.into()), "{path}");
    }
}
