//! What services need by the hour of the week, as weeks before have shown it: when many hosts will be wanted, and how many.
//!
//! ```text
//!   samples ──► Watch: an hour's highest ──► Season: one slot for each hour of the week, a maximum whose excess halves weekly
//!                                               │ a slot without history: the highest of that hour on other days
//!                                               ▼
//!                need + margin ──► hosts ──► the next hours in which enough are needed: a Swell, for as many as its highest
//! ```

#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};

/// Hours of a week.
pub const SLOTS: usize = 168;
/// Samples are smoothed over about so long: a moment is no need.
const SMOOTHING: SignedDuration = SignedDuration::from_mins(5);
/// An hour that was watched for less is not counted.
const LEAST_WATCHED: SignedDuration = SignedDuration::from_mins(30);
/// After a longer pause it is watched anew.
const LONGEST_GAP: SignedDuration = SignedDuration::from_mins(10);
/// A swell that is shorter is not worth its hosts.
pub const LEAST_SWELL: SignedDuration = SignedDuration::from_mins(10);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// The hour that is running.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    seen: Option<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    last: Timestamp,
    smoothed: f64,
    highest: f64,
    watched: SignedDuration,
}

/// An hour that is over, and what was needed at its highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    pub start: Timestamp,
    pub milli_cpu: u64,
}

/// When the hour of `now` began.
pub fn hour_of(now: Timestamp) -> Timestamp {
    let seconds = now.as_second();
    Timestamp::from_second(seconds - seconds.rem_euclid(HOUR.as_secs())).unwrap_or(now)
}

impl Watch {
    /// Takes what is needed now; the hour before, if one is over and was watched for long enough.
    pub fn observe(&mut self, milli_cpu: u64, now: Timestamp) -> Option<Passed> {
        #[expect(clippy::cast_precision_loss, reason = "clusters have fewer than 2^53 milli-cores")]
        let value = milli_cpu as f64;
        let fresh = Seen { last: now, smoothed: value, highest: value, watched: SignedDuration::ZERO };
        let since = self.seen.map_or(SignedDuration::MAX, |seen| now.duration_since(seen.last));
        // Nothing is known of a pause, nor where a clock was set back.
        let Some(seen) = self.seen.as_mut().filter(|_| !since.is_negative() && since <= LONGEST_GAP) else {
            self.seen = Some(fresh);
            return None;
        };
        seen.smoothed +=
            (value - seen.smoothed) * (1.0 - (-since.as_secs_f64() / SMOOTHING.as_secs_f64()).exp());
        let mut passed = None;
        if hour_of(seen.last) != hour_of(now) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the mean of amounts"
            )]
            let milli_cpu = seen.highest.ceil() as u64;
            let is_known = seen.watched >= LEAST_WATCHED;
            passed = is_known.then(|| Passed { start: hour_of(seen.last), milli_cpu });
            (seen.highest, seen.watched) = (0.0, SignedDuration::ZERO);
            // What is over with the hour is none of the next one.
            seen.smoothed = seen.smoothed.min(value);
        }
        seen.highest = seen.highest.max(seen.smoothed);
        seen.watched += since;
        seen.last = now;
        passed
    }
}

/// What was needed in the hours of the week.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Season {
    /// By the hour of the week; shorter than a week if the rest was never seen.
    slots: Vec<Option<u64>>,
    /// How many hours were counted, in all weeks.
    pub hours: u32,
}

/// What an hour of the week is expected to need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub milli_cpu: u64,
    /// Known of this very day of the week; otherwise of other days.
    pub is_of_the_day: bool,
}

impl Season {
    /// A season as it was kept.
    pub fn restored(slots: Vec<Option<u64>>, hours: u32) -> Self {
        let slots = slots.into_iter().take(SLOTS).collect();
        Self { slots, hours }
    }

    /// What is known of each hour of the week.
    pub fn slots(&self) -> impl Iterator<Item = Option<u64>> {
        (0..SLOTS).map(|slot| self.slots.get(slot).copied().flatten())
    }

    /// Counts an hour that is over. More than before counts at once; less halves what was more.
    pub fn learn(&mut self, slot: usize, milli_cpu: u64) {
        self.slots.resize(SLOTS, None);
        let held = &mut self.slots[slot % SLOTS];
        *held = Some(held.map_or(milli_cpu, |held| milli_cpu + held.saturating_sub(milli_cpu) / 2));
        self.hours = self.hours.saturating_add(1);
    }

    /// For how many whole days it was watched.
    pub fn days(&self) -> u32 {
        self.hours / 24
    }

    pub fn expected(&self, slot: usize) -> Option<Expected> {
        let of_day = |slot: usize| self.slots.get(slot % SLOTS).copied().flatten();
        if let Some(milli_cpu) = of_day(slot) {
            return Some(Expected { milli_cpu, is_of_the_day: true });
        }
        let others = (0..7).filter_map(|day| of_day(slot + 24 * day)).max();
        others.map(|milli_cpu| Expected { milli_cpu, is_of_the_day: false })
    }
}

/// How a need becomes hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizing {
    /// What is added to the need.
    pub margin_percent: u32,
    /// What a host has for services; of nothing no hosts are made.
    pub host_milli_cpu: u64,
    /// Fewer hosts are not worth a window.
    pub floor: usize,
    pub ceiling: usize,
}

impl Sizing {
    pub fn with_margin(&self, milli_cpu: u64) -> u64 {
        let with = u128::from(milli_cpu) * (100 + u128::from(self.margin_percent)) / 100;
        u64::try_from(with).unwrap_or(u64::MAX)
    }

    /// How many hosts are to be free for a need: none if these are fewer than the floor.
    pub fn hosts(&self, milli_cpu: u64) -> usize {
        let needed = self.with_margin(milli_cpu).div_ceil(self.host_milli_cpu.max(1));
        let needed = usize::try_from(needed).unwrap_or(usize::MAX);
        if self.host_milli_cpu == 0 || needed < self.floor.max(1) { 0 } else { needed.min(self.ceiling) }
    }
}

/// Hours in which services will need hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swell {
    pub from: Timestamp,
    pub to: Timestamp,
    pub hosts: usize,
}

/// The first swell of the hours that follow each other from `first` on and need so many hosts each. It begins at
/// `not_before` at the earliest, and later if only a moment of it would be left.
pub fn swell(first: Timestamp, hosts: &[usize], not_before: Timestamp) -> Option<Swell> {
    let mut starts = std::iter::successors(Some(first), |start| start.checked_add(HOUR).ok());
    let hours: Vec<(Timestamp, usize)> = starts.by_ref().zip(hosts.iter().copied()).collect();
    let runs = hours.chunk_by(|(_, one), (_, other)| (*one > 0) == (*other > 0));
    let swells = runs.filter_map(|run| {
        let ((start, _), (last, _)) = (run.first()?, run.last()?);
        let (from, to) = ((*start).max(not_before), last.checked_add(HOUR).ok()?);
        let hosts = run.iter().map(|(_, hosts)| *hosts).max().unwrap_or(0);
        let is_worth_it = hosts > 0 && to.duration_since(from) >= LEAST_SWELL;
        is_worth_it.then_some(Swell { from, to, hosts })
    });
    swells.min_by_key(|swell| swell.from)
}
