//! What clients look for in the documents.

use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::{OpenApi, gnostic};
use crate::all;
use crate::discovery::Document;

static TABLE: LazyLock<OpenApi> = LazyLock::new(OpenApi::default);

fn v3(path: &str) -> Option<Arc<Document>> {
    TABLE.v3(path)
}

fn json(document: &Document) -> Value {
    serde_json::from_slice(&document.bytes).unwrap()
}

#[test]
fn every_kind_is_described_in_the_document_of_its_group() {
    for kind in all() {
        let document = json(&v3(kind.path_prefix().trim_start_matches('/')).unwrap());
        let schema = &document["components"]["schemas"][kind.schema];
        let named = &schema["x-kubernetes-group-version-kind"][0];
        assert_eq!((named["kind"].as_str(), named["group"].as_str()), (Some(kind.kind), Some(kind.group)));
        assert!(schema["description"].is_string(), "{}", kind.schema);
    }
}

#[test]
fn clients_find_that_fields_are_validated_by_the_server() {
    let document = json(&v3("api/v1").unwrap());
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Pod");
    let parameters = patch["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"));
}

#[test]
fn lists_carry_their_merge_keys() {
    let document = json(&v3("apis/apps/v1").unwrap());
    let containers =
        &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    let volumes = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"];
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
}

#[test]
fn every_reference_leads_somewhere() {
    let mut documents: Vec<(Value, &str)> = all()
        .iter()
        .map(|kind| (json(&v3(kind.path_prefix().trim_start_matches('/')).unwrap()), "/components/schemas"))
        .collect();
    documents.push((json(&TABLE.v2_json()), "/definitions"));
    for (document, place) in &documents {
        let known = document.pointer(place).unwrap();
        let mut pending = vec![document];
        while let Some(value) = pending.pop() {
            if let Some(target) = value.get("$ref").and_then(Value::as_str) {
                let name = target.rsplit('/').next().unwrap();
                assert!(target.starts_with(&format!("#{place}/")) && known.get(name).is_some(), "{target}");
            }
            match value {
                Value::Object(fields) => pending.extend(fields.values()),
                Value::Array(items) => pending.extend(items),
                _ => {}
            }
        }
    }
}

#[test]
fn the_index_names_each_document_by_its_hash() {
    let index = json(&TABLE.v3_index());
    let url = index["paths"]["apis/crest.dev/v1alpha1"]["serverRelativeURL"].as_str().unwrap();
    assert!(url.ends_with(&v3("apis/crest.dev/v1alpha1").unwrap().hash));
    assert!(v3("apis/nope/v1").is_none());
}

#[test]
fn the_protobuf_form_holds_the_same_definitions() {
    let names = gnostic::decoded_definition_names(&TABLE.v2_protobuf().bytes);
    let document = json(&TABLE.v2_json());
    let known: Vec<&String> = document["definitions"].as_object().unwrap().keys().collect();
    assert_eq!(names.iter().collect::<Vec<_>>(), known);
}
