//! Machines that have granted more than they have left: their cheapest grants are revoked.

use std::cmp::Reverse;
use std::time::Duration;

use super::{Decision, GrantSlot, Ledger, MachineSlot};

impl Ledger {
    /// Where a machine has been short for longer than the grace, revokes what costs least: lowest priority, youngest.
    pub(super) fn revoke_overdue(&mut self, now: Duration, decided: &mut Vec<Decision>) {
        for machine in self.machines.short_since_before(now.saturating_sub(self.grace)) {
            for grant in self.cheapest_first(machine) {
                let short = self.machines[machine].shortage();
                if short.is_zero() {
                    break;
                }
                let shape = self.units[self.grants[grant].unit].definition.shape;
                // What has none of what is short would be revoked for nothing.
                if !shape.only_where(short).is_zero() {
                    self.revoke(grant, decided);
                }
            }
            self.machines.note_shortage(machine, now);
        }
    }

    pub(super) fn cheapest_first(&self, machine: MachineSlot) -> Vec<GrantSlot> {
        let mut grants: Vec<GrantSlot> = self.machines[machine].grants.clone();
        grants.retain(|grant| !self.grants[*grant].is_revoked);
        grants.sort_unstable_by_key(|slot| {
            let grant = &self.grants[*slot];
            (self.units[grant.unit].definition.priority, Reverse(grant.id))
        });
        grants
    }

    pub(super) fn revoke(&mut self, slot: GrantSlot, decided: &mut Vec<Decision>) {
        self.count_revoked(slot);
        decided.push(self.tell_revoked(slot));
    }

    pub(super) fn count_revoked(&mut self, slot: GrantSlot) {
        let grant = &mut self.grants[slot];
        grant.is_revoked = true;
        let unit = &self.units[grant.unit];
        self.machines.revoke(grant.machine, unit.definition.shape);
        self.groups.revoke(unit.group, unit.definition.shape);
    }

    /// As if [`Self::count_revoked`] had not been.
    pub(super) fn count_spared(&mut self, slot: GrantSlot) {
        let grant = &mut self.grants[slot];
        grant.is_revoked = false;
        let unit = &self.units[grant.unit];
        self.machines.spare(grant.machine, unit.definition.shape);
        self.groups.spare(unit.group, unit.definition.shape);
    }

    pub(super) fn tell_revoked(&self, slot: GrantSlot) -> Decision {
        let grant = &self.grants[slot];
        let (unit, machine) = (self.units[grant.unit].id, self.machines[grant.machine].id);
        Decision::Revoke { grant: grant.id, unit, machine }
    }
}
