//! All grants: found by their number, or by the slot that units and machines know.
//!
//! There are many, and what is looked up at random is waited for. So the index holds slots only and asks the grants
//! themselves for their numbers: it is a quarter as large as a map from numbers to slots.

use hashbrown::HashTable;

use super::numbers::spread;
use super::slots::Slots;
use super::units::Grant;
use super::{GrantId, GrantSlot};

#[derive(Clone, Debug, Default)]
pub(super) struct GrantTable {
    slots: Slots<Grant>,
    by_id: HashTable<GrantSlot>,
}

impl std::ops::Index<GrantSlot> for GrantTable {
    type Output = Grant;
    fn index(&self, slot: GrantSlot) -> &Grant {
        &self.slots[slot]
    }
}

impl std::ops::IndexMut<GrantSlot> for GrantTable {
    fn index_mut(&mut self, slot: GrantSlot) -> &mut Grant {
        &mut self.slots[slot]
    }
}

impl GrantTable {
    pub(super) fn slot(&self, id: GrantId) -> Option<GrantSlot> {
        self.by_id.find(spread(id.0), |slot| self.slots[*slot].id == id).copied()
    }

    pub(super) fn insert(&mut self, grant: Grant) -> GrantSlot {
        let Self { slots, by_id } = self;
        let id = grant.id;
        let slot = slots.insert(grant);
        by_id.insert_unique(spread(id.0), slot, |slot| spread(slots[*slot].id.0));
        slot
    }

    pub(super) fn remove(&mut self, slot: GrantSlot) -> Grant {
        let grant = self.slots.remove(slot);
        if let Ok(entry) = self.by_id.find_entry(spread(grant.id.0), |other| *other == slot) {
            entry.remove();
        }
        grant
    }
}
