use kinds::Kind;
use serde_json::{Value, json};
use store::{Entry, Revision};

use super::{Place, decode, encode, is_same, splice, splice_metadata, splice_unmanaged};

fn entry(kind: &Kind, object: &Value) -> Entry {
    let value = encode(kind, object).unwrap();
    Entry { key: "/k".into(), value, created: Revision(2), modified: Revision(7) }
}

fn check(kind: &Kind, object: &Value) {
    let entry = entry(kind, object);
    let mut expected = object.clone();
    expected["metadata"]["resourceVersion"] = json!("7");
    assert_eq!(decode(kind, &entry).unwrap(), expected);
    let mut out = Vec::new();
    splice(kind, &entry.value, entry.modified, Place::Alone, &mut out).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
    out.clear();
    if splice_metadata(kind, &entry.value, (entry.modified, true), &mut out) {
        let bare = kinds::table::partial_metadata(expected.clone());
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), bare);
    } else {
        assert!(!kinds::convert::is_stored_as_served(kind));
    }
    out.clear();
    if splice_unmanaged(kind, &entry.value, entry.modified, &mut out) {
        let mut bare = expected.clone();
        bare["metadata"].as_object_mut().unwrap().remove("managedFields");
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), bare);
        out.clear();
        assert!(splice_metadata(kind, &entry.value, (entry.modified, false), &mut out));
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap()["metadata"], bare["metadata"]);
    } else {
        assert!(!kinds::convert::is_stored_as_served(kind));
    }
    out.clear();
    splice(kind, &entry.value, entry.modified, Place::InList, &mut out).unwrap();
    let fields = expected.as_object_mut().unwrap();
    fields.remove("kind");
    fields.remove("apiVersion");
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
}

#[test]
fn an_object_comes_back_with_the_revision_of_its_entry() {
    let kind = kinds::find("", "v1", "configmaps").unwrap();
    check(
        kind,
        &json!({"data": {"k": "v"}, "metadata": {"name": "a", "resourceVersion": "3"},
        "apiVersion": "v1", "kind": "ConfigMap"}),
    );
    check(kind, &json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {}}));
    let awkward = json!({"a": "}", "b\"": "{\\", "\\": "\"}}", "é\n": {"c": [{"d": "\\\""}, {}]}});
    check(
        kind,
        &json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"metadata": "{"},
        "metadata": {"annotations": awkward, "labels": {}, "name": "a"}}),
    );
    let managed = json!([{"manager": "m", "fieldsV1": {"f:data": {"k:{\"a\":1}": {}}}}]);
    for metadata in [
        json!({"managedFields": managed}),
        json!({"labels": {"a": "b"}, "managedFields": managed}),
        json!({"labels": {"a": "b"}, "managedFields": managed, "name": "a"}),
    ] {
        check(kind, &json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata}));
    }
}

#[test]
fn what_is_no_stored_object_has_no_metadata() {
    let kind = kinds::find("", "v1", "configmaps").unwrap();
    for text in [
        "",
        "{",
        r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"a":"\"#,
        r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"a":{}"#,
    ] {
        assert!(!splice_metadata(kind, text.as_bytes(), (Revision(1), true), &mut Vec::new()), "{text}");
    }
}

#[test]
fn an_object_of_another_group_is_stored_once() {
    let kind = kinds::find("events.k8s.io", "v1", "events").unwrap();
    check(
        kind,
        &json!({"kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {"name": "e"},
        "note": "hello", "regarding": {"kind": "Pod"}}),
    );
}

/// A kind that a user defined, in a state of its definition.
fn boats(generation: i64, color: &Value) -> Kind {
    let schema =
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"color": color}}}});
    let names = json!({"plural": "boats", "kind": "Boat", "listKind": "BoatList", "singular": "boat"});
    let definition = json!({"metadata": {"name": "boats.e.test", "uid": "1-2", "generation": generation},
        "spec": {"group": "e.test", "scope": "Namespaced", "names": names,
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]},
        "status": {"acceptedNames": names, "conditions": [{"type": "Established", "status": "True"}]}});
    kinds::custom::kinds(&std::sync::Arc::new(definition)).remove(0)
}

fn served(kind: &Kind, entry: &Entry) -> Value {
    let mut out = Vec::new();
    splice(kind, &entry.value, entry.modified, Place::InList, &mut out).unwrap();
    let value = serde_json::from_slice(&out).unwrap();
    assert_eq!(value, decode(kind, entry).unwrap());
    value
}

#[test]
fn a_custom_resource_is_served_by_the_schema_of_now_whoever_wrote_it_and_when() {
    let (old, new) =
        (boats(1, &json!({"type": "string"})), boats(2, &json!({"type": "string", "default": "red"})));
    let object = json!({"kind": "Boat", "apiVersion": "e.test/v1", "metadata": {"name": "a"}, "spec": {}});
    // A server that had not heard of the change yet.
    let entry = self::entry(&old, &object);
    assert_eq!(served(&old, &entry)["spec"], json!({}));
    assert_eq!(served(&new, &entry)["spec"], json!({"color": "red"}));
    // Its seal is nobody's business, and no field of the user's is one.
    let mut forged = object.clone();
    forged[super::SEAL] = json!("1-2.2.v1");
    let forged = self::entry(&old, &forged);
    assert_eq!(served(&new, &forged), served(&new, &entry));
    assert!(served(&old, &forged).get(super::SEAL).is_none());
}

#[test]
fn the_same_object_is_the_same_by_every_schema() {
    let (old, new) = (boats(1, &json!({"type": "string"})), boats(2, &json!({"type": "string"})));
    let object = |color: &str| json!({"kind": "Boat", "apiVersion": "e.test/v1", "metadata": {"name": "a"}, "spec": {"color": color}});
    let bytes = |kind: &Kind, color: &str| encode(kind, &object(color)).unwrap();
    assert_ne!(bytes(&old, "a"), bytes(&new, "a"));
    assert!(is_same(&bytes(&old, "a"), &bytes(&new, "a")));
    assert!(!is_same(&bytes(&old, "a"), &bytes(&new, "b")));
    let nested = br#"{"spec":{"a":1,"crest.dev/schema":"x"}}"#;
    assert!(!is_same(nested, br#"{"spec":{"a":1,"crest.dev/schema":"y"}}"#));
}
