//! All priority levels together: who gets a seat, and from whom it is borrowed.
//!
//! ```text
//!   pool of seats = what is guaranteed to each level + what levels lend
//!   a level within its nominal seats comes first; what is left over is lent to those who have more to do
//! ```
//! Three things hold at all times: the seats in use are never more than there are; a level finds what is guaranteed
//! to it free at once; and while anybody waits for seats that are their own, nobody else borrows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::CATCH_ALL;
use super::classifier::Flow;
use super::level::{Level, Overflow, Seated, Waiting};
#[cfg(test)]
use super::limits::Limits;
use super::limits::{Shares, limits};

/// A request that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Why a request was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// All seats are taken, and nobody waits at this level.
    NoSeat,
    /// All seats are taken, and the queue is full.
    QueueFull,
}

/// What becomes of a request that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// No limit applies.
    Exempt,
    Seated(Ticket),
    /// It waits; others may have got a seat by that.
    Waits(Ticket, Vec<Ticket>),
    Refused(Refusal),
}

#[derive(Debug)]
enum Place {
    Waiting { level: Arc<str> },
    Seated { level: Arc<str>, seated: Seated },
}

/// The seats of a server and who has them.
#[derive(Debug)]
pub struct Dispatcher {
    total: u32,
    /// The seats that levels share; about `total`.
    pool: u32,
    levels: BTreeMap<Arc<str>, Level>,
    places: HashMap<Ticket, Place>,
    next_ticket: u64,
}

/// Whether a request can be seated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// It is within what the level has, and there is room.
    Own,
    /// It is within what the level has, but others still use what they borrowed.
    OwnButLent,
    /// It would be borrowed, and there is room.
    Borrowed,
    No,
}

impl Dispatcher {
    /// A server of `total` seats. Until it is configured there is only the catch-all level, which has them all.
    pub fn new(total: u32) -> Self {
        let mut catch_all = Level::new(CATCH_ALL.into(), Shares::EQUAL);
        catch_all.set_overflow(Overflow::Queue { queues: 64, hand: 6, longest: 50 });
        let levels = BTreeMap::from([(Arc::clone(&catch_all.name), catch_all)]);
        let mut dispatcher = Self { total, pool: total, levels, places: HashMap::new(), next_ticket: 0 };
        dispatcher.share_out();
        dispatcher
    }

    /// Works by these PriorityLevelConfigurations from now on; answers who has a seat by that. A level that is gone
    /// takes nobody in, and keeps its part of the seats until it is empty: whoever waits there is served.
    pub fn configure(&mut self, objects: &[Value], now: Duration) -> Vec<Ticket> {
        for level in self.levels.values_mut() {
            level.is_departing = true;
        }
        for object in objects {
            let Some(name) = object["metadata"]["name"].as_str().map(Arc::<str>::from) else { continue };
            let shares = Shares::read(&object["spec"]);
            let level = self.levels.entry(Arc::clone(&name)).or_insert_with(|| Level::new(name, shares));
            (level.shares, level.is_departing) = (shares, false);
            level.set_overflow(Overflow::read(&object["spec"]));
        }
        self.share_out();
        self.dispatch(now)
    }

    /// Forgets the levels that are gone and empty, and deals the seats among the others. The catch-all stays, with
    /// what it can borrow.
    fn share_out(&mut self) {
        self.levels.retain(|name, level| &**name == CATCH_ALL || !level.has_departed());
        let shares = |level: &Level| if level.has_departed() { Shares::NONE } else { level.shares };
        let shares: Vec<Shares> = self.levels.values().map(shares).collect();
        let (limits, pool) = limits(self.total, &shares);
        self.pool = pool;
        for (level, limits) in self.levels.values_mut().zip(limits) {
            level.limits = limits;
        }
    }

    /// A request of `flow` arrives that is as much work as `width` small ones.
    pub fn arrive(&mut self, flow: &Flow, width: u32, now: Duration) -> Arrival {
        let is_open = self.levels.get(&flow.level).is_some_and(|level| !level.is_departing);
        let name = if is_open { &*flow.level } else { CATCH_ALL };
        let is_own_waiting = self.levels.values().any(|level| self.claim_of_next(level) == Claim::OwnButLent);
        let Some(level) = self.levels.get(name) else { return Arrival::Exempt };
        if level.is_exempt() {
            return Arrival::Exempt;
        }
        let has_seat = match self.claim(level, level.fitted(width)) {
            Claim::Own => true,
            Claim::Borrowed => !is_own_waiting,
            Claim::OwnButLent | Claim::No => false,
        };
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let Some(level) = self.levels.get_mut(name) else { return Arrival::Exempt };
        let name = Arc::clone(&level.name);
        if has_seat && level.waiting == 0 {
            let seated = level.seat(flow.hash, level.fitted(width), now);
            self.places.insert(ticket, Place::Seated { level: name, seated });
            return Arrival::Seated(ticket);
        }
        if let Err(refusal) = level.enqueue(Waiting { ticket, width, hash: flow.hash }) {
            return Arrival::Refused(refusal);
        }
        self.places.insert(ticket, Place::Waiting { level: name });
        let mut seated = self.dispatch(now);
        match seated.iter().position(|other| *other == ticket) {
            Some(index) if seated.len() == 1 => Arrival::Seated(seated.swap_remove(index)),
            _ => Arrival::Waits(ticket, seated),
        }
    }

    /// A request has ended, or its client no longer waits; answers who has a seat by that.
    pub fn leave(&mut self, ticket: Ticket, now: Duration) -> Vec<Ticket> {
        let Some(place) = self.places.remove(&ticket) else { return Vec::new() };
        let (Place::Waiting { level: name } | Place::Seated { level: name, .. }) = &place;
        let Some(level) = self.levels.get_mut(name) else { return Vec::new() };
        match &place {
            Place::Waiting { .. } => level.give_up(ticket),
            Place::Seated { seated, .. } => level.finish(*seated, now),
        }
        if level.has_departed() {
            self.share_out();
        }
        self.dispatch(now)
    }

    /// Whether the request has its seat.
    pub fn is_seated(&self, ticket: Ticket) -> bool {
        matches!(self.places.get(&ticket), Some(Place::Seated { .. }))
    }

    fn dispatch(&mut self, now: Duration) -> Vec<Ticket> {
        let mut seated = Vec::new();
        while let Some((name, index)) = self.next() {
            let Some(served) = self.levels.get_mut(&name).and_then(|level| level.serve(index, now)) else {
                break;
            };
            self.places.insert(served.0, Place::Seated { level: name, seated: served.1 });
            seated.push(served.0);
        }
        seated
    }

    /// The level and the queue whose request is served next, if any can be.
    fn next(&self) -> Option<(Arc<str>, usize)> {
        let waiting = self.levels.values().filter(|level| level.waiting > 0);
        let claims: Vec<(Claim, &Level)> = waiting.map(|level| (self.claim_of_next(level), level)).collect();
        let with =
            |wanted: Claim| claims.iter().filter(move |(claim, _)| *claim == wanted).map(|(_, level)| *level);
        // Whoever uses the smallest part of what it has comes first.
        let neediest = |one: &&Level, other: &&Level| {
            let scaled =
                |used: &Level, by: &Level| u64::from(used.used) * u64::from(by.limits.nominal.max(1));
            scaled(one, other).cmp(&scaled(other, one))
        };
        let level = match with(Claim::Own).min_by(neediest) {
            Some(level) => level,
            None if with(Claim::OwnButLent).next().is_some() => return None,
            None => with(Claim::Borrowed).min_by(neediest)?,
        };
        level.next().map(|(index, _)| (Arc::clone(&level.name), index))
    }

    fn claim_of_next(&self, level: &Level) -> Claim {
        if level.waiting == 0 {
            return Claim::No;
        }
        level.next().map_or(Claim::No, |(_, waiting)| self.claim(level, level.fitted(waiting.width)))
    }

    fn claim(&self, level: &Level, width: u32) -> Claim {
        let after = level.used + width;
        let others = self.levels.values().filter(|other| other.name != level.name);
        // What others use, or could claim at once.
        let kept: u32 = others.map(|other| other.used.max(other.limits.guaranteed)).sum();
        let has_room = kept + after <= self.pool;
        match (after <= level.limits.nominal, has_room) {
            (true, true) => Claim::Own,
            (true, false) => Claim::OwnButLent,
            (false, true) if after <= level.limits.most => Claim::Borrowed,
            (false, _) => Claim::No,
        }
    }
}

#[cfg(test)]
impl Dispatcher {
    /// What a level uses, how many wait there, and its limits.
    pub(super) fn figures(&self, level: &str) -> (u32, usize, Limits) {
        self.levels
            .get(level)
            .map_or((0, 0, Limits::default()), |level| (level.used, level.waiting, level.limits))
    }

    pub(super) fn pool(&self) -> u32 {
        self.pool
    }

    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.levels.keys().cloned().collect()
    }
}
