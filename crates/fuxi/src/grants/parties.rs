//! Parties: jobs, among which nobody has priority. A place that comes free goes to who holds least.
//!
//! ```text
//!   Party (a job) ─► share of the cluster ─► Step: 0, 1, 2, 4, 8 ... parts ─► lane of an entry (see `queues`)
//! ```
//! What a party holds changes with every grant, and all that it waits for cannot be sorted anew each time. So shares are
//! compared by steps, each twice the one before: within a step parties take turns. A step is left downwards only with a
//! quarter less than it begins at, so that a party at its edge does not go to and fro.
//!
//! What a party of few units waits for changes lanes at once. That of others stays where it is: who holds more than its
//! lane says is found out when it would be served, and who holds less at the next tick.

use std::collections::BTreeSet;

use super::lanes::Demand;
use super::numbers::NumberMap;
use super::resources::Resources;
use super::slots::Slots;
use super::units::Unit;
use super::{DemandSlot, Ledger, MachineSlot, PartyId, UnitSlot};

pub(super) type PartySlot = u32;

/// How many units change lanes at once.
const FEW: usize = 4;
/// After so many demands have changed lanes at a tick, the other parties wait for the next.
const MOVED: usize = 4_000;

/// About how much a party holds. Nothing is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Step(u16);

impl Step {
    /// Bits of a float below its exponent, which is the step.
    const FRACTION: u32 = f64::MANTISSA_DIGITS - 1;

    fn of(share: f64) -> Self {
        Self(u16::try_from(share.to_bits() >> Self::FRACTION).unwrap_or(u16::MAX))
    }

    /// The step with another share.
    fn with(self, share: f64) -> Self {
        self.clamp(Self::of(share), Self::of(share / 0.75))
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Party {
    id: Option<PartyId>,
    units: BTreeSet<UnitSlot>,
    /// What is granted to it, revoked grants included.
    used: Resources,
    pub(super) step: Step,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Parties {
    all: Slots<Party>,
    by_id: NumberMap<PartyId, PartySlot>,
    /// Those of many units that hold less than some of their lanes say.
    shrunk: BTreeSet<PartySlot>,
}

impl std::ops::Index<PartySlot> for Parties {
    type Output = Party;
    fn index(&self, party: PartySlot) -> &Party {
        &self.all[party]
    }
}

impl Parties {
    /// The party of a new unit; one of its own if it names none.
    pub(super) fn of(&mut self, id: Option<PartyId>) -> PartySlot {
        let known = id.and_then(|id| self.by_id.get(&id).copied());
        known.unwrap_or_else(|| {
            let slot = self.all.insert(Party { id, ..Party::default() });
            self.by_id.extend(id.map(|id| (id, slot)));
            slot
        })
    }

    pub(super) fn join(&mut self, party: PartySlot, unit: UnitSlot) {
        self.all[party].units.insert(unit);
    }

    pub(super) fn leave(&mut self, party: PartySlot, unit: UnitSlot) {
        let state = &mut self.all[party];
        state.units.remove(&unit);
        if state.units.is_empty() {
            self.shrunk.remove(&party);
            let Party { id, .. } = self.all.remove(party);
            id.map(|id| self.by_id.remove(&id));
        }
    }
}

impl Ledger {
    pub(super) fn spend_of_party(&mut self, party: PartySlot, shape: Resources) {
        let state = &mut self.parties.all[party];
        state.used = state.used.plus(shape);
        self.rank(party);
    }

    pub(super) fn free_of_party(&mut self, party: PartySlot, shape: Resources) {
        let state = &mut self.parties.all[party];
        state.used = state.used.minus(shape);
        self.rank(party);
    }

    /// Shares are of what the machines have now.
    pub(super) fn follow_total(&mut self) {
        if self.groups.follow(self.machines.total()) {
            let parties: Vec<PartySlot> = self.parties.all.iter().map(|(slot, _)| slot).collect();
            for party in parties {
                self.rank(party);
                self.sort(party);
            }
        }
    }

    /// Takes note of a party's share, which has changed.
    fn rank(&mut self, party: PartySlot) {
        let Parties { all, shrunk, .. } = &mut self.parties;
        let state = &mut all[party];
        let step = state.step.with(self.groups.part_of_all(state.used));
        let before = std::mem::replace(&mut state.step, step);
        if step != before && state.units.len() <= FEW {
            self.sort(party);
        } else if step < before {
            shrunk.insert(party);
        }
    }

    /// Puts all that a party waits for into the lane where it belongs; how much that was.
    fn sort(&mut self, party: PartySlot) -> usize {
        let Party { step, units, .. } = &self.parties.all[party];
        let mut n_moved = 0;
        for slot in units {
            let unit: &Unit = &self.units[*slot];
            if !unit.is_queued {
                continue;
            }
            let class = unit.class(*slot);
            for (_, demand) in &unit.demands {
                if self.queues.demands[*demand].step != *step {
                    self.queues.change_lane(*demand, &class, *step);
                    n_moved += 1;
                }
            }
        }
        n_moved
    }

    /// Lets those go before others who hold less than their lanes say.
    pub(super) fn sort_shrunk(&mut self) {
        let mut n_moved = 0;
        while n_moved < MOVED
            && let Some(party) = self.parties.shrunk.pop_first()
        {
            n_moved += self.sort(party);
        }
    }

    /// Who is served on a machine in place of `first` if its party holds more than its lane says. Only one is passed over
    /// for each grant, so that the next is served whatever it holds.
    pub(super) fn or_next(&mut self, first: DemandSlot, machine: MachineSlot) -> Option<DemandSlot> {
        let Demand { unit: slot, place, step: lane, .. } = self.queues.demands[first];
        let unit = &self.units[slot];
        let step = self.parties[unit.party].step;
        if step <= lane {
            return Some(first);
        }
        let class = unit.class(slot);
        self.queues.change_lane(first, &class, step);
        let next = self.queues.firsts_of(place, &class).next();
        // The next in the lane has as good a right, and is found at once.
        next.filter(|next| self.queues.demands[*next].step == lane).or_else(|| self.first_that_fits(machine))
    }
}
