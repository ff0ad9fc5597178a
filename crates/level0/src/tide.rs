//! Tides: which hosts leave batch for a window, what on them may end by itself, what has to go, and whether all will be
//! free in time.
//!
//! ```text
//!   window, hosts with their batch work, now ──► step ──► phase of each host, work to revoke, outlook
//!
//!    from - lead                 latest - what an instance takes     latest = from - grace - margin        from
//!    ────┼──────────────────────────────┼───────────────────────────────────┼───────────────────────────────┼────► time
//!        announced: nothing new comes   draining: nothing new begins        what is left has its grace      free
//! ```
//!
//! What is known of an instance decides when it is told to be the last one, never whether its host is free in time: from
//! `latest` on all that is left has its grace, as estimates may be wrong. A worker ends by itself once its last instance
//! has, and a signal would only end that sooner: it gets it when the grace is nearly over, and others at once.

mod outlook;
mod resize;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use model::tide::{MarkState, TideMark, TidePhase};

pub use outlook::{Fate, Forecast, Outlook, forecast};
pub use resize::{Amounts, Factor, Marked, Resize, Service, resize};

/// Between the end of what was revoked and the window: all that happens takes a moment.
pub const MARGIN: SignedDuration = SignedDuration::from_secs(8);
/// So long nothing of batch must be seen on a host before it is handed over: what was granted just before it was closed
/// may still come.
pub const SETTLE: SignedDuration = SignedDuration::from_secs(3);
/// What a worker gets of its grace after the signal: it kills what it runs then.
pub const WORKER_END: SignedDuration = SignedDuration::from_secs(2);

/// What a tide is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// So many hosts.
    pub wanted: usize,
    /// The share of its offer that batch loses on each: 100 is all.
    pub percent: u32,
    pub lead: SignedDuration,
    pub grace: SignedDuration,
}

/// From when to when hosts are the services'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
}

/// What batch has, or may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub milli_cpu: u64,
    pub memory: u64,
}

/// A Pod of batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    pub id: String,
    pub priority: i32,
    pub age: SignedDuration,
    pub size: Size,
    pub pace: Pace,
    /// It was told to go, and has so much time left.
    pub going: Option<SignedDuration>,
}

/// How long a Pod of batch will be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    Unknown,
    /// A worker: it runs instances one after the other, none longer than this if that is known, and goes after the last.
    Repeats {
        each: Option<SignedDuration>,
    },
    /// It runs once, for so long still.
    Once {
        left: SignedDuration,
    },
}

/// A host that a tide may take, or has.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    pub name: String,
    /// Its owner says that the tide may take it.
    pub is_selected: bool,
    /// It is at work, and no other tide has it.
    pub is_able: bool,
    /// What its Node says of this tide.
    pub mark: Option<TideMark>,
    pub offer: Size,
    pub units: Vec<Unit>,
}

/// A host that the tide has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub name: String,
    pub phase: TidePhase,
    pub since: Timestamp,
}

/// What there is to decide on.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    pub terms: Terms,
    pub window: Option<Window>,
    /// The selected ones, those that the tide has, and those whose Nodes say so.
    pub hosts: &'a [Host],
    pub now: Timestamp,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub held: Vec<Held>,
    /// Units that have to go, by id, and what each gets to end.
    pub revoked: BTreeMap<String, SignedDuration>,
    pub outlook: Outlook,
}

impl Size {
    pub fn plus(self, other: Self) -> Self {
        Self {
            milli_cpu: self.milli_cpu.saturating_add(other.milli_cpu),
            memory: self.memory.saturating_add(other.memory),
        }
    }

    fn fits_in(self, other: Self) -> bool {
        self.milli_cpu <= other.milli_cpu && self.memory <= other.memory
    }
}

impl Terms {
    /// From when on all that is left has its grace.
    pub fn latest(&self, window: Window) -> Timestamp {
        before(window.from, self.grace + MARGIN)
    }

    /// Whether hosts are to be announced, drained or handed over now.
    pub fn is_open(&self, window: Window, now: Timestamp) -> bool {
        before(window.from, self.lead) <= now && now < window.to
    }

    /// What a unit gets to end once it is told to go.
    fn end_of(&self, unit: &Unit) -> SignedDuration {
        match unit.pace {
            Pace::Repeats { .. } => self.grace.min(WORKER_END),
            Pace::Unknown | Pace::Once { .. } => self.grace,
        }
    }

    /// When a unit of a host that is drained since `drained` is told to go.
    fn due(&self, unit: &Unit, window: Window, drained: Timestamp) -> Timestamp {
        let latest = self.latest(window);
        match unit.pace {
            Pace::Repeats { .. } => after(latest.max(drained), self.grace - self.end_of(unit)),
            Pace::Unknown | Pace::Once { .. } => latest,
        }
    }

    fn keep(&self, offer: Size) -> Size {
        Size {
            milli_cpu: TideMark::left_of(self.percent, offer.milli_cpu),
            memory: TideMark::left_of(self.percent, offer.memory),
        }
    }
}

impl Host {
    /// Whether batch has no more than it may keep.
    fn is_free(&self, terms: &Terms) -> bool {
        if terms.percent >= 100 {
            return self.units.is_empty();
        }
        total(self.units.iter()).fits_in(terms.keep(self.offer))
    }
}

fn total<'a>(units: impl Iterator<Item = &'a Unit>) -> Size {
    units.fold(Size::default(), |sum, unit| sum.plus(unit.size))
}

fn before(time: Timestamp, span: SignedDuration) -> Timestamp {
    time.saturating_sub(span).unwrap_or(Timestamp::MIN)
}

fn after(time: Timestamp, span: SignedDuration) -> Timestamp {
    time.saturating_add(span).unwrap_or(Timestamp::MAX)
}

/// The state of a Node's mark in this phase; none where it has none.
pub fn mark_state(phase: TidePhase) -> Option<MarkState> {
    match phase {
        TidePhase::Calm | TidePhase::Returning => None,
        TidePhase::Announced => Some(MarkState::Announced),
        TidePhase::Draining | TidePhase::Verified => Some(MarkState::Draining),
        TidePhase::HandedOver => Some(MarkState::HandedOver),
    }
}

/// The next state of a tide that has `held`.
pub fn step(held: &[Held], sight: &Sight<'_>) -> Turn {
    let mut next: Vec<Held> = sight
        .hosts
        .iter()
        .filter_map(|host| {
            let known = held.iter().find(|held| held.name == host.name);
            match known {
                Some(held) => sight.advance(held, host),
                // Its Node says that this tide has it, but nothing else does: it goes back.
                None => host.mark.as_ref().map(|_| sight.held(host, TidePhase::Returning)),
            }
        })
        .collect();
    sight.give_back_surplus(&mut next);
    sight.take_more(&mut next);
    let revoked = next.iter().flat_map(|held| sight.revoked_on(held)).collect();
    let outlook = sight.outlook(&next);
    Turn { held: next, revoked, outlook }
}

impl Sight<'_> {
    fn open_window(&self) -> Option<Window> {
        self.window.filter(|window| self.terms.is_open(*window, self.now))
    }

    fn held(&self, host: &Host, phase: TidePhase) -> Held {
        Held { name: host.name.clone(), phase, since: self.now }
    }

    fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// What becomes of a host that the tide has; none once it is batch's again.
    fn advance(&self, held: &Held, host: &Host) -> Option<Held> {
        let phase = match self.open_window() {
            Some(window) if held.phase.is_forward() && may_stay(held.phase, host) => {
                self.forward(held, host, window)
            }
            _ if host.mark.is_none() => return None,
            _ => TidePhase::Returning,
        };
        // A clock that was set back must not make a phase last.
        let since = if phase == held.phase { held.since.min(self.now) } else { self.now };
        Some(Held { name: host.name.clone(), phase, since })
    }

    fn forward(&self, held: &Held, host: &Host, window: Window) -> TidePhase {
        let is_free = host.is_free(&self.terms);
        match held.phase {
            TidePhase::Announced if is_free || self.now >= self.drain_at(host, window) => TidePhase::Draining,
            TidePhase::Draining if is_free && self.is_told_to_drain(host) => TidePhase::Verified,
            TidePhase::Verified if !is_free => TidePhase::Draining,
            TidePhase::Verified if self.now.duration_since(held.since.min(self.now)) >= SETTLE => {
                TidePhase::HandedOver
            }
            phase => phase,
        }
    }

    /// Who grants places knows it from the Node alone.
    fn is_told_to_drain(&self, host: &Host) -> bool {
        let mark = host.mark.as_ref();
        mark.is_some_and(|mark| mark.percent == self.terms.percent && mark.state != MarkState::Announced)
    }

    /// When no further instance may begin, so that the last one ends before what is left is revoked.
    fn drain_at(&self, host: &Host, window: Window) -> Timestamp {
        let longest = host.units.iter().map(|unit| match unit.pace {
            Pace::Repeats { each } => each,
            Pace::Unknown | Pace::Once { .. } => None,
        });
        before(self.terms.latest(window), longest.flatten().max().unwrap_or_default())
    }

    /// Where fewer hosts are wanted than before, those that are least far go back.
    fn give_back_surplus(&self, held: &mut Vec<Held>) {
        let mut forward: Vec<&mut Held> = held.iter_mut().filter(|held| held.phase.is_forward()).collect();
        forward.sort_by(|one, other| other.phase.cmp(&one.phase).then_with(|| one.name.cmp(&other.name)));
        for surplus in forward.into_iter().skip(self.terms.wanted) {
            (surplus.phase, surplus.since) = (TidePhase::Returning, self.now);
        }
        let is_marked = |name: &str| self.host(name).is_some_and(|host| host.mark.is_some());
        held.retain(|held| held.phase != TidePhase::Returning || is_marked(&held.name));
    }

    /// Announces further hosts, those first on which batch loses least. Hosts on their way back count: they are still
    /// closed to batch.
    fn take_more(&self, held: &mut Vec<Held>) {
        let Some(window) = self.open_window() else { return };
        let n_missing = self.terms.wanted.saturating_sub(held.len());
        let taken: BTreeSet<String> = held.iter().map(|held| held.name.clone()).collect();
        let chosen = self.by_loss(window).into_iter().filter(|host| !taken.contains(&host.name));
        held.extend(chosen.take(n_missing).map(|host| self.held(host, TidePhase::Announced)));
    }

    /// What has to go from a host now.
    fn revoked_on(&self, held: &Held) -> Vec<(String, SignedDuration)> {
        let (Some(window), Some(host)) = (self.open_window(), self.host(&held.name)) else {
            return Vec::new();
        };
        let is_due = |unit: &Unit| match held.phase {
            TidePhase::Draining => self.now >= self.terms.due(unit, window, held.since),
            // It came past everybody who grants places. Where batch keeps a share, those see to it themselves.
            TidePhase::HandedOver => self.terms.percent >= 100,
            TidePhase::Calm | TidePhase::Returning | TidePhase::Announced | TidePhase::Verified => false,
        };
        let staying = outlook::surplus(host, &self.terms).into_iter().filter(|unit| unit.going.is_none());
        let due = staying.filter(|unit| is_due(unit));
        due.map(|unit| (unit.id.clone(), self.terms.end_of(unit))).collect()
    }
}

/// A host that fails is exchanged for another, unless services have it already.
fn may_stay(phase: TidePhase, host: &Host) -> bool {
    host.is_selected && (host.is_able || phase == TidePhase::HandedOver)
}
