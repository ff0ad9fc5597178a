//! Rules of aggregates.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::ClusterRole;
use serde_json::json;

use super::decide::rules;

fn role(name: &str, label: &str, verbs: &[&str]) -> Arc<ClusterRole> {
    let rule = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": verbs });
    Arc::new(
        serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { "to": label } }, "rules": [rule],
        }))
        .unwrap(),
    )
}

#[test]
fn an_aggregate_has_each_rule_of_its_parts_once() {
    let mut aggregate: ClusterRole = serde_json::from_value(json!({
        "metadata": { "name": "view" },
        "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { "to": "view" } }] },
    }))
    .unwrap();
    let all = [role("a", "view", &["get"]), role("b", "view", &["get"]), role("c", "edit", &["create"])];
    let found = rules(&aggregate, &all).unwrap();
    assert_eq!(found.len(), 1);
    aggregate.rules = Some(found);
    assert_eq!(rules(&aggregate, &all), None, "it has them");
    assert_eq!(rules(&aggregate, &[]), Some(Vec::new()), "and loses what it no longer selects");
}
