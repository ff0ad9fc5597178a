//! What a holder says it wants and holds, against what is known: deltas that were lost or told twice heal by it.

use std::collections::HashSet;
use std::time::Duration;

use super::{GrantId, GrantSlot, Ledger, MachineId, Truth, UnitId, UnitSlot};

/// The largest number of a grant that is believed.
const MOST_GRANTS: u64 = u64::MAX / 2;

impl Ledger {
    pub(super) fn sync(&mut self, id: UnitId, truth: Truth, now: Duration) {
        let Truth { sequence, seen, wanted, held, avoided } = truth;
        let Some(slot) = self.unit_slots.get(&id).copied() else { return };
        let unit = &mut self.units[slot];
        // An older truth than what is known is none.
        if sequence < unit.sequence {
            return;
        }
        unit.sequence = sequence;
        match self.units[slot].definition.gang {
            Some(gang) => self.disperse(gang.id),
            None => self.drop_claims(slot),
        }
        self.want_nothing(slot);
        self.set_avoided(slot, avoided);
        self.drop_unheld(slot, seen, (&held, now));
        for (grant, machine) in held {
            self.adopt(slot, grant, (machine, now));
        }
        if let Some(gang) = self.units[slot].definition.gang.filter(|_| !self.units[slot].held.is_empty()) {
            // Nobody of it was granted a place before all were: it has started, before this ledger did. It need not come
            // together again, and could not once less of it is left to do.
            self.note_started(gang.id);
        }
        for (place, count) in wanted {
            self.want(slot, place, count);
        }
        self.unsettled.units.push(slot);
        self.unsettled.gangs.extend(self.units[slot].definition.gang.map(|gang| gang.id));
    }

    /// Frees what the unit must have heard of and does not hold.
    fn drop_unheld(
        &mut self,
        slot: UnitSlot,
        seen: GrantId,
        (held, now): (&[(GrantId, MachineId)], Duration),
    ) {
        let held: HashSet<GrantId> = held.iter().map(|(grant, _)| *grant).collect();
        let is_dropped = |grant: &GrantSlot| {
            let id = self.grants[*grant].id;
            id <= seen && !held.contains(&id)
        };
        let mut dropped: Vec<GrantSlot> = self.units[slot].held.iter().copied().filter(is_dropped).collect();
        dropped.sort_by_key(|grant| self.grants[*grant].id);
        for grant in dropped {
            self.free(grant, now);
        }
    }

    /// Counts a grant of which only its holder knew, as after a restart of the ledger.
    fn adopt(&mut self, slot: UnitSlot, grant: GrantId, (machine, now): (MachineId, Duration)) {
        // No ledger ever came so far, and the next grant needs a number.
        if grant.0 > MOST_GRANTS {
            return;
        }
        self.last_grant = self.last_grant.max(grant.0);
        if self.grants.slot(grant).is_some() {
            return;
        }
        let Some(machine) = self.machines.slot(machine) else { return };
        let used = self.machines[machine].used.plus(self.units[slot].definition.shape);
        // More than the largest machine has is nonsense, and sums would no longer be exact.
        if used != used.as_capacity() {
            return;
        }
        self.hold(grant, slot, machine);
        self.machines.list(machine);
        self.queue(slot);
        self.machines.note_shortage(machine, now);
    }
}
