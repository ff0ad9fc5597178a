//! The machines: what they have, what is spent on them, and where there is room.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::MilliCpu;

use super::{GrantId, MachineId, Place, RackId, Resources};

#[derive(Clone, Debug)]
struct Machine {
    rack: RackId,
    capacity: Resources,
    is_open: bool,
    /// All grants, revoked ones included.
    used: Resources,
    /// The part of `used` that was revoked and will come back.
    revoked: Resources,
    short_since: Option<Duration>,
    grants: BTreeSet<GrantId>,
}

impl Machine {
    fn room(&self) -> Resources {
        if self.is_open { self.capacity.minus(self.used) } else { Resources::default() }
    }

    /// More stands granted than there is, counting what is on its way back as gone.
    fn is_short(&self) -> bool {
        !self.used.minus(self.revoked).fits_in(self.capacity)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Machines {
    by_id: BTreeMap<MachineId, Machine>,
    /// Machines by free CPU, for the cluster and for each rack: the roomiest stands last.
    roomy: BTreeMap<Option<RackId>, BTreeSet<(MilliCpu, MachineId)>>,
    short: BTreeSet<MachineId>,
}

impl Machines {
    pub(super) fn ids(&self) -> Vec<MachineId> {
        self.by_id.keys().copied().collect()
    }

    pub(super) fn used(&self, id: MachineId) -> Resources {
        self.by_id.get(&id).map(|machine| machine.used).unwrap_or_default()
    }

    pub(super) fn room(&self, id: MachineId) -> Option<(RackId, Resources)> {
        self.by_id.get(&id).map(|machine| (machine.rack, machine.room()))
    }

    pub(super) fn grants(&self, id: MachineId) -> impl Iterator<Item = GrantId> + '_ {
        self.by_id.get(&id).into_iter().flat_map(|machine| machine.grants.iter().copied())
    }

    pub(super) fn set(
        &mut self,
        id: MachineId,
        rack: RackId,
        (capacity, is_open): (Resources, bool),
        now: Duration,
    ) {
        let fresh = || Machine {
            rack,
            capacity,
            is_open,
            used: Resources::default(),
            revoked: Resources::default(),
            short_since: None,
            grants: BTreeSet::new(),
        };
        self.by_id.entry(id).or_insert_with(fresh);
        self.change(id, |machine| {
            machine.rack = rack;
            machine.capacity = capacity;
            machine.is_open = is_open;
        });
        self.note_shortage(id, now);
    }

    /// Removes a machine; the grants that it had.
    pub(super) fn remove(&mut self, id: MachineId) -> BTreeSet<GrantId> {
        self.unlist(id);
        self.short.remove(&id);
        self.by_id.remove(&id).map(|machine| machine.grants).unwrap_or_default()
    }

    /// False if there is no such machine.
    pub(super) fn spend(&mut self, id: MachineId, grant: GrantId, shape: Resources) -> bool {
        self.change(id, |machine| {
            machine.used = machine.used.plus(shape);
            machine.grants.insert(grant);
        })
    }

    pub(super) fn free(
        &mut self,
        id: MachineId,
        grant: GrantId,
        (shape, was_revoked): (Resources, bool),
        now: Duration,
    ) {
        self.change(id, |machine| {
            machine.used = machine.used.minus(shape);
            machine.grants.remove(&grant);
            if was_revoked {
                machine.revoked = machine.revoked.minus(shape);
            }
        });
        self.note_shortage(id, now);
    }

    pub(super) fn revoke(&mut self, id: MachineId, shape: Resources) {
        self.change(id, |machine| machine.revoked = machine.revoked.plus(shape));
    }

    pub(super) fn is_short(&self, id: MachineId) -> bool {
        self.by_id.get(&id).is_some_and(Machine::is_short)
    }

    /// Takes note since when a machine is short, or that it no longer is.
    pub(super) fn note_shortage(&mut self, id: MachineId, now: Duration) {
        let Some(machine) = self.by_id.get_mut(&id) else { return };
        if machine.is_short() {
            machine.short_since.get_or_insert(now);
            self.short.insert(id);
        } else {
            machine.short_since = None;
            self.short.remove(&id);
        }
    }

    pub(super) fn short_since_before(&self, moment: Duration) -> Vec<MachineId> {
        let is_old = |id: &&MachineId| {
            self.by_id.get(id).and_then(|machine| machine.short_since).is_some_and(|since| since <= moment)
        };
        self.short.iter().filter(is_old).copied().collect()
    }

    /// The machine at `place` with the most free CPU that has room for `shape`.
    pub(super) fn roomiest(&self, place: Place, shape: Resources) -> Option<MachineId> {
        let list = match place {
            Place::Machine(id) => return self.room(id).filter(|(_, room)| shape.fits_in(*room)).map(|_| id),
            Place::Rack(rack) => self.roomy.get(&Some(rack)),
            Place::Cluster => self.roomy.get(&None),
        };
        let candidates = list?.iter().rev().take_while(|(cpu, _)| *cpu >= shape.cpu);
        candidates.map(|(_, id)| *id).find(|id| self.room(*id).is_some_and(|(_, room)| shape.fits_in(room)))
    }

    fn change(&mut self, id: MachineId, change: impl FnOnce(&mut Machine)) -> bool {
        self.unlist(id);
        let Some(machine) = self.by_id.get_mut(&id) else { return false };
        change(machine);
        let (rack, cpu) = (machine.rack, machine.room().cpu);
        for list in [None, Some(rack)] {
            self.roomy.entry(list).or_default().insert((cpu, id));
        }
        true
    }

    fn unlist(&mut self, id: MachineId) {
        let Some(machine) = self.by_id.get(&id) else { return };
        let entry = (machine.room().cpu, id);
        for list in [None, Some(machine.rack)] {
            if let Some(machines) = self.roomy.get_mut(&list) {
                machines.remove(&entry);
            }
        }
    }
}
