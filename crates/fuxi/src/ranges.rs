//! A set of indexes as runs: small in memory and in a status, however many there are, as long as they lie close.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A set of indexes. Reads and shows as `0-41,43,50-199`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// First to last (inclusive); runs neither overlap nor touch.
    runs: BTreeMap<u32, u32>,
    len: u64,
}

/// Why a text is no set of ranges.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no index or range of indexes: write for example 0-41,43")]
pub struct RangesError {
    pub text: String,
}

impl Ranges {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn contains(&self, index: u32) -> bool {
        self.run_at(index).is_some()
    }

    /// Adds `index`; false if it was there.
    pub fn insert(&mut self, index: u32) -> bool {
        if self.contains(index) {
            return false;
        }
        let joined_left = index.checked_sub(1).and_then(|before| self.run_at(before));
        let joined_right = index.checked_add(1).and_then(|after| self.runs.remove(&after));
        let first = joined_left.map_or(index, |(first, _)| first);
        self.runs.insert(first, joined_right.unwrap_or(index));
        self.len += 1;
        true
    }

    /// Takes `index` out; false if it was not there.
    pub fn remove(&mut self, index: u32) -> bool {
        let Some((first, last)) = self.run_at(index) else { return false };
        self.runs.remove(&first);
        if first < index {
            self.runs.insert(first, index - 1);
        }
        if index < last {
            self.runs.insert(index + 1, last);
        }
        self.len -= 1;
        true
    }

    /// The smallest index from `start` on that is not in the set; `None` if all to the end of `u32` are.
    pub fn first_gap(&self, start: u32) -> Option<u32> {
        // Runs do not touch, so the index after a run is free.
        self.run_at(start).map_or(Some(start), |(_, last)| last.checked_add(1))
    }

    /// The runs in order, first to last, both inclusive.
    pub fn runs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.runs.iter().map(|(first, last)| (*first, *last))
    }

    /// Adds all of `other` that lies below `end`.
    pub fn extend_below(&mut self, other: &Self, end: u32) {
        for (first, last) in other.runs() {
            if first < end {
                self.insert_run(first, last.min(end - 1));
            }
        }
    }

    /// Adds a whole run at the cost of the runs that it swallows, not of the indexes in it.
    fn insert_run(&mut self, mut first: u32, mut last: u32) {
        if let Some((start, _)) = first.checked_sub(1).and_then(|before| self.run_at(before)) {
            first = start;
        }
        let reach = last.saturating_add(1);
        let swallowed: Vec<u32> = self.runs.range(first..=reach).map(|(start, _)| *start).collect();
        for start in swallowed {
            if let Some(end) = self.runs.remove(&start) {
                self.len -= u64::from(end - start) + 1;
                last = last.max(end);
            }
        }
        self.len += u64::from(last - first) + 1;
        self.runs.insert(first, last);
    }

    fn run_at(&self, index: u32) -> Option<(u32, u32)> {
        let (first, last) = self.runs.range(..=index).next_back()?;
        (*last >= index).then_some((*first, *last))
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (first, last)) in self.runs().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Ranges {
    type Err = RangesError;

    fn from_str(text: &str) -> Result<Self, RangesError> {
        let mut ranges = Self::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let fault = || RangesError { text: part.to_owned() };
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: u32 = first.parse().map_err(|_| fault())?;
            let last: u32 = last.parse().map_err(|_| fault())?;
            if first > last {
                return Err(fault());
            }
            ranges.insert_run(first, last);
        }
        Ok(ranges)
    }
}

#[cfg(test)]
mod tests;
