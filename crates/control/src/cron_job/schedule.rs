//! When a CronJob is due: five fields, a nickname, or `@every` with a duration.

use std::str::FromStr;

use croner::Cron;
use croner::errors::CronError;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A schedule in a time zone.
#[derive(Clone, Debug)]
pub(crate) enum Schedule {
    Cron {
        pattern: Box<Cron>,
        zone: TimeZone,
    },
    /// So long after the time before.
    Every {
        period: SignedDuration,
        zone: TimeZone,
    },
}

/// A schedule that says nothing.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    #[error("cannot read schedule `{text}`")]
    Pattern { text: String, source: CronError },
    #[error("cannot read the duration of schedule `{text}`")]
    Period { text: String, source: jiff::Error },
    #[error("the duration of schedule `{text}` is under a second")]
    TooShort { text: String },
}

impl Schedule {
    pub(crate) fn parse(text: &str, zone: TimeZone) -> Result<Self, ScheduleError> {
        let Some(period) = text.trim().strip_prefix("@every ") else {
            let pattern = Cron::from_str(text)
                .map_err(|source| ScheduleError::Pattern { text: text.to_owned(), source })?;
            return Ok(Self::Cron { pattern: Box::new(pattern), zone });
        };
        let period: SignedDuration = period
            .trim()
            .parse()
            .map_err(|source| ScheduleError::Period { text: text.to_owned(), source })?;
        if period < SignedDuration::from_secs(1) {
            return Err(ScheduleError::TooShort { text: text.to_owned() });
        }
        Ok(Self::Every { period, zone })
    }

    /// The last time that was due after `start`, and not after `now`.
    pub(crate) fn last_between(&self, start: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let last = match self {
            Self::Cron { pattern, zone } => {
                // A pattern that names no day there is has no time.
                let found = pattern.find_previous_occurrence(&now.to_zoned(zone.clone()), true).ok()?;
                found.timestamp()
            }
            Self::Every { period, .. } => {
                let n_periods = (now.as_second() - start.as_second()) / period.as_secs().max(1);
                let seconds = start.as_second().checked_add(n_periods.checked_mul(period.as_secs())?)?;
                Timestamp::from_second(seconds).ok()?
            }
        };
        (last > start && last <= now).then_some(last)
    }

    /// The first time that is due after `now`. For a period, counted from `start`.
    pub(crate) fn next(&self, start: Timestamp, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron { pattern, zone } => {
                let found = pattern.find_next_occurrence(&now.to_zoned(zone.clone()), false).ok()?;
                Some(found.timestamp())
            }
            Self::Every { period, .. } => {
                let last = self.last_between(start, now).unwrap_or(start);
                last.checked_add(*period).ok()
            }
        }
    }

    /// The time as it is told there.
    pub(crate) fn tell(&self, time: Timestamp) -> String {
        let (Self::Cron { zone, .. } | Self::Every { zone, .. }) = self;
        let offset = zone.to_offset(time);
        if offset == jiff::tz::Offset::UTC {
            return time.to_string();
        }
        time.display_with_offset(offset).to_string()
    }
}
