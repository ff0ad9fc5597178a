//! What quotas count.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceQuota;
use kinds::Kind;
use serde_json::{Value, json};

use super::decide::{counted, counted_elsewhere, decide};

fn quota(hard: Value) -> ResourceQuota {
    serde_json::from_value(json!({ "metadata": { "name": "q", "namespace": "n" }, "spec": { "hard": hard } }))
        .unwrap()
}

fn kind(plural: &str) -> &'static Kind {
    kinds::all().iter().find(|kind| kind.plural == plural).unwrap()
}

#[test]
fn only_what_is_limited_is_looked_at() {
    let plurals = |hard: Value| counted(&quota(hard)).iter().map(|kind| kind.plural).collect::<Vec<_>>();
    assert_eq!(plurals(json!({ "requests.cpu": "1", "pods": "3" })), ["pods"]);
    assert_eq!(plurals(json!({ "count/deployments.apps": "1" })), ["deployments"]);
    // Two versions, one count.
    let autoscalers = json!({ "count/horizontalpodautoscalers.autoscaling": "1" });
    assert_eq!(plurals(autoscalers), ["horizontalpodautoscalers"]);
    assert_eq!(plurals(json!({ "secrets": "1", "configmaps": "1" })), ["configmaps", "secrets"]);
}

#[test]
fn what_has_ended_is_given_back() {
    let pod = |phase: &str| {
        let requests = json!({ "requests": { "cpu": "200m" } });
        let pod =
            json!({ "status": { "phase": phase }, "spec": { "containers": [{ "resources": requests }] } });
        (kind("pods"), pod)
    };
    let mut quota = quota(json!({ "pods": "3", "requests.cpu": "1" }));
    let objects = [pod("Running"), pod("Running"), pod("Succeeded")];
    let status = decide(&quota, &objects, &BTreeMap::new(), Timestamp::UNIX_EPOCH).unwrap();
    let said = serde_json::to_value(&status).unwrap();
    let expected = json!({
        "hard": { "pods": "3", "requests.cpu": "1" }, "used": { "pods": "2", "requests.cpu": "400m" },
    });
    assert_eq!(said, expected);
    quota.status = Some(status);
    assert_eq!(decide(&quota, &objects, &BTreeMap::new(), Timestamp::UNIX_EPOCH), None);
}

#[test]
fn kinds_of_users_are_counted_where_they_are_found() {
    let quota = quota(json!({ "count/boats.example.com": "3", "count/deployments.apps": "1", "pods": "1" }));
    assert_eq!(counted_elsewhere(&quota), [("boats", "example.com", "count/boats.example.com")]);
    let counts = BTreeMap::from([("count/boats.example.com".to_owned(), 2)]);
    let status = decide(&quota, &[], &counts, Timestamp::UNIX_EPOCH).unwrap();
    let used = serde_json::to_value(&status).unwrap()["used"].take();
    assert_eq!(used, json!({ "count/boats.example.com": "2", "count/deployments.apps": "0", "pods": "0" }));
}
