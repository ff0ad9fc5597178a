//! Resource quotas of a namespace: charged before an object is stored, so that no two writers can both take the last
//! of something.
//!
//! ```text
//!   usage of the object ──► each quota that is about it: charge ──compare-and-put──► status.used
//!                                                          └── exceeded ──► 403
//! ```
//! What was charged for an object that is then not stored stays charged until the quota controller counts again. To
//! give it back here could give back what the controller had already left out.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use kinds::quota::{self, Quota};
use kinds::resources::Amounts;
use kinds::status::Failure;
use parking_lot::Mutex;
use serde_json::Value;

use super::{Operation, Plugin, Review, limit_ranger};
use crate::registry::{Found, Next};
use crate::request::ObjectPath;
use crate::{object, verbs};

pub(super) struct ResourceQuota;

/// One turn per namespace: writers of this server would otherwise only make each other try again.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    async fn take(&self, namespace: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock();
            // Nobody waits for a turn that only this table holds.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(namespace.to_owned()).or_default())
        };
        turn.lock_owned().await
    }
}

#[async_trait]
impl Plugin for ResourceQuota {
    async fn validate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        if !review.kind.is_namespaced() || !is_counted(review) {
            return Ok(());
        }
        let Some(quotas) = review.lister("", "resourcequotas").await? else { return Ok(()) };
        if quotas.is_empty() {
            return Ok(());
        }
        let now = review.context.now();
        let mut more = quota::usage(review.kind, &review.object, now);
        if review.operation == Operation::Update {
            more = quota::growth(&more, &quota::usage(review.kind, &review.old, now));
        }
        let quotas = quotas.in_namespace(review.namespace);
        let concerned: Vec<&Arc<Value>> =
            quotas.iter().filter(|quota| Quota::new(quota).is_about(review.kind, &review.object)).collect();
        if concerned.is_empty() || more.values().all(|amount| amount.is_zero()) {
            return Ok(());
        }
        for quota in &concerned {
            must_be_countable(review, Quota::new(quota))?;
        }
        let _turn = review.context.turns.take(review.namespace).await;
        // First all are asked, so that one that is full leaves the others uncharged.
        for quota in &concerned {
            Box::pin(charge(review, quota, &more, true)).await?;
        }
        if !review.dry_run {
            for quota in &concerned {
                Box::pin(charge(review, quota, &more, false)).await?;
            }
        }
        Ok(())
    }
}

/// Only some kinds can use more by being changed.
fn is_counted(review: &Review<'_>) -> bool {
    match review.operation {
        Operation::Create => review.subresource.is_none(),
        Operation::Update => {
            limit_ranger::is_resize(review)
                || review.is_about("", "services")
                || review.is_about("", "persistentvolumeclaims")
        }
        Operation::Delete | Operation::Connect => false,
    }
}

fn must_be_countable(review: &Review<'_>, quota: Quota<'_>) -> Result<(), Failure> {
    let name = quota.name();
    quota
        .must_say(review.kind, &review.object)
        .map_err(|why| review.forbid(&format!("failed quota: {name}: {why}")))?;
    let uncounted = quota.uncounted(review.kind);
    if uncounted.is_empty() {
        return Ok(());
    }
    let resources = uncounted.join(",");
    Err(review.forbid(&format!("status unknown for quota: {name}, resources: {resources}")))
}

/// Charges one quota as it stands now, or, in a trial, only tells whether it could be.
async fn charge(review: &Review<'_>, quota: &Value, more: &Amounts, is_trial: bool) -> Result<(), Failure> {
    let Some(kind) = kinds::find("", "v1", "resourcequotas") else { return Ok(()) };
    let path = ObjectPath::of(kind, quota);
    let mut attempts = review.context.registry.attempts(&path, is_trial);
    loop {
        let mut current = match attempts.read().await {
            Ok(Found::Object(current)) => current,
            // A quota that is gone holds nobody any more.
            Ok(Found::Gone(_)) => return Ok(()),
            Err(failure) if failure.code() == 404 => return Ok(()),
            Err(failure) => return Err(failure),
        };
        let used = match Quota::new(&current).charge(more) {
            Ok(None) => return Ok(()),
            Ok(Some(_)) if is_trial => return Ok(()),
            Ok(Some(used)) => used,
            Err(over) => {
                return Err(review.forbid(&format!(
                    "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                    object::name(&current),
                    over.requested,
                    over.used,
                    over.limited
                )));
            }
        };
        let before = current.clone();
        object::entry_object(&mut current, "status").insert("used".into(), used);
        verbs::by_server(kind, "status", &object::time(review.context.now()), Some(&before), &mut current);
        if attempts.write(Next::Replace(current)).await?.is_some() {
            return Ok(());
        }
    }
}
