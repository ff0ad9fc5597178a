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

mod avoid;
mod claims;
mod gangs;
mod groups;
mod guarantee;
mod lanes;
mod machines;
mod numbers;
mod parties;
mod patience;
mod queues;
mod quota;
mod reclaim;
mod resources;
mod rooms;
mod serve;
mod shortage;
mod slots;
mod sync;
mod table;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use claims::Claim;
use gangs::Gangs;
use groups::{GroupIdx, Groups};
use machines::Machines;
use numbers::NumberMap;
use parties::Parties;
use patience::Patience;
use queues::Queues;
pub use quota::{InvalidTree, Quota, QuotaId, QuotaTree, TreeFault};
pub use resources::{EXTENDED, ResourceNames, Resources, TooManyResources};
use slots::Slots;
use table::GrantTable;
use units::Unit;

type MachineSlot = u32;
type UnitSlot = u32;
type GrantSlot = u32;
type DemandSlot = u32;
type ClaimSlot = u32;

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

/// A job: units that count as one where nobody has priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartyId(pub u64);

impl PartyId {
    /// That of the object with this uid. Should two ever get the same number, they share what is due to one.
    pub fn of_uid(uid: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        uid.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Where a unit wants to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    Machine(MachineId),
    Rack(RackId),
    Cluster,
}

/// Units that start together, as the edge numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GangId(pub u64);

/// A unit's part in a gang: nothing is granted before every unit of it gets its least at once. Then each goes on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gang {
    pub id: GangId,
    /// How many units belong to it, this one included.
    pub n_units: u32,
    /// How many grants of this unit there must be to start.
    pub least: u32,
}

/// What all workers of a unit have in common, told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    pub shape: Resources,
    /// Higher is served first and revoked last.
    pub priority: i32,
    /// Never more grants than this at once.
    pub maximum: u32,
    /// The group of the quota tree that pays for it: one without parts.
    pub quota: Option<QuotaId>,
    /// Whose share it counts for. Without one the unit is a party of its own.
    pub party: Option<PartyId>,
    /// The units that it starts together with, or not at all.
    pub gang: Option<Gang>,
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
    /// Nothing is to be granted to the unit on these machines. Replaces what was told before; what it holds there stays.
    Avoid {
        unit: UnitId,
        machines: Vec<MachineId>,
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
    /// A new ledger is told what an old one knew: nothing is granted or revoked before [`Event::Recovered`], as what
    /// looks free may be held by units that were not heard yet.
    Recover,
    Recovered,
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
    /// As in [`Event::Avoid`].
    pub avoided: Vec<MachineId>,
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

/// All machines, units and grants.
#[derive(Clone, Debug)]
pub struct Ledger {
    machines: Machines,
    queues: Queues,
    groups: Groups,
    parties: Parties,
    units: Slots<Unit>,
    unit_slots: NumberMap<UnitId, UnitSlot>,
    grants: GrantTable,
    claims: Slots<Claim>,
    gangs: Gangs,
    patience: Patience,
    /// The units of a group and priority that hold something.
    holders: BTreeMap<(GroupIdx, i32), BTreeSet<UnitSlot>>,
    last_grant: u64,
    now: Duration,
    /// How long a machine may be short of what it has granted, and a unit wait for what others may not keep, before
    /// grants are revoked.
    grace: Duration,
    unsettled: Unsettled,
    is_recovering: bool,
    /// How many of those who wait were passed over at the last tick, and need not be tried at the next.
    reclaim_from: usize,
}

/// What has got room in the course of an event, and was not offered yet.
#[derive(Clone, Debug, Default)]
struct Unsettled {
    machines: Vec<MachineSlot>,
    /// Units that may hold more again.
    units: Vec<UnitSlot>,
    /// Groups whose max may have kept somebody waiting.
    groups: Vec<GroupIdx>,
    /// Gangs that want something else than before.
    gangs: Vec<GangId>,
    /// Whether claims that a max has held up may be honoured now.
    claims: bool,
}

impl Unsettled {
    fn is_empty(&self) -> bool {
        let Self { machines, units, groups, gangs, claims } = self;
        machines.is_empty() && units.is_empty() && groups.is_empty() && gangs.is_empty() && !claims
    }

    fn clear(&mut self) {
        self.machines.clear();
        self.units.clear();
        self.groups.clear();
        self.gangs.clear();
        self.claims = false;
    }
}

impl Ledger {
    pub fn new(grace: Duration) -> Self {
        Self {
            machines: Machines::default(),
            queues: Queues::default(),
            groups: Groups::new(&QuotaTree::default()),
            parties: Parties::default(),
            units: Slots::default(),
            unit_slots: NumberMap::default(),
            grants: GrantTable::default(),
            claims: Slots::default(),
            gangs: Gangs::default(),
            patience: Patience::default(),
            holders: BTreeMap::new(),
            last_grant: 0,
            now: Duration::ZERO,
            grace,
            unsettled: Unsettled::default(),
            is_recovering: false,
            reclaim_from: 0,
        }
    }

    /// The ledger after `event`; what follows from it is the answer.
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Decision> {
        let mut decided = Vec::new();
        self.now = now;
        match event {
            Event::Machine { machine, rack, capacity, is_open } => {
                let capacity = capacity.as_capacity();
                let slot = self.machines.set(machine, rack, (capacity, is_open), now);
                self.follow_total();
                self.unsettled.machines.push(slot);
            }
            Event::MachineGone { machine } => self.machine_gone(machine, now),
            Event::Define { unit, definition } => self.define(unit, definition),
            Event::Ask { unit, sequence, place, delta } => {
                self.ask(unit, sequence, (place, delta), &mut decided);
            }
            Event::Avoid { unit, machines } => self.avoid(unit, machines),
            Event::Return { grant } => self.give_back(grant, now),
            Event::Sync { unit, truth } => self.sync(unit, truth, now),
            Event::UnitGone { unit } => self.unit_gone(unit, now),
            Event::Tick => self.reclaim(&mut decided),
            Event::Recover => self.is_recovering = true,
            Event::Recovered => self.recovered(),
        }
        self.decide(now, &mut decided);
        decided
    }

    fn decide(&mut self, now: Duration, decided: &mut Vec<Decision>) {
        if !self.is_recovering {
            self.settle(decided);
            self.revoke_overdue(now, decided);
        }
    }

    fn recovered(&mut self) {
        self.is_recovering = false;
        // Every place that anybody can wait for lies on the path of some machine.
        self.unsettled =
            Unsettled { machines: self.machines.in_order(), gangs: self.gangs.ids(), ..Unsettled::default() };
    }

    /// From now on this tree decides who gets how much. Whose quota is not in it keeps what it has and gets no more.
    pub fn set_quotas(&mut self, tree: &QuotaTree, now: Duration) -> Vec<Decision> {
        self.regroup(Groups::new(tree));
        let mut decided = Vec::new();
        self.decide(now, &mut decided);
        decided
    }

    /// What is granted on `machine`, revoked grants included.
    pub fn used(&self, machine: MachineId) -> Resources {
        self.machines.slot(machine).map(|slot| self.machines[slot].used).unwrap_or_default()
    }

    /// What all machines have together.
    pub fn total(&self) -> Resources {
        self.machines.total()
    }

    /// What is granted to the units of a quota, revoked grants included. Nothing for a quota that has parts.
    pub fn used_of_quota(&self, quota: QuotaId) -> Resources {
        self.groups.of_quota(quota).map(|group| group.used).unwrap_or_default()
    }

    /// The last grant that was made.
    pub fn last_grant(&self) -> GrantId {
        GrantId(self.last_grant)
    }

    /// How many places `unit` still waits for.
    pub fn n_waiting(&self, unit: UnitId) -> u32 {
        let Some(slot) = self.unit_slots.get(&unit) else { return 0 };
        let counts = self.units[*slot].demands.iter().map(|(_, demand)| self.queues.demands[*demand].count);
        let n_claimed = u32::try_from(self.units[*slot].claims.len()).unwrap_or(u32::MAX);
        counts.fold(n_claimed, u32::saturating_add)
    }
}

#[cfg(test)]
mod tests;
