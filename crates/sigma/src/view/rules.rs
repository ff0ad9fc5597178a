//! What a class asks of the pods around it: spread constraints, and the terms of pod affinity from both sides.

use crate::cluster::Row;
use crate::interference::{Near, Side};
use crate::pod::WhenUnsatisfiable;
use crate::reason::Reason;

use super::tally::{Tally, Topology};

/// On what a rule depends: the row alone, or a domain of several rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Row,
    Domain,
}

impl Level {
    fn has(self, topology: &Topology) -> bool {
        topology.is_single == (self == Self::Row)
    }
}

/// A topology spread constraint.
#[derive(Debug)]
pub(super) struct Spread {
    pub(super) tally: usize,
    pub(super) unsatisfiable: WhenUnsatisfiable,
    pub(super) max_skew: u64,
    /// One if the pod itself will be counted.
    pub(super) own: u64,
    pub(super) min_domains: usize,
}

impl Spread {
    fn is_hard(&self) -> bool {
        self.unsatisfiable == WhenUnsatisfiable::DoNotSchedule
    }
}

/// A rule against interference. Its tallies count those that are limited, those beside which they are, and both.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) name: String,
    pub(super) side: Side,
    pub(super) at_most: u32,
    pub(super) limited: usize,
    pub(super) guarded: usize,
    pub(super) both: usize,
}

/// All rules of a class. Tallies are named by their place in the view's list.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) spread: Vec<Spread>,
    pub(super) required: Vec<usize>,
    /// Whether a pod may be the first of those that it requires, if there is none yet.
    pub(super) may_be_first: bool,
    pub(super) forbidden: Vec<usize>,
    pub(super) repelling: Vec<usize>,
    pub(super) limits: Vec<Limit>,
    pub(super) wishes: Vec<(i64, usize)>,
    /// The weights of the leanings on single rows, and on domains.
    leans: [u64; 2],
    state: State,
}

/// What all rows have in common at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// Of each spread constraint, the pods in the emptiest domain.
    least: Vec<u64>,
    /// None of the pods that are required is anywhere.
    is_alone: bool,
}

const WEIGHT_UNIT: u64 = 16;

/// A crowded domain among many says more than one among few: grows with the logarithm of their number, as in
/// kube-scheduler, so that zones weigh beside hosts.
fn weight(n_domains: usize) -> u64 {
    WEIGHT_UNIT * u64::from((n_domains + 2).ilog2())
}

impl Rules {
    /// Takes in what has become of the tallies. True when rules that look at single rows judge otherwise now.
    pub(super) fn settle(&mut self, topologies: &[Topology], tallies: &[Tally]) -> bool {
        if self.spread.is_empty() && self.required.is_empty() {
            return false;
        }
        let mut is_news = false;
        self.state.least.resize(self.spread.len(), 0);
        for (spread, least) in self.spread.iter().zip(&mut self.state.least) {
            let tally = &tallies[spread.tally];
            let now = if tally.n_domains() < spread.min_domains { 0 } else { tally.least() };
            is_news |= now != *least && spread.is_hard() && Level::Row.has(&topologies[tally.topology]);
            *least = now;
        }
        let is_alone = self.required.iter().all(|&each| tallies[each].is_empty());
        is_news |= is_alone != self.state.is_alone
            && self.required.iter().any(|&each| Level::Row.has(&topologies[tallies[each].topology]));
        self.state.is_alone = is_alone;
        is_news
    }

    /// Whether a pod more on `row` keeps the rules of the level.
    pub(super) fn check(
        &self,
        topologies: &[Topology],
        tallies: &[Tally],
        level: Level,
        row: Row,
    ) -> Result<(), Reason> {
        self.check_without((topologies, tallies), level, row, |_| 0)
    }

    /// The same once so many pods of each count have `gone` from the row.
    pub(super) fn check_without(
        &self,
        (topologies, tallies): (&[Topology], &[Tally]),
        level: Level,
        row: Row,
        gone: impl Fn(&Tally) -> u64,
    ) -> Result<(), Reason> {
        // `None`: not of this level. Else the pods near the row, if it is in a domain.
        let look_at_all = |tally: usize| {
            let tally = &tallies[tally];
            let topology = &topologies[tally.topology];
            level.has(topology).then(|| tally.near(topology, row))
        };
        let look = |tally: usize| {
            let left = |near: u64| near.saturating_sub(gone(&tallies[tally]));
            look_at_all(tally).map(|near| near.map(left))
        };
        for (spread, least) in self.spread.iter().zip(&self.state.least) {
            if !spread.is_hard() {
                continue;
            }
            match look(spread.tally) {
                None => {}
                Some(None) => return Err(Reason::SpreadMissingLabel),
                Some(Some(here)) if here + spread.own > least + spread.max_skew => {
                    return Err(Reason::Spread);
                }
                Some(Some(_)) => {}
            }
        }
        let may_start = self.may_be_first && self.state.is_alone;
        let lacks = |near: Option<u64>| near.is_none_or(|near| near == 0 && !may_start);
        if self.required.iter().filter_map(|&each| look_at_all(each)).any(lacks) {
            return Err(Reason::PodAffinity);
        }
        let has_near = |&each: &usize| look(each).flatten().is_some_and(|near| near > 0);
        if self.forbidden.iter().any(has_near) {
            return Err(Reason::PodAntiAffinity);
        }
        if self.repelling.iter().any(has_near) {
            return Err(Reason::ExistingAntiAffinity);
        }
        for limit in &self.limits {
            let near = |tally: usize| look(tally).flatten().unwrap_or(0);
            let [limited, guarded, both] = [limit.limited, limit.guarded, limit.both].map(near);
            if (Near { limited, guarded, both }).is_full(limit.side, limit.at_most) {
                return Err(Reason::Interference(limit.name.clone()));
            }
        }
        Ok(())
    }

    /// How much the class would rather be where fewer of its like are; 0 is not at all.
    pub(super) fn leaning(&self, level: Level) -> u64 {
        self.leans[usize::from(level == Level::Domain)]
    }

    /// How crowded the row's domains are with the pod's like: less is better. `None` when a soft constraint's label
    /// is missing, which is worst.
    pub(super) fn crowding(
        &self,
        topologies: &[Topology],
        tallies: &[Tally],
        level: Level,
        row: Row,
    ) -> Option<u64> {
        let mut sum = 0;
        for spread in self.soft() {
            let tally = &tallies[spread.tally];
            let topology = &topologies[tally.topology];
            if level.has(topology) {
                sum += tally.near(topology, row)? * weight(tally.n_domains());
            }
        }
        Some(sum)
    }

    fn soft(&self) -> impl Iterator<Item = &Spread> {
        self.spread.iter().filter(|each| !each.is_hard())
    }

    /// Notes on which levels the class leans.
    pub(super) fn note_leaning(&mut self, topologies: &[Topology], tallies: &[Tally]) {
        let sum = |level: Level| {
            let tallies = self.soft().map(|each| &tallies[each.tally]);
            let of_level = tallies.filter(|tally| level.has(&topologies[tally.topology]));
            of_level.map(|tally| weight(tally.n_domains())).sum()
        };
        self.leans = [sum(Level::Row), sum(Level::Domain)];
    }

    /// How much the pod and its neighbours would like it to be on `row`.
    pub(super) fn wish(&self, topologies: &[Topology], tallies: &[Tally], level: Level, row: Row) -> i64 {
        let wish = |&(weight, tally): &(i64, usize)| {
            let tally = &tallies[tally];
            let topology = &topologies[tally.topology];
            let near = if level.has(topology) { tally.near(topology, row).unwrap_or(0) } else { 0 };
            weight.saturating_mul(i64::try_from(near).unwrap_or(i64::MAX))
        };
        self.wishes.iter().map(wish).fold(0, i64::saturating_add)
    }

    /// Whether the class or its neighbours wish for anything on a row alone.
    pub(super) fn wishes_on_rows(&self, topologies: &[Topology], tallies: &[Tally]) -> bool {
        self.wishes.iter().any(|&(_, tally)| Level::Row.has(&topologies[tallies[tally].topology]))
    }
}
