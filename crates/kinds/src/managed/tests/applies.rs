//! Applies, alone and against others.

use expect_test::expect;
use serde_json::json;

use super::{By, Story, by};

#[test]
fn what_is_no_longer_applied_goes() {
    let mut story = Story::of("configmaps");
    story.apply(by("a", 1), json!({"data": {"x": "1", "y": "2"}, "metadata": {"labels": {"l": "1"}}}));
    story.shows(expect![[r#"
        01 Apply a {"f:data":{"f:x":{},"f:y":{}},"f:metadata":{"f:labels":{"f:l":{}}}}
        {"data":{"x":"1","y":"2"},"metadata":{"labels":{"l":"1"}}}"#]]);
    story.apply(by("a", 2), json!({"data": {"x": "1", "y": "2"}, "metadata": {"labels": {"l": "1"}}}));
    story.apply(by("b", 3), json!({"data": {"x": "1", "z": "3"}}));
    story.shows(expect![[r#"
        01 Apply a {"f:data":{"f:x":{},"f:y":{}},"f:metadata":{"f:labels":{"f:l":{}}}}
        03 Apply b {"f:data":{"f:x":{},"f:z":{}}}
        {"data":{"x":"1","y":"2","z":"3"},"metadata":{"labels":{"l":"1"}}}"#]]);
    story.apply(by("a", 4), json!({}));
    story.shows(expect![[r#"
        03 Apply b {"f:data":{"f:x":{},"f:z":{}}}
        {"data":{"x":"1","z":"3"},"metadata":{}}"#]]);
}

#[test]
fn others_fields_are_only_taken_by_force() {
    let mut story = Story::of("configmaps");
    story.update(by("creator", 1), json!({"data": {"x": "1"}}));
    story.apply(by("a", 2), json!({"data": {"x": "1", "y": "1"}}));
    story.refused(
        by("b", 3),
        json!({"data": {"y": "2"}}),
        expect![[r#"409 Apply failed with 1 conflict: conflict with "a": .data.y"#]],
    );
    story.refused(
        by("b", 3),
        json!({"data": {"y": "2", "x": "2"}}),
        expect![[r#"
        409 Apply failed with 3 conflicts: conflicts with "a":
        - .data.x
        - .data.y
        conflicts with "creator" using v1:
        - .data.x"#]],
    );
    story.try_apply(by("b", 4), json!({"data": {"y": "2", "x": "2"}}), true).unwrap();
    story.shows(expect![[r#"
        04 Apply b {"f:data":{"f:x":{},"f:y":{}}}
        01 Update creator {"f:data":{}}
        {"data":{"x":"2","y":"2"},"metadata":{}}"#]]);
}

#[test]
fn items_have_owners_of_their_own() {
    let mut story = Story::of("services");
    story.apply(by("a", 1), json!({"spec": {"ports": [{"port": 80, "name": "a"}]}}));
    story.apply(
        by("b", 2),
        json!({"spec": {"ports": [{"port": 81, "protocol": "TCP"}], "selector": {"k": "v"}}}),
    );
    story.shows(expect![[r#"
        01 Apply a {"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{}}}}}
        02 Apply b {"f:spec":{"f:ports":{"k:{\"port\":81,\"protocol\":\"TCP\"}":{".":{},"f:port":{},"f:protocol":{}}},"f:selector":{}}}
        {"metadata":{},"spec":{"ports":[{"name":"a","port":80},{"port":81,"protocol":"TCP"}],"selector":{"k":"v"}}}"#]]);
    story.refused(
        by("a", 3),
        json!({"spec": {"selector": {"k": "w"}}}),
        expect![[r#"409 Apply failed with 1 conflict: conflict with "b": .spec.selector"#]],
    );
    story.apply(by("a", 4), json!({"spec": {"selector": {"k": "v"}}}));
    story.shows(expect![[r#"
        02 Apply b {"f:spec":{"f:ports":{"k:{\"port\":81,\"protocol\":\"TCP\"}":{".":{},"f:port":{},"f:protocol":{}}},"f:selector":{}}}
        04 Apply a {"f:spec":{"f:selector":{}}}
        {"metadata":{},"spec":{"ports":[{"port":81,"protocol":"TCP"}],"selector":{"k":"v"}}}"#]]);
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
    story.refused(
        by("a", 1),
        json!({"data": {"x": "2"}}),
        expect![[
            r#"409 Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .data.x"#
        ]],
    );
    story.apply(by("a", 2), json!({"data": {"x": "1"}}));
    story.shows(expect![[r#"
        -- Apply a {"f:data":{"f:x":{}}}
        02 Update before-first-apply {"f:data":{".":{},"f:x":{},"f:y":{}}}
        {"data":{"x":"1","y":"1"},"metadata":{}}"#]]);
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
    story.refused(
        by("other", 2),
        json!({"data": {"x": "2"}}),
        expect![[
            r#"409 Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .data.x"#
        ]],
    );
    story.refused(
        by("kubectl", 2),
        json!({"data": {"y": "2"}}),
        expect![[
            r#"409 Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .data.y"#
        ]],
    );
    story.apply(by("kubectl", 3), json!({"data": {"x": "2"}}));
    story.shows(expect![[r#"
        03 Apply kubectl {"f:data":{"f:x":{}}}
        01 Update kubectl-client-side-apply {"f:data":{".":{},"f:y":{}},"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/last-applied-configuration":{}}}}
        {"data":{"x":"2","y":"1"},"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"apiVersion\":\"v1\",\"data\":{\"x\":\"2\"},\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"x\"}}\n"}}}"#]]);
}

#[test]
fn a_status_is_applied_through_its_own_path() {
    let mut story = Story::of("deployments");
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}});
    story.apply(by("user", 1), json!({"spec": spec, "status": {"replicas": 3}}));
    let status = |minute| By { subresource: "status", ..by("controller", minute) };
    story.apply(status(2), json!({"spec": {"replicas": 3}, "status": {"replicas": 3}}));
    story.shows(expect![[r#"
        01 Apply user {"f:spec":{"f:selector":{}}}
        02 Apply controller/status {"f:status":{"f:replicas":{}}}
        {"metadata":{},"spec":{"replicas":3,"selector":{"matchLabels":{"a":"b"}}},"status":{"replicas":3}}"#]]);
    story.apply(status(3), json!({"status": {}}));
    story.shows(expect![[r#"
        01 Apply user {"f:spec":{"f:selector":{}}}
        03 Apply controller/status {"f:status":{}}
        {"metadata":{},"spec":{"replicas":3,"selector":{"matchLabels":{"a":"b"}}}}"#]]);
}

#[test]
fn what_does_not_fit_the_type_is_refused() {
    let mut story = Story::of("pods");
    story.refused(
        by("a", 1),
        json!({"bogus": 1}),
        expect![
            "500 failed to create typed patch object (/x; /v1, Kind=Pod): .bogus: field not declared in schema"
        ],
    );
    story.refused(by("a", 1), json!({"spec": {"nodeName": 5}}), expect!["500 failed to create typed patch object (/x; /v1, Kind=Pod): .spec.nodeName: expected string, got 5"]);
    story.refused(by("a", 1), json!({"spec": {"containers": {"name": "c"}}}), expect![[r#"500 failed to create typed patch object (/x; /v1, Kind=Pod): .spec.containers: expected list, got {"name":"c"}"#]]);
    story.refused(by("a", 1), json!({"spec": {"containers": [{"name": "c"}, {"name": "c"}]}}), expect![[r#"500 failed to create typed patch object (/x; /v1, Kind=Pod): .spec.containers: duplicate entries for key [name="c"]"#]]);
    story.refused(by("a", 1), json!({"spec": {"containers": ["c"]}}), expect!["500 failed to create typed patch object (/x; /v1, Kind=Pod): .spec.containers: element 0: associative list with keys may not have non-map elements"]);
    story.refused(by("a", 1), json!({"spec": {"tolerations": [{"bogus": 1}]}}), expect!["500 failed to create typed patch object (/x; /v1, Kind=Pod): .spec.tolerations[0].bogus: field not declared in schema"]);
    story.refused(by("a", 1), json!({"spec": {"hostNetwork": "yes"}}), expect![[r#"500 failed to create typed patch object (/x; /v1, Kind=Pod): .spec.hostNetwork: expected boolean, got "yes""#]]);
    story.refused(
        by("a", 1),
        json!({"metadata": {"managedFields": [{}]}}),
        expect!["400 metadata.managedFields must be nil"],
    );
}
