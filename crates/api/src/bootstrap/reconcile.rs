//! Default roles and bindings of a cluster that was made by an older version: what this version adds to them.
//!
//! As in Kubernetes nothing is taken away, and an object whose annotation says `"false"` is its owner's alone.

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::roles::AUTO_UPDATE;
use crate::authorization::first_uncovered;

/// What `current` must become to have all that `wanted` has; `None` if it has, or is not to be touched.
pub(super) fn completed(current: &Value, wanted: &Value) -> Option<Value> {
    if current["metadata"]["annotations"][AUTO_UPDATE] == "false" {
        return None;
    }
    let mut completed = current.clone();
    for notes in ["labels", "annotations"] {
        add_missing(&mut completed["metadata"][notes], &wanted["metadata"][notes]);
    }
    // What is brought together from other roles is not written here.
    if wanted["aggregationRule"].is_null() {
        append(&mut completed, "rules", missing_rules(&current["rules"], &wanted["rules"]));
    }
    let known = current["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
    let subjects = wanted["subjects"].as_array().into_iter().flatten();
    append(
        &mut completed,
        "subjects",
        subjects.filter(|subject| !known.contains(subject)).cloned().collect(),
    );
    (completed != *current).then_some(completed)
}

/// Those of the wanted rules that the present ones together do not grant.
fn missing_rules(current: &Value, wanted: &Value) -> Vec<Value> {
    let rules = |value: &Value| Vec::<PolicyRule>::deserialize(value).unwrap_or_default();
    let (current, wanted_rules) = (rules(current), rules(wanted));
    let current: Vec<&PolicyRule> = current.iter().collect();
    let pairs = wanted.as_array().into_iter().flatten().zip(&wanted_rules);
    let missing = pairs.filter(|(_, rule)| first_uncovered(&current, std::slice::from_ref(rule)).is_some());
    missing.map(|(value, _)| value.clone()).collect()
}

fn add_missing(notes: &mut Value, wanted: &Value) {
    let Some(wanted) = wanted.as_object() else { return };
    if !notes.is_object() {
        *notes = Value::Object(Map::new());
    }
    for (key, value) in wanted {
        if notes.get(key).is_none() {
            notes[key] = value.clone();
        }
    }
}

fn append(object: &mut Value, field: &str, more: Vec<Value>) {
    if more.is_empty() {
        return;
    }
    match object[field].as_array_mut() {
        Some(list) => list.extend(more),
        None => object[field] = more.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::completed;

    fn role(annotation: &str, rules: &Value) -> Value {
        json!({"metadata": {"name": "r", "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": annotation}}, "rules": rules})
    }

    fn rule(verbs: &[&str], resources: &[&str]) -> Value {
        json!({"verbs": verbs, "apiGroups": [""], "resources": resources})
    }

    fn check(annotation: &str, current: &[Value], wanted: &[Value], expected: Option<&[Value]>) {
        let found = completed(&role(annotation, &json!(current)), &role("true", &json!(wanted)));
        assert_eq!(found, expected.map(|rules| role(annotation, &json!(rules))), "{current:?} {wanted:?}");
    }

    #[test]
    fn rules_are_added_and_never_taken() {
        let (get, list) = (rule(&["get"], &["pods"]), rule(&["list"], &["pods"]));
        let both = rule(&["get", "list"], &["pods"]);
        check("true", std::slice::from_ref(&get), std::slice::from_ref(&get), None);
        check("true", &[get.clone(), list.clone()], std::slice::from_ref(&both), None);
        check("true", &[rule(&["*"], &["*"])], std::slice::from_ref(&both), None);
        check(
            "true",
            std::slice::from_ref(&get),
            std::slice::from_ref(&both),
            Some(&[get.clone(), both.clone()]),
        );
        check("true", &[both.clone(), list.clone()], std::slice::from_ref(&get), None);
        check("true", &[], std::slice::from_ref(&get), Some(std::slice::from_ref(&get)));
        check("false", &[], std::slice::from_ref(&get), None);
    }

    #[test]
    fn subjects_labels_and_annotations_are_added() {
        let group =
            |name: &str| json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": name});
        let wanted = json!({"metadata": {"labels": {"a": "1"}, "annotations": {"b": "2"}},
            "roleRef": {"name": "r"}, "subjects": [group("one"), group("two")]});
        let current = json!({"metadata": {"labels": {"a": "theirs", "c": "3"}}, "roleRef": {"name": "r"},
            "subjects": [group("three"), group("two")]});
        let completed = completed(&current, &wanted).unwrap();
        let expected = json!({"metadata": {"labels": {"a": "theirs", "c": "3"}, "annotations": {"b": "2"}},
            "roleRef": {"name": "r"}, "subjects": [group("three"), group("two"), group("one")]});
        assert_eq!(completed, expected);
        assert_eq!(super::completed(&expected, &wanted), None);
    }
}
