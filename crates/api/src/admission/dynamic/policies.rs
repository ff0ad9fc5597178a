//! ValidatingAdmissionPolicies: expressions that refuse, warn, or leave a note.

use std::sync::Arc;

use async_trait::async_trait;
use kinds::admission::policy::{Denial, Inputs, Policy, Verdict};
use kinds::admission::{FailurePolicy, Request};
use kinds::cel::{self, from_json};
use kinds::status::Failure;
use serde_json::{Value, json};

use super::authority::Rules;
use super::compiled::{Binding, Configured};
use super::parameters::{self, Parameters};
use super::{inputs, request, wanted_as};
use crate::admission::{Plugin, Review};

pub(crate) struct ValidatingPolicies;

/// One evaluation: a policy, bound, with one of its parameters.
struct Task {
    policy: Arc<Configured<Policy>>,
    binding: Arc<Configured<Binding>>,
    inputs: Inputs,
    parameters: cel::Value,
}

/// What was found, and by whom.
struct Finding {
    policy: String,
    binding: String,
    actions: Vec<String>,
    verdict: Verdict,
}

#[async_trait]
impl Plugin for ValidatingPolicies {
    async fn validate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        let (dynamic, registry) = (&review.context.dynamic, &review.context.registry);
        let policies = dynamic.validating_policies.current(registry).await?;
        if policies.is_empty() {
            return Ok(());
        }
        let bindings = dynamic.validating_bindings.current(registry).await?;
        let asked = request(review);
        let (mut tasks, mut findings) = (Vec::new(), Vec::new());
        for policy in &policies {
            let bound = bindings.iter().filter(|binding| is_of(binding, policy));
            let bound: Vec<&Arc<Configured<Binding>>> = bound.collect();
            if bound.is_empty() {
                continue;
            }
            match Box::pin(gather(review, &asked, policy, &bound)).await? {
                Ok(found) => tasks.extend(found),
                Err(finding) => findings.extend(finding),
            }
        }
        if !tasks.is_empty() {
            let rules = Rules::of(review);
            let evaluate = move || tasks.into_iter().map(|task| task.run(&rules)).collect::<Vec<_>>();
            findings.extend(dynamic.evaluate(evaluate).await?);
        }
        report(review, findings)
    }
}

/// Whether a binding, which may be a broken one, is about a policy.
fn is_of(binding: &Configured<Binding>, policy: &Configured<Policy>) -> bool {
    binding.inner.as_ref().is_ok_and(|binding| binding.policy == policy.name)
}

/// What a policy is to be asked about the request; what cannot be found out is itself a finding.
async fn gather(
    review: &Review<'_>,
    asked: &Request<'_>,
    configured: &Arc<Configured<Policy>>,
    bindings: &[&Arc<Configured<Binding>>],
) -> Result<Result<Vec<Task>, Option<Finding>>, Failure> {
    let policy = match &configured.inner {
        Ok(policy) => policy,
        Err(why) => {
            return Ok(Err(misconfigured(configured, None, &format!("failed to configure policy: {why}"))));
        }
    };
    let Some(seen_as) = wanted_as(review, &policy.matcher, asked).await? else { return Ok(Ok(Vec::new())) };
    let mut tasks = Vec::new();
    let mut shared = None;
    for configured_binding in bindings {
        let Ok(binding) = &configured_binding.inner else { continue };
        if wanted_as(review, &binding.matcher, asked).await?.is_none() {
            continue;
        }
        let parameters = match parameters::of(review, policy, binding).await? {
            Parameters::None => vec![Value::Null],
            Parameters::Found(found) => found.iter().map(|object| object.as_ref().clone()).collect(),
            Parameters::Missing(why) => {
                let message = format!("failed to configure binding: {why}");
                return Ok(Err(misconfigured(configured, Some(configured_binding), &message)));
            }
        };
        if shared.is_none() {
            shared = Some(inputs(review, asked, seen_as).await?);
        }
        let Some(inputs) = &shared else { continue };
        tasks.extend(parameters.iter().map(|parameters| Task {
            policy: Arc::clone(configured),
            binding: Arc::clone(configured_binding),
            inputs: inputs.clone(),
            parameters: from_json(parameters),
        }));
    }
    Ok(Ok(tasks))
}

/// What follows from a policy that cannot be asked.
fn misconfigured(
    policy: &Configured<Policy>,
    binding: Option<&Configured<Binding>>,
    message: &str,
) -> Option<Finding> {
    if policy.failure == FailurePolicy::Ignore {
        tracing::warn!(policy = policy.name, why = message, "An admission policy is passed over");
        return None;
    }
    let denial = Denial { message: message.to_owned(), reason: String::new() };
    Some(Finding {
        policy: policy.name.clone(),
        binding: binding.map(|binding| binding.name.clone()).unwrap_or_default(),
        actions: vec!["Deny".to_owned()],
        verdict: Verdict { denials: vec![denial], annotations: Vec::new() },
    })
}

impl Task {
    fn run(self, rules: &Rules) -> Finding {
        let verdict =
            self.policy.inner.as_ref().map(|policy| policy.decide(&self.inputs, &self.parameters, rules));
        let actions = self.binding.inner.as_ref().map(|binding| binding.actions.clone());
        Finding {
            policy: self.policy.name.clone(),
            binding: self.binding.name.clone(),
            actions: actions.unwrap_or_default(),
            verdict: verdict.unwrap_or_default(),
        }
    }
}

/// Does with each finding what its binding asks for. The first that is to be refused refuses the request.
fn report(review: &mut Review<'_>, findings: Vec<Finding>) -> Result<(), Failure> {
    let mut refusal = None;
    let mut noted = Vec::new();
    for finding in findings {
        finding
            .verdict
            .annotations
            .iter()
            .for_each(|(key, value)| review.call.note(key.clone(), value.clone()));
        for denial in &finding.verdict.denials {
            for action in &finding.actions {
                match action.as_str() {
                    "Deny" => {
                        refusal.get_or_insert_with(|| refused(review, &finding, denial));
                    }
                    "Warn" => review.warnings.push(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                        finding.policy, finding.binding, denial.message
                    )),
                    "Audit" => noted.push(json!({
                        "message": denial.message, "policy": finding.policy, "binding": finding.binding,
                        "validationActions": finding.actions,
                    })),
                    _ => {}
                }
            }
        }
    }
    if !noted.is_empty() {
        let key = "validation.policy.admission.k8s.io/validation_failure".to_owned();
        review.call.note(key, Value::Array(noted).to_string());
    }
    refusal.map_or(Ok(()), Err)
}

fn refused(review: &Review<'_>, finding: &Finding, denial: &Denial) -> Failure {
    let with = match finding.binding.as_str() {
        "" => String::new(),
        binding => format!(" with binding '{binding}'"),
    };
    let policy = &finding.policy;
    let message = format!("ValidatingAdmissionPolicy '{policy}'{with} denied request: {}", denial.message);
    denied(review, &message, &denial.reason)
}

/// A refusal by a policy, of which 422 is the usual code.
pub(super) fn denied(review: &Review<'_>, message: &str, reason: &str) -> Failure {
    let (code, reason) = match reason {
        "Unauthorized" => (401, "Unauthorized"),
        "Forbidden" => (403, "Forbidden"),
        "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
        _ => (422, "Invalid"),
    };
    review.forbid(message).with_reason(code, reason).with_said_cause(message)
}
