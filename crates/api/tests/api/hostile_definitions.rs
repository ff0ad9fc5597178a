//! Definitions of kinds that mean ill: patterns, schemas and rules that would keep a server busy for ever.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::custom::{BOATS, DEFINITIONS, boat, boats};
use crate::harness::Cluster;

/// Far above what any of this takes, and far below for ever.
const PATIENCE: Duration = Duration::from_secs(40);

/// The answer to the definition of boats with such a spec, which must come in time.
async fn define(cluster: &Cluster, spec: &Value) -> (u16, Value) {
    let definition = boats(spec, &json!({}));
    let posted = cluster.request("POST", DEFINITIONS, &definition);
    tokio::time::timeout(PATIENCE, posted).await.expect("the server is kept busy")
}

/// The reasons and the places of the faults that are told.
fn causes(said: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let causes = said["details"]["causes"].as_array().into_iter().flatten();
    causes.map(|cause| (text(&cause["reason"]), text(&cause["field"]))).collect()
}

async fn refused(spec: &Value, reason: &str, field: &str) {
    let cluster = Cluster::start().await;
    let (status, said) = define(&cluster, spec).await;
    assert_eq!(status, 422, "{said}");
    let place = format!("spec.validation.openAPIV3Schema.properties[spec]{field}");
    assert!(causes(&said).contains(&(reason.to_owned(), place.clone())), "{place}: {said}");
    let (status, _) = cluster.request("GET", DEFINITIONS, &Value::Null).await;
    assert_eq!(status, 200, "the server goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_take_linear_time_or_are_refused() {
    let cluster = Cluster::start().await;
    let field = |pattern: &str| json!({"type": "string", "pattern": pattern});
    let properties = json!({"a": field("^(a+)+$"), "b": field("^(a|aa)+$"), "c": field("^(([a-z])+.)+[A-Z]([a-z])+$"),
        "d": field("^(.*)*x$")});
    let (status, said) = define(&cluster, &json!({"type": "object", "properties": properties})).await;
    assert_eq!(status, 201, "{said}");
    let long = format!("{}!", "a".repeat(100_000));
    for name in ["a", "b", "c", "d"] {
        let body = boat("x", &json!({name: long}));
        let posted = cluster.request("POST", BOATS, &body);
        let (status, said) =
            tokio::time::timeout(PATIENCE, posted).await.expect("a text is matched for ever");
        assert_eq!((status, said["reason"].as_str()), (422, Some("Invalid")), "{name}");
    }
    for pattern in ["((a{1,1000}){1,1000}){1,1000}", "(", "a{99999}{99999}"] {
        let spec = json!({"type": "object", "properties": {"a": field(pattern)}});
        refused(&spec, "FieldValueInvalid", ".properties[a].pattern").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_may_be_large_but_not_bottomless() {
    let cluster = Cluster::start().await;
    let mut properties = serde_json::Map::new();
    for index in 0..8_000 {
        let inner =
            json!({"type": "object", "description": "x".repeat(60), "properties": {"a": {"type": "string"}}});
        properties.insert(format!("property{index}"), inner);
    }
    let spec = json!({"type": "object", "properties": properties, "x-kubernetes-validations": [{"rule": "!has(self.property0)"}]});
    assert!(spec.to_string().len() > 1_000_000);
    let (status, said) = define(&cluster, &spec).await;
    assert_eq!(status, 201, "{}", said["message"]);
    let begin = kit::clock::monotonic();
    for index in 0..20 {
        let body = boat(&format!("b{index}"), &json!({"property1": {"a": "b"}}));
        assert_eq!(cluster.request("POST", BOATS, &body).await.0, 201);
    }
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    assert_eq!(cluster.request("POST", BOATS, &boat("b", &json!({"property0": {}}))).await.0, 422);

    let nested = |levels: usize| {
        (0..levels)
            .fold(json!({"type": "string"}), |inner, _| json!({"type": "object", "properties": {"a": inner}}))
    };
    let cluster = Cluster::start().await;
    let (status, said) = define(&cluster, &nested(40)).await;
    assert_eq!(status, 201, "{said}");
    let cluster = Cluster::start().await;
    let (status, said) = define(&cluster, &nested(53)).await;
    assert_eq!((status, said["reason"].as_str()), (422, Some("Invalid")), "{said}");
    let mut bottomless = boats(&json!("HERE"), &json!({})).to_string();
    let deep = format!("{}{}", "{\"properties\":{\"a\":".repeat(100_000), "}}".repeat(100_000));
    bottomless = bottomless.replace("\"HERE\"", &deep);
    let json = [("content-type", "application/json")];
    let (status, said) = cluster.send("POST", DEFINITIONS, &json, bottomless.into_bytes()).await;
    assert_eq!((status, said["kind"].as_str()), (400, Some("Status")), "{said}");
}

fn rules(properties: &Value, rules: &[&str]) -> Value {
    let rules: Vec<Value> = rules.iter().map(|rule| json!({"rule": rule})).collect();
    json!({"type": "object", "properties": properties, "x-kubernetes-validations": rules})
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_cannot_be_afforded_are_refused_beforehand() {
    let numbers = json!({"list": {"type": "array", "items": {"type": "integer"}}});
    let place = ".x-kubernetes-validations[0].rule";
    let squared = rules(&numbers, &["self.list.all(a, self.list.all(b, a == b))"]);
    refused(&squared, "FieldValueForbidden", place).await;
    // A text that may be long, looked at once for each item of a list that may be.
    let items =
        json!({"type": "string", "x-kubernetes-validations": [{"rule": "self.matches('^[a-z0-9]+$')"}]});
    let spec = json!({"type": "object", "properties": {"list": {"type": "array", "items": items}}});
    refused(&spec, "FieldValueForbidden", &format!(".properties[list].items{place}")).await;
    // Each can be afforded, all together cannot.
    let once = json!({"list": {"type": "array", "maxItems": 1200, "items": {"type": "integer"}}});
    let many = vec!["self.list.all(a, self.list.all(b, a == b))"; 30];
    let cluster = Cluster::start().await;
    let (status, said) = define(&cluster, &rules(&once, &many)).await;
    let told = causes(&said);
    assert_eq!((status, told.len()), (422, 5), "the dearest and the whole: {told:?}");
    assert!(told.iter().all(|(reason, _)| reason == "FieldValueForbidden"), "{told:?}");
    assert_eq!(told.last().unwrap().1, "spec.validation.openAPIV3Schema");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_are_limited_are_taken() {
    let cluster = Cluster::start().await;
    let list = json!({"type": "array", "maxItems": 100, "items": {"type": "object",
        "properties": {"name": {"type": "string", "maxLength": 63}},
        "x-kubernetes-validations": [{"rule": "self.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')"}]}});
    let unlimited = json!({"type": "array", "items": {"type": "string"}});
    let map = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let properties = json!({"list": list, "unlimited": unlimited, "map": map, "min": {"type": "integer"}, "max": {"type": "integer"}});
    let spec = rules(
        &properties,
        &[
            "self.min <= self.max",
            "self.list.all(a, self.list.exists_one(b, a.name == b.name))",
            "size(self.unlimited) < 10 && size(self.map) < 10",
            "!has(self.unlimited) || self.unlimited.all(x, x.startsWith('a'))",
            "!has(self.map) || self.map.all(key, key != 'x')",
            "!has(oldSelf.min) || self.min == oldSelf.min",
        ],
    );
    let (status, said) = define(&cluster, &spec).await;
    assert_eq!(status, 201, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_may_not_be_bottomless_nor_without_number() {
    for source in [
        "(".repeat(30_000) + "true" + &")".repeat(30_000),
        "[".repeat(15_000) + &"]".repeat(15_000),
        "x".repeat(100_000),
    ] {
        let spec = rules(&json!({}), &[&source]);
        refused(&spec, "FieldValueInvalid", ".x-kubernetes-validations[0].rule").await;
    }
    let cluster = Cluster::start().await;
    let mut sources = Vec::new();
    for index in 0..10_000 {
        let mut source = String::new();
        write!(source, "self.a != {index}").unwrap();
        sources.push(source);
    }
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let (status, said) = define(&cluster, &rules(&json!({"a": {"type": "integer"}}), &sources)).await;
    assert_eq!(status, 201, "{}", said["message"]);
    let judged = async |sails: i64| {
        let body = boat("x", &json!({"a": sails}));
        let posted = cluster.request("POST", BOATS, &body);
        tokio::time::timeout(PATIENCE, posted).await.expect("rules are judged for ever")
    };
    let (status, said) = judged(9_999).await;
    assert_eq!(
        (status, said["details"]["causes"].as_array().map(Vec::len)),
        (422, Some(1)),
        "{}",
        said["message"]
    );
    assert_eq!(judged(-1).await.0, 201);
}
