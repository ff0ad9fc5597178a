//! How many pods of a kind are on each node: per owner, and per selector that a spread constraint names.

use std::collections::HashMap;

use crate::label::Selector;
use crate::pod::Pod;

use super::Row;

/// Which pods are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CountKey {
    Owned { owner: String },
    Selected { namespace: String, selector: Selector },
}

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
        keys
    }

    pub(crate) fn matches(&self, pod: &Pod) -> bool {
        match self {
            Self::Owned { owner } => pod.owner.as_ref() == Some(owner),
            Self::Selected { namespace, selector } => {
                pod.namespace == *namespace && selector.matches(&pod.labels)
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
    pub(crate) fn counting(&self, pod: &Pod) -> Vec<CountId> {
        self.ids.iter().filter(|(key, _)| key.matches(pod)).map(|(_, &id)| id).collect()
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
