//! Elastic quotas in the queue: whom a change of one may let in, and what must be told of each.

use std::collections::BTreeMap;
use std::time::Instant;

use model::elastic_quota::ElasticQuota;
use sigma::PodId;
use sigma::quota::Usage;

use super::queue::Whom;
use super::{Decision, Scheduler};
use crate::sigma::quotas::{self, Account};

/// The quotas that are there, and what was told of them.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    generations: BTreeMap<String, Option<i64>>,
    told: BTreeMap<String, (Option<i64>, Usage)>,
}

impl Scheduler {
    /// A quota came, changed, or went (`None`).
    pub(crate) fn quota_changed(&mut self, name: &str, quota: Option<&ElasticQuota>, now: Instant) {
        let is_news = match quota {
            Some(quota) => {
                self.ledger.generations.insert(name.to_owned(), quota.metadata.generation);
                self.cluster.set_quota(name, quotas::quota(quota))
            }
            None => {
                self.ledger.generations.remove(name);
                self.ledger.told.remove(name);
                self.cluster.remove_quota(name)
            }
        };
        if is_news {
            self.wake(now, Whom::All);
        }
    }

    /// The quota of a victim, where that gives back what it has borrowed of another's.
    pub(super) fn borrower(&self, by: &PodId, victim: &PodId) -> Option<String> {
        let (own, other) = (self.cluster.quota_of(by)?, self.cluster.quota_of(victim)?);
        (own != other).then(|| other.to_owned())
    }

    /// What objects of quotas must tell now. Where one borrows more than it did, others may have more to take back.
    pub(super) fn tell_quotas(&mut self, now: Instant) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for (name, usage) in self.cluster.take_changed_quota_usages() {
            let generation = self.ledger.generations.get(&name).copied().flatten();
            let told = (generation, usage);
            let before = self.ledger.told.insert(name.clone(), told.clone());
            if before.as_ref() == Some(&told) {
                continue;
            }
            let (generation, usage) = told;
            let borrowed = before.map(|(_, usage)| usage.borrowed).unwrap_or_default();
            if usage.borrowed.iter().any(|(resource, amount)| borrowed.get(resource) < Some(amount)) {
                self.wake(now, Whom::All);
            }
            decisions.push(Decision::Account(Account { name, generation, usage }));
        }
        decisions
    }
}
