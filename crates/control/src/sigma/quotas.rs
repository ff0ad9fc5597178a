//! Elastic quotas at the API: followed, put into the engine's words, and told what is used of them.
//!
//! One task writes, the newest figures of each, and pauses between: however fast pods come, a quota is written about once
//! a second.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Api;
use kube::api::{Patch, PatchParams};
use model::elastic_quota::{EFFECTIVE, ElasticQuota, ElasticQuotaStatus};
use serde_json::{Value, json};
use sigma::Quota;
use sigma::quota::Usage;
use sigma::resources::{Amounts, text};
use tokio::sync::mpsc;

use super::{News, convert};
use crate::act::{ActError, failed, unless_gone};
use crate::key::ObjectKey;
use crate::world::World;

/// Between two rounds of writing.
const PAUSE: Duration = Duration::from_secs(1);
/// More namespaces than this are not told by name.
const MOST_NAMED: usize = 10;

type Quantities = BTreeMap<String, Quantity>;

/// How a quota stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) generation: Option<i64>,
    pub(crate) usage: Usage,
}

/// Has `news` tell of every change.
pub(super) fn follow(world: &World, news: &mpsc::UnboundedSender<News>) {
    let news = news.clone();
    world.elastic_quotas.on_change(move |change| {
        let name = change.object().metadata.name.clone().unwrap_or_default();
        // Nobody listens any more: the process is going down.
        let _stopped = news.send(News::Quota(name, change.after.cloned()));
    });
}

/// The quota as the engine sees it.
pub(super) fn quota(quota: &ElasticQuota) -> Quota {
    let spec = &quota.spec;
    let amounts = |quantities: &Quantities| -> Amounts {
        let amounts = quantities.iter();
        amounts.filter_map(|(name, text)| Some((name.clone(), convert::amount(name, text)?))).collect()
    };
    Quota {
        namespaces: spec.namespaces.iter().cloned().collect(),
        namespace_selector: spec.namespace_selector.as_ref().map(crate::owner::selector),
        min: amounts(&spec.min),
        max: amounts(&spec.max),
    }
}

/// Writes accounts until nobody sends any.
pub(super) async fn tell(world: World, mut told: mpsc::UnboundedReceiver<Account>) {
    let mut owed = BTreeMap::new();
    while !told.is_closed() {
        if owed.is_empty() {
            owed.extend(told.recv().await.map(|account| (account.name.clone(), account)));
        }
        while let Ok(account) = told.try_recv() {
            owed.insert(account.name.clone(), account);
        }
        for (name, account) in std::mem::take(&mut owed) {
            if let Err(error) = write(&world, &account).await {
                tracing::warn!(error = %kit::Chain(&error), "The status of an ElasticQuota was not written");
                owed.insert(name, account);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn write(world: &World, account: &Account) -> Result<(), ActError> {
    let key = ObjectKey::new("", &account.name);
    let Some(quota) = world.elastic_quotas.get(&key) else { return Ok(()) };
    let known = quota.status.clone().unwrap_or_default();
    let status = status(&known, account, Time(kit::clock::wall()));
    if status == known {
        return Ok(());
    }
    let api: Api<ElasticQuota> = Api::all(world.act.client().clone());
    let how = PatchParams { field_manager: super::manager(), ..PatchParams::default() };
    let patch = json!({ "status": {
        "observedGeneration": status.observed_generation,
        "used": replaced(&known.used, &status.used),
        "borrowed": replaced(&known.borrowed, &status.borrowed),
        "conditions": status.conditions,
    }});
    let patched = api.patch_status(&key.name, &how, &Patch::Merge(patch)).await;
    unless_gone(patched.map(drop).map_err(failed::<ElasticQuota>("report on", &key)))
}

/// How it stands, where `known` is what was said of it before.
fn status(known: &ElasticQuotaStatus, account: &Account, now: Time) -> ElasticQuotaStatus {
    let quantities = |amounts: &BTreeMap<String, u128>| -> Quantities {
        amounts.iter().map(|(name, amount)| (name.clone(), Quantity(text(name, *amount)))).collect()
    };
    let taken = &account.usage.taken;
    let (status, reason, message) = if taken.is_empty() {
        ("True", "AllNamespaces", "it counts for all namespaces that it names".to_owned())
    } else {
        ("False", "NamespaceInTwoQuotas", told_of(taken))
    };
    let since = crate::condition::since(&known.conditions, (EFFECTIVE, status), now);
    let condition = Condition {
        type_: EFFECTIVE.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: since,
        observed_generation: account.generation,
    };
    let others = known.conditions.iter().filter(|each| each.type_ != EFFECTIVE).cloned();
    ElasticQuotaStatus {
        observed_generation: account.generation,
        used: quantities(&account.usage.used),
        borrowed: quantities(&account.usage.borrowed),
        conditions: others.chain([condition]).collect(),
    }
}

/// Whose the namespaces are that the quota does not count for.
fn told_of(taken: &BTreeMap<String, String>) -> String {
    let named = taken.iter().take(MOST_NAMED);
    let mut told: Vec<String> =
        named.map(|(namespace, quota)| format!("namespace {namespace} is quota {quota}'s")).collect();
    if taken.len() > MOST_NAMED {
        told.push(format!("so are {} more", taken.len() - MOST_NAMED));
    }
    format!("{}: of several quotas the first by name counts", told.join(", "))
}

/// What makes `known` be `now`, where one is merged into the other.
fn replaced(known: &Quantities, now: &Quantities) -> Value {
    let gone = known.keys().filter(|name| !now.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let there = now.iter().map(|(name, quantity)| (name.clone(), Value::from(quantity.0.as_str())));
    Value::Object(gone.chain(there).collect())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(used: &[(&str, u128)], taken: &[(&str, &str)], expect: Expect) {
        let named = |(name, amount): &(&str, u128)| ((*name).to_owned(), *amount);
        let usage = Usage {
            used: used.iter().map(named).collect(),
            borrowed: BTreeMap::new(),
            taken: taken.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect(),
        };
        let account = Account { name: "q".to_owned(), generation: Some(2), usage };
        let long_ago = Time(jiff::Timestamp::UNIX_EPOCH);
        let told = status(&ElasticQuotaStatus::default(), &account, long_ago.clone());
        expect.assert_eq(&serde_json::to_string(&told).unwrap());
        let again = status(&told, &account, Time(kit::clock::wall()));
        assert_eq!(again, told, "a condition is as old as its last change");
    }

    #[test]
    fn what_is_used_and_whose_namespaces_are_others() {
        check(
            &[("cpu", 1500), ("memory", 3 << 30)],
            &[],
            expect![[
                r#"{"observedGeneration":2,"used":{"cpu":"1500m","memory":"3Gi"},"conditions":[{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"it counts for all namespaces that it names","observedGeneration":2,"reason":"AllNamespaces","status":"True","type":"Effective"}]}"#
            ]],
        );
        check(
            &[],
            &[("x", "a"), ("y", "b")],
            expect![[
                r#"{"observedGeneration":2,"conditions":[{"lastTransitionTime":"1970-01-01T00:00:00Z","message":"namespace x is quota a's, namespace y is quota b's: of several quotas the first by name counts","observedGeneration":2,"reason":"NamespaceInTwoQuotas","status":"False","type":"Effective"}]}"#
            ]],
        );
    }

    #[test]
    fn what_is_not_named_any_more_goes() {
        let quantities = |names: &[&str]| -> Quantities {
            names.iter().map(|name| ((*name).to_owned(), Quantity("1".to_owned()))).collect()
        };
        let patch = replaced(&quantities(&["cpu", "pods"]), &quantities(&["cpu"]));
        assert_eq!(patch, json!({ "cpu": "1", "pods": null }));
    }
}
