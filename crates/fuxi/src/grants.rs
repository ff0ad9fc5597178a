//! The ledger of batch resources: who waits for how much of which shape, and what is granted where.
//!
//! ```text
//!                 cluster queue              a unit waits in the queue of each place it asked for;
//!                 /           \              room that appears on a machine is offered along that
//!          rack queue       rack queue       machine's path only: machine, rack, cluster
//!          /       \             |
//!      machine   machine      machine
//! ```
//! A unit's shape is told once ([`Event::Define`]); then only deltas go up and grants and revokes come down. Asks are
//! numbered per unit, so that one told twice counts once and a lost one is noticed; [`Event::Sync`] replaces all that is
//! known of a unit. A grant is spent until it is returned, also when it was revoked: the ledger never over-grants.

mod machines;
mod queues;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{Bytes, MilliCpu};

use machines::Machines;
use queues::Queues;

/// A machine, as the edge numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId(pub u32);

/// A rack, as the edge numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RackId(pub u32);

/// One kind of worker of one job: a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(pub u64);

/// One granted place. Numbers grow and are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(pub u64);

/// An amount of everything that is granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub cpu: MilliCpu,
    pub memory: Bytes,
    /// How many workers: a machine runs only so many containers.
    pub workers: u64,
}

impl Resources {
    pub fn fits_in(self, room: Self) -> bool {
        self.cpu <= room.cpu && self.memory <= room.memory && self.workers <= room.workers
    }

    pub fn plus(self, other: Self) -> Self {
        Self {
            cpu: MilliCpu(self.cpu.0.saturating_add(other.cpu.0)),
            memory: Bytes(self.memory.0.saturating_add(other.memory.0)),
            workers: self.workers.saturating_add(other.workers),
        }
    }

    /// What is left; nothing where `other` is more.
    pub fn minus(self, other: Self) -> Self {
        Self {
            cpu: MilliCpu(self.cpu.0.saturating_sub(other.cpu.0)),
            memory: Bytes(self.memory.0.saturating_sub(other.memory.0)),
            workers: self.workers.saturating_sub(other.workers),
        }
    }
}

/// Where a unit wants to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    Machine(MachineId),
    Rack(RackId),
    Cluster,
}

/// What all workers of a unit have in common, told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    pub shape: Resources,
    /// Higher is served first and revoked last.
    pub priority: i32,
    /// Never more grants than this at once.
    pub maximum: u32,
}

/// What the ledger is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// A machine appeared, or its capacity changed. A closed one keeps what it has and gets nothing new.
    Machine {
        machine: MachineId,
        rack: RackId,
        capacity: Resources,
        is_open: bool,
    },
    /// A machine is gone and with it all grants on it.
    MachineGone {
        machine: MachineId,
    },
    Define {
        unit: UnitId,
        definition: Definition,
    },
    /// The unit wants `delta` more (or fewer) at `place`. The first ask of a unit has number 1.
    Ask {
        unit: UnitId,
        sequence: u64,
        place: Place,
        delta: i64,
    },
    /// A grant is not used any more.
    Return {
        grant: GrantId,
    },
    /// Replaces all that is known of a unit's wishes and grants.
    Sync {
        unit: UnitId,
        truth: Truth,
    },
    /// The unit is gone and with it all its grants.
    UnitGone {
        unit: UnitId,
    },
    Tick,
}

/// The whole truth about a unit, as its holder knows it.
#[derive(Clone, Debug)]
pub struct Truth {
    /// The number of the last ask that it contains.
    pub sequence: u64,
    /// The last grant that the holder has heard of; later ones stand.
    pub seen: GrantId,
    pub wanted: Vec<(Place, u32)>,
    pub held: Vec<(GrantId, MachineId)>,
}

/// What the ledger answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Grant {
        grant: GrantId,
        unit: UnitId,
        machine: MachineId,
    },
    /// To be returned soon. The unit asks anew if it wants another place.
    Revoke {
        grant: GrantId,
        unit: UnitId,
        machine: MachineId,
    },
    /// An ask was lost on its way: the unit should sync.
    Resync {
        unit: UnitId,
    },
}

#[derive(Clone, Debug)]
struct Unit {
    definition: Definition,
    sequence: u64,
    wanted: BTreeMap<Place, u32>,
    held: BTreeSet<GrantId>,
    /// When it was served last: among equals, who waits longest is next.
    turn: u64,
}

#[derive(Clone, Copy, Debug)]
struct Grant {
    unit: UnitId,
    machine: MachineId,
    is_revoked: bool,
}

/// All machines, units and grants.
#[derive(Clone, Debug)]
pub struct Ledger {
    machines: Machines,
    queues: Queues,
    units: BTreeMap<UnitId, Unit>,
    grants: BTreeMap<GrantId, Grant>,
    last_grant: u64,
    last_turn: u64,
    /// How long a machine may be short of what it has granted before grants are revoked.
    grace: Duration,
}

impl Ledger {
    pub fn new(grace: Duration) -> Self {
        Self {
            machines: Machines::default(),
            queues: Queues::default(),
            units: BTreeMap::new(),
            grants: BTreeMap::new(),
            last_grant: 0,
            last_turn: 0,
            grace,
        }
    }

    /// The ledger after `event`; what follows from it is the answer.
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Decision> {
        let mut decided = Vec::new();
        match event {
            Event::Machine { machine, rack, capacity, is_open } => {
                self.machines.set(machine, rack, (capacity, is_open), now);
                self.offer(machine, &mut decided);
                self.revoke_overdue(now, &mut decided);
            }
            Event::MachineGone { machine } => self.machine_gone(machine),
            Event::Define { unit, definition } => self.define(unit, definition),
            Event::Ask { unit, sequence, place, delta } => {
                self.ask(unit, sequence, (place, delta), &mut decided)
            }
            Event::Return { grant } => {
                if let Some(machine) = self.take_back(grant, now) {
                    self.offer(machine, &mut decided);
                }
            }
            Event::Sync { unit, truth } => {
                self.sync(unit, truth, now);
                self.place(unit, &mut decided);
                self.offer_everywhere(&mut decided);
            }
            Event::UnitGone { unit } => {
                self.unit_gone(unit, now);
                self.offer_everywhere(&mut decided);
            }
            Event::Tick => self.revoke_overdue(now, &mut decided),
        }
        decided
    }

    /// What is granted on `machine`, revoked grants included.
    pub fn used(&self, machine: MachineId) -> Resources {
        self.machines.used(machine)
    }

    /// The last grant that was made.
    pub fn last_grant(&self) -> GrantId {
        GrantId(self.last_grant)
    }

    /// How many places `unit` still waits for.
    pub fn n_waiting(&self, unit: UnitId) -> u32 {
        self.units
            .get(&unit)
            .map_or(0, |unit| unit.wanted.values().fold(0, |sum, count| sum.saturating_add(*count)))
    }

    fn define(&mut self, id: UnitId, definition: Definition) {
        self.last_turn += 1;
        let turn = self.last_turn;
        let fresh = || Unit { definition, sequence: 0, wanted: BTreeMap::new(), held: BTreeSet::new(), turn };
        self.units.entry(id).or_insert_with(fresh);
    }

    fn ask(&mut self, id: UnitId, sequence: u64, (place, delta): (Place, i64), decided: &mut Vec<Decision>) {
        let Some(unit) = self.units.get_mut(&id) else { return };
        if sequence <= unit.sequence {
            return;
        }
        if sequence > unit.sequence + 1 {
            decided.push(Decision::Resync { unit: id });
            return;
        }
        unit.sequence = sequence;
        let before = i64::from(unit.wanted.get(&place).copied().unwrap_or(0));
        let wanted = before.saturating_add(delta).clamp(0, i64::from(u32::MAX));
        self.want(id, place, u32::try_from(wanted).unwrap_or(u32::MAX));
        self.place(id, decided);
    }

    /// Sets what a unit wants at a place and keeps the place's queue right.
    fn want(&mut self, id: UnitId, place: Place, count: u32) {
        let Some(unit) = self.units.get_mut(&id) else { return };
        if count == 0 {
            unit.wanted.remove(&place);
            self.queues.leave(place, (unit.definition.priority, unit.turn, id));
        } else {
            unit.wanted.insert(place, count);
            self.queues.join(place, (unit.definition.priority, unit.turn, id));
        }
    }

    /// Serves one unit wherever there is room that nobody else could use: whoever waits before it does not fit there.
    fn place(&mut self, id: UnitId, decided: &mut Vec<Decision>) {
        while let Some((place, machine)) = self.find_room(id) {
            self.grant(id, place, machine, decided);
        }
    }

    fn find_room(&self, id: UnitId) -> Option<(Place, MachineId)> {
        let unit = self.units.get(&id)?;
        if !unit.may_hold_more() {
            return None;
        }
        // Places sort from near to far.
        unit.wanted
            .keys()
            .find_map(|place| Some((*place, self.machines.roomiest(*place, unit.definition.shape)?)))
    }

    fn offer_everywhere(&mut self, decided: &mut Vec<Decision>) {
        if !self.queues.is_empty() {
            for machine in self.machines.ids() {
                self.offer(machine, decided);
            }
        }
    }

    /// Offers the room of one machine along its own path, until nobody there can use it.
    fn offer(&mut self, machine: MachineId, decided: &mut Vec<Decision>) {
        while let Some((place, unit)) = self.first_that_fits(machine) {
            self.grant(unit, place, machine, decided);
        }
    }

    fn first_that_fits(&self, machine: MachineId) -> Option<(Place, UnitId)> {
        let (rack, room) = self.machines.room(machine)?;
        let fits = |id: UnitId| {
            self.units
                .get(&id)
                .is_some_and(|unit| unit.may_hold_more() && unit.definition.shape.fits_in(room))
        };
        self.queues.first_on_path([Place::Machine(machine), Place::Rack(rack), Place::Cluster], fits)
    }

    fn grant(&mut self, id: UnitId, place: Place, machine: MachineId, decided: &mut Vec<Decision>) {
        let Some(unit) = self.units.get_mut(&id) else { return };
        self.last_grant += 1;
        let grant = GrantId(self.last_grant);
        let shape = unit.definition.shape;
        let left = unit.wanted.get(&place).map_or(0, |count| count - 1);
        unit.held.insert(grant);
        self.grants.insert(grant, Grant { unit: id, machine, is_revoked: false });
        self.machines.spend(machine, grant, shape);
        self.queue_anew(id);
        self.want(id, place, left);
        decided.push(Decision::Grant { grant, unit: id, machine });
    }

    fn queue_anew(&mut self, id: UnitId) {
        let Some(unit) = self.units.get_mut(&id) else { return };
        let before = unit.turn;
        self.last_turn += 1;
        unit.turn = self.last_turn;
        for place in unit.wanted.keys() {
            self.queues.leave(*place, (unit.definition.priority, before, id));
            self.queues.join(*place, (unit.definition.priority, unit.turn, id));
        }
    }

    /// Frees a grant; the machine on which there is room now.
    fn take_back(&mut self, id: GrantId, now: Duration) -> Option<MachineId> {
        let grant = self.grants.remove(&id)?;
        let unit = self.units.get_mut(&grant.unit)?;
        unit.held.remove(&id);
        let shape = unit.definition.shape;
        self.machines.free(grant.machine, id, (shape, grant.is_revoked), now);
        Some(grant.machine)
    }

    fn machine_gone(&mut self, machine: MachineId) {
        for id in self.machines.remove(machine) {
            if let Some(grant) = self.grants.remove(&id)
                && let Some(unit) = self.units.get_mut(&grant.unit)
            {
                unit.held.remove(&id);
            }
        }
    }

    fn unit_gone(&mut self, id: UnitId, now: Duration) {
        let Some(unit) = self.units.get(&id) else { return };
        let (places, held) = (unit.wanted.keys().copied().collect::<Vec<_>>(), unit.held.clone());
        for place in places {
            self.want(id, place, 0);
        }
        for grant in held {
            self.take_back(grant, now);
        }
        self.units.remove(&id);
    }

    fn sync(&mut self, id: UnitId, truth: Truth, now: Duration) {
        let Truth { sequence, seen, wanted, held } = truth;
        let Some(unit) = self.units.get_mut(&id) else { return };
        // An older truth than what is known is none.
        if sequence < unit.sequence {
            return;
        }
        unit.sequence = sequence;
        let shape = unit.definition.shape;
        let known: BTreeSet<GrantId> = held.iter().map(|(grant, _)| *grant).collect();
        let dropped: Vec<GrantId> =
            unit.held.iter().copied().filter(|g| *g <= seen && !known.contains(g)).collect();
        let places: Vec<Place> = unit.wanted.keys().copied().collect();
        for place in places {
            self.want(id, place, 0);
        }
        for grant in dropped {
            self.take_back(grant, now);
        }
        for (grant, machine) in held {
            self.last_grant = self.last_grant.max(grant.0);
            if !self.grants.contains_key(&grant) && self.machines.spend(machine, grant, shape) {
                self.grants.insert(grant, Grant { unit: id, machine, is_revoked: false });
                if let Some(unit) = self.units.get_mut(&id) {
                    unit.held.insert(grant);
                }
                self.machines.note_shortage(machine, now);
            }
        }
        for (place, count) in wanted {
            self.want(id, place, count);
        }
    }

    /// Where a machine has been short for longer than the grace, revokes what costs least: lowest priority, youngest.
    fn revoke_overdue(&mut self, now: Duration, decided: &mut Vec<Decision>) {
        for machine in self.machines.short_since_before(now.saturating_sub(self.grace)) {
            while let Some(grant) = self.victim(machine) {
                self.revoke(grant, decided);
            }
            self.machines.note_shortage(machine, now);
        }
    }

    fn victim(&self, machine: MachineId) -> Option<GrantId> {
        if !self.machines.is_short(machine) {
            return None;
        }
        let standing = self.machines.grants(machine).filter_map(|id| {
            let grant = self.grants.get(&id).filter(|grant| !grant.is_revoked)?;
            Some((self.units.get(&grant.unit)?.definition.priority, std::cmp::Reverse(id)))
        });
        standing.min().map(|(_, std::cmp::Reverse(id))| id)
    }

    fn revoke(&mut self, id: GrantId, decided: &mut Vec<Decision>) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        grant.is_revoked = true;
        if let Some(unit) = self.units.get(&grant.unit) {
            self.machines.revoke(grant.machine, unit.definition.shape);
            decided.push(Decision::Revoke { grant: id, unit: grant.unit, machine: grant.machine });
        }
    }
}

impl Unit {
    fn may_hold_more(&self) -> bool {
        u32::try_from(self.held.len()).is_ok_and(|held| held < self.definition.maximum)
    }
}

#[cfg(test)]
mod tests;
