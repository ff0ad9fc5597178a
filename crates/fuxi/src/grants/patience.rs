//! Large shapes among small ones: room comes back in small parts, and whoever fits in a part takes it, for ever.
//!
//! Of those who have waited longer than the grace, some with the best right are chosen at every tick. Where one of lesser
//! right of the same group would get a part of the room that one of them needs, the room is kept instead until enough has
//! come back. Nobody is told to go for it. As it may lie idle for nothing, that ends after a while, and the unit has to do
//! without for longer than that.

use std::time::Duration;

use super::claims::Source;
use super::queues::Right;
use super::{DemandSlot, Ledger, MachineSlot, Place, UnitSlot};

/// For so many graces room is kept, and then for so many not.
const KEPT: u32 = 2;
const PAUSE: u32 = 20;
/// Room is kept for so many at once, and on no more than one machine in so many.
const AT_ONCE: usize = 8;
const MACHINES: usize = 8;

#[derive(Clone, Debug, Default)]
pub(super) struct Patience {
    /// The best first. Some may wait no longer.
    chosen: Vec<DemandSlot>,
    /// For how many room is kept.
    pub(super) n_kept: usize,
}

impl Ledger {
    fn right(&self, slot: DemandSlot) -> Right {
        let demand = &self.queues.demands[slot];
        Right::of(self.units[demand.unit].definition.priority, demand)
    }

    pub(super) fn choose_patient(&mut self, moment: Duration) {
        let most = AT_ONCE.min(self.machines.count().div_ceil(MACHINES));
        let waiting = self.queues.firsts_anywhere().filter(|demand| {
            let unit = &self.units[self.queues.demands[*demand].unit];
            unit.waits_since <= moment && unit.not_kept_until <= self.now && unit.claims.is_empty()
        });
        let mut chosen: Vec<DemandSlot> = waiting.collect();
        chosen.sort_by_key(|demand| self.right(*demand));
        chosen.truncate(most.saturating_sub(self.patience.n_kept));
        self.patience.chosen = chosen;
    }

    /// Keeps room of a machine for one who was chosen, rather than to grant it to `next`. False if none of them may have it
    /// or can use it.
    pub(super) fn keep_for_patient(&mut self, machine: MachineSlot, next: DemandSlot) -> bool {
        if self.patience.chosen.is_empty() || !self.machines[machine].claims.is_empty() {
            return false;
        }
        let mut chosen = self.patience.chosen.iter();
        let Some(at) = chosen.position(|demand| self.may_keep(machine, (*demand, next))) else {
            return false;
        };
        let demand = self.patience.chosen.remove(at);
        let until = self.now + self.grace.saturating_mul(KEPT);
        self.claim(demand, machine, Source::Ended { until });
        true
    }

    fn may_keep(&self, machine: MachineSlot, (slot, next): (DemandSlot, DemandSlot)) -> bool {
        let Some(demand) = self.queues.demands.get(slot) else { return false };
        let unit = &self.units[demand.unit];
        let shape = unit.definition.shape;
        // The number may have become that of another who waits elsewhere.
        let still_waits = unit.is_queued && unit.claims.is_empty() && demand.place == Place::Cluster;
        let is_before = unit.group == self.units[self.queues.demands[next].unit].group
            && self.right(slot) < self.right(next);
        still_waits
            && is_before
            && !shape.fits_in(self.machines[machine].room())
            && self.machines[machine].could_hold(shape)
            && self.may_use(demand.unit, machine)
            && self.groups.can_honour(unit.group, shape)
    }

    /// For a while no room is kept for who has had it in vain.
    pub(super) fn pause_patience(&mut self, unit: UnitSlot) {
        self.units[unit].not_kept_until = self.now + self.grace.saturating_mul(PAUSE);
    }
}
