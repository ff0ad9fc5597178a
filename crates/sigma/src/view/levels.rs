//! Many values of which the least and the most are asked for, while single ones change.

use std::collections::BTreeMap;

/// How often each value stands.
#[derive(Debug)]
pub(super) struct Levels<T> {
    counts: BTreeMap<T, usize>,
    n_values: usize,
}

impl<T> Default for Levels<T> {
    fn default() -> Self {
        Self { counts: BTreeMap::new(), n_values: 0 }
    }
}

impl<T: Copy + Ord> Levels<T> {
    /// `n_values` times the same value.
    pub(super) fn of(value: T, n_values: usize) -> Self {
        let counts = if n_values == 0 { BTreeMap::new() } else { BTreeMap::from([(value, n_values)]) };
        Self { counts, n_values }
    }

    /// One of the values was `before` and is `after` now.
    pub(super) fn shift(&mut self, before: T, after: T) {
        *self.counts.entry(after).or_default() += 1;
        if let Some(n) = self.counts.get_mut(&before) {
            *n -= 1;
            if *n == 0 {
                self.counts.remove(&before);
            }
        }
    }

    /// The least and the most of them, if there are any.
    pub(super) fn range(&self) -> Option<(T, T)> {
        Some((*self.counts.first_key_value()?.0, *self.counts.last_key_value()?.0))
    }

    pub(super) fn len(&self) -> usize {
        self.n_values
    }
}
