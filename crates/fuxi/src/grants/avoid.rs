//! Machines that a unit avoids: it gets nothing there, whoever else may.
//!
//! A unit that avoids any is *picky*, and its demands stand in entries of their own: that they wait proves nothing to
//! others, and who avoids nothing is found in the same few steps as ever.

use super::queues::Class;
use super::units::Unit;
use super::{ClaimSlot, Ledger, MachineId, MachineSlot, UnitId, UnitSlot};

impl Unit {
    pub(super) fn avoids(&self, machine: MachineId) -> bool {
        !self.avoided.is_empty() && self.avoided.binary_search(&machine).is_ok()
    }

    /// What all its demands have in common; `slot` is its own.
    pub(super) fn class(&self, slot: UnitSlot) -> Class {
        let picky = (!self.avoided.is_empty()).then_some(slot);
        Class { group: self.group, priority: self.definition.priority, shape: self.definition.shape, picky }
    }
}

fn in_order(mut machines: Vec<MachineId>) -> Vec<MachineId> {
    machines.sort_unstable();
    machines.dedup();
    machines
}

impl Ledger {
    /// From now on a unit gets nothing on these machines, and no longer keeps room there.
    pub(super) fn avoid(&mut self, id: UnitId, machines: Vec<MachineId>) {
        let Some(slot) = self.unit_slots.get(&id).copied() else { return };
        let machines = in_order(machines);
        if self.units[slot].avoided == machines {
            return;
        }
        let was_queued = self.units[slot].is_queued;
        if was_queued {
            self.set_queued(slot, false);
        }
        self.units[slot].avoided = machines;
        if was_queued {
            self.set_queued(slot, true);
        }
        let is_here =
            |claim: &ClaimSlot| self.units[slot].avoids(self.machines[self.claims[*claim].machine].id);
        let kept: Vec<ClaimSlot> = self.units[slot].claims.iter().copied().filter(is_here).collect();
        for claim in kept {
            self.let_go(claim);
        }
        self.unsettled.units.push(slot);
        self.unsettled.gangs.extend(self.units[slot].definition.gang.map(|gang| gang.id));
    }

    /// The same for a unit of which nothing stands in a queue and nothing is kept.
    pub(super) fn set_avoided(&mut self, slot: UnitSlot, machines: Vec<MachineId>) {
        self.units[slot].avoided = in_order(machines);
    }

    /// Whether a unit may get something on a machine.
    pub(super) fn may_use(&self, unit: UnitSlot, machine: MachineSlot) -> bool {
        !self.units[unit].avoids(self.machines[machine].id)
    }

    /// The machines that a picky unit avoids; none for all others.
    pub(super) fn avoided_by(&self, picky: Option<UnitSlot>) -> &[MachineId] {
        picky.map_or(&[], |unit| &self.units[unit].avoided)
    }
}
