//! Custom resources from their definition to their end, as clients meet them.

use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, CustomResource, CustomResourceExt, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::harness::Cluster;

pub(crate) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(crate) const BOATS: &str = "/apis/example.test/v1/namespaces/default/boats";

/// A definition with one version, whose schema of the spec and parts beside it are given.
pub(crate) fn boats(spec: &Value, beside: &Value) -> Value {
    let schema = json!({"type": "object", "properties": {"spec": spec,
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    let mut version =
        json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    version.as_object_mut().unwrap().extend(beside.as_object().unwrap().clone());
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.example.test"}, "spec": {"group": "example.test", "scope": "Namespaced",
        "names": {"plural": "boats", "kind": "Boat", "shortNames": ["bt"]}, "versions": [version]}})
}

pub(crate) fn boat(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "example.test/v1", "kind": "Boat", "metadata": {"name": name}, "spec": spec})
}

#[derive(CustomResource, Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[kube(group = "example.test", version = "v1", kind = "Kite", namespaced, status = "KiteStatus")]
#[kube(printcolumn = r#"{"name": "Color", "type": "string", "jsonPath": ".spec.color"}"#)]
struct KiteSpec {
    color: String,
    #[serde(default)]
    lines: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
struct KiteStatus {
    flying: bool,
}

#[tokio::test]
async fn a_kind_that_kube_derives_is_used_at_once() {
    let cluster = Cluster::start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    definitions.create(&PostParams::default(), &Kite::crd()).await.unwrap();
    let kites: Api<Kite> = Api::default_namespaced(cluster.client.clone());
    let apply = PatchParams::apply("test");
    let red = Kite::new("a", KiteSpec { color: "red".to_owned(), lines: Some(2) });
    let made = kites.patch("a", &apply, &Patch::Apply(&red)).await.unwrap();
    assert_eq!((made.metadata.generation, made.spec.lines), (Some(1), Some(2)));
    let flying = json!({"status": {"flying": true}});
    kites.patch_status("a", &PatchParams::default(), &Patch::Merge(&flying)).await.unwrap();
    let blue = json!({"apiVersion": "example.test/v1", "kind": "Kite", "metadata": {"name": "a"}, "spec": {"color": "blue"}});
    let changed = kites.patch("a", &apply, &Patch::Apply(&blue)).await.unwrap();
    assert_eq!(
        (changed.spec.color.as_str(), changed.spec.lines, changed.metadata.generation),
        ("blue", None, Some(2))
    );
    assert!(changed.status.unwrap().flying);
    let other = PatchParams::apply("other");
    let conflict = kites.patch("a", &other, &Patch::Apply(&red)).await.unwrap_err();
    assert!(matches!(conflict, kube::Error::Api(status) if status.code == 409));
    let list = kites.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["a"]);
    let watch = WatchParams::default();
    let mut events = kites.watch(&watch, "0").await.unwrap().boxed();
    assert!(
        matches!(events.try_next().await.unwrap(), Some(WatchEvent::Added(kite)) if kite.name_any() == "a")
    );
    let wrong = json!({"spec": {"color": 5}});
    let refused = kites.patch("a", &PatchParams::default(), &Patch::Merge(&wrong)).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 422));
}

async fn tag(cluster: &Cluster, path: &str) -> String {
    let request = http::Request::get(path).header(
        "accept",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList, application/json",
    );
    let answer = cluster.client.send(request.body(Vec::new().into()).unwrap()).await.unwrap();
    answer.headers()["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn documents_tell_of_a_new_kind_under_new_tags() {
    let cluster = Cluster::start().await;
    let before = [
        tag(&cluster, "/apis").await,
        tag(&cluster, "/openapi/v3").await,
        tag(&cluster, "/openapi/v2").await,
    ];
    let spec = json!({"type": "object", "properties": {"sails": {"type": "integer"}}});
    let scale = json!({"scale": {"specReplicasPath": ".spec.sails", "statusReplicasPath": ".status.sails"}, "status": {}});
    let (status, _) =
        cluster.request("POST", DEFINITIONS, &boats(&spec, &json!({"subresources": scale}))).await;
    assert_eq!(status, 201);
    let after = [
        tag(&cluster, "/apis").await,
        tag(&cluster, "/openapi/v3").await,
        tag(&cluster, "/openapi/v2").await,
    ];
    assert!(before.iter().zip(&after).all(|(before, after)| before != after));
    let (_, resources) = cluster.request("GET", "/apis/example.test/v1", &Value::Null).await;
    let names: Vec<&str> = resources["resources"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["name"].as_str())
        .collect();
    assert_eq!(names, ["boats", "boats/status", "boats/scale"]);
    let (_, document) = cluster.request("GET", "/openapi/v3/apis/example.test/v1", &Value::Null).await;
    let schema = &document["components"]["schemas"]["test.example.v1.Boat"];
    assert_eq!(schema["properties"]["spec"]["properties"]["sails"]["type"], "integer");
    let patch = &document["paths"]["/apis/example.test/v1/namespaces/{namespace}/boats/{name}"]["patch"];
    let parameters = patch["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"));
    // Every reference of the new documents leads somewhere.
    for (path, place) in
        [("/openapi/v3/apis/example.test/v1", "/components/schemas"), ("/openapi/v2", "/definitions")]
    {
        let (_, document) = cluster.request("GET", path, &Value::Null).await;
        let known = document.pointer(place).unwrap();
        let text = document.to_string();
        for reference in text.split(&format!("\"$ref\":\"#{place}/")).skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(known.get(name).is_some(), "{path}: {name}");
        }
    }
}

#[tokio::test]
async fn status_and_scale_are_parts_of_their_own() {
    let cluster = Cluster::start().await;
    let spec =
        json!({"type": "object", "properties": {"sails": {"type": "integer"}, "color": {"type": "string"}}});
    let scale = json!({"scale": {"specReplicasPath": ".spec.sails", "statusReplicasPath": ".status.sails",
        "labelSelectorPath": ".status.selector"}, "status": {}});
    let beside = json!({"subresources": scale, "selectableFields": [{"jsonPath": ".spec.color"}],
        "additionalPrinterColumns": [{"name": "Sails", "type": "integer", "jsonPath": ".spec.sails"}]});
    assert_eq!(cluster.request("POST", DEFINITIONS, &boats(&spec, &beside)).await.0, 201);
    let mut first = boat("a", &json!({"sails": 1, "color": "red"}));
    first["status"] = json!({"sails": 9});
    let (_, made) = cluster.request("POST", BOATS, &first).await;
    assert_eq!((&made["status"], made["metadata"]["generation"].as_i64()), (&Value::Null, Some(1)));
    assert_eq!(
        cluster.request("POST", BOATS, &boat("b", &json!({"sails": 2, "color": "blue"}))).await.0,
        201
    );
    let path = format!("{BOATS}/a");
    let both = json!({"spec": {"sails": 3}, "status": {"sails": 2, "selector": "a=b"}});
    let (_, changed) = cluster.request("PATCH", &format!("{path}/status"), &both).await;
    assert_eq!((&changed["spec"]["sails"], &changed["metadata"]["generation"]), (&json!(1), &json!(1)));
    let (_, scale) = cluster.request("GET", &format!("{path}/scale"), &Value::Null).await;
    assert_eq!(scale["spec"], json!({"replicas": 1}));
    assert_eq!(scale["status"], json!({"replicas": 2, "selector": "a=b"}));
    let (status, scale) =
        cluster.request("PATCH", &format!("{path}/scale"), &json!({"spec": {"replicas": 5}})).await;
    assert_eq!((status, &scale["spec"]["replicas"]), (200, &json!(5)));
    let (_, now) = cluster.request("GET", &path, &Value::Null).await;
    assert_eq!((&now["spec"]["sails"], &now["metadata"]["generation"]), (&json!(5), &json!(2)));
    let (_, red) =
        cluster.request("GET", &format!("{BOATS}?fieldSelector=spec.color%3Dred"), &Value::Null).await;
    assert_eq!(red["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        cluster.request("GET", &format!("{BOATS}?fieldSelector=spec.sails%3D5"), &Value::Null).await.0,
        400
    );
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let (_, table) = cluster.send("GET", BOATS, &table, Vec::new()).await;
    assert_eq!(table["rows"][0]["cells"], json!(["a", 5]));
}

#[tokio::test]
async fn what_is_stored_follows_the_definition() {
    let cluster = Cluster::start().await;
    let old = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}});
    assert_eq!(cluster.request("POST", DEFINITIONS, &boats(&old, &json!({}))).await.0, 201);
    assert_eq!(cluster.request("POST", BOATS, &boat("x", &json!({"a": "1", "b": "2"}))).await.0, 201);
    let new = json!({"type": "object", "properties": {"a": {"type": "string"}, "c": {"type": "integer", "default": 3}}});
    let mut next = boats(&new, &json!({}));
    let mut second = next["spec"]["versions"][0].clone();
    second["name"] = json!("v2");
    second["storage"] = json!(false);
    next["spec"]["versions"].as_array_mut().unwrap().push(second);
    let patch = json!({"spec": {"versions": next["spec"]["versions"]}});
    assert_eq!(cluster.request("PATCH", &format!("{DEFINITIONS}/boats.example.test"), &patch).await.0, 200);
    let (_, read) = cluster.request("GET", &format!("{BOATS}/x"), &Value::Null).await;
    assert_eq!(read["spec"], json!({"a": "1", "c": 3}));
    let (_, list) = cluster.request("GET", BOATS, &Value::Null).await;
    assert_eq!(list["items"][0]["spec"], json!({"a": "1", "c": 3}));
    let of_second = BOATS.replace("v1", "v2");
    let (_, read) = cluster.request("GET", &format!("{of_second}/x"), &Value::Null).await;
    assert_eq!((&read["apiVersion"], &read["spec"]["c"]), (&json!("example.test/v2"), &json!(3)));
    let (status, changed) =
        cluster.request("PATCH", &format!("{of_second}/x"), &json!({"spec": {"a": "9"}})).await;
    assert_eq!((status, &changed["apiVersion"]), (200, &json!("example.test/v2")), "{changed}");
    let (_, read) = cluster.request("GET", &format!("{BOATS}/x"), &Value::Null).await;
    assert_eq!((&read["apiVersion"], &read["spec"]["a"]), (&json!("example.test/v1"), &json!("9")));
}

#[tokio::test]
async fn the_objects_go_before_their_definition() {
    let cluster = Cluster::start().await;
    let spec = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    assert_eq!(cluster.request("POST", DEFINITIONS, &boats(&spec, &json!({}))).await.0, 201);
    assert_eq!(cluster.request("POST", BOATS, &boat("free", &json!({}))).await.0, 201);
    let mut held = boat("held", &json!({}));
    held["metadata"]["finalizers"] = json!(["example.test/hold"]);
    assert_eq!(cluster.request("POST", BOATS, &held).await.0, 201);
    let request = http::Request::get(format!("{BOATS}?watch=true")).body(Vec::new()).unwrap();
    let mut events = cluster.client.request_stream(request).await.unwrap().lines();
    let definition = format!("{DEFINITIONS}/boats.example.test");
    let (status, marked) = cluster.request("DELETE", &definition, &Value::Null).await;
    assert_eq!(
        (status, &marked["metadata"]["finalizers"]),
        (200, &json!(["customresourcecleanup.apiextensions.k8s.io"]))
    );
    // Nothing new comes in, and what can go goes.
    assert_eq!(cluster.request("POST", BOATS, &boat("late", &json!({}))).await.0, 405);
    let mut gone = false;
    while !gone {
        let event: Value = serde_json::from_str(&events.next().await.unwrap().unwrap()).unwrap();
        gone = event["type"] == "DELETED" && event["object"]["metadata"]["name"] == "free";
    }
    assert_eq!(cluster.request("GET", &definition, &Value::Null).await.0, 200);
    let freed = json!({"metadata": {"finalizers": null}});
    assert_eq!(cluster.request("PATCH", &format!("{BOATS}/held"), &freed).await.0, 200);
    let goes = async {
        while cluster.request("GET", &definition, &Value::Null).await.0 != 404 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), goes).await.unwrap();
    assert_eq!(cluster.request("GET", BOATS, &Value::Null).await.0, 404);
}
