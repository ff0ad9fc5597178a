//! Applies, alone and against others.

use expect_test::expect;
use serde_json::json;

use super::{By, Story, by};

#[test]
fn what_is_no_longer_applied_goes() {
    let mut story = Story::of("configmaps");
    story.apply(by("a", 1), json!({"data": {"x": "1", "y": "2"}, "metadata": {"labels": {"l": "1"}}}));
    story.shows(expect![[r#""#]]);
    story.apply(by("a", 2), json!({"data": {"x": "1", "y": "2"}, "metadata": {"labels": {"l": "1"}}}));
    story.apply(by("b", 3), json!({"data": {"x": "1", "z": "3"}}));
    story.shows(expect![[r#""#]]);
    story.apply(by("a", 4), json!({}));
    story.shows(expect![[r#""#]]);
}

#[test]
fn others_fields_are_only_taken_by_force() {
    let mut story = Story::of("configmaps");
    story.update(by("creator", 1), json!({"data": {"x": "1"}}));
    story.apply(by("a", 2), json!({"data": {"x": "1", "y": "1"}}));
    story.refused(by("b", 3), json!({"data": {"y": "2"}}), expect![[r#""#]]);
    story.refused(by("b", 3), json!({"data": {"y": "2", "x": "2"}}), expect![[r#""#]]);
    story.try_apply(by("b", 4), json!({"data": {"y": "2", "x": "2"}}), true).unwrap();
    story.shows(expect![[r#""#]]);
}

#[test]
fn items_have_owners_of_their_own() {
    let mut story = Story::of("services");
    story.apply(by("a", 1), json!({"spec": {"ports": [{"port": 80, "name": "a"}]}}));
    story.apply(by("b", 2), json!({"spec": {"ports": [{"port": 81, "protocol": "TCP"}], "selector": {"k": "v"}}}));
    story.shows(expect![[r#""#]]);
    story.refused(by("a", 3), json!({"spec": {"selector": {"k": "w"}}}), expect![[r#""#]]);
    story.apply(by("a", 4), json!({"spec": {"selector": {"k": "v"}}}));
    story.shows(expect![[r#""#]]);
}

#[test]
fn the_applied_order_counts() {
    let mut story = Story::of("pods");
    let containers = |names: &[&str]| {
        let items: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"spec": {"containers": items}})
    };
    story.update(by("user", 1), containers(&["a", "x", "b", "y"]));
    story.apply(by("a", 2), containers(&["y", "n", "x"]));
    let order: Vec<&str> = story.object.as_ref().unwrap()["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|container| container["name"].as_str().unwrap())
        .collect();
    assert_eq!(order, ["a", "b", "y", "n", "x"]);
}

#[test]
fn what_was_there_before_the_first_apply_has_an_owner() {
    let mut story = Story::of("configmaps");
    story.object = Some(story.named(json!({"data": {"x": "1", "y": "1"}})));
    story.refused(by("a", 1), json!({"data": {"x": "2"}}), expect![[r#""#]]);
    story.apply(by("a", 2), json!({"data": {"x": "1"}}));
    story.shows(expect![[r#""#]]);
}

#[test]
fn kubectl_takes_over_from_its_older_way() {
    let last = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"x":"1"}}"#;
    let annotations = json!({"kubectl.kubernetes.io/last-applied-configuration": last});
    let mut story = Story::of("configmaps");
    story.update(
        by("kubectl-client-side-apply", 1),
        json!({"metadata": {"annotations": annotations}, "data": {"x": "1", "y": "1"}}),
    );
    story.refused(by("other", 2), json!({"data": {"x": "2"}}), expect![[r#""#]]);
    story.refused(by("kubectl", 2), json!({"data": {"y": "2"}}), expect![[r#""#]]);
    story.apply(by("kubectl", 3), json!({"data": {"x": "2"}}));
    story.shows(expect![[r#""#]]);
}

#[test]
fn a_status_is_applied_through_its_own_path() {
    let mut story = Story::of("deployments");
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}});
    story.apply(by("user", 1), json!({"spec": spec, "status": {"replicas": 3}}));
    let status = |minute| By { subresource: "status", ..by("controller", minute) };
    story.apply(status(2), json!({"spec": {"replicas": 3}, "status": {"replicas": 3}}));
    story.shows(expect![[r#""#]]);
    story.apply(status(3), json!({"status": {}}));
    story.shows(expect![[r#""#]]);
}

#[test]
fn what_does_not_fit_the_type_is_refused() {
    let mut story = Story::of("pods");
    story.refused(by("a", 1), json!({"bogus": 1}), expect![[r#""#]]);
    story.refused(by("a", 1), json!({"spec": {"nodeName": 5}}), expect![[r#""#]]);
    story.refused(by("a", 1), json!({"spec": {"containers": {"name": "c"}}}), expect![[r#""#]]);
    story.refused(by("a", 1), json!({"spec": {"containers": [{"name": "c"}, {"name": "c"}]}}), expect![[r#""#]]);
    story.refused(by("a", 1), json!({"spec": {"containers": ["c"]}}), expect![[r#""#]]);
    story.refused(by("a", 1), json!({"spec": {"tolerations": [{"bogus": 1}]}}), expect![[r#""#]]);
    story.refused(by("a", 1), json!({"spec": {"hostNetwork": "yes"}}), expect![[r#""#]]);
    story.refused(by("a", 1), json!({"metadata": {"managedFields": [{}]}}), expect![[r#""#]]);
}
