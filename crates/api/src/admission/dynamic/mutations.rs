//! MutatingAdmissionPolicies: expressions that change an object, one policy after the other.

use std::sync::Arc;

use async_trait::async_trait;
use kinds::Kind;
use kinds::admission::policy::Policy;
use kinds::admission::{FailurePolicy, Request};
use kinds::cel::from_json;
use kinds::status::Failure;
use kit::Chain;
use serde_json::Value;

use super::authority::Rules;
use super::compiled::{Binding, Configured};
use super::parameters::{self, Parameters};
use super::{inputs, policies, request, shown, taken, wanted_as};
use crate::admission::{Plugin, Review};

pub(crate) struct MutatingPolicies;

#[async_trait]
impl Plugin for MutatingPolicies {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        let (dynamic, registry) = (&review.context.dynamic, &review.context.registry);
        let policies = dynamic.mutating_policies.current(registry).await?;
        if policies.is_empty() || review.object.is_null() {
            return Ok(());
        }
        let bindings = dynamic.mutating_bindings.current(registry).await?;
        review.policy_rounds.begin(&review.object);
        for policy in &policies {
            for binding in bindings.iter() {
                let is_bound = binding.inner.as_ref().is_ok_and(|binding| binding.policy == policy.name);
                let id = format!("{}/{}", policy.name, binding.name);
                if is_bound && review.policy_rounds.is_due(&id) {
                    if Box::pin(apply(review, policy, binding)).await? {
                        review.policy_rounds.changed();
                    }
                    if policy.inner.as_ref().is_ok_and(|policy| policy.reinvoked) {
                        review.policy_rounds.remember(id);
                    }
                }
            }
        }
        review.policy_rounds.end(&review.object);
        Ok(())
    }
}

/// Lets a policy change the object, as far as a binding says so; answers whether it did.
async fn apply(
    review: &mut Review<'_>,
    configured: &Arc<Configured<Policy>>,
    binding: &Configured<Binding>,
) -> Result<bool, Failure> {
    let (policy, bound) = match (&configured.inner, &binding.inner) {
        (Ok(policy), Ok(bound)) => (policy, bound),
        (Err(why), _) | (_, Err(why)) => {
            return failed(review, configured, binding, &format!("failed to configure policy: {why}"));
        }
    };
    let asked = request(review);
    let Some(seen_as) = wanted_as(review, &policy.matcher, &asked).await? else { return Ok(false) };
    if wanted_as(review, &bound.matcher, &asked).await?.is_none() {
        return Ok(false);
    }
    let parameters = match parameters::of(review, policy, bound).await? {
        Parameters::None => vec![Arc::new(Value::Null)],
        Parameters::Found(found) => found,
        Parameters::Missing(why) => {
            return failed(review, configured, binding, &format!("failed to configure binding: {why}"));
        }
    };
    let before = review.object.clone();
    for parameters in parameters {
        match evaluate(review, configured, seen_as, &parameters).await? {
            Ok(Some(object)) => review.object = taken(review, object, seen_as).await?,
            Ok(None) => {}
            Err(why) => {
                review.object = before;
                return failed(review, configured, binding, &why);
            }
        }
    }
    Ok(review.object != before)
}

async fn evaluate(
    review: &Review<'_>,
    configured: &Arc<Configured<Policy>>,
    seen_as: &Kind,
    parameters: &Value,
) -> Result<Result<Option<Value>, String>, Failure> {
    let asked: Request<'_> = request(review);
    let inputs = inputs(review, &asked, seen_as).await?;
    let object = shown(review, &review.object, seen_as).await?;
    let (rules, parameters) = (Rules::of(review), from_json(parameters));
    let (configured, kind) = (Arc::clone(configured), seen_as.to_owned());
    let work = move || match &configured.inner {
        Ok(policy) => policy
            .mutate(&kind, (&object, &inputs), &parameters, &rules)
            .map_err(|error| Chain(&error).to_string()),
        Err(why) => Err(why.clone()),
    };
    review.context.dynamic.evaluate(work).await
}

/// What follows from a policy that could not do its work.
fn failed(
    review: &Review<'_>,
    policy: &Configured<Policy>,
    binding: &Configured<Binding>,
    why: &str,
) -> Result<bool, Failure> {
    let name = &policy.name;
    if policy.failure == FailurePolicy::Ignore {
        tracing::warn!(policy = name, why, "A mutating admission policy is passed over");
        return Ok(false);
    }
    let binding = &binding.name;
    let message = format!("MutatingAdmissionPolicy '{name}' with binding '{binding}' denied request: {why}");
    Err(policies::denied(review, &message, ""))
}
