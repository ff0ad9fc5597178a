//! The algebra of field sets, and their written form.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::FieldSet;

fn parse(value: &Value) -> FieldSet {
    FieldSet::parse(value).unwrap()
}

fn check(written: &Value, expect: Expect) {
    let set = FieldSet::parse(written);
    expect.assert_eq(&set.map_or_else(
        || "none".to_owned(),
        |set| format!("{}\n{}", set.clone().into_value(), set.paths().join("\n")),
    ));
}

#[test]
fn sets_are_written_as_they_are_read_in_one_form() {
    check(
        &json!({"f:spec": {"f:ports": {"k:{\"protocol\": \"TCP\", \"port\": 80}": {".": {}, "f:name": {}}}},
            "f:metadata": {"f:finalizers": {"v:\"a\"": {}}, "f:labels": {".": {}}}, "i:3": {}}),
        expect![[r#"
            {"f:metadata":{"f:finalizers":{"v:\"a\"":{}},"f:labels":{}},"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{}}}},"i:3":{}}
            .metadata.finalizers[="a"]
            .metadata.labels
            .spec.ports[port=80,protocol="TCP"]
            .spec.ports[port=80,protocol="TCP"].name
            [3]"#]],
    );
    check(&json!({}), expect!["{}\n"]);
}

#[test]
fn what_is_no_set_is_refused() {
    for wrong in [
        json!([]),
        json!({"x": {}}),
        json!({"k:{": {}}),
        json!({"f:a": 1}),
        json!({"v:": {}}),
        json!({"é": {}}),
    ] {
        check(&wrong, expect!["none"]);
    }
}

#[test]
fn places_are_taken_with_or_without_what_is_below() {
    let whole = parse(&json!({"f:a": {".": {}, "f:b": {}}, "f:c": {"f:d": {}}}));
    let mut set = whole.clone();
    set.take_member(&["f:a"]);
    set.take_member(&["f:c"]);
    assert_eq!(set.into_value(), json!({"f:a": {"f:b": {}}, "f:c": {"f:d": {}}}));
    let mut set = whole;
    set.take(&["f:a"]);
    set.take(&["f:c", "f:d"]);
    assert!(set.is_empty());
}

/// Sets over few names, so that they meet often.
fn sets() -> impl Strategy<Value = FieldSet> {
    let leaf = prop_oneof![Just(json!({})), Just(json!({".": {}}))];
    let names = prop_oneof![Just("f:a"), Just("f:b"), Just("k:{\"n\":1}"), Just("v:1")];
    let tree = leaf.prop_recursive(3, 16, 4, move |inner| {
        prop::collection::btree_map(names.clone(), inner, 1..4).prop_map(|map| json!(map))
    });
    tree.prop_map(|tree| parse(&json!({"f:root": tree})))
}

fn united(left: &FieldSet, right: &FieldSet) -> FieldSet {
    let mut union = left.clone();
    union.unite(right.clone());
    union
}

proptest! {
    #[test]
    fn the_algebra_is_that_of_sets(left in sets(), right in sets(), third in sets()) {
        prop_assert_eq!(united(&left, &right), united(&right, &left));
        prop_assert_eq!(left.intersection(&right), right.intersection(&left));
        let apart = left.difference(&right);
        prop_assert!(apart.intersection(&right).is_empty());
        prop_assert_eq!(united(&apart, &left.intersection(&right)), left.clone());
        prop_assert_eq!(
            left.difference(&united(&right, &third)),
            left.difference(&right).difference(&third)
        );
        let paths: std::collections::BTreeSet<String> = left.paths().into_iter().collect();
        let others: std::collections::BTreeSet<String> = right.paths().into_iter().collect();
        let union: Vec<String> = paths.union(&others).cloned().collect();
        let mut found = united(&left, &right).paths();
        found.sort();
        prop_assert_eq!(found, union);
    }

    #[test]
    fn what_is_written_is_read_again(set in sets()) {
        prop_assert_eq!(parse(&set.clone().into_value()), set);
    }
}
