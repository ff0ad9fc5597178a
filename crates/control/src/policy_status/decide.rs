//! The status of a policy.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kinds::admission::typing;
use serde_json::{Value, json};

/// The status that the policy is to have; `None` when it was told of its present generation.
pub(crate) fn status(policy: &ValidatingAdmissionPolicy) -> Option<Value> {
    let generation = policy.metadata.generation?;
    let observed = policy.status.as_ref().and_then(|status| status.observed_generation);
    if policy.metadata.deletion_timestamp.is_some() || observed.is_some_and(|observed| observed >= generation)
    {
        return None;
    }
    let policy = serde_json::to_value(policy).ok()?;
    let warnings: Vec<Value> = typing::warnings(&policy)
        .into_iter()
        .map(|warning| json!({ "fieldRef": warning.field, "warning": warning.message }))
        .collect();
    let type_checking =
        if warnings.is_empty() { json!({}) } else { json!({ "expressionWarnings": warnings }) };
    Some(json!({ "observedGeneration": generation, "typeChecking": type_checking }))
}
