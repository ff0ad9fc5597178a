//! Gangs: units that start together or not at all.
//!
//! ```text
//!   bound ── room for all at once ───────────────────────────────────────────► started: every unit for itself
//!     │ waits longer than the grace                                               ▲
//!     ├── others may be made to go for all of it ── room kept, they go ───────────┤ all room is there
//!     └── one gang at a time gathers room that comes free, for a limited time ────┘
//! ```
//! Only one gang gathers, so that two cannot keep from each other what both lack. Room that is kept for a gang is granted
//! all at once or let go all at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::claims::Source;
use super::queues::Class;
use super::reclaim::Plan;
use super::resources::Resources;
use super::{ClaimSlot, Decision, DemandSlot, GangId, GrantSlot, Ledger, MachineSlot, Place, UnitSlot};

/// How many gangs are tried whenever some machine has got room. All are at every tick.
const TRIED: usize = 4;
/// For so many graces a gang may gather; then it is another's turn.
const GATHERING: u32 = 10;

#[derive(Clone, Debug)]
struct State {
    units: Vec<UnitSlot>,
    n_units: u32,
    priority: i32,
    waits_since: Duration,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Gangs {
    by_id: BTreeMap<GangId, State>,
    /// Those that have not started, in the order in which they are tried.
    waiting: BTreeSet<(Reverse<i32>, GangId)>,
    /// Who gathers, and since when.
    gathering: Option<(GangId, Duration)>,
}

impl Gangs {
    pub(super) fn ids(&self) -> Vec<GangId> {
        self.by_id.keys().copied().collect()
    }
}

impl Ledger {
    pub(super) fn join_gang(&mut self, slot: UnitSlot) {
        let definition = self.units[slot].definition;
        let Some(gang) = definition.gang else { return };
        let state = self.gangs.by_id.entry(gang.id).or_insert_with(|| State {
            units: Vec::new(),
            n_units: gang.n_units,
            priority: definition.priority,
            waits_since: self.now,
        });
        state.units.push(slot);
        let order = (Reverse(state.priority), gang.id);
        if state.units.len() == 1 {
            self.gangs.waiting.insert(order);
        } else if !self.gangs.waiting.contains(&order) {
            // It has started without this one.
            self.units[slot].is_bound = false;
            self.queue(slot);
        }
    }

    pub(super) fn leave_gang(&mut self, slot: UnitSlot) {
        let Some(gang) = self.units[slot].definition.gang else { return };
        self.disperse(gang.id);
        let Some(state) = self.gangs.by_id.get_mut(&gang.id) else { return };
        state.units.retain(|unit| *unit != slot);
        if state.units.is_empty() {
            self.gangs.waiting.remove(&(Reverse(state.priority), gang.id));
            self.gangs.by_id.remove(&gang.id);
            self.gangs.gathering.take_if(|(gathering, _)| *gathering == gang.id);
        }
    }

    /// Lets go all that is kept for a gang.
    pub(super) fn disperse(&mut self, id: GangId) {
        for claim in self.claims_of_gang(id) {
            self.unclaim(claim);
        }
        self.gangs.gathering.take_if(|(gathering, _)| *gathering == id);
    }

    fn claims_of_gang(&self, id: GangId) -> Vec<ClaimSlot> {
        let units = self.gangs.by_id.get(&id).into_iter().flat_map(|state| &state.units);
        units.flat_map(|unit| self.units[*unit].claims.iter().copied()).collect()
    }

    /// What a gang lacks, unit by unit; nothing where it is not complete or does not want enough to start.
    fn lacks(&self, id: GangId) -> Option<Vec<(UnitSlot, u32)>> {
        let state = self.gangs.by_id.get(&id)?;
        if u32::try_from(state.units.len()).unwrap_or(u32::MAX) < state.n_units {
            return None;
        }
        let lack = |slot: &UnitSlot| {
            let unit = &self.units[*slot];
            let least = unit.definition.gang?.least.min(unit.definition.maximum);
            let has = u32::try_from(unit.held.len() + unit.claims.len()).unwrap_or(u32::MAX);
            let lacks = least.saturating_sub(has);
            let wants = unit.demands.iter().map(|(_, demand)| self.queues.demands[*demand].count);
            (wants.fold(0, u32::saturating_add) >= lacks).then_some((*slot, lacks))
        };
        state.units.iter().map(lack).collect()
    }

    /// Tries those that have changed, and some of the others if there is new room.
    pub(super) fn settle_gangs(
        &mut self,
        changed: &mut Vec<GangId>,
        has_room: bool,
        decided: &mut Vec<Decision>,
    ) {
        if self.gangs.waiting.is_empty() {
            return;
        }
        if has_room {
            changed.extend(self.gangs.waiting.iter().take(TRIED).map(|(_, id)| *id));
        }
        changed.sort_unstable();
        changed.dedup();
        let waiting: Vec<GangId> = self.gangs.waiting.iter().map(|(_, id)| *id).collect();
        for id in waiting.into_iter().filter(|id| changed.binary_search(id).is_ok()) {
            self.try_gang(id, decided);
        }
    }

    fn try_gang(&mut self, id: GangId, decided: &mut Vec<Decision>) {
        let Some(lacks) = self.lacks(id) else { return };
        let needed = lacks.iter().fold(Resources::NOTHING, |sum, (unit, count)| {
            sum.plus(self.units[*unit].definition.shape.times(*count))
        });
        if needed.fits_in(self.machines.free_in_all()) {
            self.keep_all(&lacks, |ledger, slot| ledger.room_for(slot));
        }
        self.start_if_ready(id, decided);
    }

    /// Keeps room for all that is lacking, or for nothing.
    fn keep_all(
        &mut self,
        lacks: &[(UnitSlot, u32)],
        mut place: impl FnMut(&mut Self, UnitSlot) -> Option<(DemandSlot, MachineSlot)>,
    ) -> bool {
        let mut kept = Vec::new();
        for (slot, count) in lacks {
            for _ in 0..*count {
                let Some((demand, machine)) = place(self, *slot) else {
                    kept.into_iter().for_each(|claim| self.put_back(claim));
                    return false;
                };
                kept.push(self.claim(demand, machine, Source::Revoked));
            }
        }
        true
    }

    /// Lets go a claim of which nobody has heard: nothing is to be offered anew.
    fn put_back(&mut self, claim: ClaimSlot) {
        let (machines, units) = (self.unsettled.machines.len(), self.unsettled.units.len());
        let groups = self.unsettled.groups.len();
        self.unclaim(claim);
        self.unsettled.machines.truncate(machines);
        self.unsettled.units.truncate(units);
        self.unsettled.groups.truncate(groups);
    }

    /// Starts a gang that lacks nothing and whose room is all there.
    fn start_if_ready(&mut self, id: GangId, decided: &mut Vec<Decision>) {
        let lacks_nothing = self.lacks(id).is_some_and(|lacks| lacks.iter().all(|(_, count)| *count == 0));
        let claims = self.claims_of_gang(id);
        if !lacks_nothing || !claims.iter().all(|claim| self.is_there(*claim)) {
            return;
        }
        for claim in claims {
            let claim = self.remove_claim(claim);
            self.give(claim.unit, claim.machine, decided);
            self.machines.list(claim.machine);
        }
        self.note_started(id);
        self.settle(decided);
    }

    /// From now on its units get what they want one by one.
    pub(super) fn note_started(&mut self, id: GangId) {
        let Some(state) = self.gangs.by_id.get(&id) else { return };
        let units = state.units.clone();
        let was_waiting = self.gangs.waiting.remove(&(Reverse(state.priority), id));
        self.gangs.gathering.take_if(|(gathering, _)| *gathering == id);
        for unit in units.into_iter().filter(|_| was_waiting) {
            self.units[unit].is_bound = false;
            self.queue(unit);
            self.unsettled.units.push(unit);
        }
    }

    /// Whether all that is kept on a claim's machine could be granted now.
    fn is_there(&self, claim: ClaimSlot) -> bool {
        let claim = &self.claims[claim];
        let machine = &self.machines[claim.machine];
        machine.claimed.fits_in(machine.unspent()) && self.groups.can_honour_all(self.units[claim.unit].group)
    }

    /// Keeps room of a machine for the gang that gathers, rather than to grant it to `next`. False if it cannot use it.
    pub(super) fn gather(
        &mut self,
        machine: MachineSlot,
        next: DemandSlot,
        decided: &mut Vec<Decision>,
    ) -> bool {
        let Some((id, _)) = self.gangs.gathering else { return false };
        let Some(state) = self.gangs.by_id.get(&id) else { return false };
        let next = &self.units[self.queues.demands[next].unit];
        if next.definition.priority > state.priority {
            return false;
        }
        let room = self.machines[machine].room();
        let usable = self.lacks(id).into_iter().flatten().find_map(|(slot, count)| {
            let unit = &self.units[slot];
            let shape = unit.definition.shape;
            let may = count > 0 && !unit.avoids(self.machines[machine].id);
            let fits = may && shape.fits_in(room) && shape.fits_in(self.groups.headroom(unit.group));
            let mut here = unit.demands.iter().filter(|(place, _)| self.lies_in(machine, *place));
            fits.then(|| here.next().map(|(_, demand)| *demand)).flatten()
        });
        let Some(demand) = usable else { return false };
        self.claim(demand, machine, Source::Revoked);
        self.start_if_ready(id, decided);
        true
    }

    /// Gangs that have waited too long: others go for them where they may, or else the first of them gathers.
    pub(super) fn reclaim_for_gangs(&mut self, moment: Duration, decided: &mut Vec<Decision>) {
        if let Some((id, since)) = self.gangs.gathering
            && since + self.grace.saturating_mul(GATHERING) <= self.now
        {
            self.disperse(id);
            if let Some(state) = self.gangs.by_id.get_mut(&id) {
                state.waits_since = self.now;
            }
        }
        let waiting: Vec<GangId> = self.gangs.waiting.iter().map(|(_, id)| *id).collect();
        for id in waiting {
            self.try_gang(id, decided);
            let is_old = self.gangs.by_id.get(&id).is_some_and(|state| state.waits_since <= moment);
            let lacks = self.lacks(id).filter(|lacks| lacks.iter().any(|(_, count)| *count > 0));
            let Some(lacks) =
                lacks.filter(|_| is_old && self.gangs.gathering.is_none_or(|(other, _)| other == id))
            else {
                continue;
            };
            if !self.make_room_for_all(&lacks, decided) && self.could_ever_start(&lacks) {
                self.gangs.gathering.get_or_insert((id, self.now));
            }
        }
    }

    /// No more than there is in all; else it would gather for nothing.
    fn could_ever_start(&self, lacks: &[(UnitSlot, u32)]) -> bool {
        let needed = lacks.iter().map(|(unit, count)| self.units[*unit].definition.shape.times(*count));
        needed.fold(Resources::NOTHING, Resources::plus).fits_in(self.machines.total())
    }

    fn make_room_for_all(&mut self, lacks: &[(UnitSlot, u32)], decided: &mut Vec<Decision>) -> bool {
        let mut gone: Vec<GrantSlot> = Vec::new();
        let made = self.keep_all(lacks, |ledger, slot| {
            if let Some(place) = ledger.room_for(slot) {
                return Some(place);
            }
            let demands: Vec<(Place, DemandSlot)> = ledger.units[slot].demands.clone();
            let class: Class = ledger.units[slot].class(slot);
            let (demand, Plan { machine, victims }) = demands
                .into_iter()
                .find_map(|(place, demand)| Some((demand, ledger.plan(place, &class)?)))?;
            victims.iter().for_each(|victim| ledger.count_revoked(*victim));
            gone.extend(victims);
            Some((demand, machine))
        });
        if made {
            decided.extend(gone.into_iter().map(|victim| self.tell_revoked(victim)));
        } else {
            gone.into_iter().for_each(|victim| self.count_spared(victim));
        }
        made
    }
}
