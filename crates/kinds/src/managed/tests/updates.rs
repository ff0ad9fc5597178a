//! Creates, updates and patches.

use expect_test::expect;
use serde_json::json;

use super::{By, Story, by};
use crate::managed::manager_name;

#[test]
fn a_creator_owns_what_it_said() {
    let mut story = Story::of("pods");
    story.update(
        by("kubectl", 1),
        json!({"metadata": {"labels": {"a": "b"}, "generateName": "x-"}, "status": {"phase": "Pending"},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {}, "env": [{"name": "E", "value": "1"}],
                "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
                "nodeSelector": {"k": "v"}, "securityContext": {}, "volumes": [{"name": "v", "emptyDir": {}}]}}),
    );
    story.shows(expect![[r#"
        01 Update kubectl {"f:metadata":{"f:generateName":{},"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:env":{".":{},"k:{\"name\":\"E\"}":{".":{},"f:name":{},"f:value":{}}},"f:image":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:protocol":{}}},"f:resources":{}}},"f:nodeSelector":{},"f:securityContext":{},"f:volumes":{".":{},"k:{\"name\":\"v\"}":{".":{},"f:emptyDir":{},"f:name":{}}}}}
        {"metadata":{"generateName":"x-","labels":{"a":"b"}},"spec":{"containers":[{"env":[{"name":"E","value":"1"}],"image":"i","name":"c","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{}}],"nodeSelector":{"k":"v"},"securityContext":{},"volumes":[{"emptyDir":{},"name":"v"}]},"status":{"phase":"Pending"}}"#]]);
}

#[test]
fn a_change_moves_fields_to_its_writer() {
    let mut story = Story::of("configmaps");
    story.update(by("creator", 1), json!({"data": {"a": "1", "b": "2"}}));
    story.update(by("editor", 2), json!({"data": {"a": "5", "b": "2", "c": "3"}}));
    story.shows(expect![[r#"
        01 Update creator {"f:data":{".":{},"f:b":{}}}
        02 Update editor {"f:data":{"f:a":{},"f:c":{}}}
        {"data":{"a":"5","b":"2","c":"3"},"metadata":{}}"#]]);
    story.update(by("editor", 3), json!({"data": {"a": "5", "c": "3"}}));
    story.shows(expect![[r#"
        01 Update creator {"f:data":{}}
        02 Update editor {"f:data":{"f:a":{},"f:c":{}}}
        {"data":{"a":"5","c":"3"},"metadata":{}}"#]]);
    // Nothing changed: no time does.
    let before = story.object.clone();
    story.update(by("other", 4), json!({"data": {"c": "3", "a": "5"}}));
    assert_eq!(story.object, before);
}

#[test]
fn the_status_belongs_to_those_who_write_it() {
    let mut story = Story::of("deployments");
    let spec =
        json!({"replicas": 1, "strategy": {"type": "Recreate"}, "template": {"spec": {"containers": []}}});
    story.update(by("user", 1), json!({"spec": spec, "status": {"replicas": 9}}));
    let controller = By { subresource: "status", ..by("controller", 2) };
    story.update(
        controller,
        json!({"spec": {"replicas": 7}, "status": {"replicas": 9, "conditions": [{"type": "Available", "status": "True"}]}}),
    );
    story.shows(expect![[r#"
        01 Update user {"f:spec":{"f:replicas":{},"f:strategy":{"f:type":{}},"f:template":{"f:spec":{"f:containers":{}}}}}
        02 Update controller/status {"f:status":{"f:conditions":{".":{},"k:{\"type\":\"Available\"}":{".":{},"f:status":{},"f:type":{}}}}}
        {"metadata":{},"spec":{"replicas":7},"status":{"conditions":[{"status":"True","type":"Available"}],"replicas":9}}"#]]);
}

#[test]
fn managers_can_be_stated_and_reset() {
    let mut story = Story::of("configmaps");
    story.update(by("creator", 1), json!({"data": {"a": "1"}}));
    // As kubectl does when it changes from its own way of applying to the server's.
    let migrated = json!([{"manager": "kubectl", "operation": "Apply", "apiVersion": "v1",
        "time": "2026-01-01T00:01:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}}}}]);
    story.update(by("kubectl", 2), json!({"metadata": {"managedFields": migrated}, "data": {"a": "1"}}));
    story.shows(expect![[r#"
        01 Apply kubectl {"f:data":{"f:a":{}}}
        {"data":{"a":"1"},"metadata":{}}"#]]);
    // What makes no sense is as if it was not there.
    story.update(
        by("kubectl", 3),
        json!({"metadata": {"managedFields": [{"operation": "Eat"}]}, "data": {"a": "1"}}),
    );
    story.shows(expect![[r#"
        01 Apply kubectl {"f:data":{"f:a":{}}}
        {"data":{"a":"1"},"metadata":{}}"#]]);
    // Nor does an empty list say anything: controllers send it that keep their copies of objects small.
    story.update(by("kubectl", 3), json!({"metadata": {"managedFields": []}, "data": {"a": "1"}}));
    story.shows(expect![[r#"
        01 Apply kubectl {"f:data":{"f:a":{}}}
        {"data":{"a":"1"},"metadata":{}}"#]]);
    story.update(by("kubectl", 4), json!({"metadata": {"managedFields": [{}]}, "data": {"a": "1"}}));
    story.shows(expect![[r#"{"data":{"a":"1"},"metadata":{}}"#]]);
    // Who is not tracked stays so.
    story.update(by("kubectl", 5), json!({"data": {"a": "2"}}));
    story.shows(expect![[r#"{"data":{"a":"2"},"metadata":{}}"#]]);
}

#[test]
fn the_oldest_of_many_updaters_are_merged() {
    const NAMES: [&str; 13] = ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9", "n0", "n1", "n2"];
    let mut story = Story::of("configmaps");
    let mut data = json!({});
    for (minute, name) in (1..).zip(NAMES) {
        data[name] = "x".into();
        story.update(by(name, minute), json!({"data": data}));
    }
    story.shows(expect![[r#"
        04 Update ancient-changes {"f:data":{".":{},"f:m0":{},"f:m1":{},"f:m2":{},"f:m3":{}}}
        05 Update m4 {"f:data":{"f:m4":{}}}
        06 Update m5 {"f:data":{"f:m5":{}}}
        07 Update m6 {"f:data":{"f:m6":{}}}
        08 Update m7 {"f:data":{"f:m7":{}}}
        09 Update m8 {"f:data":{"f:m8":{}}}
        10 Update m9 {"f:data":{"f:m9":{}}}
        11 Update n0 {"f:data":{"f:n0":{}}}
        12 Update n1 {"f:data":{"f:n1":{}}}
        13 Update n2 {"f:data":{"f:n2":{}}}
        {"data":{"m0":"x","m1":"x","m2":"x","m3":"x","m4":"x","m5":"x","m6":"x","m7":"x","m8":"x","m9":"x","n0":"x","n1":"x","n2":"x"},"metadata":{}}"#]]);
}

#[test]
fn a_scale_leaves_no_time() {
    let mut story = Story::of("deployments");
    story.update(by("user", 1), json!({"spec": {"replicas": 1}}));
    let current = story.object.clone().unwrap();
    let mut new = current.clone();
    new["spec"]["replicas"] = 3.into();
    let scaler = By { subresource: "scale", ..by("user", 2) };
    scaler.with(|writer| crate::managed::scale(story.kind, writer, &current, &mut new));
    story.object = Some(new);
    story.shows(expect![[r#"
        -- Update user/scale {"f:spec":{"f:replicas":{}}}
        {"metadata":{},"spec":{"replicas":3}}"#]]);
}

#[test]
fn programs_are_known_by_the_start_of_their_user_agent() {
    for (manager, user_agent, name) in [
        ("said", "kubectl/v1", "said"),
        ("", "kubectl/v1.33 (linux/amd64)", "kubectl"),
        ("", "kube-\u{7}probe", "kube-probe"),
        ("", "", "unknown"),
        ("", "/v1", "unknown"),
    ] {
        assert_eq!(manager_name(manager, user_agent), name);
    }
    assert_eq!(manager_name("", &"é".repeat(100)).len(), 128);
}
