//! How many pods of a kind are on each node: per owner, per selector that a spread constraint names, per term of pod
//! affinity, and per term that pods of the node declare themselves.

use std::collections::HashMap;

use crate::interference::Interference;
use crate::label::{Labels, Operator, Requirement, Selector};
use crate::pod::{Namespaces, Pod, PodTerm};

use super::Row;

#[cfg(test)]
mod tests;

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
        if let (true, Some(owner)) = (pod.leans_apart(), &pod.owner) {
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

    /// The counts that a rule against interference looks at: those that are limited, those beside which they are, both.
    pub(crate) fn of_interference(rule: &Interference) -> [Self; 3] {
        let both = vec![rule.pods.clone(), rule.beside.clone()];
        [Self::named(&rule.pods), Self::named(&rule.beside), Self::Named { terms: both }]
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

    /// All of these must hold for the labels of a pod that is counted, or of one that is spoken of.
    fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        let (selector, terms): (_, &[PodTerm]) = match self {
            Self::Owned { .. } => (None, &[]),
            Self::Selected { selector, .. } => (Some(selector), &[]),
            Self::Named { terms } => (None, terms),
            Self::Repelling { term } | Self::Attracting { term, .. } => (None, std::slice::from_ref(term)),
        };
        let selectors = selector.into_iter().chain(terms.iter().filter_map(|term| term.selector.as_ref()));
        selectors.flat_map(|selector| &selector.requirements)
    }

    /// Whether the pods that are counted have declared something about `pod`.
    pub(crate) fn speaks_of(&self, pod: &Pod, namespaces: &Namespaces) -> bool {
        self.declared().is_some_and(|term| term.matches(pod, namespaces))
    }

    /// What the pods that are counted have declared.
    pub(crate) fn declared(&self) -> Option<&PodTerm> {
        match self {
            Self::Repelling { term } | Self::Attracting { term, .. } => Some(term),
            Self::Owned { .. } | Self::Selected { .. } | Self::Named { .. } => None,
        }
    }

    /// Whether it depends on the labels of namespaces which pods are counted or spoken of.
    pub(crate) fn depends_on_namespaces(&self) -> bool {
        let selects = |term: &PodTerm| term.namespace_selector.is_some();
        match self {
            Self::Named { terms } => terms.iter().any(selects),
            Self::Repelling { term } | Self::Attracting { term, .. } => selects(term),
            Self::Owned { .. } | Self::Selected { .. } => false,
        }
    }
}

/// A count, while some template refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CountId(usize);

impl CountId {
    /// The count of no pod at all.
    pub(crate) const NOBODY: Self = Self(usize::MAX);
}

/// Finds counts by one label that their selectors ask for, so that a pod is not held against all of them.
#[derive(Debug, Default)]
struct Finder {
    by_label: HashMap<String, HashMap<String, Vec<CountId>>>,
    /// Counts that ask for no label of a certain value.
    others: Vec<CountId>,
}

impl Finder {
    fn with(&self, requirement: &Requirement) -> usize {
        let by_value = self.by_label.get(&requirement.key);
        let of = |value: &String| by_value.and_then(|values| values.get(value)).map_or(0, Vec::len);
        requirement.values.iter().map(of).sum()
    }

    /// Enters a count under that one of its requirements that fewest share; which that is.
    fn add<'a>(
        &mut self,
        id: CountId,
        requirements: impl Iterator<Item = &'a Requirement>,
    ) -> Option<Requirement> {
        let certain = requirements.filter(|requirement| requirement.operator == Operator::In);
        let Some(entered) = certain.min_by_key(|requirement| self.with(requirement)) else {
            self.others.push(id);
            return None;
        };
        let values = self.by_label.entry(entered.key.clone()).or_default();
        for value in &entered.values {
            let ids = values.entry(value.clone()).or_default();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Some(entered.clone())
    }

    fn remove(&mut self, id: CountId, entered: Option<&Requirement>) {
        let Some(Requirement { key, values, .. }) = entered else {
            return self.others.retain(|other| *other != id);
        };
        let Some(known) = self.by_label.get_mut(key) else { return };
        for value in values {
            if let Some(ids) = known.get_mut(value) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    known.remove(value);
                }
            }
        }
        if known.is_empty() {
            self.by_label.remove(key);
        }
    }

    /// The counts that may have to do with a pod of these labels, each once.
    fn candidates<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = CountId> + 'a {
        let of = |(key, value): (&String, &String)| self.by_label.get(key)?.get(value);
        self.others.iter().chain(labels.iter().filter_map(of).flatten()).copied()
    }
}

/// All counts in use.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    ids: HashMap<CountKey, CountId>,
    slots: Vec<Slot>,
    free: Vec<CountId>,
    /// Those of pods that selectors and terms name.
    naming: Finder,
    /// Those of pods that have declared something about others.
    declaring: Finder,
}

#[derive(Debug, Default)]
struct Slot {
    key: Option<CountKey>,
    n_users: usize,
    /// Under which requirement it is found.
    entered: Option<Requirement>,
    /// Rows without a pod of the count are left out: an app is on few of many nodes.
    per_row: HashMap<Row, u32>,
}

impl Counts {
    pub(crate) fn find(&self, key: &CountKey) -> Option<CountId> {
        self.ids.get(key).copied()
    }

    /// Where a count is found by labels; those of owners are not.
    fn finder(&mut self, key: &CountKey) -> Option<&mut Finder> {
        match key {
            CountKey::Owned { .. } => None,
            CountKey::Selected { .. } | CountKey::Named { .. } => Some(&mut self.naming),
            CountKey::Repelling { .. } | CountKey::Attracting { .. } => Some(&mut self.declaring),
        }
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
        let entered = self.finder(key).and_then(|finder| finder.add(id, key.requirements()));
        self.slots[id.0] = Slot { key: Some(key.clone()), n_users: 1, entered, per_row: HashMap::new() };
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
        let entered = std::mem::take(slot).entered;
        if let Some(finder) = self.finder(key) {
            finder.remove(id, entered.as_ref());
        }
        self.ids.remove(key);
        self.free.push(id);
        Some(id)
    }

    /// The counts that `pod` counts in.
    pub(crate) fn counting(&self, pod: &Pod, namespaces: &Namespaces) -> Vec<CountId> {
        let owned = pod.owner.iter().map(|owner| CountKey::Owned { owner: owner.clone() });
        let known = owned.chain(CountKey::declared_by(pod)).filter_map(|key| self.find(&key));
        let names = |id: &CountId| self.key(*id).is_some_and(|key| key.matches(pod, namespaces));
        let mut ids: Vec<CountId> = known.chain(self.naming.candidates(&pod.labels).filter(names)).collect();
        // A pod may declare the same twice.
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The counts of pods that have declared something about `pod`.
    pub(crate) fn speaking_of(&self, pod: &Pod, namespaces: &Namespaces) -> Vec<CountId> {
        let speaks = |id: &CountId| self.key(*id).is_some_and(|key| key.speaks_of(pod, namespaces));
        self.declaring.candidates(&pod.labels).filter(speaks).collect()
    }

    /// Whether pods that were told to go are left out: they do not stand in the way of those that spread.
    pub(crate) fn ignores_leaving(&self, id: CountId) -> bool {
        matches!(self.key(id), Some(CountKey::Selected { .. }))
    }

    /// What is counted.
    pub(crate) fn key(&self, id: CountId) -> Option<&CountKey> {
        self.slots.get(id.0)?.key.as_ref()
    }

    /// All counts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&CountKey, CountId)> {
        self.ids.iter().map(|(key, &id)| (key, id))
    }

    /// Makes a count zero everywhere.
    pub(crate) fn clear(&mut self, id: CountId) {
        self.slots[id.0].per_row.clear();
    }

    pub(crate) fn at(&self, id: CountId, row: Row) -> u32 {
        self.slots.get(id.0).and_then(|slot| slot.per_row.get(&row)).copied().unwrap_or(0)
    }

    /// The rows that have pods of the count.
    pub(crate) fn rows(&self, id: CountId) -> impl Iterator<Item = (Row, u32)> {
        let slot = self.slots.get(id.0).into_iter();
        slot.flat_map(|slot| slot.per_row.iter().map(|(&row, &n_pods)| (row, n_pods)))
    }

    pub(crate) fn add(&mut self, id: CountId, row: Row) {
        *self.slots[id.0].per_row.entry(row).or_default() += 1;
    }

    pub(crate) fn subtract(&mut self, id: CountId, row: Row) {
        let per_row = &mut self.slots[id.0].per_row;
        if let Some(n_pods) = per_row.get_mut(&row) {
            *n_pods -= 1;
            if *n_pods == 0 {
                per_row.remove(&row);
            }
        }
    }
}
