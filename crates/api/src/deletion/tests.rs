use expect_test::{Expect, expect};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{DeleteOptions, Propagation, decide};
use crate::registry::Next;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn describe(plural: &str, object: &Value, options: &DeleteOptions) -> String {
    let kind = kinds::all().iter().find(|kind| kind.plural == plural).unwrap();
    match decide(kind, object, options, NOW) {
        Ok(Next::Remove(_)) => "remove".to_owned(),
        Ok(Next::Keep(_)) => "keep".to_owned(),
        Ok(Next::Replace(next)) => format!("mark {}", next["metadata"]),
        Err(failure) => format!("refuse: {failure}"),
    }
}

fn check(plural: &str, object: &Value, options: &DeleteOptions, expect: Expect) {
    expect.assert_eq(&describe(plural, object, options));
}

fn running_pod() -> Value {
    json!({"metadata": {"name": "p", "generation": 1},
        "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}, "status": {"phase": "Running"}})
}

#[test]
fn what_has_nothing_to_wait_for_goes_at_once() {
    let options = DeleteOptions::default();
    check("configmaps", &json!({"metadata": {"name": "c"}}), &options, expect!["remove"]);
    check("pods", &json!({"metadata": {"name": "p"}, "spec": {}}), &options, expect!["remove"]);
    let mut finished = running_pod();
    finished["status"]["phase"] = json!("Succeeded");
    check("pods", &finished, &options, expect!["remove"]);
    let forced = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    check("pods", &running_pod(), &forced, expect!["remove"]);
}

#[test]
fn a_running_pod_gets_its_grace_which_can_only_shrink() {
    let options = DeleteOptions::default();
    check(
        "pods",
        &running_pod(),
        &options,
        expect![[
            r#"mark {"deletionGracePeriodSeconds":30,"deletionTimestamp":"1970-01-01T00:00:30Z","generation":2,"name":"p"}"#
        ]],
    );
    let mut going = running_pod();
    going["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:30Z");
    going["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    check("pods", &going, &options, expect!["keep"]);
    let longer = DeleteOptions { grace_period_seconds: Some(60), ..DeleteOptions::default() };
    check("pods", &going, &longer, expect!["keep"]);
    let shorter = DeleteOptions { grace_period_seconds: Some(5), ..DeleteOptions::default() };
    check(
        "pods",
        &going,
        &shorter,
        expect![[
            r#"mark {"deletionGracePeriodSeconds":5,"deletionTimestamp":"1970-01-01T00:00:05Z","generation":1,"name":"p"}"#
        ]],
    );
}

#[test]
fn finalizers_and_propagation_hold_an_object_back() {
    let held = json!({"metadata": {"name": "c", "finalizers": ["x.io/f"]}});
    check(
        "configmaps",
        &held,
        &DeleteOptions::default(),
        expect![[
            r#"mark {"deletionGracePeriodSeconds":0,"deletionTimestamp":"1970-01-01T00:00:00Z","finalizers":["x.io/f"],"name":"c"}"#
        ]],
    );
    let foreground = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
    check(
        "deployments",
        &json!({"metadata": {"name": "d"}}),
        &foreground,
        expect![[
            r#"mark {"deletionGracePeriodSeconds":0,"deletionTimestamp":"1970-01-01T00:00:00Z","finalizers":["foregroundDeletion"],"name":"d"}"#
        ]],
    );
    check(
        "jobs",
        &json!({"metadata": {"name": "j"}}),
        &DeleteOptions::default(),
        expect![[
            r#"mark {"deletionGracePeriodSeconds":0,"deletionTimestamp":"1970-01-01T00:00:00Z","finalizers":["orphan"],"name":"j"}"#
        ]],
    );
}

#[test]
fn namespaces_wait_until_they_are_empty_and_some_never_go() {
    let namespace = |name: &str| json!({"metadata": {"name": name}, "spec": {"finalizers": ["kubernetes"]}});
    let options = DeleteOptions::default();
    check(
        "namespaces",
        &namespace("a"),
        &options,
        expect![[r#"mark {"deletionTimestamp":"1970-01-01T00:00:00Z","name":"a"}"#]],
    );
    check(
        "namespaces",
        &namespace("default"),
        &options,
        expect![[r#"refuse: namespaces "default" is forbidden: this namespace may not be deleted"#]],
    );
}

#[test]
fn preconditions_name_what_differs() {
    let object = json!({"metadata": {"name": "c", "uid": "u", "resourceVersion": "7"}});
    let other = DeleteOptions { uid: Some("v".into()), ..DeleteOptions::default() };
    check(
        "configmaps",
        &object,
        &other,
        expect![[
            r#"refuse: Operation cannot be fulfilled on ConfigMap "c": the UID in the precondition (v) does not match the UID in record (u). The object might have been deleted and then recreated"#
        ]],
    );
}

proptest! {
    /// However often a deletion is asked for, the second time with the same options changes nothing.
    #[test]
    fn asking_twice_is_asking_once(grace in proptest::option::of(-5_i64..100), hold in any::<bool>()) {
        let mut pod = running_pod();
        if hold {
            pod["metadata"]["finalizers"] = json!(["x.io/f"]);
        }
        let kind = kinds::find("", "v1", "pods").unwrap();
        let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
        if let Next::Replace(next) = decide(kind, &pod, &options, NOW).unwrap() {
            prop_assert!(matches!(decide(kind, &next, &options, NOW).unwrap(), Next::Keep(_)));
        }
    }
}
