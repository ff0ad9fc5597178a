//! The cluster as one class of pods sees it, kept up to date row by row, so that a placement costs the same on a
//! hundred nodes and on a hundred thousand.
//!
//! ```text
//!   rows that changed ──► tallies (pods per domain) ──► local verdict and score of those rows ──► forest
//!                                                                                                   │
//!   choose: the best seat of each cell, with what holds for the cell's domains ◄────────────────────┘
//! ```
//!
//! A *seat* is a row that the class may use at all, as far as labels and taints go. Seats that share all domains that
//! the class asks about form a *cell*: two zones, two cells. What depends on a row alone is in the forest; what
//! depends on domains is judged once per cell.

mod build;
mod class;
mod forest;
mod levels;
mod local;
mod rules;
mod tally;

use std::collections::BTreeMap;

use crate::cluster::{Cluster, CountId, Row, Template, Wanted};
use crate::policy::Policy;
use crate::preempt::Costs;
use crate::reason::{NoFit, Reason};
use crate::score::{Part, PartWeights, Score};

pub(crate) use class::{ClassId, ClassKey, Ties, Views};

use build::Most;
use forest::Forest;
use local::Wishes;
use rules::{Level, Rules};
use tally::{Tally, Topology};

/// The best score that one score can give. Large, so that a small pod makes a difference on a large node.
pub(crate) const FULL: u64 = 1 << 20;

/// No seat.
const NOWHERE: u32 = u32::MAX;

/// How one class of pods sees the cluster.
#[derive(Debug)]
pub(crate) struct View {
    /// What the view was built from, see [`Cluster::structure`].
    structure: u64,
    policy: Policy,
    weights: PartWeights,
    most: Most,
    /// Up to where in the cluster's changes it is up to date.
    seen: u64,
    topologies: Vec<Topology>,
    tallies: Vec<Tally>,
    rules: Rules,
    wishes: Wishes,
    images: Wanted,
    seats: Vec<Seat>,
    /// The seat of each row, or [`NOWHERE`].
    seat_of: Vec<u32>,
    cells: Vec<Cell>,
    forest: Forest,
    /// Why no node can take a pod, while nothing has changed since that was found.
    no_fit: Option<NoFit>,
    /// What it would cost to make room, see [`crate::preempt`].
    pub(crate) costs: Option<Costs>,
}

/// A row that labels and taints admit.
#[derive(Clone, Copy, Debug)]
struct Seat {
    row: Row,
    cell: usize,
    /// Its place in the order of the nodes' hashes.
    rank: usize,
    /// What taints and preferred labels add to the score.
    base: u64,
}

/// Seats that share all domains.
#[derive(Debug)]
struct Cell {
    /// One row of it, to ask for the domains.
    sample: Row,
}

/// A cell that can take a pod now.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    cell: usize,
    local: u64,
    crowding: Option<u64>,
    wish: i64,
}

impl View {
    /// Takes in what has changed since the last look.
    pub(crate) fn refresh(&mut self, cluster: &Cluster, template: &Template) {
        let changed = match cluster.changes.since(self.seen) {
            Some(rows) if self.structure == cluster.structure => rows,
            Some(_) | None => return *self = Self::build(cluster, template),
        };
        if self.seen == cluster.changes.end() {
            return;
        }
        self.no_fit = None;
        self.seen = cluster.changes.end();
        for row in changed.clone() {
            self.count(cluster, row);
        }
        let is_all = self.rules.settle(&self.topologies, &self.tallies) | self.wishes.settle();
        if is_all {
            self.judge_all(cluster, template);
        } else {
            changed.for_each(|row| self.judge(cluster, template, row));
        }
    }

    /// Takes in the pods that are on `row` now.
    fn count(&mut self, cluster: &Cluster, row: Row) {
        for tally in &mut self.tallies {
            tally.set(&self.topologies[tally.topology], row, cluster.counts.at(tally.count, row));
        }
        if let Some(&seat) = self.seat_of.get(row).filter(|&&seat| seat != NOWHERE) {
            self.wishes.set(seat as usize, self.rules.wish(&self.topologies, &self.tallies, Level::Row, row));
        }
    }

    fn judge(&mut self, cluster: &Cluster, template: &Template, row: Row) {
        let Some(&seat) = self.seat_of.get(row).filter(|&&seat| seat != NOWHERE) else { return };
        let seat = seat as usize;
        let score = self.local(cluster, template, seat);
        self.forest.set(self.seats[seat].cell, seat, score);
    }

    fn judge_all(&mut self, cluster: &Cluster, template: &Template) {
        for seat in 0..self.seats.len() {
            let score = self.local(cluster, template, seat);
            self.forest.put(self.seats[seat].cell, seat, score);
        }
        self.forest.grow();
    }

    /// The best row for one more pod, and its score.
    pub(crate) fn choose(&self) -> Option<(Row, u64)> {
        let candidates = || (0..self.cells.len()).filter_map(|cell| self.candidate(cell));
        let range = Range::of(candidates());
        let mut best: Option<(u64, Seat)> = None;
        for candidate in candidates() {
            let total = candidate.local + range.score(&candidate, &self.rules).total(&self.weights);
            if best.is_some_and(|(most, _)| total < most) {
                continue;
            }
            let seat = self.seats[self.forest.best(candidate.cell)];
            // The first of equals, in the order of the nodes' hashes.
            if best.is_none_or(|(most, other)| total > most || seat.rank < other.rank) {
                best = Some((total, seat));
            }
        }
        best.map(|(total, seat)| (seat.row, total))
    }

    /// Every row that can take a pod now, in the order in which [`View::choose`] would have them, and what speaks for it.
    pub(crate) fn ranking(&self, cluster: &Cluster, template: &Template) -> Vec<(Row, Score)> {
        let candidates: Vec<Option<Candidate>> =
            (0..self.cells.len()).map(|cell| self.candidate(cell)).collect();
        let range = Range::of(candidates.iter().flatten().copied());
        let rated = self.seats.iter().enumerate().filter_map(|(place, seat)| {
            let of_domains = range.score(&candidates[seat.cell]?, &self.rules);
            let of_labels = build::judge(cluster, &template.pod, seat.row).score(&self.most);
            let score = of_labels + self.local_score(cluster, template, place)? + of_domains;
            Some((std::cmp::Reverse(score.total(&self.weights)), seat.rank, (seat.row, score)))
        });
        let mut rated: Vec<_> = rated.collect();
        rated.sort_unstable_by_key(|&(total, rank, _)| (total, rank));
        rated.into_iter().map(|(_, _, seat)| seat).collect()
    }

    pub(crate) fn weights(&self) -> &PartWeights {
        &self.weights
    }

    fn candidate(&self, cell: usize) -> Option<Candidate> {
        let local = self.forest.top(cell)?;
        let row = self.cells[cell].sample;
        self.rules.check(&self.topologies, &self.tallies, Level::Domain, row).ok()?;
        let crowding = self.rules.crowding(&self.topologies, &self.tallies, Level::Domain, row);
        let wish = self.rules.wish(&self.topologies, &self.tallies, Level::Domain, row);
        Some(Candidate { cell, local, crowding, wish })
    }

    /// Why no node can take a pod.
    pub(crate) fn no_fit(&mut self, cluster: &Cluster, template: &Template) -> NoFit {
        if let Some(known) = &self.no_fit {
            return known.clone();
        }
        let mut no_fit = NoFit { n_nodes: cluster.n_nodes(), reasons: BTreeMap::new() };
        for row in cluster.rows_in_order() {
            for reason in self.check(cluster, template, row).err().into_iter().flatten() {
                *no_fit.reasons.entry(reason).or_default() += 1;
            }
        }
        self.no_fit = Some(no_fit.clone());
        no_fit
    }

    /// Whether the rules about pods around `row` would be kept without some pods of it; `counted` says how many of those
    /// are in a count.
    pub(crate) fn may_yield(&self, row: Row, counted: impl Fn(CountId) -> u64) -> bool {
        let gone = |tally: &Tally| counted(tally.count).min(tally.seen(row));
        let around = (&*self.topologies, &*self.tallies);
        [Level::Row, Level::Domain]
            .into_iter()
            .all(|level| self.rules.check_without(around, level, row, gone).is_ok())
    }

    /// Whether the node of `row` can take a pod now; if not, why. The first filter that fails speaks for the node,
    /// and only resources name all that are short.
    pub(crate) fn check(&self, cluster: &Cluster, template: &Template, row: Row) -> Result<(), Vec<Reason>> {
        if cluster.volumes.is_claimed(&template.pod.volumes) {
            return Err(vec![Reason::ClaimInUse]);
        }
        let fixed = build::judge(cluster, &template.pod, row);
        if let Some(reason) = fixed.refused {
            return Err(vec![reason]);
        }
        if local::has_port_conflict(&cluster.hosts[row], &template.pod) {
            return Err(vec![Reason::HostPorts]);
        }
        let beyond = cluster.beyond_reserved(row, template);
        let short = cluster.resources.short(row, beyond.as_ref().unwrap_or(&template.demand.amounts));
        if !short.is_empty() {
            return Err(short);
        }
        if let Some(reason) = local::misfits(cluster, template, row).next() {
            return Err(vec![reason]);
        }
        let checked = [Level::Row, Level::Domain]
            .into_iter()
            .try_for_each(|level| self.rules.check(&self.topologies, &self.tallies, level, row));
        checked.map_err(|reason| vec![reason])
    }
}

/// Whether something keeps a pod off the row that stays whoever goes from there.
pub(crate) fn is_closed(cluster: &Cluster, template: &Template, row: Row) -> bool {
    let fixed = build::judge(cluster, &template.pod, row).refused;
    let mut reasons = fixed.into_iter().chain(local::misfits(cluster, template, row));
    reasons.any(|reason| !reason.yields_to_eviction())
}

/// What the candidates range over, to make their scores comparable.
struct Range {
    most_crowded: u64,
    least_crowded: u64,
    least_wish: i64,
    most_wish: i64,
}

impl Range {
    fn of(candidates: impl Iterator<Item = Candidate>) -> Self {
        let empty =
            Self { most_crowded: 0, least_crowded: u64::MAX, least_wish: i64::MAX, most_wish: i64::MIN };
        candidates.fold(empty, |range, candidate| Self {
            most_crowded: range.most_crowded.max(candidate.crowding.unwrap_or(0)),
            least_crowded: range.least_crowded.min(candidate.crowding.unwrap_or(u64::MAX)),
            least_wish: range.least_wish.min(candidate.wish),
            most_wish: range.most_wish.max(candidate.wish),
        })
    }

    /// What the domains of a candidate add to its score: 0 to 100 % each for room among its like, and for company.
    fn score(&self, candidate: &Candidate, rules: &Rules) -> Score {
        let spread = match candidate.crowding {
            None => 0,
            Some(_) if self.most_crowded == 0 => FULL,
            Some(sum) => FULL * (self.most_crowded + self.least_crowded - sum) / self.most_crowded,
        };
        let spread = if rules.leaning(Level::Domain) > 0 { spread } else { 0 };
        let wish = share(candidate.wish.abs_diff(self.least_wish), self.most_wish.abs_diff(self.least_wish));
        Score::of([(Part::ApartInDomains, spread), (Part::CompanyInDomains, wish)])
    }
}

/// `value` of `most`, of [`FULL`]; nothing of nothing is nothing.
pub(crate) fn share(value: u64, most: u64) -> u64 {
    let share = (u128::from(value) * u128::from(FULL)).checked_div(u128::from(most)).unwrap_or(0);
    u64::try_from(share).unwrap_or(u64::MAX)
}
