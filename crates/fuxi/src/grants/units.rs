//! What is known of a unit: its definition, what it waits for, what it holds.

use std::time::Duration;

use super::groups::GroupIdx;
use super::lanes::Demand;
use super::parties::PartySlot;
use super::{
    ClaimSlot, Decision, Definition, DemandSlot, GrantId, GrantSlot, Ledger, MachineId, MachineSlot, Place,
    UnitId, UnitSlot,
};

#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) id: UnitId,
    pub(super) definition: Definition,
    pub(super) group: GroupIdx,
    pub(super) party: PartySlot,
    pub(super) sequence: u64,
    /// From near to far.
    pub(super) demands: Vec<(Place, DemandSlot)>,
    pub(super) held: Vec<GrantSlot>,
    pub(super) claims: Vec<ClaimSlot>,
    /// Machines where it gets nothing, in order.
    pub(super) avoided: Vec<MachineId>,
    /// When it was served last, or began to wait.
    pub(super) waits_since: Duration,
    /// Until then no room is kept for it (see `patience`).
    pub(super) not_kept_until: Duration,
    /// Whether its demands stand in their queues: not while it may hold no more.
    pub(super) is_queued: bool,
    /// Whether it gets nothing by itself, as its gang has not started.
    pub(super) is_bound: bool,
}

/// Two of them fill a line of memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) id: GrantId,
    pub(super) unit: UnitSlot,
    pub(super) machine: MachineSlot,
    pub(super) is_revoked: bool,
    /// Its place among what the unit holds, and among what is on the machine.
    pub(super) in_unit: u32,
    pub(super) on_machine: u32,
}

impl Unit {
    pub(super) fn may_hold_more(&self) -> bool {
        !self.is_bound
            && u32::try_from(self.held.len() + self.claims.len())
                .is_ok_and(|held| held < self.definition.maximum)
    }

    fn demand(&self, place: Place) -> Result<usize, usize> {
        self.demands.binary_search_by_key(&place, |(place, _)| *place)
    }
}

impl Ledger {
    /// A unit is defined once; what is told of it later changes nothing.
    pub(super) fn define(&mut self, id: UnitId, definition: Definition) {
        if self.unit_slots.contains_key(&id) {
            return;
        }
        let definition = Definition { shape: definition.shape.as_shape(), ..definition };
        let unit = Unit {
            id,
            definition,
            group: self.groups.leaf(definition.quota),
            party: self.parties.of(definition.party),
            sequence: 0,
            demands: Vec::new(),
            held: Vec::new(),
            claims: Vec::new(),
            avoided: Vec::new(),
            waits_since: self.now,
            not_kept_until: Duration::ZERO,
            is_queued: definition.maximum > 0 && definition.gang.is_none(),
            is_bound: definition.gang.is_some(),
        };
        let party = unit.party;
        let slot = self.units.insert(unit);
        self.parties.join(party, slot);
        self.unit_slots.insert(id, slot);
        self.join_gang(slot);
    }

    pub(super) fn ask(
        &mut self,
        id: UnitId,
        sequence: u64,
        (place, delta): (Place, i64),
        decided: &mut Vec<Decision>,
    ) {
        let Some(slot) = self.unit_slots.get(&id).copied() else { return };
        let unit = &mut self.units[slot];
        if sequence <= unit.sequence {
            return;
        }
        if unit.sequence.checked_add(1) != Some(sequence) {
            decided.push(Decision::Resync { unit: id });
            return;
        }
        unit.sequence = sequence;
        if let Some(gang) = unit.definition.gang.filter(|_| unit.is_bound && delta < 0) {
            self.disperse(gang.id);
        }
        let before = self.wanted(slot, place);
        // Whoever waited here before proves that there is no room here.
        let is_hopeless = self.queues.has_lesser(place, &self.units[slot].class(slot));
        let wanted = i64::from(before).saturating_add(delta).clamp(0, i64::from(u32::MAX));
        self.want_with_claims(slot, place, u32::try_from(wanted).unwrap_or(u32::MAX));
        if wanted > i64::from(before) && !is_hopeless {
            self.unsettled.units.push(slot);
        }
        self.unsettled.gangs.extend(self.units[slot].definition.gang.map(|gang| gang.id));
    }

    /// What a unit waits for at a place, with what is kept for it.
    fn wanted(&self, slot: UnitSlot, place: Place) -> u32 {
        let unit = &self.units[slot];
        let queued = unit.demand(place).map_or(0, |at| self.queues.demands[unit.demands[at].1].count);
        queued.saturating_add(self.n_claimed(slot, place))
    }

    fn want_with_claims(&mut self, slot: UnitSlot, place: Place, count: u32) {
        for _ in count..self.n_claimed(slot, place) {
            self.forget_claim(slot, place);
        }
        self.want(slot, place, count - self.n_claimed(slot, place));
    }

    /// Sets what a unit wants at a place and keeps the place's queue right.
    pub(super) fn want(&mut self, slot: UnitSlot, place: Place, count: u32) {
        let unit = &mut self.units[slot];
        let class = unit.class(slot);
        match unit.demand(place) {
            Ok(at) if count == 0 => {
                let (_, demand) = unit.demands.remove(at);
                if unit.is_queued {
                    self.queues.leave(demand, &class);
                    self.groups.wait_no_more(class.group);
                }
                self.queues.demands.remove(demand);
            }
            Ok(at) => self.queues.demands[unit.demands[at].1].count = count,
            Err(_) if count == 0 => {}
            Err(at) => {
                if unit.demands.is_empty() {
                    unit.waits_since = self.now;
                }
                let demand = self.queues.demands.insert(Demand::new(slot, place, count));
                unit.demands.insert(at, (place, demand));
                if unit.is_queued {
                    self.queues.join(demand, &class, self.parties[unit.party].step);
                    self.groups.wait(class.group, class.shape);
                }
            }
        }
    }

    /// Puts all that a unit waits for into the queues if it may hold more, and out of them if not.
    pub(super) fn queue(&mut self, slot: UnitSlot) {
        let unit = &self.units[slot];
        let is_queued = unit.may_hold_more();
        if unit.is_queued != is_queued {
            self.set_queued(slot, is_queued);
        }
    }

    pub(super) fn set_queued(&mut self, slot: UnitSlot, is_queued: bool) {
        let unit = &mut self.units[slot];
        unit.is_queued = is_queued;
        let class = unit.class(slot);
        for (_, demand) in &unit.demands {
            if is_queued {
                self.queues.join(*demand, &class, self.parties[unit.party].step);
                self.groups.wait(class.group, class.shape);
            } else {
                self.queues.leave(*demand, &class);
                self.groups.wait_no_more(class.group);
            }
        }
    }
}
