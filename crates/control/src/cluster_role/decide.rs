//! The rules of an aggregate.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::ResourceExt;

use crate::owner;

/// The rules that the aggregate is to have; `None` when it has them.
pub(crate) fn rules(aggregate: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let rule = aggregate.aggregation_rule.as_ref()?;
    if aggregate.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in rule.cluster_role_selectors.iter().flatten() {
        let selector = owner::selector(selector);
        let parts = all
            .iter()
            .filter(|role| role.metadata.name != aggregate.metadata.name && selector.matches(role.labels()));
        for part in parts {
            for rule in part.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    (aggregate.rules.as_deref().unwrap_or_default() != rules).then_some(rules)
}
