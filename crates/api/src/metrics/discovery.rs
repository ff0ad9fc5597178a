//! The group in discovery: the documents of the table's groups, with one group more.

use std::sync::LazyLock;

use kinds::Kind;
use kinds::discovery::{self, Document};
use serde_json::{Value, json};

use super::GROUP;

const VERSION: &str = "v1beta1";

/// `GET /apis`.
pub(crate) fn group_list() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| with(discovery::group_list(), "groups", entry()));
    &DOCUMENT
}

/// `GET /apis` of clients that ask for aggregated discovery.
pub(crate) fn aggregated_groups() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
        let resources: Vec<Value> = kinds::kind::measured().iter().map(aggregated).collect();
        let versions = json!([{"version": VERSION, "resources": resources, "freshness": "Current"}]);
        let group = json!({"metadata": {"name": GROUP, "creationTimestamp": null}, "versions": versions});
        with(discovery::aggregated_groups(), "items", group)
    });
    &DOCUMENT
}

/// `GET /apis/metrics.k8s.io`.
pub(crate) fn group() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
        let mut group = json!({"kind": "APIGroup", "apiVersion": "v1"});
        if let (Value::Object(group), Value::Object(mut entry)) = (&mut group, entry()) {
            group.append(&mut entry);
        }
        Document::of(&group)
    });
    &DOCUMENT
}

/// `GET /apis/metrics.k8s.io/v1beta1`.
pub(crate) fn resource_list() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
        let resource = |kind: &Kind| {
            json!({"name": kind.plural, "singularName": kind.singular, "namespaced": kind.is_namespaced(),
                "kind": kind.kind, "verbs": kind.verbs})
        };
        let resources: Vec<Value> = kinds::kind::measured().iter().map(resource).collect();
        Document::of(&json!({"kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": format!("{GROUP}/{VERSION}"), "resources": resources}))
    });
    &DOCUMENT
}

fn entry() -> Value {
    let version = json!({"groupVersion": format!("{GROUP}/{VERSION}"), "version": VERSION});
    json!({"name": GROUP, "versions": [version], "preferredVersion": version})
}

fn aggregated(kind: &Kind) -> Value {
    let scope = if kind.is_namespaced() { "Namespaced" } else { "Cluster" };
    json!({"resource": kind.plural, "scope": scope, "singularResource": kind.singular, "verbs": kind.verbs,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind}})
}

/// The document with one entry more in its list `field`.
fn with(document: &Document, field: &str, entry: Value) -> Document {
    let mut value: Value = serde_json::from_slice(&document.bytes).unwrap_or_default();
    if let Some(list) = value.get_mut(field).and_then(Value::as_array_mut) {
        list.push(entry);
    }
    Document::of(&value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(document: &Document) -> Value {
        serde_json::from_slice(&document.bytes).unwrap()
    }

    #[test]
    fn the_group_stands_after_all_others() {
        let last = |document: &Document, field: &str| {
            value(document)[field].as_array().unwrap().last().unwrap().clone()
        };
        assert_eq!(last(group_list(), "groups")["name"], GROUP);
        let group = last(aggregated_groups(), "items");
        assert_eq!(group["metadata"]["name"], GROUP);
        assert_eq!(group["versions"][0]["resources"][1]["responseKind"]["kind"], "PodMetrics");
        assert!(value(group_list())["groups"].as_array().unwrap().len() > 10);
        assert_eq!(value(resource_list())["resources"][0]["name"], "nodes");
    }
}
