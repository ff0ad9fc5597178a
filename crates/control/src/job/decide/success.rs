//! Success before all is done: a Job may say which of its indexes matter.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::{JobSpec, SuccessPolicyRule};

use super::indexes;

/// Whether the indexes that ended well fulfil a rule of the Job's policy; its position if so.
pub(crate) fn rule_met(spec: &JobSpec, done: &BTreeSet<u32>) -> Option<usize> {
    let rules = spec.success_policy.iter().flat_map(|policy| &policy.rules);
    rules.enumerate().find(|(_, rule)| is_met(spec, rule, done)).map(|(position, _)| position)
}

fn is_met(spec: &JobSpec, rule: &SuccessPolicyRule, done: &BTreeSet<u32>) -> bool {
    let end = spec.completions.and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    let wanted = rule.succeeded_indexes.as_deref().map(|text| indexes::parse(text, end));
    let n_done = wanted.as_ref().map_or(done.len(), |wanted| wanted.intersection(done).count());
    match (rule.succeeded_count, wanted) {
        (Some(count), _) => usize::try_from(count).is_ok_and(|count| n_done >= count),
        (None, Some(wanted)) => n_done == wanted.len(),
        (None, None) => false,
    }
}
