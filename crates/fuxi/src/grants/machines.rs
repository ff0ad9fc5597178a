//! The machines: what they have, what is spent on them, and where there is room.

use std::collections::BTreeSet;
use std::time::Duration;

use super::numbers::NumberMap;
use super::resources::Resources;
use super::rooms::{Most, Rooms};
use super::slots::{Slots, position};
use super::{ClaimSlot, GrantSlot, MachineId, MachineSlot, Place, RackId};

#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) id: MachineId,
    pub(super) rack: RackId,
    /// Its rack's place in the tournament, and its own in that of the rack.
    seat: (usize, usize),
    pub(super) capacity: Resources,
    is_open: bool,
    /// All grants, revoked ones included.
    pub(super) used: Resources,
    /// The part of `used` that was revoked and will come back.
    revoked: Resources,
    /// The room that is entered in the tournament.
    listed: Resources,
    /// What is kept for those who have made room here.
    pub(super) claimed: Resources,
    short_since: Option<Duration>,
    pub(super) grants: Vec<GrantSlot>,
    /// In the order in which they are honoured.
    pub(super) claims: Vec<ClaimSlot>,
}

impl Machine {
    pub(super) fn room(&self) -> Resources {
        self.unspent().minus(self.claimed)
    }

    /// What is not granted, whoever it is kept for.
    pub(super) fn unspent(&self) -> Resources {
        if self.is_open { self.capacity.minus(self.used) } else { Resources::default() }
    }

    /// What can be granted, and what will be granted or kept of it when all that was revoked has come back.
    pub(super) fn balance_soon(&self) -> (Resources, Resources) {
        let capacity = if self.is_open { self.capacity } else { Resources::default() };
        (capacity, self.used.minus(self.revoked).plus(self.claimed))
    }

    /// Whether more is kept than will come back.
    pub(super) fn is_overclaimed(&self) -> bool {
        let (capacity, spent) = self.balance_soon();
        !self.is_open || !spent.fits_in(capacity)
    }

    /// Whether it has so much when nothing else is there.
    pub(super) fn could_hold(&self, shape: Resources) -> bool {
        self.is_open && shape.fits_in(self.capacity)
    }

    /// What stands granted beyond what there is, counting what is on its way back as gone.
    pub(super) fn shortage(&self) -> Resources {
        self.used.minus(self.revoked).minus(self.capacity)
    }
}

#[derive(Clone, Debug, Default)]
struct Rack {
    rooms: Rooms,
    members: Vec<Option<MachineSlot>>,
    free: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Machines {
    slots: Slots<Machine>,
    by_id: NumberMap<MachineId, MachineSlot>,
    racks: Vec<Rack>,
    rack_seats: NumberMap<RackId, usize>,
    /// The roomiest of each rack against each other.
    rooms: Rooms,
    short: BTreeSet<MachineSlot>,
    total: Resources,
    /// The rooms of all together.
    free: Resources,
}

impl std::ops::Index<MachineSlot> for Machines {
    type Output = Machine;
    fn index(&self, slot: MachineSlot) -> &Machine {
        &self.slots[slot]
    }
}

impl Machines {
    pub(super) fn slot(&self, id: MachineId) -> Option<MachineSlot> {
        self.by_id.get(&id).copied()
    }

    /// All of them, in the order of their ids.
    pub(super) fn in_order(&self) -> Vec<MachineSlot> {
        let mut slots: Vec<MachineSlot> = self.slots.iter().map(|(slot, _)| slot).collect();
        slots.sort_unstable_by_key(|slot| self.slots[*slot].id);
        slots
    }

    pub(super) fn count(&self) -> usize {
        self.by_id.len()
    }

    /// What all machines have together.
    pub(super) fn total(&self) -> Resources {
        self.total
    }

    /// The rooms of all together.
    pub(super) fn free_in_all(&self) -> Resources {
        self.free
    }

    pub(super) fn set(
        &mut self,
        id: MachineId,
        rack: RackId,
        (capacity, is_open): (Resources, bool),
        now: Duration,
    ) -> MachineSlot {
        let slot = self.slot(id).unwrap_or_else(|| self.add(id, rack));
        if self.slots[slot].rack != rack {
            self.leave_rack(slot);
            let seat = self.join_rack(rack, slot);
            let machine = &mut self.slots[slot];
            (machine.rack, machine.seat) = (rack, seat);
        }
        let machine = &mut self.slots[slot];
        self.total = self.total.minus(machine.capacity).plus(capacity);
        (machine.capacity, machine.is_open) = (capacity, is_open);
        self.list(slot);
        self.note_shortage(slot, now);
        slot
    }

    fn add(&mut self, id: MachineId, rack: RackId) -> MachineSlot {
        let slot = self.slots.insert(Machine {
            id,
            rack,
            seat: (0, 0),
            capacity: Resources::default(),
            is_open: false,
            used: Resources::default(),
            revoked: Resources::default(),
            listed: Resources::default(),
            claimed: Resources::default(),
            short_since: None,
            grants: Vec::new(),
            claims: Vec::new(),
        });
        self.by_id.insert(id, slot);
        self.slots[slot].seat = self.join_rack(rack, slot);
        slot
    }

    fn join_rack(&mut self, id: RackId, slot: MachineSlot) -> (usize, usize) {
        let rack_seat = *self.rack_seats.entry(id).or_insert(self.racks.len());
        if rack_seat == self.racks.len() {
            self.racks.push(Rack::default());
        }
        let rack = &mut self.racks[rack_seat];
        let seat = rack.free.pop().unwrap_or_else(|| {
            rack.members.push(None);
            rack.members.len() - 1
        });
        rack.members[seat] = Some(slot);
        (rack_seat, seat)
    }

    fn leave_rack(&mut self, slot: MachineSlot) {
        let machine = &mut self.slots[slot];
        let (rack_seat, seat) = machine.seat;
        self.free = self.free.minus(std::mem::take(&mut machine.listed));
        self.set_room((rack_seat, seat), Resources::default());
        let rack = &mut self.racks[rack_seat];
        rack.members[seat] = None;
        rack.free.push(seat);
    }

    /// Removes a machine whose grants are gone.
    pub(super) fn remove(&mut self, slot: MachineSlot) {
        self.leave_rack(slot);
        self.short.remove(&slot);
        let machine = self.slots.remove(slot);
        self.total = self.total.minus(machine.capacity);
        self.by_id.remove(&machine.id);
    }

    /// Puts a grant on a machine, to be [listed](Self::list) by the caller; its place among the machine's grants.
    pub(super) fn spend(&mut self, slot: MachineSlot, grant: GrantSlot, shape: Resources) -> u32 {
        let machine = &mut self.slots[slot];
        machine.used = machine.used.plus(shape);
        let position = position(machine.grants.len());
        machine.grants.push(grant);
        position
    }

    /// Takes a grant off a machine, to be [listed](Self::list) by the caller; the grant that has its place now.
    pub(super) fn free(
        &mut self,
        slot: MachineSlot,
        position: u32,
        (shape, was_revoked): (Resources, bool),
        now: Duration,
    ) -> Option<GrantSlot> {
        let machine = &mut self.slots[slot];
        machine.used = machine.used.minus(shape);
        if was_revoked {
            machine.revoked = machine.revoked.minus(shape);
        }
        machine.grants.swap_remove(position as usize);
        let moved = machine.grants.get(position as usize).copied();
        self.note_shortage(slot, now);
        moved
    }

    pub(super) fn revoke(&mut self, slot: MachineSlot, shape: Resources) {
        let machine = &mut self.slots[slot];
        machine.revoked = machine.revoked.plus(shape);
    }

    pub(super) fn spare(&mut self, slot: MachineSlot, shape: Resources) {
        let machine = &mut self.slots[slot];
        machine.revoked = machine.revoked.minus(shape);
    }

    pub(super) fn claim(&mut self, slot: MachineSlot, claim: ClaimSlot, shape: Resources) {
        let machine = &mut self.slots[slot];
        machine.claimed = machine.claimed.plus(shape);
        machine.claims.push(claim);
        self.list(slot);
    }

    pub(super) fn unclaim(&mut self, slot: MachineSlot, claim: ClaimSlot, shape: Resources) {
        let machine = &mut self.slots[slot];
        machine.claimed = machine.claimed.minus(shape);
        machine.claims.retain(|other| *other != claim);
        self.list(slot);
    }

    /// Takes note since when a machine is short, or that it no longer is.
    pub(super) fn note_shortage(&mut self, slot: MachineSlot, now: Duration) {
        let machine = &mut self.slots[slot];
        if machine.shortage().is_zero() {
            if machine.short_since.take().is_some() {
                self.short.remove(&slot);
            }
        } else {
            machine.short_since.get_or_insert(now);
            self.short.insert(slot);
        }
    }

    pub(super) fn short_since_before(&self, moment: Duration) -> Vec<MachineSlot> {
        let is_old =
            |slot: &&MachineSlot| self.slots[**slot].short_since.is_some_and(|since| since <= moment);
        let mut old: Vec<MachineSlot> = self.short.iter().filter(is_old).copied().collect();
        old.sort_by_key(|slot| self.slots[*slot].id);
        old
    }

    /// A machine in `place` that has room for `shape` and is not `avoided`, rather one with much CPU.
    pub(super) fn roomiest(
        &self,
        place: Place,
        shape: Resources,
        avoided: &[MachineId],
    ) -> Option<MachineSlot> {
        match place {
            Place::Machine(id) if avoided.contains(&id) => None,
            Place::Machine(id) => self.slot(id).filter(|slot| shape.fits_in(self.slots[*slot].room())),
            Place::Rack(id) => self.roomiest_in(*self.rack_seats.get(&id)?, &shape.into(), avoided),
            Place::Cluster => {
                // What a rack passes on may be of several machines, none of which has room by itself.
                let (mut found, shape) = (None, Most::from(shape));
                self.rooms.find_where(&shape, &mut |seat| {
                    found = self.roomiest_in(seat, &shape, avoided);
                    found.is_some()
                });
                found
            }
        }
    }

    fn roomiest_in(&self, rack_seat: usize, shape: &Most, avoided: &[MachineId]) -> Option<MachineSlot> {
        let rack = &self.racks[rack_seat];
        if avoided.is_empty() {
            return rack.members[rack.rooms.find(shape)?];
        }
        let is_welcome = |slot: MachineSlot| avoided.binary_search(&self.slots[slot].id).is_err();
        let seat = rack.rooms.find_where(shape, &mut |seat| rack.members[seat].is_some_and(is_welcome))?;
        rack.members[seat]
    }

    /// Enters a machine's room in the tournaments. Done once for several changes, as it is what they cost most.
    pub(super) fn list(&mut self, slot: MachineSlot) {
        let machine = &mut self.slots[slot];
        let (seat, room) = (machine.seat, machine.room());
        if machine.listed == room {
            return;
        }
        self.free = self.free.minus(machine.listed).plus(room);
        machine.listed = room;
        self.set_room(seat, room);
    }

    fn set_room(&mut self, (rack_seat, seat): (usize, usize), room: Resources) {
        let rooms = &mut self.racks[rack_seat].rooms;
        let before = rooms.most();
        rooms.set(seat, room.into());
        let most = rooms.most();
        if most != before {
            self.rooms.set(rack_seat, most);
        }
    }
}
