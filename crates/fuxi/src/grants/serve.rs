//! Room and those who wait for it brought together.

use std::time::Duration;

use super::groups::{GroupIdx, Groups};
use super::queues::{Queues, Right};
use super::slots::position;
use super::units::{Grant, Unit};
use super::{
    ClaimSlot, Decision, DemandSlot, GrantId, GrantSlot, Ledger, MachineId, MachineSlot, Place, UnitId,
    UnitSlot, Unsettled,
};

impl Ledger {
    /// Offers all that has got room, until nobody waits for what there is.
    pub(super) fn settle(&mut self, decided: &mut Vec<Decision>) {
        while !self.unsettled.is_empty() {
            let mut unsettled = std::mem::take(&mut self.unsettled);
            self.settle_once(&mut unsettled, decided);
            if self.unsettled.is_empty() {
                // Their memory serves the next event.
                unsettled.clear();
                self.unsettled = unsettled;
            }
        }
    }

    fn settle_once(&mut self, unsettled: &mut Unsettled, decided: &mut Vec<Decision>) {
        let Unsettled { machines, units, groups, gangs, claims } = unsettled;
        if *claims {
            machines.extend(self.claims.iter().map(|(_, claim)| claim.machine));
        }
        machines.sort_unstable();
        machines.dedup();
        for machine in &*machines {
            self.honour_claims(*machine, decided);
            self.offer(*machine, decided);
        }
        for unit in &*units {
            self.place(*unit, decided);
        }
        for group in &*groups {
            self.relieve(*group, decided);
        }
        self.settle_gangs(gangs, !machines.is_empty(), decided);
    }

    /// Offers the room of one machine along its own path, until nobody there can use it.
    fn offer(&mut self, machine: MachineSlot, decided: &mut Vec<Decision>) {
        while let Some(first) = self.first_that_fits(machine) {
            let Some(demand) = self.or_next(first, machine) else { break };
            if !self.gather(machine, demand, decided) && !self.keep_for_patient(machine, demand) {
                self.grant(demand, machine, decided);
            }
        }
        self.machines.list(machine);
    }

    pub(super) fn first_that_fits(&self, slot: MachineSlot) -> Option<DemandSlot> {
        let machine = &self.machines[slot];
        let room = machine.room();
        let path = self.queues.path(machine.id, machine.rack, room)?;
        let is_welcome = |unit: UnitSlot| !self.units[unit].avoids(machine.id);
        self.groups.first(room, &mut |group, room| Queues::next(&path, (group, room), &is_welcome))
    }

    /// Serves one unit wherever there is room that nobody else could use: whoever waits before it does not fit there.
    fn place(&mut self, slot: UnitSlot, decided: &mut Vec<Decision>) {
        while let Some((demand, machine)) = self.find_room(slot) {
            self.grant(demand, machine, decided);
            self.machines.list(machine);
        }
    }

    fn find_room(&self, slot: UnitSlot) -> Option<(DemandSlot, MachineSlot)> {
        if self.units[slot].is_queued { self.room_for(slot) } else { None }
    }

    /// One of a unit's demands and a machine with room for it, rather near than far.
    pub(super) fn room_for(&self, slot: UnitSlot) -> Option<(DemandSlot, MachineSlot)> {
        let unit = &self.units[slot];
        let shape = unit.definition.shape;
        if unit.demands.is_empty() || !shape.fits_in(self.groups.headroom(unit.group)) {
            return None;
        }
        let mut demands = unit.demands.iter();
        let roomiest = |place| self.machines.roomiest(place, shape, &unit.avoided);
        demands.find_map(|(place, demand)| Some((*demand, roomiest(*place)?)))
    }

    /// Serves those that a group's max has kept waiting although there is room for them.
    fn relieve(&mut self, group: GroupIdx, decided: &mut Vec<Decision>) {
        while let Some((demand, machine)) = self.find_room_within(group) {
            self.grant(demand, machine, decided);
            self.machines.list(machine);
        }
    }

    fn find_room_within(&self, group: GroupIdx) -> Option<(DemandSlot, MachineSlot)> {
        self.groups.first_within(group, &mut |leaf, room| {
            let mut found: Option<(Right, DemandSlot, MachineSlot)> = None;
            for waiting in self.queues.waiting(leaf) {
                if found.is_none_or(|(right, ..)| waiting.right < right)
                    && waiting.shape.fits_in(room)
                    && let Some(machine) =
                        self.machines.roomiest(waiting.place, waiting.shape, self.avoided_by(waiting.picky))
                {
                    found = Some((waiting.right, waiting.first, machine));
                }
            }
            found.map(|(_, demand, machine)| (demand, machine))
        })
    }

    fn grant(&mut self, demand: DemandSlot, machine: MachineSlot, decided: &mut Vec<Decision>) {
        let slot = self.take_one(demand);
        self.give(slot, machine, decided);
    }

    /// Reckons a demand as met once; whose it is.
    pub(super) fn take_one(&mut self, demand: DemandSlot) -> UnitSlot {
        let (slot, place) = (self.queues.demands[demand].unit, self.queues.demands[demand].place);
        let left = self.queues.demands[demand].count - 1;
        if left == 0 {
            self.want(slot, place, 0);
        } else {
            self.queues.demands[demand].count = left;
            if self.units[slot].is_queued {
                self.queues.rotate(demand, &self.units[slot].class(slot));
            }
        }
        slot
    }

    pub(super) fn give(&mut self, slot: UnitSlot, machine: MachineSlot, decided: &mut Vec<Decision>) {
        self.last_grant += 1;
        let id = GrantId(self.last_grant);
        self.hold(id, slot, machine);
        self.units[slot].waits_since = self.now;
        self.queue(slot);
        let (unit, machine) = (self.units[slot].id, self.machines[machine].id);
        decided.push(Decision::Grant { grant: id, unit, machine });
    }

    /// Counts a grant everywhere; its machine is to be listed by the caller.
    pub(super) fn hold(&mut self, id: GrantId, slot: UnitSlot, machine: MachineSlot) {
        let unit = &mut self.units[slot];
        let (shape, in_unit) = (unit.definition.shape, position(unit.held.len()));
        let grant = Grant { id, unit: slot, machine, is_revoked: false, in_unit, on_machine: 0 };
        let grant_slot = self.grants.insert(grant);
        unit.held.push(grant_slot);
        if in_unit == 0 {
            let key = (unit.group, unit.definition.priority);
            self.holders.entry(key).or_default().insert(slot);
        }
        let party = unit.party;
        self.groups.spend(unit.group, shape);
        self.spend_of_party(party, shape);
        self.grants[grant_slot].on_machine = self.machines.spend(machine, grant_slot, shape);
    }

    /// Frees a grant everywhere. What has got room by that is unsettled.
    pub(super) fn give_back(&mut self, id: GrantId, now: Duration) {
        if let Some(slot) = self.grants.slot(id) {
            self.free(slot, now);
        }
    }

    pub(super) fn free(&mut self, grant_slot: GrantSlot, now: Duration) {
        let grant = self.grants.remove(grant_slot);
        let machine = &self.machines[grant.machine];
        self.queues.touch(machine.id, machine.rack);
        // Both lists first: they and what moves in them lie far apart in memory, and so are waited for together.
        let unit = &mut self.units[grant.unit];
        let shape = unit.definition.shape;
        unit.held.swap_remove(grant.in_unit as usize);
        let moved_in_unit = unit.held.get(grant.in_unit as usize).copied();
        let freed = (shape, grant.is_revoked);
        let moved_on_machine = self.machines.free(grant.machine, grant.on_machine, freed, now);
        if let Some(moved) = moved_in_unit {
            self.grants[moved].in_unit = grant.in_unit;
        }
        if let Some(moved) = moved_on_machine {
            self.grants[moved].on_machine = grant.on_machine;
        }
        if unit.held.is_empty()
            && let Some(holders) = self.holders.get_mut(&(unit.group, unit.definition.priority))
        {
            holders.remove(&grant.unit);
        }
        let party = unit.party;
        let relieved = self.groups.free(unit.group, (shape, grant.is_revoked));
        self.unsettled.claims |= self.groups.may_honour(unit.group);
        self.free_of_party(party, shape);
        self.unsettled.groups.extend(relieved);
        self.unsettled.machines.push(grant.machine);
        if !self.units[grant.unit].is_queued {
            self.queue(grant.unit);
            self.unsettled.units.push(grant.unit);
        }
    }

    pub(super) fn machine_gone(&mut self, id: MachineId, now: Duration) {
        let Some(slot) = self.machines.slot(id) else { return };
        for claim in self.machines[slot].claims.clone() {
            self.let_go(claim);
        }
        for grant in self.machines[slot].grants.clone() {
            self.free(grant, now);
        }
        self.machines.remove(slot);
        self.unsettled.machines.retain(|machine| *machine != slot);
        self.follow_total();
    }

    pub(super) fn unit_gone(&mut self, id: UnitId, now: Duration) {
        let Some(slot) = self.unit_slots.remove(&id) else { return };
        self.drop_claims(slot);
        self.want_nothing(slot);
        for grant in self.units[slot].held.clone() {
            self.free(grant, now);
        }
        self.unsettled.units.retain(|unit| *unit != slot);
        self.leave_gang(slot);
        let Unit { party, .. } = self.units.remove(slot);
        self.parties.leave(party, slot);
    }

    pub(super) fn want_nothing(&mut self, slot: UnitSlot) {
        let places: Vec<Place> = self.units[slot].demands.iter().map(|(place, _)| *place).collect();
        for place in places {
            self.want(slot, place, 0);
        }
    }

    /// Reckons everything anew by another tree.
    pub(super) fn regroup(&mut self, groups: Groups) {
        let units: Vec<UnitSlot> = self.units.iter().map(|(slot, _)| slot).collect();
        let claims: Vec<ClaimSlot> = self.claims.iter().map(|(slot, _)| slot).collect();
        claims.into_iter().for_each(|claim| self.let_go(claim));
        self.holders.clear();
        let queued: Vec<UnitSlot> =
            units.iter().copied().filter(|unit| self.units[*unit].is_queued).collect();
        for unit in &queued {
            self.set_queued(*unit, false);
        }
        self.groups = groups;
        self.follow_total();
        for slot in units {
            let unit = &mut self.units[slot];
            unit.group = self.groups.leaf(unit.definition.quota);
            for grant in &unit.held {
                self.groups.spend(unit.group, unit.definition.shape);
                if self.grants[*grant].is_revoked {
                    self.groups.revoke(unit.group, unit.definition.shape);
                }
            }
            if !unit.held.is_empty() {
                self.holders.entry((unit.group, unit.definition.priority)).or_default().insert(slot);
            }
        }
        for unit in queued {
            self.set_queued(unit, true);
        }
        self.unsettled.groups.push(Groups::ALL);
    }
}
