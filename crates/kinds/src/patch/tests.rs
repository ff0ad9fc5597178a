//! Patches as clients send them.

use expect_test::{Expect, expect};
use proptest::prelude::{ProptestConfig, proptest};
use serde_json::{Value, json};

use super::PatchType::{Json, Merge, StrategicMerge};
use super::{PatchType, apply};
use crate::all;

fn patched(kind_name: &str, patch_type: PatchType, current: &Value, patch: &Value) -> String {
    let kind = all().iter().find(|kind| kind.kind == kind_name).unwrap();
    match apply(kind, patch_type, current, patch.to_string().as_bytes()) {
        Ok(patched) => patched.to_string(),
        Err(failure) => format!("{} {failure}", failure.code()),
    }
}

fn check(kind: &str, patch_type: PatchType, current: &Value, patch: &Value, expected: Expect) {
    expected.assert_eq(&patched(kind, patch_type, current, patch));
}

fn pod() -> Value {
    json!({"spec": {"containers": [
        {"name": "a", "image": "x:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
        {"name": "b", "image": "x:1"},
    ], "volumes": [{"name": "v", "emptyDir": {}}], "tolerations": [{"key": "t"}]}})
}

#[test]
fn lists_merge_by_key_and_nested_lists_too() {
    check(
        "Pod",
        StrategicMerge,
        &pod(),
        &json!({"spec": {"containers": [{"name": "a", "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]}]}}),
        expect![[
            r#"{"spec":{"containers":[{"env":[{"name":"A","value":"1"},{"name":"B","value":"3"},{"name":"C","value":"4"}],"image":"x:1","name":"a"},{"image":"x:1","name":"b"}],"tolerations":[{"key":"t"}],"volumes":[{"emptyDir":{},"name":"v"}]}}"#
        ]],
    );
    // New items come first, and lists without a key are replaced.
    check(
        "Pod",
        StrategicMerge,
        &pod(),
        &json!({"spec": {"volumes": [{"name": "w", "emptyDir": {}}], "tolerations": [{"key": "u"}], "containers": null}}),
        expect![[
            r#"{"spec":{"tolerations":[{"key":"u"}],"volumes":[{"emptyDir":{},"name":"w"},{"emptyDir":{},"name":"v"}]}}"#
        ]],
    );
}

#[test]
fn directives_do_what_a_merge_cannot() {
    let spec = |patch: Value| json!({"spec": patch});
    check(
        "Pod",
        StrategicMerge,
        &pod(),
        &spec(json!({"containers": [{"name": "a", "$patch": "delete"}]})),
        expect![[
            r#"{"spec":{"containers":[{"image":"x:1","name":"b"}],"tolerations":[{"key":"t"}],"volumes":[{"emptyDir":{},"name":"v"}]}}"#
        ]],
    );
    check(
        "Pod",
        StrategicMerge,
        &pod(),
        &spec(json!({"containers": [{"name": "z"}, {"$patch": "replace"}]})),
        expect![[
            r#"{"spec":{"containers":[{"name":"z"}],"tolerations":[{"key":"t"}],"volumes":[{"emptyDir":{},"name":"v"}]}}"#
        ]],
    );
    check(
        "Pod",
        StrategicMerge,
        &pod(),
        &spec(
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "image": "y"}]}),
        ),
        expect![[
            r#"{"spec":{"containers":[{"image":"y","name":"b"},{"env":[{"name":"A","value":"1"},{"name":"B","value":"2"}],"image":"x:1","name":"a"}],"tolerations":[{"key":"t"}],"volumes":[{"emptyDir":{},"name":"v"}]}}"#
        ]],
    );
    check(
        "Pod",
        StrategicMerge,
        &pod(),
        &spec(
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}),
        ),
        expect![[
            r#"{"spec":{"containers":[{"env":[{"name":"A","value":"1"},{"name":"B","value":"2"}],"image":"x:1","name":"a"},{"image":"x:1","name":"b"}],"tolerations":[{"key":"t"}],"volumes":[{"hostPath":{"path":"/x"},"name":"v"}]}}"#
        ]],
    );
    check(
        "ConfigMap",
        StrategicMerge,
        &json!({"data": {"a": "1"}, "x": 1}),
        &json!({"data": {"$patch": "replace", "b": "2"}}),
        expect![[r#"{"data":{"b":"2"},"x":1}"#]],
    );
    check(
        "ConfigMap",
        StrategicMerge,
        &json!({"data": {"a": "1"}}),
        &json!({"$patch": "replace", "data": {"only": "this"}}),
        expect![[r#"{"data":{"only":"this"}}"#]],
    );
    check(
        "Pod",
        StrategicMerge,
        &pod(),
        &spec(json!({"volumes": [{"$patch": "bogus", "name": "v"}]})),
        expect![[r#"500 unknown patch type: "bogus" is neither `replace`, `delete` nor `merge`"#]],
    );
    check(
        "Pod",
        StrategicMerge,
        &pod(),
        &spec(json!({"volumes": [{"emptyDir": {}}]})),
        expect![[r#"500 map: {"emptyDir":{}} does not contain declared merge key: name"#]],
    );
}

#[test]
fn sets_of_plain_values_merge() {
    let current = json!({"metadata": {"finalizers": ["a", "b"]}});
    let metadata = |patch: Value| json!({"metadata": patch});
    check(
        "Pod",
        StrategicMerge,
        &current,
        &metadata(json!({"finalizers": ["c"]})),
        expect![[r#"{"metadata":{"finalizers":["c","a","b"]}}"#]],
    );
    check(
        "Pod",
        StrategicMerge,
        &current,
        &metadata(json!({"$deleteFromPrimitiveList/finalizers": ["a"]})),
        expect![[r#"{"metadata":{"finalizers":["b"]}}"#]],
    );
    check(
        "Pod",
        StrategicMerge,
        &current,
        &metadata(json!({"$setElementOrder/finalizers": ["b", "a"]})),
        expect![[r#"{"metadata":{"finalizers":["b","a"]}}"#]],
    );
}

#[test]
fn the_other_patches() {
    let current = json!({"data": {"a": "1", "b": "2"}});
    check(
        "ConfigMap",
        Merge,
        &current,
        &json!({"data": {"a": null, "c": "3"}}),
        expect![[r#"{"data":{"b":"2","c":"3"}}"#]],
    );
    check(
        "ConfigMap",
        Merge,
        &current,
        &json!([1]),
        expect!["400 error decoding patch: a patch of this type is a JSON object"],
    );
    check(
        "ConfigMap",
        Json,
        &current,
        &json!([{"op": "add", "path": "/data/z", "value": "9"}, {"op": "test", "path": "/data/a", "value": "1"}]),
        expect![[r#"{"data":{"a":"1","b":"2","z":"9"}}"#]],
    );
    check(
        "ConfigMap",
        Json,
        &current,
        &json!([{"op": "remove", "path": "/data/nope"}]),
        expect![
            "422 the JSON patch cannot be applied: operation '/0' failed at path '/data/nope': path is invalid"
        ],
    );
    check(
        "DagJob",
        StrategicMerge,
        &current,
        &json!({}),
        expect![
            "415 the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json"
        ],
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn applying_a_strategic_merge_twice_is_applying_it_once(
        old in proptest::collection::btree_map("[a-d]", "[x-z]", 0..4),
        new in proptest::collection::btree_map("[a-f]", "[x-z]", 0..4),
        gone in "[a-f]",
    ) {
        let containers = |entries: &std::collections::BTreeMap<String, String>| -> Vec<Value> {
            entries.iter().map(|(name, image)| json!({"name": name, "image": image})).collect()
        };
        let current = json!({"spec": {"containers": containers(&old)}});
        let mut items = containers(&new);
        items.retain(|item| item["name"] != *gone);
        items.push(json!({"name": gone, "$patch": "delete"}));
        let patch = json!({"spec": {"containers": items}});
        let once = patched("Pod", StrategicMerge, &current, &patch);
        let twice = patched("Pod", StrategicMerge, &serde_json::from_str(&once).unwrap(), &patch);
        let names = |text: &str| -> Vec<String> {
            let value: Value = serde_json::from_str(text).unwrap();
            let mut items: Vec<String> = value["spec"]["containers"].as_array().unwrap().iter().map(Value::to_string).collect();
            items.sort();
            items
        };
        assert_eq!(names(&once), names(&twice));
    }

    #[test]
    fn patching_never_panics(text in "\\PC{0,60}") {
        for patch_type in [Json, Merge, StrategicMerge] {
            let _result = apply(&all()[0], patch_type, &pod(), text.as_bytes());
        }
    }
}

/// Patches that double what is there, in size or in depth, until nothing is left of the memory or the stack.
#[test]
fn patches_that_grow_without_bound_are_refused() {
    let map = json!({"data": {"a": "x".repeat(1000)}});
    let doubling: Vec<Value> =
        (0..60).map(|i| json!({"op": "copy", "from": "/data", "path": format!("/data/c{i}")})).collect();
    let mut deepening = Vec::new();
    let mut path = String::new();
    for _ in 0..200 {
        path.push_str("/a");
        deepening.push(json!({"op": "add", "path": path, "value": {}}));
    }
    let said = |patch: Vec<Value>| patched("ConfigMap", Json, &map, &Value::Array(patch));
    expect!["413 the copies of a JSON patch may not exceed 3145728 bytes"].assert_eq(&said(doubling));
    expect!["422 the JSON patch nests values more than 128 deep"].assert_eq(&said(deepening));
}
