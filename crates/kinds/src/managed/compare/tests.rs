//! What counts as changed where a field is there without being said.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::objects;
use crate::find;
use crate::managed::field_type::Type;

fn check(plural: &str, old: &Value, new: &Value, expect: Expect) {
    let kind = find(if plural == "deployments" { "apps" } else { "" }, "v1", plural).unwrap();
    let difference = objects(Type::of(kind), old, new);
    expect.assert_eq(&format!("{} {}", difference.changed.into_value(), difference.removed.into_value()));
}

#[test]
fn objects_held_by_value_are_there_before_they_are_set() {
    let strategy =
        json!({"spec": {"strategy": {"type": "Recreate"}, "template": {"metadata": {"labels": {"a": "b"}}}}});
    check(
        "deployments",
        &json!({}),
        &strategy,
        expect![[
            r#"{"f:spec":{"f:strategy":{"f:type":{}},"f:template":{"f:metadata":{"f:labels":{".":{},"f:a":{}}}}}} {}"#
        ]],
    );
    let affinity = json!({"spec": {"securityContext": {"runAsUser": 1}, "containers": [{"name": "c"}]}});
    check(
        "pods",
        &json!({}),
        &affinity,
        expect![[
            r#"{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:name":{}}},"f:securityContext":{".":{},"f:runAsUser":{}}}} {}"#
        ]],
    );
    check(
        "pods",
        &affinity,
        &json!({"spec": {"containers": [{"name": "c"}]}}),
        expect![[r#"{} {"f:spec":{"f:securityContext":{".":{},"f:runAsUser":{}}}}"#]],
    );
}

#[test]
fn empty_lists_and_maps_say_nothing() {
    let empty = json!({"metadata": {"labels": {}, "finalizers": []}, "data": {}});
    check("configmaps", &json!({}), &empty, expect!["{} {}"]);
    check(
        "configmaps",
        &json!({"data": {"a": "1"}}),
        &empty,
        expect![[r#"{} {"f:data":{".":{},"f:a":{}}}"#]],
    );
    check(
        "pods",
        &json!({"spec": {}}),
        &json!({"spec": {"securityContext": {}}}),
        expect![[r#"{"f:spec":{"f:securityContext":{}}} {}"#]],
    );
}

#[test]
fn items_that_stand_twice_are_one() {
    let twice = |value: &str| json!({"spec": {"containers": [{"name": "c", "env": [{"name": "E"}, {"name": "E", "value": value}]}]}});
    let once = json!({"spec": {"containers": [{"name": "c", "env": [{"name": "E"}]}]}});
    check("pods", &twice("1"), &twice("1"), expect!["{} {}"]);
    check(
        "pods",
        &twice("1"),
        &twice("2"),
        expect![[
            r#"{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{"f:env":{"k:{\"name\":\"E\"}":{}}}}}} {}"#
        ]],
    );
    check(
        "pods",
        &once,
        &twice("1"),
        expect![[
            r#"{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{"f:env":{"k:{\"name\":\"E\"}":{}}}}}} {}"#
        ]],
    );
    check(
        "pods",
        &twice("1"),
        &json!({"spec": {"containers": [{"name": "c"}]}}),
        expect![[
            r#"{} {"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{"f:env":{".":{},"k:{\"name\":\"E\"}":{}}}}}}"#
        ]],
    );
}
