//! What to move on a real cluster, and what it gains: machines are emptied whole, hot spots are relieved, within limits.
//!
//! The plan is built of *deals*: all the moves that free one machine, the one move or the swap that cools one. A deal
//! is made as a whole or not at all, and only if it gains enough for each of its moves, so that nothing is moved for
//! little. No item moves twice, and the items that came to a machine stay there: what one deal does, none undoes.

use super::evaluate::{Evaluation, Objective, evaluate};
use super::moves::{Budgets, Limits, Move, difference, rounds};
use super::problem::{ItemId, MachineId, Placement, Problem, Tie};
use super::room::Rooms;

/// Rounds of moves, and what they lead to.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Each round begins when the one before has ended.
    pub rounds: Vec<Vec<Move>>,
    /// Where everything is afterwards.
    pub placement: Placement,
    /// As it is.
    pub before: Evaluation,
    /// As it will be.
    pub after: Evaluation,
}

impl Plan {
    fn new(problem: &Problem, objective: &Objective, current: &Placement, rounds: Vec<Vec<Move>>) -> Self {
        let mut placement = current.clone();
        for each in rounds.iter().flatten() {
            placement[each.item.at()] = Some(each.to);
        }
        let (before, after) =
            (evaluate(problem, objective, current), evaluate(problem, objective, &placement));
        Self { rounds, placement, before, after }
    }

    /// Machines that are in use now and will not be.
    pub fn freed(&self) -> Vec<MachineId> {
        self.before.used.iter().filter(|machine| !self.after.used.contains(machine)).copied().collect()
    }

    /// Machines that are above a threshold now and will not be.
    pub fn cooled(&self) -> Vec<MachineId> {
        self.before.hot.iter().filter(|machine| !self.after.hot.contains(machine)).copied().collect()
    }

    /// All moves of all rounds.
    pub fn moves(&self) -> usize {
        self.rounds.iter().map(Vec::len).sum()
    }
}

/// A gain below this is rounding.
const NOTHING: f64 = 1e-9;

/// Plans what to move. `should_stop` is asked before each deal that is looked for; what was found until then counts.
pub fn rebalance(
    problem: &Problem,
    objective: &Objective,
    current: &Placement,
    limits: &Limits,
    should_stop: impl FnMut() -> bool,
) -> Plan {
    let mut planner = Planner {
        problem,
        objective,
        limits,
        budgets: Budgets::new(problem, &limits.budgets),
        rooms: Rooms::new(problem, current),
        placement: current.clone(),
        held: held(problem, current),
        moves: Vec::new(),
        moved: vec![false; problem.items().len()],
    };
    planner.run(should_stop);
    Plan::new(problem, objective, current, rounds(problem, current, &planner.moves, limits))
}

/// The part of the way from `current` to `target` that gains most, within limits.
pub fn towards(
    problem: &Problem,
    objective: &Objective,
    (current, target): (&Placement, &Placement),
    limits: &Limits,
) -> Plan {
    let mut rooms = Rooms::new(problem, current);
    let mut rounds = rounds(problem, current, &difference(current, target), limits);
    let (mut gain, mut moves) = (0.0, 0);
    let (mut best, mut best_gain) = (0, NOTHING);
    for (place, round) in rounds.iter().enumerate() {
        moves += round.len();
        for each in round {
            let cost = |rooms: &Rooms<'_>| rooms.cost(objective, each.from) + rooms.cost(objective, each.to);
            let before = cost(&rooms);
            rooms.leave(each.item, each.from);
            rooms.enter(each.item, each.to);
            gain += before - cost(&rooms);
        }
        if moves <= limits.in_all && gain >= limits.least_gain * moves as f64 && gain > best_gain {
            (best, best_gain) = (place + 1, gain);
        }
    }
    rounds.truncate(best);
    Plan::new(problem, objective, current, rounds)
}

/// The items on each machine.
fn held(problem: &Problem, placement: &Placement) -> Vec<Vec<ItemId>> {
    let mut held = vec![Vec::new(); problem.machines().len()];
    for (machine, id) in placement.iter().zip(0..) {
        if let Some(machine) = machine {
            held[machine.at()].push(ItemId(id));
        }
    }
    held
}

struct Planner<'a> {
    problem: &'a Problem,
    objective: &'a Objective,
    limits: &'a Limits,
    budgets: Budgets<'a>,
    rooms: Rooms<'a>,
    placement: Placement,
    held: Vec<Vec<ItemId>>,
    moves: Vec<Move>,
    moved: Vec<bool>,
}

impl Planner<'_> {
    fn run(&mut self, mut should_stop: impl FnMut() -> bool) {
        let mut found = true;
        while found {
            found = false;
            if self.objective.open > 0.0 {
                for machine in self.worth_freeing() {
                    if should_stop() {
                        return;
                    }
                    found |= self.free(machine);
                }
            }
            for machine in self.hot() {
                while !should_stop() && (self.cool_by_move(machine) || self.cool_by_swap(machine)) {
                    found = true;
                }
            }
        }
    }

    /// Moves that may still be made.
    fn left(&self) -> usize {
        self.limits.in_all - self.moves.len()
    }

    fn may_move(&self, item: ItemId) -> bool {
        let free = self.problem.items()[item.at()].tie == Tie::Free;
        free && !self.moved[item.at()] && self.budgets.ever_allow(item)
    }

    /// Machines that nothing holds in use, those with the fewest items first.
    fn worth_freeing(&self) -> Vec<MachineId> {
        let guests = |id: &ItemId| self.problem.items()[id.at()].tie != Tie::Resident;
        let mut found: Vec<(usize, MachineId)> = Vec::new();
        for (items, id) in self.held.iter().zip(0..) {
            let guests: Vec<ItemId> = items.iter().copied().filter(guests).collect();
            if !guests.is_empty() && guests.iter().all(|item| self.may_move(*item)) {
                found.push((guests.len(), MachineId(id)));
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// Machines that cost more than being used, the dearest first.
    fn hot(&self) -> Vec<MachineId> {
        let mut found: Vec<(f64, MachineId)> = Vec::new();
        for id in (0..).take(self.held.len()).map(MachineId) {
            let open = if self.rooms.is_used(id) { self.objective.open } else { 0.0 };
            let above = self.rooms.cost(self.objective, id) - open;
            if above > NOTHING {
                found.push((above, id));
            }
        }
        found.sort_by(|(a, x), (b, y)| b.total_cmp(a).then(x.cmp(y)));
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// Empties `machine` into other machines in use, if that gains enough.
    fn free(&mut self, machine: MachineId) -> bool {
        let mut items: Vec<ItemId> =
            self.held[machine.at()].iter().copied().filter(|item| self.may_move(*item)).collect();
        let guests = |item: &&ItemId| self.problem.items()[item.at()].tie != Tie::Resident;
        // Earlier deals of this pass may have brought something.
        if items.len() != self.held[machine.at()].iter().filter(guests).count() || items.len() > self.left() {
            return false;
        }
        let size = |item: &ItemId| self.problem.app(*item).cpu.iter().copied().fold(0.0, f64::max);
        items.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.cmp(b)));
        let mut gain = 0.0;
        let mut deal = Vec::new();
        for item in items {
            let Some(to) = self.best_place(item, machine) else { break };
            gain += self.make(Move { item, from: machine, to });
            deal.push(item);
        }
        let is_done = !self.rooms.is_used(machine) && self.is_worth(gain, deal.len());
        if !is_done {
            self.undo(deal.len());
        }
        is_done
    }

    fn is_worth(&self, gain: f64, moves: usize) -> bool {
        gain > NOTHING && gain >= self.limits.least_gain * moves as f64
    }

    /// The machine in use where `item` adds least: among equals the fullest, or for hot spots' sake the emptiest.
    fn best_place(&self, item: ItemId, from: MachineId) -> Option<MachineId> {
        let sign = if self.objective.open > 0.0 { -1.0 } else { 1.0 };
        let mut best: Option<(f64, f64, MachineId)> = None;
        for to in (0..).take(self.held.len()).map(MachineId) {
            let open = self.rooms.is_used(to) || self.objective.open == 0.0;
            if to == from || !open || !self.rooms.fits(item, to) {
                continue;
            }
            let cost = self.rooms.cost_with(self.objective, to, Some(item));
            let added = cost - self.rooms.cost(self.objective, to);
            let rank = (added, sign * self.rooms.fullness(to));
            if best.is_none_or(|(least, second, _)| rank < (least, second)) {
                best = Some((rank.0, rank.1, to));
            }
        }
        best.map(|(_, _, to)| to)
    }

    /// Makes the move; returns what it gains.
    fn make(&mut self, each: Move) -> f64 {
        let (from, to) = (each.from, each.to);
        let before = self.rooms.cost(self.objective, from) + self.rooms.cost(self.objective, to);
        self.shift(each.item, from, to);
        self.moved[each.item.at()] = true;
        self.moves.push(each);
        before - self.rooms.cost(self.objective, from) - self.rooms.cost(self.objective, to)
    }

    fn shift(&mut self, item: ItemId, from: MachineId, to: MachineId) {
        self.rooms.leave(item, from);
        self.rooms.enter(item, to);
        self.held[from.at()].retain(|held| *held != item);
        self.held[to.at()].push(item);
        self.placement[item.at()] = Some(to);
    }

    /// Takes the last moves back.
    fn undo(&mut self, moves: usize) {
        for each in self.moves.split_off(self.moves.len() - moves).into_iter().rev() {
            self.shift(each.item, each.to, each.from);
            self.moved[each.item.at()] = false;
        }
    }

    /// The one move away from a hot machine that gains most, if it gains enough.
    fn cool_by_move(&mut self, machine: MachineId) -> bool {
        if self.left() == 0 {
            return false;
        }
        let mut best: Option<(f64, Move)> = None;
        for item in self.held[machine.at()].clone() {
            let Some(to) = self.may_move(item).then(|| self.best_place(item, machine)).flatten() else {
                continue;
            };
            let gain = self.make(Move { item, from: machine, to });
            self.undo(1);
            if best.is_none_or(|(most, _)| gain > most) {
                best = Some((gain, Move { item, from: machine, to }));
            }
        }
        let Some((_, each)) = best.filter(|(gain, _)| self.is_worth(*gain, 1)) else { return false };
        self.make(each);
        true
    }

    /// A swap that cools a hot machine, if one gains enough and can be made one move after the other.
    fn cool_by_swap(&mut self, machine: MachineId) -> bool {
        if self.left() < 2 {
            return false;
        }
        for item in self.held[machine.at()].clone() {
            for other in (0..).take(self.held.len()).map(MachineId).filter(|other| *other != machine) {
                for back in self.held[other.at()].clone() {
                    let there = Move { item, from: machine, to: other };
                    let here = Move { item: back, from: other, to: machine };
                    if self.try_both(there, here) || self.try_both(here, there) {
                        return true;
                    }
                }
            }
        }
        false
    }

    fn try_both(&mut self, first: Move, second: Move) -> bool {
        if ![first, second].iter().all(|each| self.may_move(each.item))
            || !self.rooms.fits(first.item, first.to)
        {
            return false;
        }
        let mut gain = self.make(first);
        if !self.rooms.fits(second.item, second.to) {
            self.undo(1);
            return false;
        }
        gain += self.make(second);
        if !self.is_worth(gain, 2) {
            self.undo(2);
            return false;
        }
        true
    }
}
