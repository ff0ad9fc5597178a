//! When a Tide's windows are: those of its schedule, as a CronJob has it, those that are said one by one, and the one that is
//! predicted. Pure.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use level0::tide::Window;
use model::tide::{Tide, TideSpec};

use crate::cron_job::schedule::{Schedule, ScheduleError};

/// The windows of a Tide.
#[derive(Debug)]
pub(super) struct Calendar<'a> {
    spec: &'a TideSpec,
    schedule: Option<Schedule>,
    /// From when on a period counts.
    start: Timestamp,
    /// The window that is predicted, and its hosts. What is said in words comes before it.
    predicted: Option<(Window, usize)>,
}

/// A Tide without a calendar.
#[derive(Debug, thiserror::Error)]
pub enum CalendarError {
    #[error("spec.timeZone: `{zone}` is no time zone")]
    Zone { zone: String, source: jiff::Error },
    #[error("spec.schedule")]
    Schedule { source: ScheduleError },
}

impl<'a> Calendar<'a> {
    pub(super) fn of(tide: &'a Tide) -> Result<Self, CalendarError> {
        let spec = &tide.spec;
        let zone = match spec.time_zone.as_deref() {
            None => TimeZone::UTC,
            Some(zone) => {
                TimeZone::get(zone).map_err(|source| CalendarError::Zone { zone: zone.to_owned(), source })?
            }
        };
        let schedule = spec.schedule.as_deref().map(|text| Schedule::parse(text, zone)).transpose();
        let schedule = schedule.map_err(|source| CalendarError::Schedule { source })?;
        let start = tide.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let skip_until = spec.skip_until.as_ref().map_or(Timestamp::MIN, |time| time.0);
        let known = tide.status.as_ref().and_then(|status| status.prediction.as_ref()?.window.as_ref());
        let is_meant = spec.prediction.is_some() && !spec.suspend;
        let predicted = known.filter(|window| is_meant && window.from.0 >= skip_until).map(|window| {
            let hosts = usize::try_from(window.hosts).unwrap_or(usize::MAX);
            (Window { from: window.from.0, to: window.to.0 }, hosts)
        });
        Ok(Self { spec, schedule, start, predicted })
    }

    /// The window that is announced or has begun.
    pub(super) fn present(&self, now: Timestamp) -> Option<Window> {
        let lead = self.spec.lead();
        let is_present = |window: &Window| {
            window.from.saturating_sub(lead).unwrap_or(Timestamp::MIN) <= now && now < window.to
        };
        let said = self.windows(now).into_iter().filter(is_present).min_by_key(|window| window.from);
        said.or_else(|| self.predicted().filter(is_present))
    }

    fn predicted(&self) -> Option<Window> {
        self.predicted.map(|(window, _)| window)
    }

    /// How many hosts a window takes at most, if it is one that was predicted.
    pub(super) fn most(&self, window: Option<Window>) -> Option<usize> {
        self.predicted.filter(|(predicted, _)| Some(*predicted) == window).map(|(_, hosts)| hosts)
    }

    /// The first window that is not announced yet.
    pub(super) fn next(&self, now: Timestamp) -> Option<Window> {
        let announced = now.saturating_add(self.spec.lead()).unwrap_or(Timestamp::MAX);
        let all = self.windows(announced).into_iter().chain(self.predicted());
        let later = all.filter(|window| window.from > announced);
        later.min_by_key(|window| window.from)
    }

    /// The next window, announced or not, as it would be begun from now.
    pub(super) fn coming(&self, now: Timestamp) -> Option<Window> {
        self.present(now).or_else(|| self.next(now))
    }

    /// Those around `now`, without those that are passed over.
    fn windows(&self, now: Timestamp) -> Vec<Window> {
        if self.spec.suspend {
            return Vec::new();
        }
        let skip_until = self.spec.skip_until.as_ref().map_or(Timestamp::MIN, |time| time.0);
        let said = self.spec.windows.iter();
        let mut all: Vec<Window> =
            said.map(|window| Window { from: window.from.0, to: window.to.0 }).collect();
        all.extend(self.of_schedule(now, skip_until));
        all.retain(|window| window.from >= skip_until && window.from < window.to);
        all
    }

    /// The one that may last, and the one after.
    fn of_schedule(&self, now: Timestamp, skip_until: Timestamp) -> Vec<Window> {
        let Some((schedule, seconds)) = self.schedule.as_ref().zip(self.spec.duration_seconds) else {
            return Vec::new();
        };
        let duration = SignedDuration::from_secs(seconds.into());
        let earliest = now.saturating_sub(duration).unwrap_or(Timestamp::MIN).max(self.start);
        let second = SignedDuration::from_secs(1);
        let after = now.max(skip_until.saturating_sub(second).unwrap_or(Timestamp::MIN));
        let begins = [schedule.last_between(earliest, now), schedule.next(self.start, after)];
        let window =
            |from: Timestamp| Window { from, to: from.saturating_add(duration).unwrap_or(Timestamp::MAX) };
        begins.into_iter().flatten().map(window).collect()
    }
}
