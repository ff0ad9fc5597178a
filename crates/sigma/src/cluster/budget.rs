//! Disruption budgets: how many of some pods may be made to go at the moment.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::label::Selector;
use crate::pod::Pod;

/// A disruption budget, as its status says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub namespace: String,
    pub selector: Selector,
    /// Pods that may go.
    pub allowed: u64,
}

/// All budgets, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budgets {
    by_name: BTreeMap<String, Budget>,
    /// Counts changes.
    pub(crate) version: u64,
}

impl Budgets {
    pub(crate) fn set(&mut self, name: &str, budget: Option<Budget>) {
        if self.by_name.get(name) == budget.as_ref() {
            return;
        }
        self.version += 1;
        match budget {
            Some(budget) => drop(self.by_name.insert(name.to_owned(), budget)),
            None => drop(self.by_name.remove(name)),
        }
    }

    /// Some of this pod's like were told to go: that many fewer may.
    pub(crate) fn spend(&mut self, pod: &Pod) {
        for budget in self.by_name.values_mut().filter(|budget| budget.covers(pod)) {
            budget.allowed = budget.allowed.saturating_sub(1);
            self.version += 1;
        }
    }

    /// What was spent since `before` was not.
    pub(crate) fn restore(&mut self, before: Self) {
        if self.version != before.version {
            // Whoever remembers a version in between must look again.
            *self = Self { version: self.version + 1, ..before };
        }
    }

    /// Which of `pods`, when all go in this order, go against a budget.
    pub(crate) fn broken_by(&self, pods: &[&Pod]) -> Vec<bool> {
        if self.by_name.is_empty() {
            return vec![false; pods.len()];
        }
        let mut left: Vec<(&Budget, u64)> =
            self.by_name.values().map(|budget| (budget, budget.allowed)).collect();
        let mut breaks = |pod: &Pod| {
            let mut is_broken = false;
            for (_, left) in left.iter_mut().filter(|(budget, _)| budget.covers(pod)) {
                is_broken |= *left == 0;
                *left = left.saturating_sub(1);
            }
            is_broken
        };
        pods.iter().map(|pod| breaks(pod)).collect()
    }
}

impl Cluster {
    /// A disruption budget came or changed: `allowed` of the pods that `selector` matches may go at the moment.
    pub fn set_budget(&mut self, name: &str, budget: Budget) {
        self.budgets.set(name, Some(budget));
    }

    pub fn remove_budget(&mut self, name: &str) {
        self.budgets.set(name, None);
    }
}

impl Budget {
    fn covers(&self, pod: &Pod) -> bool {
        self.namespace == pod.namespace && self.selector.matches(&pod.labels)
    }
}
