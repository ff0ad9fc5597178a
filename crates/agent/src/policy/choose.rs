//! Of several policies, the one that counts. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use model::colocation_policy::{ColocationPolicySpec, faults};
use serde::Deserialize;
use serde_json::Value;

/// A policy and what of it is in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Choice {
    /// `None` where none selects the node.
    pub(super) policy: Option<String>,
    pub(super) spec: ColocationPolicySpec,
    /// Why what is in force is not what the policy says now.
    pub(super) trouble: Option<String>,
}

/// The first of `policies`, by name, that selects a node with `labels`. While that cannot be read, what was in force
/// `before` stays so.
pub(super) fn choose(
    policies: &BTreeMap<String, Value>,
    labels: &BTreeMap<String, String>,
    before: &Choice,
) -> Choice {
    let first = policies.iter().find_map(|(name, policy)| match selects(&policy["spec"], labels) {
        Ok(true) => Some((name, read(&policy["spec"]))),
        Ok(false) => None,
        // Whether it is for this node nobody knows.
        Err(error) => Some((name, Err(format!("spec.nodeSelector: {error}")))),
    });
    match first {
        None => Choice::default(),
        Some((name, Ok(spec))) => Choice { policy: Some(name.clone()), spec, trouble: None },
        Some((name, Err(trouble))) => {
            let trouble =
                format!("ColocationPolicy {name} cannot be followed, what was in force stays so: {trouble}");
            Choice { trouble: Some(trouble), ..before.clone() }
        }
    }
}

fn selects(spec: &Value, labels: &BTreeMap<String, String>) -> Result<bool, String> {
    let selector = &spec["nodeSelector"];
    if selector.is_null() {
        return Ok(true);
    }
    let selector = LabelSelector::deserialize(selector).map_err(|error| error.to_string())?;
    let selector = Selector::try_from(selector).map_err(|error| error.to_string())?;
    Ok(selector.matches(labels))
}

/// A policy's spec that can be followed.
pub(super) fn read(spec: &Value) -> Result<ColocationPolicySpec, String> {
    let read = ColocationPolicySpec::deserialize(spec).map_err(|error| format!("spec: {error}"))?;
    match faults(&read).first() {
        None => Ok(read),
        Some(fault) => Err(format!("{}: {} {}", fault.field, fault.value, fault.message)),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn choice(policies: &Value, before: &Choice) -> Choice {
        let policies: BTreeMap<String, Value> = serde_json::from_value(policies.clone()).unwrap();
        let labels = BTreeMap::from([("pool".to_owned(), "web".to_owned())]);
        choose(&policies, &labels, before)
    }

    fn check(policies: Value, expected: Expect) {
        let margin = |margin| serde_json::from_value(json!({"cpu": {"marginPercent": margin}})).unwrap();
        let before = Choice { policy: Some("before".to_owned()), spec: margin(77), trouble: None };
        let Choice { policy, spec, trouble } = choice(&policies, &before);
        let spec = serde_json::to_string(&spec).unwrap();
        expected.assert_eq(&format!("{policy:?} {spec} {}", trouble.unwrap_or_default()));
    }

    #[test]
    fn the_first_by_name_that_selects_the_node_counts() {
        let spec = |label: &str, margin: i32| json!({"spec": {"nodeSelector": {"matchLabels": {"pool": label}}, "cpu": {"marginPercent": margin}}});
        let all = |margin: i32| json!({"spec": {"cpu": {"marginPercent": margin}}});
        check(json!({}), expect![[r#"None {} "#]]);
        check(json!({"a": spec("db", 1)}), expect![[r#"None {} "#]]);
        check(
            json!({"b": spec("web", 2), "a": spec("db", 1), "c": all(3)}),
            expect![[
                r#"Some("b") {"nodeSelector":{"matchLabels":{"pool":"web"}},"cpu":{"marginPercent":2}} "#
            ]],
        );
        check(
            json!({"c": all(3), "d": spec("web", 4)}),
            expect![[r#"Some("c") {"cpu":{"marginPercent":3}} "#]],
        );
    }

    #[test]
    fn what_cannot_be_read_changes_nothing_and_is_told() {
        check(
            json!({"a": {"spec": {"cpu": {"marginPercent": 150}}}}),
            expect![[
                r#"Some("before") {"cpu":{"marginPercent":77}} ColocationPolicy a cannot be followed, what was in force stays so: spec.cpu.marginPercent: 150 must be between -100 and 100: at 100 nothing is offered, at -100 twice of what is there"#
            ]],
        );
        check(
            json!({"a": {"spec": {"cpu": {"marginPercent": "much"}}}}),
            expect![[
                r#"Some("before") {"cpu":{"marginPercent":77}} ColocationPolicy a cannot be followed, what was in force stays so: spec: invalid type: string "much", expected i32"#
            ]],
        );
        check(
            json!({"a": {"spec": 7}}),
            expect![[
                r#"Some("before") {"cpu":{"marginPercent":77}} ColocationPolicy a cannot be followed, what was in force stays so: spec: invalid type: integer `7`, expected struct ColocationPolicySpec"#
            ]],
        );
        check(
            json!({"a": {"spec": {"nodeSelector": {"matchLabels": [1]}}}, "b": {"spec": {}}}),
            expect![[
                r#"Some("before") {"cpu":{"marginPercent":77}} ColocationPolicy a cannot be followed, what was in force stays so: spec.nodeSelector: invalid type: sequence, expected a map"#
            ]],
        );
        let odd = json!({"matchExpressions": [{"key": "pool", "operator": "Odd"}]});
        check(
            json!({"a": {"spec": {"nodeSelector": odd}}}),
            expect![[
                r#"Some("before") {"cpu":{"marginPercent":77}} ColocationPolicy a cannot be followed, what was in force stays so: spec.nodeSelector: failed to parse value as expression: Invalid expression operator"#
            ]],
        );
        // One for other nodes may be as faulty as it likes.
        let other = json!({"nodeSelector": {"matchLabels": {"pool": "db"}}, "cpu": {"marginPercent": 150}});
        check(json!({"a": {"spec": other}, "b": {"spec": {}}}), expect![[r#"Some("b") {} "#]]);
    }
}
