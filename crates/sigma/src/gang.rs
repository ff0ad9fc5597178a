//! Gangs: pods that are of use only together, and so find room together or not at all.
//!
//! ```text
//!   each member in turn ──► enough have room ──► Placed, and those beyond who did not fit say why
//!                      └──► too few: all room is given back; hardest first; else no member is placed
//! ```
//!
//! A gang that does not fit holds nothing, so two of them never wait for each other's half. Preemption on behalf of a
//! gang is taken back as well unless the whole gang fits then.

mod reprieve;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::place::{Outcome, Pending};
use crate::pod::PodId;
use crate::preempt::Preemption;
use crate::reason::{HalfGang, Unplaced};

/// Some pods of a batch that are placed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gang {
    pub name: String,
    /// How many of its pods must have room, those that have it already among them.
    pub min_member: usize,
    /// How many of its pods have room already, bound or about to be.
    pub n_bound: usize,
    /// The places of its other pods in the batch.
    pub members: Vec<usize>,
}

/// What is placed in one step.
pub(crate) enum Unit<'a> {
    Pod(usize),
    Gang(&'a Gang),
}

/// The batch in the order in which it is placed: higher priority first, and else as it came. A gang stands where the
/// first of its most important pods does.
pub(crate) fn units<'a>(batch: &[Pending], gangs: &'a [Gang]) -> Vec<Unit<'a>> {
    let rank = |position: usize| (Reverse(batch[position].pod.priority), position);
    let mut is_member = vec![false; batch.len()];
    gangs.iter().flat_map(|gang| &gang.members).for_each(|&position| is_member[position] = true);
    let single = (0..batch.len()).filter(|&position| !is_member[position]);
    let mut units: Vec<_> = single.map(|position| (rank(position), Unit::Pod(position))).collect();
    units.extend(gangs.iter().filter_map(|gang| {
        let first = gang.members.iter().map(|&position| rank(position)).min()?;
        Some((first, Unit::Gang(gang)))
    }));
    units.sort_by_key(|(rank, _)| *rank);
    units.into_iter().map(|(_, unit)| unit).collect()
}

impl Cluster {
    /// Places the gang if enough of it fits; its pods' outcomes, by their places in the batch.
    pub(crate) fn place_gang(&mut self, batch: &[Pending], gang: &Gang) -> Vec<(usize, Outcome)> {
        // They must not stand in each other's way where they held room together before.
        gang.members.iter().for_each(|&position| self.remove_pod(&batch[position].id));
        let mut half: Option<HalfGang> = None;
        for order in orders(batch, gang) {
            let outcomes: Vec<(usize, Outcome)> =
                order.iter().map(|&position| (position, self.place_one(&batch[position]))).collect();
            let is_placed = |outcome: &Outcome| matches!(outcome, Outcome::Placed { .. });
            let n_fitting = gang.n_bound + outcomes.iter().filter(|(_, outcome)| is_placed(outcome)).count();
            if n_fitting >= gang.min_member {
                return outcomes;
            }
            order.iter().for_each(|&position| self.remove_pod(&batch[position].id));
            if half.as_ref().is_none_or(|half| half.n_fitting < n_fitting) {
                half = Some(HalfGang {
                    name: gang.name.clone(),
                    min_member: gang.min_member,
                    n_bound: gang.n_bound,
                    n_fitting,
                    cause: outcomes.into_iter().find_map(|(_, outcome)| match outcome {
                        Outcome::Unplaced(unplaced) => Some(Box::new(unplaced)),
                        Outcome::Placed { .. } => None,
                    }),
                });
            }
        }
        let unplaced = half.map(|half| Outcome::Unplaced(Unplaced::HalfGang(half)));
        let members = gang.members.iter();
        members.filter_map(|&position| Some((position, unplaced.clone()?))).collect()
    }

    /// Makes room for a gang that does not fit: members that find room take it, and for as many others as are needed
    /// lesser pods go. Room is held for all of them, who are told by their places in the batch; `None`, and nothing
    /// is changed, when the gang would still be too small. `may_preempt` says for whom others may go.
    pub fn preempt_gang(
        &mut self,
        batch: &[Pending],
        gang: &Gang,
        may_preempt: impl Fn(&Pending) -> bool,
    ) -> Option<BTreeMap<usize, Preemption>> {
        gang.members.iter().for_each(|&position| self.remove_pod(&batch[position].id));
        let budgets = self.budgets.clone();
        // A gang is as important as the least of its pods, or they would take each other's place.
        let priority = gang.members.iter().map(|&position| batch[position].pod.priority).min()?;
        let mut held: BTreeMap<usize, Preemption> = BTreeMap::new();
        for position in hardest_first(batch, gang) {
            let pending = &batch[position];
            if let Outcome::Placed { node, .. } = self.place_one(pending) {
                held.insert(position, Preemption { node, victims: Vec::new() });
            } else if gang.n_bound + held.len() < gang.min_member
                && may_preempt(pending)
                && let Some(preemption) = self.preempt_below(pending, priority)
            {
                held.insert(position, preemption);
            }
        }
        if gang.n_bound + held.len() >= gang.min_member {
            self.budgets.restore(budgets);
            let held = self.reprieve((batch, gang), held);
            held.values().flat_map(|each| &each.victims).for_each(|victim| self.spend_budgets(victim));
            return Some(held);
        }
        for (position, preemption) in held {
            self.remove_pod(&batch[position].id);
            let victims: Vec<PodId> = preemption.victims;
            victims.iter().for_each(|victim| self.set_leaving(victim, false));
        }
        self.budgets.restore(budgets);
        None
    }
}

/// The orders in which a gang is tried: as it came, and where its pods differ, the hardest first.
fn orders(batch: &[Pending], gang: &Gang) -> Vec<Vec<usize>> {
    let mut as_it_came = gang.members.clone();
    as_it_came.sort_by_key(|&position| (Reverse(batch[position].pod.priority), position));
    let hardest = hardest_first(batch, gang);
    if hardest == as_it_came { vec![as_it_came] } else { vec![as_it_came, hardest] }
}

/// Who asks for most, then who asks for most of the rest: what is large finds fewer places.
fn hardest_first(batch: &[Pending], gang: &Gang) -> Vec<usize> {
    let asked = |position: usize| {
        let pod = &batch[position].pod;
        let gpus = pod.gpu.as_ref().map_or(0, |gpu| gpu.ask.count() as u64 * u64::from(gpu.ask.milli_each()));
        let amount = |name: &str| pod.requests.get(name).copied().unwrap_or(0);
        (gpus, amount(crate::resources::CPU), amount(crate::resources::MEMORY))
    };
    let mut order = gang.members.clone();
    order.sort_by_key(|&position| (Reverse(asked(position)), position));
    order
}
