//! Webhooks: programs that are asked about a request.
//!
//! ```text
//!   mutating:   one after the other, each sees what the one before made of the object
//!   validating: all at once
//!   no answer, or none that can be believed: refused or let through, as its failurePolicy says
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use futures::future;
use kinds::Kind;
use kinds::admission::review::{self, Answer, AnswerError, Outcome};
use kinds::admission::{FailurePolicy, Request};
use kinds::status::Failure;
use kit::Chain;
use serde_json::{Value, json};

use super::compiled::{Configuration, Hook};
use super::{PATIENCE, inputs, request, shown, taken, wanted_as};
use crate::admission::dynamic::authority::Rules;
use crate::admission::{Plugin, Review};
use crate::context::random_uid;
use crate::webhook::CallError;

pub(crate) struct Mutating;
pub(crate) struct Validating;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("{0}")]
    Unusable(String),
    #[error("failed to call webhook")]
    Call(#[from] CallError),
    #[error("received invalid webhook response")]
    Answer(#[from] AnswerError),
}

#[async_trait]
impl Plugin for Mutating {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        let source = &review.context.dynamic.mutating_webhooks;
        let configurations = source.current(&review.context.registry).await?;
        if configurations.is_empty() {
            return Ok(());
        }
        let asking = Box::pin(ask_in_turn(review, &configurations));
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_elapsed| Err(out_of_patience()))
    }
}

#[async_trait]
impl Plugin for Validating {
    async fn validate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        let source = &review.context.dynamic.validating_webhooks;
        let configurations = source.current(&review.context.registry).await?;
        if configurations.is_empty() {
            return Ok(());
        }
        let asking = Box::pin(ask_at_once(review, &configurations));
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_elapsed| Err(out_of_patience()))
    }
}

fn out_of_patience() -> Failure {
    Failure::timeout("request did not complete within requested timeout")
}

async fn ask_in_turn(review: &mut Review<'_>, configurations: &[Arc<Configuration>]) -> Result<(), Failure> {
    review.webhook_rounds.begin(&review.object);
    for (place, hook) in configurations.iter().flat_map(|hooks| hooks.iter()).enumerate() {
        if !review.webhook_rounds.is_due(&hook.id()) {
            continue;
        }
        let asked = request(review);
        let Some(seen_as) = concerned(review, hook, &asked).await? else { continue };
        let object = shown(review, &review.object, seen_as).await?;
        let answer = ask(review, hook, (&asked, seen_as), &object).await;
        let outcome = settle(review, hook, place, answer)?;
        let is_changed = match outcome {
            Some(Outcome::Patched(patch)) => apply(review, hook, (seen_as, &object), &patch).await?,
            _ => false,
        };
        note_mutation(review, hook, place, is_changed);
        if is_changed {
            review.webhook_rounds.changed();
        }
        if hook.reinvoked {
            review.webhook_rounds.remember(hook.id());
        }
    }
    review.webhook_rounds.end(&review.object);
    Ok(())
}

async fn ask_at_once(review: &mut Review<'_>, configurations: &[Arc<Configuration>]) -> Result<(), Failure> {
    let answers = {
        let review = &*review;
        let asked = request(review);
        let mut concerned_hooks = Vec::new();
        for (place, hook) in configurations.iter().flat_map(|hooks| hooks.iter()).enumerate() {
            if let Some(seen_as) = concerned(review, hook, &asked).await? {
                concerned_hooks.push((place, hook, seen_as));
            }
        }
        let asked = &asked;
        let calls = concerned_hooks.into_iter().map(|(place, hook, seen_as)| async move {
            let answer = match shown(review, &review.object, seen_as).await {
                Ok(object) => ask(review, hook, (asked, seen_as), &object).await,
                Err(failure) => Err(failure),
            };
            (place, hook, answer)
        });
        future::join_all(calls).await
    };
    let mut first_refusal = None;
    for (place, hook, answer) in answers {
        if let Err(failure) = settle(review, hook, place, answer) {
            first_refusal.get_or_insert(failure);
        }
    }
    first_refusal.map_or(Ok(()), Err)
}

/// As what the webhook sees the request; `None` if it is none of its business.
async fn concerned<'a>(
    review: &Review<'_>,
    hook: &Hook,
    asked: &Request<'a>,
) -> Result<Option<&'a Kind>, Failure> {
    let Some(seen_as) = wanted_as(review, &hook.matcher, asked).await? else { return Ok(None) };
    if hook.conditions.is_empty() {
        return Ok(Some(seen_as));
    }
    let (inputs, rules) = (inputs(review, asked, seen_as).await?, Rules::of(review));
    let conditions = Arc::clone(&hook.conditions);
    let held = review.context.dynamic.evaluate(move || conditions.hold_for(&inputs, &rules)).await?;
    match held {
        Ok(holds) => Ok(holds.then_some(seen_as)),
        Err(error) if hook.failure == FailurePolicy::Ignore => {
            tracing::warn!(webhook = hook.name, error = %Chain(&error), "Conditions of a webhook cannot be told");
            Ok(None)
        }
        Err(error) => Err(review.forbid(&error.to_string())),
    }
}

async fn ask(
    review: &Review<'_>,
    hook: &Hook,
    (asked, seen_as): (&Request<'_>, &Kind),
    object: &Value,
) -> Result<Result<Answer, Unanswered>, Failure> {
    let endpoint = match &hook.endpoint {
        Ok(endpoint) => endpoint,
        Err(why) => return Ok(Err(Unanswered::Unusable(why.clone()))),
    };
    if review.dry_run && !hook.bears_dry_runs {
        let message = format!("admission webhook \"{}\" does not support dry run", hook.name);
        return Err(Failure::bad_request(message));
    }
    let uid = random_uid();
    let old = shown(review, &review.old, seen_as).await?;
    let question = review::question(asked, seen_as, &uid, object, &old);
    let mutates = review.is_mutating();
    // The webhook may have to ask this server, perhaps at the same priority, before it answers.
    review.call.leave_seat();
    let called = review.context.webhooks.call(endpoint, &question, hook.limit).await;
    Ok(called
        .map_err(Unanswered::Call)
        .and_then(|answer| review::answer(&answer, &hook.name, &uid, mutates).map_err(Unanswered::Answer)))
}

/// What follows from an answer, or from its absence: `None` where that is passed over.
fn settle(
    review: &mut Review<'_>,
    hook: &Hook,
    place: usize,
    answer: Result<Result<Answer, Unanswered>, Failure>,
) -> Result<Option<Outcome>, Failure> {
    let answer = match answer? {
        Ok(answer) => answer,
        Err(error) if hook.failure == FailurePolicy::Ignore => {
            tracing::warn!(webhook = hook.name, error = %Chain(&error), "A webhook failed and is passed over");
            let phase = if review.is_mutating() { "mutation" } else { "validation" };
            let round = review.webhook_rounds.number();
            let key = format!("failed-open.{phase}.webhook.admission.k8s.io/round_{round}_index_{place}");
            review.call.note(key, hook.name.clone());
            return Ok(None);
        }
        Err(error) => {
            let message = format!("failed calling webhook \"{}\": {}", hook.name, Chain(&error));
            return Err(Failure::internal(message));
        }
    };
    review.warnings.extend(answer.warnings);
    answer.annotations.into_iter().for_each(|(key, value)| review.call.note(key, value));
    match answer.outcome {
        Outcome::Refused(failure) => Err(failure),
        outcome => Ok(Some(outcome)),
    }
}

/// Makes of the object what the webhook wants; answers whether that is anything else.
async fn apply(
    review: &mut Review<'_>,
    hook: &Hook,
    (seen_as, object): (&Kind, &Value),
    patch: &[u8],
) -> Result<bool, Failure> {
    if review.object.is_null() {
        let message =
            format!("admission webhook \"{}\" attempted to modify the object of a deletion", hook.name);
        return Err(Failure::internal(message));
    }
    let changed = match review.subresource.and_then(|name| seen_as.subresource(name)) {
        // The bodies of some subresources are of kinds that no table describes.
        Some(part) if part.kind != seen_as.kind => review::patched_freely(object, patch),
        _ => review::patched(seen_as, object, patch),
    };
    let changed = changed
        .map_err(|error| Failure::internal(format!("webhook \"{}\": {}", hook.name, Chain(&error))))?;
    let changed = taken(review, changed, seen_as).await?;
    let is_changed = changed != review.object;
    review.object = changed;
    Ok(is_changed)
}

fn note_mutation(review: &Review<'_>, hook: &Hook, place: usize, is_changed: bool) {
    let round = review.webhook_rounds.number();
    let key = format!("mutation.webhook.admission.k8s.io/round_{round}_index_{place}");
    let said = json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": is_changed});
    review.call.note(key, said.to_string());
}
