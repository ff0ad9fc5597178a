//! Room that is kept for whoever has made it: those who were told to go take their time, and room that comes back in
//! parts would otherwise go to smaller ones, for ever.

use std::time::Duration;

use super::{ClaimSlot, Decision, DemandSlot, Ledger, MachineSlot, Place, UnitSlot};

#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) unit: UnitSlot,
    pub(super) machine: MachineSlot,
    place: Place,
    source: Source,
}

/// Where the room is to come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It was free, or others were told to go.
    Revoked,
    /// From whatever ends on the machine until this moment.
    Ended { until: Duration },
}

impl Ledger {
    /// Keeps room on a machine for one of a demand.
    pub(super) fn claim(&mut self, demand: DemandSlot, machine: MachineSlot, source: Source) -> ClaimSlot {
        let place = self.queues.demands[demand].place;
        let slot = self.take_one(demand);
        let claim = self.claims.insert(Claim { unit: slot, machine, place, source });
        let unit = &mut self.units[slot];
        unit.claims.push(claim);
        match source {
            Source::Revoked => self.groups.claim(unit.group, unit.definition.shape),
            // What may never come takes nothing from the group's max, and its min does not count it.
            Source::Ended { .. } => self.patience.n_kept += 1,
        }
        self.machines.claim(machine, claim, unit.definition.shape);
        self.queue(slot);
        claim
    }

    /// Grants what is kept on a machine, as far as it is there.
    pub(super) fn honour_claims(&mut self, machine: MachineSlot, decided: &mut Vec<Decision>) {
        if self.machines[machine].claims.is_empty() {
            return;
        }
        let mut left = self.machines[machine].unspent();
        for slot in self.machines[machine].claims.clone() {
            let unit = self.claims[slot].unit;
            if self.units[unit].is_bound {
                left = left.minus(self.units[unit].definition.shape);
                continue;
            }
            let (group, shape) = (self.units[unit].group, self.units[unit].definition.shape);
            if shape.fits_in(left) && self.groups.can_honour(group, shape) {
                self.remove_claim(slot);
                self.give(unit, machine, decided);
            }
            left = left.minus(shape);
        }
    }

    /// Lets a claim go, with all that is kept for its gang.
    pub(super) fn let_go(&mut self, slot: ClaimSlot) {
        let Some(claim) = self.claims.get(slot) else { return };
        match self.units[claim.unit].definition.gang {
            Some(gang) => self.disperse(gang.id),
            None => self.unclaim(slot),
        }
    }

    /// Lets a claim go; its unit waits as before.
    pub(super) fn unclaim(&mut self, slot: ClaimSlot) {
        let Claim { unit, place, .. } = self.remove_claim(slot);
        let count = self.units[unit].demands.iter().find(|(other, _)| *other == place);
        let count = count.map_or(0, |(_, demand)| self.queues.demands[*demand].count);
        let waits_since = self.units[unit].waits_since;
        self.want(unit, place, count.saturating_add(1));
        self.units[unit].waits_since = waits_since;
        self.queue(unit);
        self.unsettled.units.push(unit);
    }

    /// Lets the youngest claim of a unit at a place go, which is not wanted any more.
    pub(super) fn forget_claim(&mut self, unit: UnitSlot, place: Place) {
        let mut claims = self.units[unit].claims.iter().rev().copied();
        if let Some(claim) = claims.find(|claim| self.claims[*claim].place == place) {
            self.remove_claim(claim);
            self.queue(unit);
            // It may have room elsewhere, which it could not take while it held as much as it may.
            self.unsettled.units.push(unit);
        }
    }

    pub(super) fn drop_claims(&mut self, unit: UnitSlot) {
        for claim in self.units[unit].claims.clone() {
            self.remove_claim(claim);
        }
        self.queue(unit);
        self.unsettled.units.push(unit);
    }

    pub(super) fn remove_claim(&mut self, slot: ClaimSlot) -> Claim {
        let claim = self.claims.remove(slot);
        let unit = &mut self.units[claim.unit];
        unit.claims.retain(|other| *other != slot);
        match claim.source {
            Source::Revoked => {
                let relieved = self.groups.unclaim(unit.group, unit.definition.shape);
                self.unsettled.groups.extend(relieved);
            }
            Source::Ended { .. } => self.patience.n_kept -= 1,
        }
        self.machines.unclaim(claim.machine, slot, unit.definition.shape);
        self.unsettled.machines.push(claim.machine);
        claim
    }

    pub(super) fn n_claimed(&self, unit: UnitSlot, place: Place) -> u32 {
        let claims = &self.units[unit].claims;
        let here = claims.iter().filter(|claim| self.claims[**claim].place == place).count();
        u32::try_from(here).unwrap_or(u32::MAX)
    }

    /// Lets go what is kept on machines that will not have so much: they are closed, or have become smaller. And what was
    /// kept for long enough.
    pub(super) fn review_claims(&mut self) {
        let claims: Vec<ClaimSlot> = self.claims.iter().map(|(slot, _)| slot).collect();
        for claim in claims.into_iter().rev() {
            let Some(Claim { unit, machine, source, .. }) = self.claims.get(claim).copied() else { continue };
            let machine = &self.machines[machine];
            match source {
                Source::Revoked if machine.is_overclaimed() => self.let_go(claim),
                Source::Ended { until }
                    if until <= self.now || !machine.could_hold(self.units[unit].definition.shape) =>
                {
                    self.pause_patience(unit);
                    self.let_go(claim);
                }
                Source::Revoked | Source::Ended { .. } => {}
            }
        }
    }
}
