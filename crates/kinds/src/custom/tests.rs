//! What schemas make of objects.

use std::sync::Arc;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::path::Path;
use super::{Version, kinds, status};

fn definition(schema: Value, beside: Value) -> Arc<Value> {
    let mut version =
        json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    version.as_object_mut().unwrap().extend(beside.as_object().cloned().unwrap_or_default());
    let mut definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com",
        "scope": "Namespaced", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [version]}});
    definition["status"] = status::initial(&definition);
    definition["status"] = status::settled(&definition, [].into_iter(), "2026-01-01T00:00:00Z").unwrap();
    Arc::new(definition)
}

fn version(schema: Value) -> Version {
    let definition = definition(schema, json!({}));
    Version::of(&definition, 0, &definition["spec"]["versions"][0])
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 10},
        "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
        "nested": {"type": "object", "default": {}, "properties": {"x": {"type": "integer", "default": 7}}},
        "tags": {"type": "array", "maxItems": 2, "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"known": {"type": "object", "properties": {"a": {"type": "string"}}}}},
        "any": {"x-kubernetes-int-or-string": true},
        "inner": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
        "null": {"type": "string", "nullable": true},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    }}}})
}

fn completed(object: Value, expected: Expect) {
    let version = version(schema());
    let mut object = object;
    let unknown = version.prune(&mut object);
    version.fill(&mut object);
    expected.assert_eq(&format!("{object}\n{}", unknown.join(" ")));
}

#[test]
fn unknown_fields_go_and_defaults_come() {
    completed(
        json!({"apiVersion": "x", "kind": "y", "metadata": {"name": "a"}, "spec": {"size": 3, "zzz": 1, "nested": {"q": 1},
            "free": {"b": {"c": 1}, "known": {"a": "x", "b": 1}}, "map": {"a": 1},
            "inner": {"kind": "K", "metadata": {"name": "n"}, "spec": {"gone": 1}, "gone": 1}}, "more": {}}),
        expect![[r#"
            {"apiVersion":"x","kind":"y","metadata":{"name":"a"},"spec":{"color":"red","free":{"b":{"c":1},"known":{"a":"x"}},"inner":{"kind":"K","metadata":{"name":"n"},"spec":{}},"map":{"a":1},"nested":{"x":7},"size":3}}
            more spec.free.known.b spec.inner.gone spec.inner.spec.gone spec.nested.q spec.zzz"#]],
    );
    completed(
        json!({"spec": {"color": null, "null": null, "size": null, "items": [{"k": "a", "z": 1}]}}),
        expect![[r#"
            {"spec":{"color":"red","items":[{"k":"a"}],"nested":{"x":7},"null":null}}
            spec.items[0].z"#]],
    );
}

fn faults(object: Value, old: Option<Value>) -> String {
    let version = version(schema());
    let faults = version.check(&object, old.as_ref());
    faults.iter().map(|fault| format!("{:?} {}\n", fault.kind, fault.field)).collect()
}

#[test]
fn values_are_held_to_their_schema() {
    expect![""].assert_eq(&faults(json!({"spec": {"size": 1, "any": "x", "null": null}}), None));
    expect![[r#"
        Required spec.size
        Duplicate spec.tags[1]
    "#]]
    .assert_eq(&faults(json!({"spec": {"tags": ["a", "a"]}}), None));
    expect![[r#"
        TypeInvalid spec.any
        NotSupported spec.color
        Required spec.items[0].k
        TypeInvalid spec.map.a
        TypeInvalid spec.size
        Invalid <nil>
        TooMany spec.tags
        Required spec.inner.apiVersion
        Required spec.inner.kind
    "#]]
    .assert_eq(&faults(
        json!({"spec": {"size": 1.5, "color": "green", "any": true, "map": {"a": "x"}, "items": [{}],
            "tags": ["a", "b", "c"], "inner": {}}}),
        None,
    ));
}

#[test]
fn what_did_not_change_is_not_faulted() {
    let old = json!({"spec": {"size": 99, "items": [{"k": "a", "v": "bad"}, {"k": "b"}]}});
    let mut new = old.clone();
    new["metadata"] = json!({"labels": {"a": "b"}});
    new["spec"]["color"] = json!("red");
    assert_eq!(faults(new.clone(), Some(old.clone())), "");
    // The item is found again by its key, wherever it stands.
    new["spec"]["items"] = json!([{"k": "b", "v": 1}, {"k": "a", "v": "bad"}]);
    assert_eq!(faults(new.clone(), Some(old.clone())), "");
    new["spec"]["size"] = json!(98);
    assert_eq!(faults(new, Some(old)), "Invalid spec.size\n");
}

#[test]
fn junctors() {
    let version = version(json!({"type": "object", "properties": {"a": {"type": "integer", "oneOf": [
        {"minimum": 10}, {"multipleOf": 2}], "not": {"enum": [4]}, "anyOf": [{"minimum": 0}, {"maximum": -5}]}}}));
    let places = |value: i64| version.check(&json!({"a": value}), None).len();
    assert_eq!([11, 2, 12, 3, 4, -6, -2].map(places), [0, 0, 1, 1, 1, 0, 2]);
}

#[test]
fn paths_find_their_values() {
    let object = json!({"status": {"conditions": [{"type": "A", "status": "no"}, {"type": "Ready", "status": "yes"}],
        "list": [1, 2, 3], "a.b": {"c": 5}}});
    let found =
        |path: &str| Path::parse(path).and_then(|path| path.find(&object).cloned()).unwrap_or_default();
    assert_eq!(found(".status.conditions[?(@.type==\"Ready\")].status"), "yes");
    assert_eq!(found(".status.conditions[?(@.type!='A')].status"), "yes");
    assert_eq!(found(".status.list[1]"), 2);
    assert_eq!(found(".status.list[-1]"), 3);
    assert_eq!(found(".status.list[*]"), 1);
    assert_eq!(found(".status['a.b'].c"), 5);
    assert_eq!(found(r".status.a\.b.c"), 5);
    assert_eq!(found(".status.nope"), Value::Null);
    for broken in ["", "status[", ".", "..a", ".a[?(@.b)]", ".a[x]", ".a['b"] {
        assert_eq!(Path::parse(broken), None, "{broken}");
    }
}

#[test]
fn columns_show_what_their_paths_lead_to() {
    let columns = json!({"additionalPrinterColumns": [
        {"name": "S", "type": "string", "jsonPath": ".spec.s"}, {"name": "I", "type": "integer", "jsonPath": ".spec.i"},
        {"name": "D", "type": "date", "jsonPath": ".spec.d"}, {"name": "L", "type": "string", "jsonPath": ".spec.l"},
        {"name": "B", "type": "boolean", "jsonPath": ".spec.i"}]});
    let definition = definition(json!({"type": "object"}), columns);
    let kind = kinds(&definition).remove(0);
    let object =
        json!({"metadata": {"name": "a"}, "spec": {"s": "x", "i": 3, "d": "2026-01-01T00:00:00Z", "l": [1]}});
    let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
    let table = crate::table::render(&kind, &[object], now, crate::table::IncludeObject::None);
    expect![[r#"["a","x",3,"60s","[1]",null]"#]].assert_eq(&table["rows"][0]["cells"].to_string());
    assert_eq!(table["columnDefinitions"].as_array().unwrap().len(), 6);
}

#[test]
fn names_in_use_are_not_accepted_twice() {
    let first = definition(json!({"type": "object"}), json!({}));
    assert_eq!(kinds(&first).len(), 1);
    let mut second = json!({"metadata": {"name": "gadgets.example.com"}, "spec": {"group": "example.com", "names":
        {"plural": "gadgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}, "versions": []}});
    second["status"] = status::initial(&second);
    let now = "2026-01-01T00:00:00Z";
    second["status"] = status::settled(&second, [&*first].into_iter(), now).unwrap();
    assert_eq!(second["status"]["conditions"][0]["reason"], "ListKindConflict");
    assert_eq!(second["status"]["acceptedNames"], json!({"plural": "gadgets", "kind": ""}));
    assert!(!status::is_established(&second));
    assert_eq!(status::settled(&second, [&*first].into_iter(), now), None);
    // The first goes, and its names are free.
    second["status"] = status::settled(&second, [].into_iter(), now).unwrap();
    assert!(status::is_established(&second));
}

/// Values in and around the schema of these tests.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    let names = prop_oneof![
        Just("spec"),
        Just("size"),
        Just("color"),
        Just("nested"),
        Just("x"),
        Just("tags"),
        Just("items"),
        Just("k"),
        Just("free"),
        Just("known"),
        Just("inner"),
        Just("metadata"),
        Just("map"),
        Just("null"),
        Just("zzz"),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6).prop_map(|fields| fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    /// What was pruned and filled once stays as it is, and what is not faulted stays so.
    #[test]
    fn pruning_and_filling_twice_changes_nothing(object in value()) {
        let version = version(schema());
        let mut once = object;
        version.prune(&mut once);
        version.fill(&mut once);
        let mut twice = once.clone();
        prop_assert!(version.prune(&mut twice).is_empty());
        version.fill(&mut twice);
        prop_assert_eq!(&once, &twice);
        let changed = super::check::check(&version.schema, &once, Some(&once));
        prop_assert!(changed.is_empty());
    }
}

#[test]
fn objects_may_be_stored_in_the_version_they_are_stored_in() {
    let mut object = definition(json!({"type": "object"}), json!({})).as_ref().clone();
    object["status"]["storedVersions"] = json!([]);
    crate::defaults::apply(
        crate::find("apiextensions.k8s.io", "v1", "customresourcedefinitions").unwrap(),
        &mut object,
    );
    assert_eq!(object["status"]["storedVersions"], json!(["v1"]));
}
