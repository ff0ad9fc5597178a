//! Demands of one shape at one place, in the order in which they are served: lane by lane, in a lane by turn.
//!
//! ```text
//!   Entry ─► Lane (parties that hold nothing):      first ─► demand ─► last
//!         ─► Lane (parties that hold a little):     first ─► last
//! ```
//! A lane is a linked list: who is served goes to its end, and nobody else is touched.

use model::{Bytes, MilliCpu};

use super::parties::Step;
use super::resources::Resources;
use super::slots::Slots;
use super::{DemandSlot, Place, UnitSlot};

/// No demand.
const NONE: DemandSlot = DemandSlot::MAX;

/// So many more of one unit at one place.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    pub(super) unit: UnitSlot,
    pub(super) place: Place,
    pub(super) count: u32,
    /// Its neighbours in its lane, when it joined, and which lane that is.
    before: DemandSlot,
    after: DemandSlot,
    pub(super) turn: u64,
    pub(super) step: Step,
}

impl Demand {
    pub(super) fn new(unit: UnitSlot, place: Place, count: u32) -> Self {
        Self { unit, place, count, before: NONE, after: NONE, turn: 0, step: Step::default() }
    }
}

/// Demands of parties that hold about as much. Never empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    pub(super) step: Step,
    pub(super) first: DemandSlot,
    last: DemandSlot,
    /// When the first joined.
    pub(super) turn: u64,
}

/// The order of entries.
pub(super) type Key = (Resources, Option<UnitSlot>);

/// Demands of one shape. Never empty. Small, as a search reads all of a level.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) cpu: MilliCpu,
    pub(super) memory: Bytes,
    /// The whole key, where it is more than CPU and memory for one worker that avoids no machine.
    special: Option<Box<Key>>,
    /// Who is served first. By itself, as most entries have no other.
    pub(super) lane: Lane,
    /// The others in order.
    others: Vec<Lane>,
}

fn plain(cpu: MilliCpu, memory: Bytes) -> Key {
    (Resources { cpu, memory, workers: 1, ..Resources::NOTHING }, None)
}

impl Lane {
    fn new(demands: &mut Slots<Demand>, slot: DemandSlot) -> Self {
        let demand = &mut demands[slot];
        (demand.before, demand.after) = (NONE, NONE);
        Self { step: demand.step, first: slot, last: slot, turn: demand.turn }
    }

    fn append(&mut self, demands: &mut Slots<Demand>, slot: DemandSlot) {
        let last = std::mem::replace(&mut self.last, slot);
        demands[last].after = slot;
        (demands[slot].before, demands[slot].after) = (last, NONE);
    }

    /// Takes one of two or more out.
    fn unlink(&mut self, demands: &mut Slots<Demand>, slot: DemandSlot) {
        let Demand { before, after, .. } = demands[slot];
        if before == NONE {
            self.first = after;
            self.turn = demands[after].turn;
        } else {
            demands[before].after = after;
        }
        if after == NONE {
            self.last = before;
        } else {
            demands[after].before = before;
        }
    }
}

impl Entry {
    pub(super) fn new((shape, picky): Key, demands: &mut Slots<Demand>, slot: DemandSlot) -> Self {
        let Resources { cpu, memory, .. } = shape;
        let special = ((shape, picky) != plain(cpu, memory)).then(|| Box::new((shape, picky)));
        Self { cpu, memory, special, lane: Lane::new(demands, slot), others: Vec::new() }
    }

    pub(super) fn key(&self) -> Key {
        self.special.as_ref().map_or_else(|| plain(self.cpu, self.memory), |key| **key)
    }

    pub(super) fn shape(&self) -> Resources {
        self.key().0
    }

    pub(super) fn picky(&self) -> Option<UnitSlot> {
        self.special.as_ref().and_then(|key| key.1)
    }

    pub(super) fn fits_in(&self, room: Resources) -> bool {
        let rest = || self.special.as_ref().map_or(room.workers >= 1, |key| key.0.fits_in(room));
        (self.cpu <= room.cpu) & (self.memory <= room.memory) && rest()
    }

    /// In the order in which they are served.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        std::iter::once(&self.lane).chain(&self.others)
    }

    /// To the end of its lane.
    pub(super) fn append(&mut self, demands: &mut Slots<Demand>, slot: DemandSlot) {
        let step = demands[slot].step;
        if step == self.lane.step {
            self.lane.append(demands, slot);
            return;
        }
        if step < self.lane.step {
            let second = std::mem::replace(&mut self.lane, Lane::new(demands, slot));
            self.others.insert(0, second);
            return;
        }
        match self.others.binary_search_by_key(&step, |lane| lane.step) {
            Ok(at) => self.others[at].append(demands, slot),
            Err(at) => self.others.insert(at, Lane::new(demands, slot)),
        }
    }

    /// Whether there is no other demand.
    pub(super) fn is_single(&self) -> bool {
        self.others.is_empty() && self.lane.first == self.lane.last
    }

    /// Takes one of two or more out.
    pub(super) fn remove(&mut self, demands: &mut Slots<Demand>, slot: DemandSlot) {
        let step = demands[slot].step;
        if step == self.lane.step {
            if self.lane.first == self.lane.last {
                self.lane = self.others.remove(0);
            } else {
                self.lane.unlink(demands, slot);
            }
        } else if let Ok(at) = self.others.binary_search_by_key(&step, |lane| lane.step) {
            if self.others[at].first == self.others[at].last {
                self.others.remove(at);
            } else {
                self.others[at].unlink(demands, slot);
            }
        }
    }
}
