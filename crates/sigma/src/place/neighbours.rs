//! Pod affinity: which pods are near each node, in the domains that terms speak of, as the next pod sees them.
//!
//! Two sides have a say: the terms of the pod that is placed, and the terms that pods declared which are there already.

use std::collections::HashMap;

use crate::cluster::{Cluster, CountId, CountKey, NO_VALUE, Row};
use crate::pod::{Pod, PodTerm};
use crate::reason::Reason;

/// The pods that matter to one pod, with the counts of the moment.
#[derive(Debug)]
pub(super) struct Neighbours<'a> {
    cluster: &'a Cluster,
    required: Vec<Domains<'a>>,
    /// Whether the pod may be the first of those that it requires.
    may_be_first: bool,
    forbidden: Vec<Domains<'a>>,
    repelling: Vec<Domains<'a>>,
    wishes: Vec<(i64, Domains<'a>)>,
}

/// How many pods of a count are in each domain of a topology key.
#[derive(Debug)]
struct Domains<'a> {
    key: &'a str,
    counts: HashMap<u32, u64>,
}

impl<'a> Neighbours<'a> {
    pub(super) fn of(cluster: &'a Cluster, pod: &'a Pod) -> Self {
        let named = |term: &'a PodTerm| Domains::find(cluster, &CountKey::named(term), term);
        let together = CountKey::Named { terms: pod.required_pods.clone() };
        let required: Vec<_> =
            pod.required_pods.iter().map(|term| Domains::find(cluster, &together, term)).collect();
        let is_alone = required.iter().all(|domains| domains.counts.is_empty());
        let own_wishes = pod.preferred_pods.iter().map(|each| (i64::from(each.weight), named(&each.term)));
        let mut neighbours = Self {
            cluster,
            required,
            may_be_first: is_alone && together.matches(pod, &cluster.namespaces),
            forbidden: pod.forbidden_pods.iter().map(named).collect(),
            repelling: Vec::new(),
            wishes: own_wishes.collect(),
        };
        neighbours.hear(pod);
        neighbours
    }

    /// Takes in what pods that are there have declared about pods like this one.
    fn hear(&mut self, pod: &Pod) {
        let cluster = self.cluster;
        for (key, count) in cluster.counts.iter() {
            let (CountKey::Repelling { term } | CountKey::Attracting { term, .. }) = key else { continue };
            if !term.matches(pod, &cluster.namespaces) {
                continue;
            }
            let domains = Domains::count(cluster, count, &term.topology_key);
            match key {
                CountKey::Attracting { weight, .. } => self.wishes.push((i64::from(*weight), domains)),
                _ => self.repelling.push(domains),
            }
        }
    }

    /// Whether all that is required is near `row`, and nothing near it that is forbidden, by either side.
    pub(super) fn check(&self, row: Row) -> Result<(), Reason> {
        let has_label = |domains: &Domains<'_>| domains.value_at(self.cluster, row).is_some();
        let has_near = |domains: &Domains<'_>| domains.near(self.cluster, row) > 0;
        let is_near = self.required.iter().all(has_near);
        let is_first = self.may_be_first && self.required.iter().all(has_label);
        if !is_near && !is_first {
            return Err(Reason::PodAffinity);
        }
        if self.forbidden.iter().any(has_near) {
            return Err(Reason::PodAntiAffinity);
        }
        if self.repelling.iter().any(has_near) { Err(Reason::ExistingAntiAffinity) } else { Ok(()) }
    }

    /// How much the pod and its neighbours would like it to be on `row`.
    pub(super) fn wish(&self, row: Row) -> i64 {
        let wish = |(weight, domains): &(i64, Domains<'_>)| {
            let near = i64::try_from(domains.near(self.cluster, row)).unwrap_or(i64::MAX);
            weight.saturating_mul(near)
        };
        self.wishes.iter().map(wish).fold(0, i64::saturating_add)
    }
}

impl<'a> Domains<'a> {
    /// A count that the pod's own template keeps alive.
    fn find(cluster: &Cluster, key: &CountKey, term: &'a PodTerm) -> Self {
        match cluster.counts.find(key) {
            Some(count) => Self::count(cluster, count, &term.topology_key),
            None => Self { key: &term.topology_key, counts: HashMap::new() },
        }
    }

    fn count(cluster: &Cluster, count: CountId, key: &'a str) -> Self {
        let mut counts = HashMap::new();
        let here = cluster.counts.per_row(count).iter().enumerate();
        for (row, &here) in here.filter(|&(row, &here)| here > 0 && cluster.hosts[row].is_present) {
            let domain = cluster.labels.value_at(row, key);
            if domain != NO_VALUE {
                *counts.entry(domain).or_default() += u64::from(here);
            }
        }
        Self { key, counts }
    }

    fn value_at(&self, cluster: &Cluster, row: Row) -> Option<u32> {
        Some(cluster.labels.value_at(row, self.key)).filter(|&value| value != NO_VALUE)
    }

    /// Pods in the domain of `row`. A node without the label is in none.
    fn near(&self, cluster: &Cluster, row: Row) -> u64 {
        self.value_at(cluster, row).and_then(|domain| self.counts.get(&domain)).copied().unwrap_or(0)
    }
}
