//! What every machine holds while moves are planned, summed in `f64`: on a real cluster a machine may be full to the
//! last core, which the search's narrower numbers would take for too much.

use std::collections::BTreeMap;

use super::evaluate::{Objective, ROUNDING};
use super::problem::{App, AppId, ItemId, MachineId, Problem, Tie};
use super::rules::Rules;

pub(super) struct Rooms<'a> {
    problem: &'a Problem,
    rules: Rules,
    rooms: Vec<Room>,
}

#[derive(Clone, Default)]
struct Room {
    cpu: Vec<f64>,
    memory: Vec<f64>,
    counts: Vec<u64>,
    apps: BTreeMap<AppId, u32>,
    /// Items that make it a used machine.
    guests: usize,
}

impl<'a> Rooms<'a> {
    pub(super) fn new(problem: &'a Problem, placement: &[Option<MachineId>]) -> Self {
        let empty = |counts: usize| Room {
            cpu: vec![0.0; problem.points()],
            memory: vec![0.0; problem.points()],
            counts: vec![0; counts],
            ..Room::default()
        };
        let rooms = problem.machines().iter().map(|machine| empty(machine.counts.len())).collect();
        let mut rooms = Self { problem, rules: Rules::new(problem), rooms };
        for (machine, id) in placement.iter().zip(0..) {
            if let Some(machine) = machine {
                rooms.enter(ItemId(id), *machine);
            }
        }
        rooms
    }

    pub(super) fn enter(&mut self, item: ItemId, machine: MachineId) {
        let (problem, room) = (self.problem, &mut self.rooms[machine.at()]);
        room.shift(problem.app(item), 1.0);
        room.counts.iter_mut().zip(&problem.app(item).counts).for_each(|(sum, count)| *sum += count);
        *room.apps.entry(problem.items()[item.at()].app).or_default() += 1;
        room.guests += usize::from(problem.items()[item.at()].tie != Tie::Resident);
    }

    pub(super) fn leave(&mut self, item: ItemId, machine: MachineId) {
        let (problem, room) = (self.problem, &mut self.rooms[machine.at()]);
        room.shift(problem.app(item), -1.0);
        room.counts.iter_mut().zip(&problem.app(item).counts).for_each(|(sum, count)| *sum -= count);
        let app = problem.items()[item.at()].app;
        let left = room.apps.get_mut(&app).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            room.apps.remove(&app);
        }
        room.guests -= usize::from(problem.items()[item.at()].tie != Tie::Resident);
    }

    /// Whether `item` fits beside all that is there.
    pub(super) fn fits(&self, item: ItemId, machine: MachineId) -> bool {
        let (app, id) = (self.problem.app(item), self.problem.items()[item.at()].app);
        let (room, offer) = (&self.rooms[machine.at()], &self.problem.machines()[machine.at()]);
        let below = |load: &[f64], more: &[f64], capacity: f64| {
            load.iter().zip(more).all(|(load, more)| load + more <= capacity * (1.0 + ROUNDING))
        };
        let counted = room.counts.iter().zip(&app.counts).zip(&offer.counts);
        counted.into_iter().all(|((held, more), capacity)| held.saturating_add(*more) <= *capacity)
            && below(&room.cpu, &app.cpu, offer.cpu)
            && below(&room.memory, &app.memory, offer.memory)
            && self.rules.reach(id, machine)
            && self.rules.allow(id, |app| room.apps.get(&app).copied().unwrap_or(0))
    }

    pub(super) fn is_used(&self, machine: MachineId) -> bool {
        self.rooms[machine.at()].guests > 0
    }

    /// The largest share of CPU or memory in use at any point.
    pub(super) fn fullness(&self, machine: MachineId) -> f64 {
        let (room, offer) = (&self.rooms[machine.at()], &self.problem.machines()[machine.at()]);
        let share = |load: &[f64], capacity: f64| {
            load.iter().copied().fold(0.0, f64::max) / capacity.max(f64::MIN_POSITIVE)
        };
        share(&room.cpu, offer.cpu).max(share(&room.memory, offer.memory))
    }

    /// What a machine costs as it is.
    pub(super) fn cost(&self, objective: &Objective, machine: MachineId) -> f64 {
        self.cost_with(objective, machine, None)
    }

    /// What a machine would cost with one item more.
    pub(super) fn cost_with(&self, objective: &Objective, machine: MachineId, item: Option<ItemId>) -> f64 {
        let (room, offer) = (&self.rooms[machine.at()], &self.problem.machines()[machine.at()]);
        let app = item.map(|item| self.problem.app(item));
        let guest = item.is_some_and(|item| self.problem.items()[item.at()].tie != Tie::Resident);
        let above = |load: &[f64], more: Option<&Vec<f64>>, capacity: f64, threshold: f64| -> f64 {
            let at =
                |point: usize| (load[point] + more.map_or(0.0, |more| more[point])) / capacity - threshold;
            (0..load.len()).map(at).filter(|above| *above > 0.0).map(f64::exp_m1).sum()
        };
        let cpu = above(&room.cpu, app.map(|app| &app.cpu), offer.cpu, objective.cpu_threshold);
        let memory =
            above(&room.memory, app.map(|app| &app.memory), offer.memory, objective.memory_threshold);
        let open = if room.guests > 0 || guest { objective.open } else { 0.0 };
        open + objective.scale * (cpu + memory) / self.problem.points() as f64
    }
}

impl Room {
    fn shift(&mut self, app: &App, sign: f64) {
        self.cpu.iter_mut().zip(&app.cpu).for_each(|(sum, value)| *sum += sign * value);
        self.memory.iter_mut().zip(&app.memory).for_each(|(sum, value)| *sum += sign * value);
    }
}
