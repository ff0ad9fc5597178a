//! Quotas, as tables.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Exceeded, Quota, growth, usage};
use crate::Kind;

fn kind(plural: &str) -> &'static Kind {
    crate::find("", "v1", plural).unwrap()
}

fn pod(resources: &Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}]}})
}

fn quota(hard: &Value, used: &Value) -> Value {
    json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
}

#[test]
fn what_a_pod_uses() {
    let check = |resources: Value, expected: &[(&str, &str)]| {
        let amounts = usage(kind("pods"), &pod(&resources), Timestamp::UNIX_EPOCH);
        let shown: Vec<(String, String)> =
            amounts.into_iter().map(|(name, amount)| (name, amount.to_string())).collect();
        let expected: Vec<(String, String)> =
            expected.iter().map(|(name, amount)| ((*name).into(), (*amount).into())).collect();
        assert_eq!(shown, expected);
    };
    check(json!({}), &[("count/pods", "1"), ("pods", "1")]);
    check(
        json!({"requests": {"cpu": "100m", "memory": "64Mi", "a.b/gpu": "2"}, "limits": {"cpu": "1"}}),
        &[
            ("count/pods", "1"),
            ("cpu", "100m"),
            ("limits.cpu", "1"),
            ("memory", "64Mi"),
            ("pods", "1"),
            ("requests.a.b/gpu", "2"),
            ("requests.cpu", "100m"),
            ("requests.memory", "64Mi"),
        ],
    );
}

#[test]
fn what_has_ended_is_only_counted() {
    let mut ended = pod(&json!({"requests": {"cpu": "1"}}));
    ended["status"] = json!({"phase": "Succeeded"});
    let amounts = usage(kind("pods"), &ended, Timestamp::UNIX_EPOCH);
    assert_eq!(amounts.keys().collect::<Vec<_>>(), ["count/pods"]);
}

#[test]
fn charged_until_it_is_full() {
    let hard = json!({"pods": "1", "requests.cpu": "1", "configmaps": "5"});
    let empty = quota(&hard, &json!({"pods": "0", "requests.cpu": "0", "configmaps": "0"}));
    let asked = usage(kind("pods"), &pod(&json!({"requests": {"cpu": "1"}})), Timestamp::UNIX_EPOCH);
    let used = Quota::new(&empty).charge(&asked).unwrap().unwrap();
    assert_eq!(used, json!({"configmaps": "0", "pods": "1", "requests.cpu": "1"}));
    let full = quota(&hard, &used);
    let expected = Exceeded {
        requested: "pods=1,requests.cpu=1".into(),
        used: "pods=1,requests.cpu=1".into(),
        limited: "pods=1,requests.cpu=1".into(),
    };
    assert_eq!(Quota::new(&full).charge(&asked).unwrap_err(), expected);
    assert_eq!(Quota::new(&full).charge(&growth(&asked, &asked)), Ok(None), "no growth, no charge");
}

#[test]
fn containers_must_say_what_is_limited() {
    let limited = quota(&json!({"requests.cpu": "1", "pods": "1"}), &json!({}));
    let quota = Quota::new(&limited);
    let said = pod(&json!({"requests": {"cpu": "1"}}));
    assert_eq!(quota.must_say(kind("pods"), &said), Ok(()));
    let refusal = quota.must_say(kind("pods"), &pod(&json!({}))).unwrap_err();
    assert_eq!(refusal, "must specify requests.cpu for: c");
    assert_eq!(quota.uncounted(kind("pods")), ["pods", "requests.cpu"]);
}

#[test]
fn scopes_tell_pods_apart() {
    let check = |spec: Value, resources: Value, expected: bool| {
        let mut limited = quota(&json!({"pods": "1"}), &json!({"pods": "0"}));
        for (field, value) in spec.as_object().unwrap() {
            limited["spec"][field] = value.clone();
        }
        assert_eq!(Quota::new(&limited).is_about(kind("pods"), &pod(&resources)), expected, "{limited}");
        assert!(!Quota::new(&limited).is_about(kind("configmaps"), &json!({})));
    };
    check(json!({}), json!({}), true);
    check(json!({"scopes": ["BestEffort"]}), json!({}), true);
    check(json!({"scopes": ["BestEffort"]}), json!({"limits": {"cpu": "1"}}), false);
    check(json!({"scopes": ["Terminating"]}), json!({}), false);
    let class = |operator: &str| {
        json!({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": operator, "values": ["high"]}]}})
    };
    check(class("In"), json!({}), false);
    check(class("NotIn"), json!({}), true);
}

#[test]
fn recounted_from_what_is_there() {
    let limited = quota(&json!({"pods": "3", "count/configmaps": "2"}), &json!({"pods": "9"}));
    let (pod, map) = (pod(&json!({})), json!({"metadata": {"name": "m"}}));
    let objects = [(kind("pods"), &pod), (kind("configmaps"), &map), (kind("configmaps"), &map)];
    let status = Quota::new(&limited).recount(objects.into_iter(), Timestamp::UNIX_EPOCH);
    assert_eq!(status["used"], json!({"count/configmaps": "2", "pods": "1"}));
}

proptest! {
    /// However charges come, what is used never passes what there is.
    #[test]
    fn never_over(limit in 0..5_000_u32, asks in proptest::collection::vec(0..2_000_u32, 0..20)) {
        let hard = json!({"requests.cpu": format!("{limit}m")});
        let mut limited = quota(&hard, &json!({"requests.cpu": "0"}));
        for ask in asks {
            let asked = pod(&json!({"requests": {"cpu": format!("{ask}m")}}));
            let asked = usage(kind("pods"), &asked, Timestamp::UNIX_EPOCH);
            if let Ok(Some(used)) = Quota::new(&limited).charge(&asked) {
                limited["status"]["used"] = used;
            }
        }
        let quota = Quota::new(&limited);
        prop_assert!(quota.used()["requests.cpu"] <= quota.hard()["requests.cpu"]);
    }
}
