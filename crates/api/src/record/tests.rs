use kinds::Kind;
use serde_json::{Value, json};
use store::{Entry, Revision};

use super::{Place, decode, encode, splice};

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
