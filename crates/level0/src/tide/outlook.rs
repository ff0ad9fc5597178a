//! What batch loses, and when hosts are free: by what its work tells, as it stands now.

use jiff::{SignedDuration, Timestamp};
use model::tide::TidePhase;

use super::{Held, Host, MARGIN, Pace, SETTLE, Sight, Terms, Unit, Window, after, before, total};

/// What becomes of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on its way already.
    Goes { by: Timestamp },
    /// It ends by itself.
    Ends { by: Timestamp },
    /// It has to go, is gone by then, and loses what it has done for so long.
    Revoked { at: Timestamp, by: Timestamp, lost: SignedDuration },
}

/// What a tide means for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    pub host: String,
    /// What becomes of its units, by id.
    pub fates: Vec<(String, Fate)>,
    /// The highest priority of what is lost.
    pub priority: Option<i32>,
    /// The processor time that is lost, in milli-core seconds.
    pub lost: i128,
    pub free_at: Timestamp,
}

/// How a tide stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    pub wanted: usize,
    /// Hosts that are on their way or there.
    pub taken: usize,
    pub handed_over: usize,
    /// When the last one is expected to be free; none where none is awaited.
    pub expected: Option<Timestamp>,
    /// Hosts that will not be free in time, or were not.
    pub late: Vec<String>,
}

impl Outlook {
    pub fn is_complete(&self) -> bool {
        self.handed_over >= self.wanted
    }

    /// Whether too few hosts are able.
    pub fn n_missing(&self) -> usize {
        self.wanted.saturating_sub(self.taken)
    }
}

/// What the tide means for a host that it takes now.
pub fn forecast(host: &Host, terms: &Terms, window: Window, now: Timestamp) -> Forecast {
    let sight = Sight { terms: *terms, window: Some(window), hosts: &[], now };
    sight.forecast(host, window)
}

impl Sight<'_> {
    fn forecast(&self, host: &Host, window: Window) -> Forecast {
        let leaving = surplus(host, &self.terms);
        let begins = self.drain_at(host, window).max(self.now).max(before(window.from, self.terms.lead));
        let fates: Vec<(&Unit, Fate)> =
            leaving.iter().map(|unit| (*unit, self.fate(unit, window, begins))).collect();
        let is_lost = |(unit, fate): &(&Unit, Fate)| match fate {
            Fate::Revoked { lost, .. } => Some((unit.priority, lost.as_secs(), unit.size.milli_cpu)),
            Fate::Goes { .. } | Fate::Ends { .. } => None,
        };
        let lost: Vec<_> = fates.iter().filter_map(is_lost).collect();
        let ends = fates.iter().map(|(_, fate)| fate.end());
        Forecast {
            host: host.name.clone(),
            priority: lost.iter().map(|(priority, ..)| *priority).max(),
            lost: lost.iter().map(|(_, seconds, milli)| i128::from(*seconds) * i128::from(*milli)).sum(),
            free_at: after(ends.max().unwrap_or(self.now), SETTLE),
            fates: fates.into_iter().map(|(unit, fate)| (unit.id.clone(), fate)).collect(),
        }
    }

    fn fate(&self, unit: &Unit, window: Window, begins: Timestamp) -> Fate {
        if let Some(left) = unit.going {
            // One that is overdue hangs: nobody knows for how long.
            let left = if left.is_positive() { left } else { MARGIN };
            return Fate::Goes { by: after(self.now, left) };
        }
        let ends = match unit.pace {
            Pace::Unknown | Pace::Repeats { each: None } => None,
            Pace::Repeats { each: Some(each) } => Some(after(begins, each)),
            Pace::Once { left } => Some(after(self.now, left)),
        };
        let due = self.terms.due(unit, window, begins);
        match ends.filter(|ends| *ends <= due) {
            Some(by) => Fate::Ends { by },
            None => {
                let at = due.max(self.now);
                let age = after(self.now, unit.age).duration_since(self.now);
                let lost = match unit.pace {
                    Pace::Repeats { each: Some(each) } => age.min(each),
                    Pace::Unknown | Pace::Repeats { each: None } | Pace::Once { .. } => {
                        age + at.duration_since(self.now)
                    }
                };
                let by = after(at, self.terms.end_of(unit));
                Fate::Revoked { at, by, lost: lost.max(SignedDuration::ZERO) }
            }
        }
    }

    /// The hosts that can be taken, those first on which batch loses least: no high priorities, then little work, then
    /// soon free.
    pub(super) fn by_loss(&self, window: Window) -> Vec<&Host> {
        let able = self.hosts.iter().filter(|host| host.is_selected && host.is_able && host.mark.is_none());
        let mut all: Vec<(Forecast, &Host)> = able.map(|host| (self.forecast(host, window), host)).collect();
        all.sort_by(|(one, _), (other, _)| one.order().cmp(&other.order()));
        all.into_iter().map(|(_, host)| host).collect()
    }

    pub(super) fn outlook(&self, held: &[Held]) -> Outlook {
        let Some(window) = self.window.filter(|window| self.terms.is_open(*window, self.now)) else {
            return Outlook::default();
        };
        let forward = held.iter().filter(|held| held.phase.is_forward());
        let mut outlook = Outlook { wanted: self.terms.wanted, ..Outlook::default() };
        for held in forward {
            outlook.taken += 1;
            if held.phase == TidePhase::HandedOver {
                outlook.handed_over += 1;
                continue;
            }
            let Some(host) = self.host(&held.name) else { continue };
            let free_at = self.free_at(held, host, window);
            outlook.expected = outlook.expected.max(Some(free_at));
            if free_at > window.from {
                outlook.late.push(held.name.clone());
            }
        }
        outlook
    }

    fn free_at(&self, held: &Held, host: &Host, window: Window) -> Timestamp {
        match held.phase {
            TidePhase::Verified => after(held.since, SETTLE).max(self.now),
            TidePhase::Draining => {
                let ends = surplus(host, &self.terms).into_iter().map(|unit| {
                    // Its last instance began before the host was drained, at the latest.
                    let fate = self.fate(unit, window, held.since);
                    fate.end().max(self.now)
                });
                after(ends.max().unwrap_or(self.now), SETTLE)
            }
            _ => self.forecast(host, window).free_at,
        }
    }
}

impl Fate {
    fn end(self) -> Timestamp {
        match self {
            Self::Goes { by } | Self::Ends { by } | Self::Revoked { by, .. } => by,
        }
    }
}

impl Forecast {
    /// Less is better.
    pub fn order(&self) -> (Option<i32>, i128, Timestamp, &str) {
        (self.priority, self.lost, self.free_at, &self.host)
    }
}

/// What has to leave a host: all of its units; where batch keeps a share, those first that are going, then the least and
/// youngest, until the rest fits.
pub(super) fn surplus<'a>(host: &'a Host, terms: &Terms) -> Vec<&'a Unit> {
    let mut units: Vec<&Unit> = host.units.iter().collect();
    if terms.percent >= 100 {
        return units;
    }
    units.sort_by(|one, other| {
        let order = |unit: &Unit| (unit.going.is_none(), unit.priority, unit.age);
        order(one).cmp(&order(other)).then_with(|| one.id.cmp(&other.id))
    });
    let keep = terms.keep(host.offer);
    let stays = |count: usize| total(units[count..].iter().copied()).fits_in(keep);
    let n_leaving = (0..=units.len()).find(|count| stays(*count)).unwrap_or(units.len());
    units.truncate(n_leaving);
    units
}
