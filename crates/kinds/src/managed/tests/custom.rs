//! Values whose type is the schema of a custom resource.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::custom::Schema;
use crate::managed::field_type::Type;
use crate::managed::{check, compare, fields, merge};

fn schema() -> Schema {
    Schema::parse(&json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "whole": {"type": "array", "items": {"type": "string"}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
                "items": {"type": "object", "properties": {
                    "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"},
                    "target": {"x-kubernetes-int-or-string": true}}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "atom": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "string"}}},
            "named": {"type": "object", "additionalProperties": {"type": "object", "properties": {"n": {"type": "number"}}}},
            "inner": {"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true}}}}}))
}

fn stated(object: &Value, expect: Expect) {
    let schema = schema();
    let kind = Type::Resource(&schema);
    let answer = match check::check(kind, object) {
        Ok(()) => fields::stated(kind, object).into_value().to_string(),
        Err(misfit) => misfit.to_string(),
    };
    expect.assert_eq(&answer);
}

#[test]
fn the_schema_says_what_has_an_owner_of_its_own() {
    stated(
        &json!({"apiVersion": "e/v1", "metadata": {"labels": {"a": "b"}}, "spec": {"whole": ["a"], "set": ["a", "b"],
            "ports": [{"port": 80, "target": "x"}], "free": {"a": {"b": [1]}}, "atom": {"a": "x"},
            "named": {"one": {"n": 1.5}}, "inner": {"kind": "K", "metadata": {"name": "n"}, "spec": {"x": 1}}}}),
        expect![[
            r#"{"f:apiVersion":{},"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:atom":{},"f:free":{"f:a":{".":{},"f:b":{}}},"f:inner":{"f:kind":{},"f:metadata":{"f:name":{}},"f:spec":{"f:x":{}}},"f:named":{"f:one":{".":{},"f:n":{}}},"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{},"f:target":{}}},"f:set":{"v:\"a\"":{},"v:\"b\"":{}},"f:whole":{}}}"#
        ]],
    );
    stated(&json!({"spec": {"bogus": 1}}), expect![".spec.bogus: field not declared in schema"]);
    stated(
        &json!({"spec": {"set": ["a", "a"]}}),
        expect![[r#".spec.set: duplicate entries for key [="a"]"#]],
    );
    stated(
        &json!({"spec": {"ports": [{"target": 1}]}}),
        expect![[r#"{"f:spec":{"f:ports":{"k:{\"protocol\":\"TCP\"}":{".":{},"f:target":{}}}}}"#]],
    );
    stated(
        &json!({"spec": {"named": {"one": {"n": "x"}}}}),
        expect![[r#".spec.named.one.n: expected numeric (int or float), got "x""#]],
    );
}

#[test]
fn writes_are_compared_and_merged_by_the_schema() {
    let schema = schema();
    let kind = Type::Resource(&schema);
    let live = json!({"spec": {"whole": ["a"], "set": ["a"], "ports": [{"port": 80, "protocol": "TCP"}], "free": {"a": 1}}});
    let applied = json!({"spec": {"whole": ["b"], "set": ["b"], "ports": [{"port": 80, "target": 8080}], "free": {"b": 1}}});
    let merged = merge::objects(kind, &live, &applied);
    expect![[r#"{"spec":{"free":{"a":1,"b":1},"ports":[{"port":80,"protocol":"TCP","target":8080}],"set":["a","b"],"whole":["b"]}}"#]].assert_eq(&merged.to_string());
    let difference = compare::objects(kind, &live, &merged);
    expect![[r#"{"f:spec":{"f:free":{"f:b":{}},"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{"f:target":{}}},"f:set":{"v:\"b\"":{}},"f:whole":{}}}"#]].assert_eq(&difference.changed.into_value().to_string());
    assert!(difference.removed.is_empty());
}
