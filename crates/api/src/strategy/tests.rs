use expect_test::{Expect, expect};
use kinds::Kind;
use serde_json::{Value, json};

use super::{Birth, Part, prepare_create, prepare_update};

fn birth() -> Birth {
    Birth { uid: "u1".into(), created: "2026-01-01T00:00:00Z".into(), suffix: "abcde".into() }
}

fn kind(plural: &str) -> &'static Kind {
    kinds::all().iter().find(|kind| kind.plural == plural).unwrap()
}

fn check_create(plural: &str, mut object: Value, expect: Expect) {
    prepare_create(kind(plural), &mut object, &birth());
    expect.assert_eq(&object.to_string());
}

fn check_update(plural: &str, part: Part, new: Value, old: &Value, expect: Expect) {
    let mut next = new;
    let answer = match prepare_update(kind(plural), &mut next, old, part) {
        Ok(()) => next.to_string(),
        Err(failure) => failure.to_string(),
    };
    expect.assert_eq(&answer);
}

#[test]
fn a_new_object_gets_an_identity() {
    check_create(
        "configmaps",
        json!({"metadata": {"generateName": "a-", "uid": "mine", "resourceVersion": "9", "generation": 7}}),
        expect![[
            r#"{"metadata":{"creationTimestamp":"2026-01-01T00:00:00Z","generateName":"a-","generation":7,"name":"a-abcde","uid":"u1"}}"#
        ]],
    );
    check_create(
        "namespaces",
        json!({"metadata": {"name": "n"}, "status": {"phase": "Terminating"}}),
        expect![[
            r#"{"metadata":{"creationTimestamp":"2026-01-01T00:00:00Z","labels":{"kubernetes.io/metadata.name":"n"},"name":"n","uid":"u1"},"spec":{"finalizers":["kubernetes"]},"status":{"phase":"Active"}}"#
        ]],
    );
}

#[test]
fn a_new_pod_waits_and_has_a_class() {
    let pod = |resources: Value| {
        json!({"metadata": {"name": "p"},
        "spec": {"containers": [{"resources": resources}]}})
    };
    for (resources, class) in [
        (json!({}), "BestEffort"),
        (json!({"requests": {"cpu": "1"}}), "Burstable"),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed"),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}), "Burstable"),
    ] {
        let mut object = pod(resources);
        kinds::defaults::apply(kind("pods"), &mut object);
        prepare_create(kind("pods"), &mut object, &birth());
        assert_eq!(object["status"]["qosClass"], class);
    }
}

#[test]
fn an_update_keeps_what_is_the_servers() {
    let old = json!({"metadata": {"name": "d", "uid": "u1", "resourceVersion": "5", "generation": 2},
        "spec": {"replicas": 1}, "status": {"replicas": 1}});
    check_update(
        "deployments",
        Part::Main,
        json!({"metadata": {"name": "d", "generation": 9}, "spec": {"replicas": 3}, "status": {"replicas": 8}}),
        &old,
        expect![[
            r#"{"metadata":{"generation":3,"name":"d","resourceVersion":"5","uid":"u1"},"spec":{"replicas":3,"selector":null,"strategy":{},"template":{"metadata":{},"spec":{"containers":null}}},"status":{"replicas":1}}"#
        ]],
    );
    check_update(
        "deployments",
        Part::Status,
        json!({"metadata": {"name": "d", "labels": {"a": "b"}}, "spec": {"replicas": 3}, "status": {"replicas": 8}}),
        &old,
        expect![[
            r#"{"metadata":{"generation":2,"name":"d","resourceVersion":"5","uid":"u1"},"spec":{"replicas":1,"selector":null,"strategy":{},"template":{"metadata":{},"spec":{"containers":null}}},"status":{"replicas":8}}"#
        ]],
    );
    check_update(
        "deployments",
        Part::Main,
        json!({"metadata": {"name": "d", "resourceVersion": "4"}}),
        &old,
        expect![[
            r#"Operation cannot be fulfilled on deployments.apps "d": the object has been modified; please apply your changes to the latest version and try again"#
        ]],
    );
    check_update(
        "deployments",
        Part::Main,
        json!({"metadata": {"name": "d", "uid": "other"}}),
        &old,
        expect![[
            r#"Operation cannot be fulfilled on deployments.apps "d": Precondition failed: UID in precondition: other, UID in object meta: u1"#
        ]],
    );
}
