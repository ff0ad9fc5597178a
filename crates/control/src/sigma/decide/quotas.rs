//! Elastic quotas in the queue: whom a change of one may let in, and what must be told of each.

use std::collections::BTreeMap;
use std::time::Instant;

use model::elastic_quota::ElasticQuota;
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

    /// What objects of quotas must tell now.
    pub(super) fn tell_quotas(&mut self) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for (name, usage) in self.cluster.take_changed_quota_usages() {
            let generation = self.ledger.generations.get(&name).copied().flatten();
            let told = (generation, usage);
            if self.ledger.told.get(&name) != Some(&told) {
                self.ledger.told.insert(name.clone(), told.clone());
                let (generation, usage) = told;
                decisions.push(Decision::Account(Account { name, generation, usage }));
            }
        }
        decisions
    }
}
