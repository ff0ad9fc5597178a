//! Topology spread: how many pods a selector matches in each domain, as the next pod sees it.

use std::collections::HashMap;

use crate::cluster::{Cluster, CountKey, NO_VALUE, Row};
use crate::pod::{InclusionPolicy, Pod, SpreadConstraint, WhenUnsatisfiable};
use crate::reason::Reason;

use super::filter::StaticView;

/// The constraints of a pod with the counts of the moment.
#[derive(Debug)]
pub(super) struct Spread<'a> {
    cluster: &'a Cluster,
    domains: Vec<Domains<'a>>,
    /// Pods of the same owner on each row, where the pod has no constraint of its own.
    siblings: Option<&'a [u32]>,
}

/// One constraint: the count in each domain of its topology key.
#[derive(Debug)]
struct Domains<'a> {
    constraint: &'a SpreadConstraint,
    counts: HashMap<u32, u64>,
    /// The count of the emptiest domain.
    least: u64,
    /// One if the pod itself will be counted.
    own: u64,
}

impl<'a> Spread<'a> {
    pub(super) fn of(cluster: &'a Cluster, pod: &'a Pod, view: &StaticView) -> Self {
        let domains = pod.spread.iter().map(|constraint| Domains::count(cluster, pod, constraint, view));
        let owner = pod.owner.clone().filter(|_| pod.spread.is_empty());
        let siblings = owner.and_then(|owner| cluster.counts.find(&CountKey::Owned { owner }));
        Self { cluster, domains: domains.collect(), siblings: siblings.map(|id| cluster.counts.per_row(id)) }
    }

    /// Whether a pod more on `row` keeps every hard constraint.
    pub(super) fn check(&self, row: Row) -> Result<(), Reason> {
        let hard =
            |domains: &&Domains<'_>| domains.constraint.unsatisfiable == WhenUnsatisfiable::DoNotSchedule;
        for domains in self.domains.iter().filter(hard) {
            let domain = self.cluster.labels.value_at(row, &domains.constraint.topology_key);
            if domain == NO_VALUE {
                return Err(Reason::SpreadMissingLabel);
            }
            let here = domains.counts.get(&domain).copied().unwrap_or(0);
            if here + domains.own > domains.least + u64::from(domains.constraint.max_skew) {
                return Err(Reason::Spread);
            }
        }
        Ok(())
    }

    /// How crowded the row's domains are with the pod's like: less is better. `None` when a soft constraint's label
    /// is missing, which is worst.
    pub(super) fn crowding(&self, row: Row) -> Option<u64> {
        let siblings = self.siblings.map_or(0, |counts| counts.get(row).copied().unwrap_or(0));
        let mut sum = u64::from(siblings) * WEIGHT_UNIT;
        let soft =
            |domains: &&Domains<'_>| domains.constraint.unsatisfiable == WhenUnsatisfiable::ScheduleAnyway;
        for domains in self.domains.iter().filter(soft) {
            let domain = self.cluster.labels.value_at(row, &domains.constraint.topology_key);
            let here = if domain == NO_VALUE { None } else { Some(domains.counts.get(&domain).copied()) }?;
            sum += here.unwrap_or(0) * weight(domains.counts.len());
        }
        Some(sum)
    }
}

impl<'a> Domains<'a> {
    fn count(
        cluster: &'a Cluster,
        pod: &'a Pod,
        constraint: &'a SpreadConstraint,
        view: &StaticView,
    ) -> Self {
        let selector = constraint.selector.as_ref();
        let matched = selector.and_then(|selector| cluster.matched_pods(&pod.namespace, selector));
        let keys = || pod.spread.iter().map(|each| each.topology_key.as_str());
        let mut counts = HashMap::new();
        for (row, _) in cluster.hosts.iter().enumerate().filter(|(_, host)| host.is_present) {
            let fixed = view.verdict(row);
            let is_counted = (constraint.affinity_policy == InclusionPolicy::Ignore
                || fixed.matches_affinity)
                && (constraint.taints_policy == InclusionPolicy::Ignore || fixed.tolerates_taints)
                && keys().all(|key| cluster.labels.value_at(row, key) != NO_VALUE);
            if is_counted {
                let domain = cluster.labels.value_at(row, &constraint.topology_key);
                let here = matched.and_then(|counts| counts.get(row)).copied().unwrap_or(0);
                *counts.entry(domain).or_default() += u64::from(here);
            }
        }
        let too_few = constraint.min_domains.is_some_and(|least| counts.len() < least as usize);
        let least = if too_few { 0 } else { counts.values().copied().min().unwrap_or(0) };
        let own = u64::from(selector.is_some_and(|selector| selector.matches(&pod.labels)));
        Self { constraint, counts, least, own }
    }
}

const WEIGHT_UNIT: u64 = 16;

/// A crowded domain among many says more than one among few: grows with the logarithm of their number, as in
/// kube-scheduler, so that zones weigh beside hosts.
fn weight(n_domains: usize) -> u64 {
    WEIGHT_UNIT * u64::from((n_domains + 2).ilog2())
}
