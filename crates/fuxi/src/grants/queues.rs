//! The waiting queues: one per machine, rack and the cluster.
//!
//! ```text
//!   Queue (a place) ─► Line (a group of the quota tree) ─► Level (a priority) ─► Entry (a shape; see `lanes`)
//! ```
//! Demands of one shape fit or do not fit together, so a search passes over shapes and not over who waits.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::hash::Hash;

use model::{Bytes, MilliCpu};

use super::groups::GroupIdx;
use super::lanes::{Demand, Entry, Key};
use super::numbers::NumberMap;
use super::parties::Step;
use super::resources::Resources;
use super::slots::Slots;
use super::{DemandSlot, MachineId, Place, RackId, UnitSlot};

/// What is the same for all demands of an entry, whatever the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) group: GroupIdx,
    pub(super) priority: i32,
    pub(super) shape: Resources,
    /// The unit, where it avoids machines: its demands then stand apart.
    pub(super) picky: Option<UnitSlot>,
}

impl Class {
    fn key(&self) -> Key {
        (self.shape, self.picky)
    }
}

/// Who of a group is served before whom: by priority, then by what is held, then in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Right {
    priority: Reverse<i32>,
    step: Step,
    turn: u64,
}

impl Right {
    pub(super) fn of(priority: i32, demand: &Demand) -> Self {
        Self { priority: Reverse(priority), step: demand.step, turn: demand.turn }
    }
}

/// A shape that a group waits for at a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) place: Place,
    pub(super) priority: i32,
    /// That of the first.
    pub(super) right: Right,
    pub(super) shape: Resources,
    pub(super) picky: Option<UnitSlot>,
    pub(super) first: DemandSlot,
}

#[derive(Clone, Debug)]
struct Level {
    priority: i32,
    /// By shape, so by CPU first, and then by who is picky.
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Line {
    /// Highest priority first.
    levels: Vec<Level>,
}

/// What each of several shapes needs at least, of what rules most out.
#[derive(Clone, Copy, Debug, Default)]
struct Least {
    cpu: MilliCpu,
    memory: Bytes,
}

/// What there is to know of a line first, apart from it: a machine's queue is seldom looked at and then cold in memory.
#[derive(Clone, Copy, Debug)]
struct Brief {
    group: GroupIdx,
    least: Least,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// In the order of groups, as are `lines`.
    briefs: Vec<Brief>,
    lines: Vec<Line>,
    least: Least,
}

impl Least {
    fn of(shape: Resources) -> Self {
        Self { cpu: shape.cpu, memory: shape.memory }
    }

    fn and(self, other: Self) -> Self {
        Self { cpu: self.cpu.min(other.cpu), memory: self.memory.min(other.memory) }
    }

    fn fits_in(self, room: Resources) -> bool {
        (self.cpu <= room.cpu) & (self.memory <= room.memory)
    }
}

impl Level {
    /// The entry that fits in `room` whose first holds least or has waited longest, and is not picky or may be served here.
    fn first_that_fits(&self, room: Resources, is_welcome: &impl Fn(UnitSlot) -> bool) -> Option<&Entry> {
        let affordable = self.entries.iter().take_while(|entry| entry.cpu <= room.cpu);
        let fitting = affordable.filter(|entry| entry.fits_in(room));
        fitting
            .filter(|entry| entry.picky().is_none_or(is_welcome))
            .min_by_key(|entry| (entry.lane.step, entry.lane.turn))
    }
}

impl Line {
    fn first_that_fits(
        &self,
        room: Resources,
        is_welcome: &impl Fn(UnitSlot) -> bool,
    ) -> Option<(i32, &Entry)> {
        let mut levels = self.levels.iter();
        levels.find_map(|level| Some((level.priority, level.first_that_fits(room, is_welcome)?)))
    }

    fn has_lesser(&self, (shape, picky): Key) -> bool {
        let affordable = |level: &Level| level.entries.partition_point(|entry| entry.cpu <= shape.cpu);
        // The largest of those with no more CPU is the likeliest to be the shape itself.
        let mut levels = self.levels.iter().map(|level| &level.entries[..affordable(level)]);
        // Who is picky may wait although there is room, except for another who is as picky.
        let proves = |entry: &Entry| entry.picky().is_none() || entry.picky() == picky;
        levels.any(|entries| entries.iter().rev().any(|entry| entry.fits_in(shape) && proves(entry)))
    }

    /// Nothing where nobody waits.
    fn least(&self) -> Option<Least> {
        let entries = self.levels.iter().flat_map(|level| &level.entries);
        entries.map(|entry| Least { cpu: entry.cpu, memory: entry.memory }).reduce(Least::and)
    }
}

impl Queue {
    fn position(&self, group: GroupIdx) -> Result<usize, usize> {
        self.briefs.binary_search_by_key(&group, |brief| brief.group)
    }

    fn line(&self, group: GroupIdx) -> Option<&Line> {
        Some(&self.lines[self.position(group).ok()?])
    }

    fn first_that_fits(
        &self,
        (group, room): (GroupIdx, Resources),
        is_welcome: &impl Fn(UnitSlot) -> bool,
    ) -> Option<(i32, &Entry)> {
        let position = self.position(group).ok()?;
        let may_fit = self.briefs[position].least.fits_in(room);
        may_fit.then(|| self.lines[position].first_that_fits(room, is_welcome)).flatten()
    }

    /// The entry of a class, where there is one.
    fn entry_mut(&mut self, class: &Class) -> Option<&mut Entry> {
        let line = self.position(class.group).ok()?;
        let levels = &mut self.lines[line].levels;
        let level =
            levels.binary_search_by_key(&Reverse(class.priority), |level| Reverse(level.priority)).ok()?;
        let entries = &mut levels[level].entries;
        let entry = entries.binary_search_by_key(&class.key(), Entry::key).ok()?;
        Some(&mut entries[entry])
    }

    fn open(&mut self, class: &Class, entry: Entry) {
        let Class { group, priority, shape, .. } = *class;
        let least = Least::of(shape);
        self.least = if self.lines.is_empty() { least } else { self.least.and(least) };
        let position = self.position(group).unwrap_or_else(|at| {
            self.briefs.insert(at, Brief { group, least });
            self.lines.insert(at, Line { levels: Vec::new() });
            at
        });
        let brief = &mut self.briefs[position];
        brief.least = brief.least.and(least);
        let levels = &mut self.lines[position].levels;
        let level = levels
            .binary_search_by_key(&Reverse(priority), |level| Reverse(level.priority))
            .unwrap_or_else(|at| {
                levels.insert(at, Level { priority, entries: Vec::new() });
                at
            });
        let entries = &mut levels[level].entries;
        let at = entries.partition_point(|entry| entry.key() < class.key());
        entries.insert(at, entry);
    }

    /// Removes the entry of a class, and what is empty without it.
    fn close(&mut self, class: &Class) {
        let Ok(at) = self.position(class.group) else { return };
        let line = &mut self.lines[at];
        for level in &mut line.levels {
            if level.priority == class.priority {
                let at = level.entries.binary_search_by_key(&class.key(), Entry::key);
                at.map(|at| level.entries.remove(at)).ok();
            }
        }
        line.levels.retain(|level| !level.entries.is_empty());
        if let Some(least) = line.least() {
            self.briefs[at].least = least;
        } else {
            self.lines.remove(at);
            self.briefs.remove(at);
        }
        self.least = self.briefs.iter().map(|brief| brief.least).reduce(Least::and).unwrap_or_default();
    }
}

#[derive(Clone, Debug, Default)]
struct Places {
    cluster: Queue,
    racks: NumberMap<RackId, Queue>,
    machines: NumberMap<MachineId, Queue>,
}

impl Places {
    fn get(&self, place: Place) -> Option<&Queue> {
        match place {
            Place::Machine(id) => self.machines.get(&id),
            Place::Rack(id) => self.racks.get(&id),
            Place::Cluster => Some(&self.cluster),
        }
    }

    fn entry_mut(&mut self, place: Place, class: &Class) -> Option<&mut Entry> {
        let queue = match place {
            Place::Machine(id) => self.machines.get_mut(&id)?,
            Place::Rack(id) => self.racks.get_mut(&id)?,
            Place::Cluster => &mut self.cluster,
        };
        queue.entry_mut(class)
    }

    fn open(&mut self, place: Place, class: &Class, entry: Entry) {
        let queue = match place {
            Place::Machine(id) => self.machines.entry(id).or_default(),
            Place::Rack(id) => self.racks.entry(id).or_default(),
            Place::Cluster => &mut self.cluster,
        };
        queue.open(class, entry);
    }

    fn close(&mut self, place: Place, class: &Class) {
        match place {
            Place::Machine(id) => close_one(&mut self.machines, id, class),
            Place::Rack(id) => close_one(&mut self.racks, id, class),
            Place::Cluster => self.cluster.close(class),
        }
    }
}

fn close_one<K: Eq + Hash>(queues: &mut NumberMap<K, Queue>, id: K, class: &Class) {
    if let Some(queue) = queues.get_mut(&id) {
        queue.close(class);
        if queue.lines.is_empty() {
            queues.remove(&id);
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Queues {
    pub(super) demands: Slots<Demand>,
    places: Places,
    /// Where each group waits, with how many entries.
    of_group: NumberMap<GroupIdx, BTreeMap<Place, usize>>,
    last_turn: u64,
}

/// The queues that may use a machine's room, from near to far.
pub(super) type Path<'a> = [Option<&'a Queue>; 3];

impl Queues {
    /// Begins to read what a search for a machine's room will look at first: far apart in memory, it would else be waited
    /// for piece by piece after all that is freed before.
    pub(super) fn touch(&self, machine: MachineId, rack: RackId) {
        let Places { racks, machines, .. } = &self.places;
        let queues = [machines.get(&machine), racks.get(&rack)];
        let middle = |queue: &Queue| queue.briefs.get(queue.briefs.len() / 2).map(|brief| brief.group);
        std::hint::black_box(queues.map(|queue| queue.and_then(middle)));
    }

    /// None where nobody waits for a room as small as this.
    pub(super) fn path(&self, machine: MachineId, rack: RackId, room: Resources) -> Option<Path<'_>> {
        let Places { cluster, racks, machines } = &self.places;
        let queues = [machines.get(&machine), racks.get(&rack), Some(cluster)];
        let path =
            queues.map(|queue| queue.filter(|queue| !queue.lines.is_empty() && queue.least.fits_in(room)));
        path.iter().any(Option::is_some).then_some(path)
    }

    /// Who of a group is next to get some of `room`: by priority, then from near to far, then by what its party holds. Of those who are
    /// picky only who `is_welcome` here.
    pub(super) fn next(
        path: &Path<'_>,
        (group, room): (GroupIdx, Resources),
        is_welcome: &impl Fn(UnitSlot) -> bool,
    ) -> Option<DemandSlot> {
        let heads = path.iter().flatten();
        let heads = heads.filter_map(|queue| queue.first_that_fits((group, room), is_welcome));
        let best = heads.reduce(|best, other| if other.0 > best.0 { other } else { best });
        best.map(|(_, entry)| entry.lane.first)
    }

    /// All for which a group waits, from near to far and then by priority.
    pub(super) fn waiting(&self, group: GroupIdx) -> impl Iterator<Item = Waiting> + '_ {
        let places = self.of_group.get(&group).into_iter().flat_map(|places| places.keys());
        places.flat_map(move |place| {
            let levels = self.places.get(*place).and_then(|queue| queue.line(group)).map(|line| &line.levels);
            levels.into_iter().flatten().flat_map(|level| {
                level.entries.iter().map(|entry| Waiting {
                    place: *place,
                    priority: level.priority,
                    right: Right {
                        priority: Reverse(level.priority),
                        step: entry.lane.step,
                        turn: entry.lane.turn,
                    },
                    shape: entry.shape(),
                    picky: entry.picky(),
                    first: entry.lane.first,
                })
            })
        })
    }

    /// Of a class at `place` the first of each lane.
    pub(super) fn firsts_of(&self, place: Place, class: &Class) -> impl Iterator<Item = DemandSlot> {
        let line = self.places.get(place).and_then(|queue| queue.line(class.group));
        let mut levels = line.into_iter().flat_map(|line| &line.levels);
        let level = levels.find(|level| level.priority == class.priority);
        let entry = level.and_then(|level| {
            level.entries.binary_search_by_key(&class.key(), Entry::key).ok().map(|at| &level.entries[at])
        });
        entry.into_iter().flat_map(Entry::lanes).map(|lane| lane.first)
    }

    /// Who waits for any machine: of each group, priority, shape and lane the first.
    pub(super) fn firsts_anywhere(&self) -> impl Iterator<Item = DemandSlot> {
        let levels = self.places.cluster.lines.iter().flat_map(|line| &line.levels);
        let lanes = levels.flat_map(|level| level.entries.iter().flat_map(Entry::lanes));
        lanes.map(|lane| lane.first)
    }

    /// Whether somebody of the same group waits at the same place, or anywhere, for no more than this shape.
    ///
    /// Between events nobody waits for what has room, so that there is then no room for the shape either.
    pub(super) fn has_lesser(&self, place: Place, class: &Class) -> bool {
        [Place::Cluster, place].into_iter().any(|place| {
            let line = self.places.get(place).and_then(|queue| queue.line(class.group));
            line.is_some_and(|line| line.has_lesser(class.key()))
        })
    }

    /// To the end of the lane of its party.
    pub(super) fn join(&mut self, slot: DemandSlot, class: &Class, step: Step) {
        self.last_turn += 1;
        let demand = &mut self.demands[slot];
        (demand.turn, demand.step) = (self.last_turn, step);
        let place = demand.place;
        if let Some(entry) = self.places.entry_mut(place, class) {
            entry.append(&mut self.demands, slot);
            return;
        }
        let entry = Entry::new(class.key(), &mut self.demands, slot);
        self.places.open(place, class, entry);
        *self.of_group.entry(class.group).or_default().entry(place).or_default() += 1;
    }

    /// Out of its entry.
    pub(super) fn leave(&mut self, slot: DemandSlot, class: &Class) {
        let place = self.demands[slot].place;
        let Some(entry) = self.places.entry_mut(place, class) else { return };
        if !entry.is_single() {
            entry.remove(&mut self.demands, slot);
            return;
        }
        self.places.close(place, class);
        if let Some(places) = self.of_group.get_mut(&class.group)
            && let Some(n_entries) = places.get_mut(&place)
        {
            *n_entries -= 1;
            if *n_entries == 0 {
                places.remove(&place);
            }
        }
    }

    /// To the end of its lane, where it stands already.
    pub(super) fn rotate(&mut self, slot: DemandSlot, class: &Class) {
        self.change_lane(slot, class, self.demands[slot].step);
    }

    /// To the end of another lane of its entry.
    pub(super) fn change_lane(&mut self, slot: DemandSlot, class: &Class, step: Step) {
        self.last_turn += 1;
        let place = self.demands[slot].place;
        let Some(entry) = self.places.entry_mut(place, class) else { return };
        if entry.is_single() {
            let demand = &mut self.demands[slot];
            (demand.turn, demand.step) = (self.last_turn, step);
            *entry = Entry::new(class.key(), &mut self.demands, slot);
            return;
        }
        entry.remove(&mut self.demands, slot);
        let demand = &mut self.demands[slot];
        (demand.turn, demand.step) = (self.last_turn, step);
        entry.append(&mut self.demands, slot);
    }
}
