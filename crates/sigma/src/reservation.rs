//! Reservations: room on a node that is held for pods to come.
//!
//! A reservation is placed like a pod, and stands on its node as one. As pods of its owners come there, it shrinks by
//! what they ask for, and grows again when they go: what it holds is what it was made for, less what its owners have
//! there. That depends on nothing but who is where, so it is the same after a restart.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::cluster::{Cluster, Row, Template};
use crate::pod::{Pod, PodId, PodTerm};

/// Amounts by column.
type Held = Vec<(usize, u64)>;

/// All reservations, by the pods that stand for them.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    owners: BTreeMap<PodId, PodTerm>,
    on_row: HashMap<Row, BTreeSet<PodId>>,
    /// What is left of those that have a node.
    left: HashMap<PodId, Held>,
    /// What is in use twice over, by a reservation and by its owners, and so was taken off each row's sums.
    rebates: HashMap<Row, Held>,
}

impl Reservations {
    /// The reservations whose owner the pod is.
    pub(crate) fn owned_by(&self, pod: &Pod, namespaces: &crate::pod::Namespaces) -> Vec<PodId> {
        let is_owned = |(_, owners): &(&PodId, &PodTerm)| owners.matches(pod, namespaces);
        self.owners.iter().filter(is_owned).map(|(id, _)| id.clone()).collect()
    }

    /// A pod came to the row: it may be a reservation.
    pub(crate) fn note_put(&mut self, id: &PodId, row: Row) {
        if self.owners.contains_key(id) {
            self.on_row.entry(row).or_default().insert(id.clone());
        }
    }

    /// A pod went from the row.
    pub(crate) fn note_lifted(&mut self, id: &PodId, row: Row) {
        if self.owners.contains_key(id)
            && let Some(here) = self.on_row.get_mut(&row)
        {
            here.remove(id);
            if here.is_empty() {
                self.on_row.remove(&row);
            }
            self.left.remove(id);
        }
    }
}

impl Cluster {
    /// The pod `id`, which is placed from now on or has its node already, holds its room for the pods that `owners`
    /// names. The topology key of the term means nothing.
    pub fn set_reservation(&mut self, id: &PodId, owners: PodTerm) {
        if self.reservations.owners.get(id) == Some(&owners) {
            return;
        }
        let row = self.placed(id).map(|placed| placed.row);
        self.reservations.owners.insert(id.clone(), owners);
        if let Some(row) = row {
            self.unsettle(row);
            self.reservations.note_put(id, row);
            self.settle(row);
        }
        self.reclassify();
        self.structure += 1;
    }

    /// The room is held no more.
    pub fn remove_reservation(&mut self, id: &PodId) {
        self.remove_pod(id);
        if self.reservations.owners.remove(id).is_some() {
            self.reclassify();
            self.structure += 1;
        }
    }

    /// Before a row's sums change: they become plain sums again.
    pub(crate) fn unsettle(&mut self, row: Row) {
        if self.reservations.rebates.is_empty() {
            return;
        }
        for (column, amount) in self.reservations.rebates.remove(&row).into_iter().flatten() {
            *self.resources.columns[column].used_mut(row) += u128::from(amount);
        }
    }

    /// After a row's sums have changed: what owners took of their reservations does not count twice.
    pub(crate) fn settle(&mut self, row: Row) {
        let Some(here) = self.reservations.on_row.get(&row) else { return };
        let demand = |id: &PodId| {
            let placed = self.placed(id)?;
            Some((id.clone(), self.templates.get(placed.template).demand.amounts.clone()))
        };
        let mut left: Vec<(PodId, Held)> = here.iter().filter_map(demand).collect();
        let mut rebate: BTreeMap<usize, u64> = BTreeMap::new();
        let mut pods: Vec<&PodId> = self.hosts[row].pods.iter().filter(|id| !here.contains(id)).collect();
        // Where several reservations have the same owners, it must not matter who came first.
        pods.sort_unstable();
        for id in pods {
            let Some(placed) = self.placed(id) else { continue };
            let template = self.templates.get(placed.template);
            let mut asked = template.demand.amounts.clone();
            for (id, held) in &mut left {
                if self.reservations.owners[id].matches(&template.pod, &self.namespaces) {
                    for (column, taken) in take(held, &mut asked) {
                        *rebate.entry(column).or_default() += taken;
                    }
                }
            }
        }
        for (&column, &amount) in &rebate {
            *self.resources.columns[column].used_mut(row) -= u128::from(amount);
        }
        self.reservations.left.extend(left);
        self.reservations.rebates.insert(row, rebate.into_iter().collect());
    }

    /// What a pod of the template asks of a row beyond what is held for it there; `None` where nothing is.
    pub(crate) fn beyond_reserved(&self, row: Row, template: &Template) -> Option<Held> {
        let here = self.reservations.on_row.get(&row)?;
        let mut asked = template.demand.amounts.clone();
        for id in here {
            let Some(left) = self.reservations.left.get(id) else { continue };
            if self.reservations.owners[id].matches(&template.pod, &self.namespaces) {
                take(&mut left.clone(), &mut asked);
            }
        }
        if asked == template.demand.amounts {
            return None;
        }
        // What is held in full is there, however full the row is else.
        asked.retain(|(_, amount)| *amount > 0);
        Some(asked)
    }
}

/// Moves as much of each column as can be from `held` against `asked`; what was moved.
fn take(held: &mut Held, asked: &mut Held) -> Held {
    let mut taken = Vec::new();
    for (column, asked) in asked {
        let Some((_, held)) = held.iter_mut().find(|(other, _)| other == column) else { continue };
        let amount = (*held).min(*asked);
        *held -= amount;
        *asked -= amount;
        if amount > 0 {
            taken.push((*column, amount));
        }
    }
    taken
}
