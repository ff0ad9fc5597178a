//! How many pods of a count are in each domain of a topology key.

use crate::cluster::{Cluster, CountId, NO_VALUE, Row};

use super::levels::Levels;

/// The row is in no domain: it lacks the label.
const NO_DOMAIN: u32 = u32::MAX;

/// The domains of one key: which rows share a value of it.
#[derive(Debug)]
pub(super) struct Topology {
    domain_of: Vec<u32>,
    n_domains: usize,
    /// Every domain is one row, as with host names.
    pub(super) is_single: bool,
}

impl Topology {
    pub(super) fn of(cluster: &Cluster, key: &str) -> Self {
        let mut dense = vec![NO_DOMAIN; cluster.labels.n_values()];
        let mut domain_of = vec![NO_DOMAIN; cluster.hosts.len()];
        let (mut n_domains, mut is_single) = (0, true);
        for row in cluster.rows_in_order() {
            let value = cluster.labels.value_at(row, key);
            if value == NO_VALUE {
                continue;
            }
            let domain = &mut dense[value as usize];
            if *domain == NO_DOMAIN {
                *domain = n_domains;
                n_domains += 1;
            } else {
                is_single = false;
            }
            domain_of[row] = *domain;
        }
        Self { domain_of, n_domains: n_domains as usize, is_single }
    }

    /// The domain of a row, from 0.
    pub(super) fn domain(&self, row: Row) -> Option<usize> {
        let domain = self.domain_of.get(row).copied().filter(|&domain| domain != NO_DOMAIN)?;
        Some(domain as usize)
    }
}

/// A count by domain.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) count: CountId,
    /// The place of its topology in the view's list.
    pub(super) topology: usize,
    /// Rows whose pods count, where not all do.
    eligible: Option<Vec<bool>>,
    seen: Vec<u32>,
    sums: Vec<u64>,
    total: u64,
    /// The sums of the domains that count.
    levels: Levels<u64>,
}

impl Tally {
    /// Counts the rows of `topology`, which stands at `place`, but those that are not `eligible`.
    pub(super) fn new(
        count: CountId,
        (place, topology): (usize, &Topology),
        eligible: Option<Vec<bool>>,
        cluster: &Cluster,
    ) -> Self {
        let mut is_counted = vec![false; topology.n_domains];
        let counts = |row: Row| eligible.as_ref().is_none_or(|eligible| eligible[row]);
        for row in (0..topology.domain_of.len()).filter(|&row| counts(row)) {
            if let Some(domain) = topology.domain(row) {
                is_counted[domain] = true;
            }
        }
        let mut tally = Self {
            count,
            topology: place,
            eligible,
            seen: vec![0; cluster.hosts.len()],
            sums: vec![0; topology.n_domains],
            total: 0,
            levels: Levels::of(0, is_counted.into_iter().filter(|&is_counted| is_counted).count()),
        };
        for (row, n_pods) in cluster.counts.rows(count) {
            tally.set(topology, row, n_pods);
        }
        tally
    }

    /// `n_pods` are on `row` now.
    pub(super) fn set(&mut self, topology: &Topology, row: Row, n_pods: u32) {
        let Some(domain) = topology.domain(row) else { return };
        let seen = self.seen[row];
        if seen == n_pods || self.eligible.as_ref().is_some_and(|eligible| !eligible[row]) {
            return;
        }
        self.seen[row] = n_pods;
        let before = self.sums[domain];
        let after = before - u64::from(seen) + u64::from(n_pods);
        self.sums[domain] = after;
        self.total = self.total - u64::from(seen) + u64::from(n_pods);
        self.levels.shift(before, after);
    }

    /// Pods in the domain of `row`; `None` when it is in none.
    pub(super) fn near(&self, topology: &Topology, row: Row) -> Option<u64> {
        topology.domain(row).map(|domain| self.sums[domain])
    }

    /// How many pods of a row are part of its domain's sum.
    pub(super) fn seen(&self, row: Row) -> u64 {
        self.seen.get(row).copied().map_or(0, u64::from)
    }

    /// Pods in the emptiest of the domains that count.
    pub(super) fn least(&self) -> u64 {
        self.levels.range().map_or(0, |(least, _)| least)
    }

    /// The domains that count.
    pub(super) fn n_domains(&self) -> usize {
        self.levels.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.total == 0
    }
}
