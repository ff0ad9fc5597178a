//! Admission of custom resources: policies whose parameters are some, rules about other versions of them, their scale.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{AsyncBufReadExt, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::custom::{BOATS, DEFINITIONS, boat, boats};
use crate::harness::Cluster;
use crate::program::Program;

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";

async fn made(cluster: &Cluster, path: &str, body: &Value) -> Value {
    let (status, made) = cluster.request("POST", path, body).await;
    assert_eq!(status, 201, "{path}: {made}");
    made
}

/// A policy that looks at its parameters, bound as `reference` says.
async fn bind(cluster: &Cluster, rule: &Value, expression: &str, reference: &Value) {
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p"}, "spec": {"paramKind": {"apiVersion": "example.test/v1", "kind": "Boat"},
            "matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": expression}]}});
    let mut spec = json!({"policyName": "p", "validationActions": ["Deny"]});
    if !reference.is_null() {
        spec["paramRef"] = reference.clone();
    }
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "b"}, "spec": spec});
    for (plural, name, body) in
        [("validatingadmissionpolicies", "p", policy), ("validatingadmissionpolicybindings", "b", binding)]
    {
        cluster.request("DELETE", &format!("{CONFIGURATIONS}/{plural}/{name}"), &Value::Null).await;
        made(cluster, &format!("{CONFIGURATIONS}/{plural}"), &body).await;
    }
}

fn rule(group: &str, version: &str, resource: &str) -> Value {
    json!({"apiGroups": [group], "apiVersions": [version], "operations": ["CREATE", "UPDATE"], "resources": [resource]})
}

/// A definition of two versions that are the same but for their names.
fn two_versions(spec: &Value, beside: &Value) -> Value {
    let mut definition = boats(spec, beside);
    let mut second = definition["spec"]["versions"][0].clone();
    second["name"] = json!("v2");
    second["storage"] = json!(false);
    definition["spec"]["versions"].as_array_mut().unwrap().push(second);
    definition
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_may_be_custom_resources() {
    let cluster = Cluster::start().await;
    let maps = "/api/v1/namespaces/default/configmaps?dryRun=All";
    let map = |value: &str| json!({"metadata": {"name": "m"}, "data": {"k": value}});
    let about = rule("", "v1", "configmaps");
    let by_name = json!({"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"});
    bind(&cluster, &about, "size(object.data.k) <= params.spec.most", &by_name).await;
    // No such kind yet.
    let (status, said) = cluster.request("POST", maps, &map("a")).await;
    assert_eq!(status, 422, "{said}");
    let spec = json!({"type": "object", "properties": {"most": {"type": "integer"}}});
    made(&cluster, DEFINITIONS, &boats(&spec, &json!({}))).await;
    let (status, said) = cluster.request("POST", maps, &map("a")).await;
    assert_eq!(status, 422, "no such object yet: {said}");
    let mut limits = boat("limits", &json!({"most": 3}));
    limits["metadata"]["labels"] = json!({"a": "b"});
    made(&cluster, BOATS, &limits).await;
    let by_label = json!({"selector": {"matchLabels": {"a": "b"}}, "parameterNotFoundAction": "Allow"});
    for reference in [by_name, by_label] {
        bind(&cluster, &about, "size(object.data.k) <= params.spec.most", &reference).await;
        assert_eq!(cluster.request("POST", maps, &map("abc")).await.0, 201);
        assert_eq!(cluster.request("POST", maps, &map("abcd")).await.0, 422);
    }
    // Changes of the parameters count at once.
    let path = format!("{BOATS}/limits");
    assert_eq!(cluster.request("PATCH", &path, &json!({"spec": {"most": 4}})).await.0, 200);
    assert_eq!(cluster.request("POST", maps, &map("abcd")).await.0, 201);
    assert_eq!(cluster.request("DELETE", &path, &Value::Null).await.0, 200);
    assert_eq!(
        cluster.request("POST", maps, &map("abcdefgh")).await.0,
        201,
        "none is fine, says the binding"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_about_one_version_is_about_all() {
    let cluster = Cluster::start().await;
    let spec = json!({"type": "object", "properties": {"color": {"type": "string"}}});
    made(&cluster, DEFINITIONS, &two_versions(&spec, &json!({}))).await;
    let seen = "request.kind.version == 'v1' && request.requestKind.version == 'v2' && object.apiVersion == 'example.test/v1'";
    bind(&cluster, &rule("example.test", "v1", "boats"), seen, &Value::Null).await;
    let mut newer = boat("a", &json!({"color": "red"}));
    newer["apiVersion"] = json!("example.test/v2");
    let new_boats = BOATS.replace("/v1/", "/v2/");
    made(&cluster, &new_boats, &newer).await;
    let (status, said) = cluster.request("POST", BOATS, &boat("b", &json!({}))).await;
    assert_eq!(status, 422, "this one is asked for as v1: {said}");
    // Exactly what is named, where that is wanted.
    let exact = json!({"spec": {"matchConstraints": {"matchPolicy": "Exact"}}});
    let policy = format!("{CONFIGURATIONS}/validatingadmissionpolicies/p");
    assert_eq!(cluster.request("PATCH", &policy, &exact).await.0, 200);
    let refusing = json!({"spec": {"validations": [{"expression": "false"}]}});
    assert_eq!(cluster.request("PATCH", &policy, &refusing).await.0, 200);
    newer["metadata"]["name"] = json!("c");
    made(&cluster, &new_boats, &newer).await;
    assert_eq!(cluster.request("POST", BOATS, &boat("d", &json!({}))).await.0, 422);
}

/// A webhook that wants a number of replicas, or a color, and what it saw.
async fn wishes(State(seen): State<Arc<Mutex<Vec<Value>>>>, body: Bytes) -> String {
    let review: Value = serde_json::from_slice(&body).unwrap();
    let request = &review["request"];
    seen.lock().push(request["object"].clone());
    let patch = match request["object"]["kind"].as_str() {
        Some("Scale") => json!([{"op": "add", "path": "/spec/replicas", "value": 7}]),
        _ => json!([{"op": "add", "path": "/spec/color", "value": "blue"}]),
    };
    let response = json!({"uid": request["uid"], "allowed": true, "patchType": "JSONPatch",
        "patch": STANDARD.encode(patch.to_string())});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_change_a_scale_and_another_version() {
    let seen = Arc::<Mutex<Vec<Value>>>::default();
    let program = Program::start(Router::new().fallback(wishes).with_state(Arc::clone(&seen))).await;
    let cluster = Cluster::start().await;
    let spec =
        json!({"type": "object", "properties": {"sails": {"type": "integer"}, "color": {"type": "string"}}});
    let scale = json!({"scale": {"specReplicasPath": ".spec.sails", "statusReplicasPath": ".status.sails"}, "status": {}});
    made(&cluster, DEFINITIONS, &two_versions(&spec, &json!({"subresources": scale}))).await;
    let mut rule = rule("example.test", "v1", "boats");
    rule["resources"] = json!(["boats", "boats/scale"]);
    let webhook = json!({"name": "w.example.com", "clientConfig": program.at("wishes"), "rules": [rule],
        "admissionReviewVersions": ["v1"], "sideEffects": "None"});
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "w"}, "webhooks": [webhook]});
    made(&cluster, &format!("{CONFIGURATIONS}/mutatingwebhookconfigurations"), &configuration).await;
    let mut newer = boat("a", &json!({"sails": 1}));
    newer["apiVersion"] = json!("example.test/v2");
    let made = made(&cluster, &BOATS.replace("/v1/", "/v2/"), &newer).await;
    assert_eq!(
        (&made["apiVersion"], &made["spec"]),
        (&json!("example.test/v2"), &json!({"sails": 1, "color": "blue"}))
    );
    assert_eq!(seen.lock().pop().unwrap()["apiVersion"], "example.test/v1");
    let wanted = json!({"spec": {"replicas": 5}});
    let (status, scaled) = cluster.request("PATCH", &format!("{BOATS}/a/scale"), &wanted).await;
    assert_eq!((status, &scaled["spec"]["replicas"]), (200, &json!(7)), "{scaled}");
    assert_eq!(seen.lock().pop().unwrap()["spec"]["replicas"], 5);
    let (_, read) = cluster.request("GET", &format!("{BOATS}/a"), &Value::Null).await;
    assert_eq!(read["spec"], json!({"sails": 7, "color": "blue"}), "and no field of another kind's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_by_the_definition_of_now() {
    let cluster = Cluster::start().await;
    let spec = |field: &str| json!({"type": "object", "properties": {field: {"type": "string"}}});
    made(&cluster, DEFINITIONS, &boats(&spec("old"), &json!({}))).await;
    let request = http::Request::get(format!("{BOATS}?watch=true")).body(Vec::new()).unwrap();
    let mut lines = cluster.client.request_stream(request).await.unwrap().lines();
    let patch = json!({"spec": {"versions": boats(&spec("new"), &json!({}))["spec"]["versions"]}});
    assert_eq!(cluster.request("PATCH", &format!("{DEFINITIONS}/boats.example.test"), &patch).await.0, 200);
    made(&cluster, BOATS, &boat("a", &json!({"old": "1", "new": "2"}))).await;
    let event: Value = serde_json::from_str(&lines.next().await.unwrap().unwrap()).unwrap();
    assert_eq!(event["object"]["spec"], json!({"new": "2"}));
}
