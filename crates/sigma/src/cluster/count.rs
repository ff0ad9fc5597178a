//! How many pods of a kind are on each node: per owner, per selector that a spread constraint names, per term of pod
//! affinity, and per term that pods of the node declare themselves.

use std::collections::HashMap;

use crate::label::Selector;
use crate::pod::{Namespaces, Pod, PodTerm};

use super::Row;

/// Which pods are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum CountKey {
    Owned {
        owner: String,
    },
    Selected {
        namespace: String,
        selector: Selector,
    },
    /// Pods that all of these terms name.
    Named {
        terms: Vec<PodTerm>,
    },
    /// Pods that keep those of the term away.
    Repelling {
        term: PodTerm,
    },
    /// Pods that like those of the term near them, by so much.
    Attracting {
        term: PodTerm,
        weight: i32,
    },
}

/// What a pod that requires others near it likes more of the same, as in kube-scheduler.
const REQUIRED_WEIGHT: i32 = 1;

impl CountKey {
    /// The counts that placing `pod` looks at.
    pub(crate) fn asked_for_by(pod: &Pod) -> Vec<Self> {
        let selectors = pod.spread.iter().filter_map(|constraint| constraint.selector.clone());
        let mut keys: Vec<Self> = Vec::new();
        for selector in selectors {
            let key = Self::Selected { namespace: pod.namespace.clone(), selector };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        if let (true, Some(owner)) = (pod.spread.is_empty(), &pod.owner) {
            keys.push(Self::Owned { owner: owner.clone() });
        }
        keys.extend(Self::named_by(pod));
        keys.extend(Self::declared_by(pod));
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The pods that the terms of `pod` name.
    fn named_by(pod: &Pod) -> Vec<Self> {
        let single = pod.forbidden_pods.iter().chain(pod.preferred_pods.iter().map(|each| &each.term));
        let mut keys: Vec<Self> = single.map(Self::named).collect();
        if !pod.required_pods.is_empty() {
            keys.push(Self::Named { terms: pod.required_pods.clone() });
        }
        keys
    }

    /// The pods that the term names.
    pub(crate) fn named(term: &PodTerm) -> Self {
        Self::Named { terms: vec![term.clone()] }
    }

    /// The counts that `pod` is in because of what it asks for itself.
    fn declared_by(pod: &Pod) -> Vec<Self> {
        let repelling = pod.forbidden_pods.iter().map(|term| Self::Repelling { term: term.clone() });
        let preferred = pod.preferred_pods.iter().map(|each| (&each.term, each.weight));
        let required = pod.required_pods.iter().map(|term| (term, REQUIRED_WEIGHT));
        let attracting = preferred.chain(required);
        repelling
            .chain(attracting.map(|(term, weight)| Self::Attracting { term: term.clone(), weight }))
            .collect()
    }

    pub(crate) fn matches(&self, pod: &Pod, namespaces: &Namespaces) -> bool {
        match self {
            Self::Owned { owner } => pod.owner.as_ref() == Some(owner),
            Self::Selected { namespace, selector } => {
                pod.namespace == *namespace && selector.matches(&pod.labels)
            }
            Self::Named { terms } => terms.iter().all(|term| term.matches(pod, namespaces)),
            Self::Repelling { .. } | Self::Attracting { .. } => Self::declared_by(pod).contains(self),
        }
    }

    /// Whether it depends on the labels of namespaces which pods are counted.
    pub(crate) fn depends_on_namespaces(&self) -> bool {
        match self {
            Self::Named { terms } => terms.iter().any(|term| term.namespace_selector.is_some()),
            Self::Owned { .. } | Self::Selected { .. } | Self::Repelling { .. } | Self::Attracting { .. } => {
                false
            }
        }
    }
}

/// A count, while some template refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CountId(usize);

/// All counts in use.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    ids: HashMap<CountKey, CountId>,
    slots: Vec<Slot>,
    free: Vec<CountId>,
}

#[derive(Debug, Default)]
struct Slot {
    n_users: usize,
    per_row: Vec<u32>,
}

impl Counts {
    pub(crate) fn find(&self, key: &CountKey) -> Option<CountId> {
        self.ids.get(key).copied()
    }

    /// Adds a user of the count. True when the count is new and must be filled.
    pub(crate) fn acquire(&mut self, key: &CountKey) -> bool {
        if let Some(id) = self.find(key) {
            self.slots[id.0].n_users += 1;
            return false;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            CountId(self.slots.len() - 1)
        });
        self.slots[id.0] = Slot { n_users: 1, per_row: Vec::new() };
        self.ids.insert(key.clone(), id);
        true
    }

    /// Takes a user away. The id when that was the last one and the count is gone.
    pub(crate) fn release(&mut self, key: &CountKey) -> Option<CountId> {
        let id = self.find(key)?;
        let slot = &mut self.slots[id.0];
        slot.n_users -= 1;
        if slot.n_users > 0 {
            return None;
        }
        *slot = Slot::default();
        self.ids.remove(key);
        self.free.push(id);
        Some(id)
    }

    /// The counts that `pod` counts in.
    pub(crate) fn counting(&self, pod: &Pod, namespaces: &Namespaces) -> Vec<CountId> {
        self.ids.iter().filter(|(key, _)| key.matches(pod, namespaces)).map(|(_, &id)| id).collect()
    }

    /// All counts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&CountKey, CountId)> {
        self.ids.iter().map(|(key, &id)| (key, id))
    }

    /// Makes a count zero everywhere.
    pub(crate) fn clear(&mut self, id: CountId) {
        self.slots[id.0].per_row.clear();
    }

    pub(crate) fn per_row(&self, id: CountId) -> &[u32] {
        &self.slots[id.0].per_row
    }

    pub(crate) fn add(&mut self, id: CountId, row: Row) {
        let per_row = &mut self.slots[id.0].per_row;
        if per_row.len() <= row {
            per_row.resize(row + 1, 0);
        }
        per_row[row] += 1;
    }

    pub(crate) fn subtract(&mut self, id: CountId, row: Row) {
        self.slots[id.0].per_row[row] -= 1;
    }
}
