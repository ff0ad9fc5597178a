//! From one placement to another in rounds of moves that run side by side, each state in between sound.
//!
//! While a round runs, an item may be on its old and its new machine at once, and nobody knows which move ends first.
//! So a machine takes in a round only what fits beside all that was there when the round began. What leaves makes
//! room for the next round.

use super::problem::{ItemId, MachineId, Placement, Problem};
use super::room::Rooms;

/// One item goes from one machine to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Who.
    pub item: ItemId,
    /// Where it is.
    pub from: MachineId,
    /// Where it goes.
    pub to: MachineId,
}

/// How much may be disturbed.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Moves in one round.
    pub at_once: usize,
    /// Moves in the whole plan.
    pub in_all: usize,
    /// What a plan must gain per move, on average over the moves that are made together for one gain.
    pub least_gain: f64,
    /// Further limits on some of the items, as a disruption budget sets them.
    pub budgets: Vec<Budget>,
}

/// At most so many of these items move in one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Whose.
    pub items: Vec<ItemId>,
    /// How many at once; of 0 none may ever move.
    pub at_once: usize,
}

/// The budgets of each item.
pub(super) struct Budgets<'a> {
    budgets: &'a [Budget],
    of_item: Vec<Vec<usize>>,
    spent: Vec<usize>,
}

impl<'a> Budgets<'a> {
    pub(super) fn new(problem: &Problem, budgets: &'a [Budget]) -> Self {
        let mut of_item = vec![Vec::new(); problem.items().len()];
        for (place, budget) in budgets.iter().enumerate() {
            for item in &budget.items {
                of_item[item.at()].push(place);
            }
        }
        Self { budgets, of_item, spent: vec![0; budgets.len()] }
    }

    /// Whether there is a round in which the item may move.
    pub(super) fn ever_allow(&self, item: ItemId) -> bool {
        self.of_item[item.at()].iter().all(|place| self.budgets[*place].at_once > 0)
    }

    fn next_round(&mut self) {
        self.spent.fill(0);
    }

    fn allow(&self, item: ItemId) -> bool {
        self.of_item[item.at()].iter().all(|place| self.spent[*place] < self.budgets[*place].at_once)
    }

    fn spend(&mut self, item: ItemId) {
        for place in &self.of_item[item.at()] {
            self.spent[*place] += 1;
        }
    }
}

/// The moves that lead from `current` to `target`, for items that have a place in both.
pub fn difference(current: &Placement, target: &Placement) -> Vec<Move> {
    let pairs = current.iter().zip(target).zip(0..);
    let moves =
        pairs.filter_map(|((from, to), id)| Some(Move { item: ItemId(id), from: (*from)?, to: (*to)? }));
    moves.filter(|each| each.from != each.to).collect()
}

/// Puts `moves` into rounds. What can not be reached in any order without moving an item twice, or what budgets never
/// let go, is left out, and so is not in the rounds; `in_all` and `least_gain` are the asker's to keep.
///
/// Moves that are sound one after the other in the order given are all placed: none overtakes an earlier one to the
/// same machine, so that the earliest that waits finds there no more than in that order.
pub fn rounds(problem: &Problem, current: &Placement, moves: &[Move], limits: &Limits) -> Vec<Vec<Move>> {
    let mut rooms = Rooms::new(problem, current);
    let mut budgets = Budgets::new(problem, &limits.budgets);
    let mut waiting: Vec<Move> = moves.iter().copied().filter(|each| budgets.ever_allow(each.item)).collect();
    let mut rounds = Vec::new();
    while !waiting.is_empty() && limits.at_once > 0 {
        let mut round = one_round(&waiting, (&mut rooms, &mut budgets), limits.at_once, Order::Kept);
        if round.is_empty() {
            round = one_round(&waiting, (&mut rooms, &mut budgets), limits.at_once, Order::Any);
        }
        if round.is_empty() {
            break;
        }
        for each in &round {
            rooms.leave(each.item, each.from);
        }
        waiting.retain(|each| !round.contains(each));
        rounds.push(round);
    }
    rounds
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// No move overtakes an earlier one to the same machine.
    Kept,
    Any,
}

fn one_round(
    waiting: &[Move],
    (rooms, budgets): (&mut Rooms<'_>, &mut Budgets<'_>),
    at_once: usize,
    order: Order,
) -> Vec<Move> {
    budgets.next_round();
    let mut round = Vec::new();
    let mut held_up = std::collections::BTreeSet::new();
    for each in waiting {
        if round.len() == at_once {
            break;
        }
        let in_turn = order == Order::Any || !held_up.contains(&each.to);
        if in_turn && budgets.allow(each.item) && rooms.fits(each.item, each.to) {
            budgets.spend(each.item);
            rooms.enter(each.item, each.to);
            round.push(*each);
        } else {
            held_up.insert(each.to);
        }
    }
    round
}
