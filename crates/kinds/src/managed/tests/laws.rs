//! What holds of every apply.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Story, by};

/// Configurations of a Pod over few names, so that they meet often.
fn configurations() -> impl Strategy<Value = Value> {
    let text = prop_oneof![Just("1"), Just("2")];
    let labels = prop::collection::btree_map(prop_oneof![Just("a"), Just("b")], text.clone(), 0..3);
    let env = prop::collection::btree_map(prop_oneof![Just("E"), Just("F")], text, 0..3);
    let containers = prop::collection::btree_map(prop_oneof![Just("c"), Just("d")], env, 1..3);
    let finalizers = prop::collection::btree_set(prop_oneof![Just("x/a"), Just("x/b")], 0..3);
    (labels, containers, finalizers).prop_map(|(labels, containers, finalizers)| {
        let containers: Vec<Value> = containers
            .into_iter()
            .map(|(name, env)| {
                let env: Vec<Value> =
                    env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
                json!({"name": name, "env": env})
            })
            .collect();
        json!({"metadata": {"labels": labels, "finalizers": finalizers}, "spec": {"containers": containers}})
    })
}

/// Whether all that `stated` says is so in `object`.
fn holds(object: &Value, stated: &Value) -> bool {
    match stated {
        Value::Object(fields) => fields.iter().all(|(name, value)| match value {
            Value::Object(inner) if inner.is_empty() => true,
            Value::Array(items) if items.is_empty() => true,
            _ => holds(&object[name], value),
        }),
        Value::Array(items) => items.iter().all(|item| {
            let found = object.as_array().into_iter().flatten();
            found.into_iter().any(|have| have["name"] == item["name"] && holds(have, item))
        }),
        plain => object == plain,
    }
}

proptest! {
    #[test]
    fn applying_states_withdraws_and_leaves_no_trace(
        first in configurations(), second in configurations(), other in configurations(), third in configurations(),
    ) {
        let mut story = Story::of("pods");
        story.apply(by("a", 1), first);
        story.try_apply(by("b", 2), other.clone(), true).unwrap();
        story.try_apply(by("a", 3), second.clone(), true).unwrap();
        prop_assert!(holds(story.object.as_ref().unwrap(), &second));

        // Again: nothing changes, not even a time, and nobody minds.
        let before = story.object.clone();
        story.apply(by("a", 4), second);
        prop_assert_eq!(&story.object, &before);

        // Who withdraws everything leaves what the others stated, unless it was taken from them.
        let mut alone = story.clone();
        alone.try_apply(by("b", 5), other.clone(), true).unwrap();
        alone.try_apply(by("a", 6), json!({}), false).unwrap();
        prop_assert!(holds(alone.object.as_ref().unwrap(), &other));
        alone.try_apply(by("b", 7), json!({}), false).unwrap();
        let left = alone.object.unwrap();
        prop_assert_eq!(&left["metadata"]["managedFields"], &Value::Null);
        prop_assert!(left["spec"]["containers"].as_array().is_none_or(Vec::is_empty));
        prop_assert_eq!(&left["metadata"]["labels"], &Value::Null);

        // An update owns what it changes: nobody else owns it any more.
        story.update(by("u", 8), third);
    }
}
