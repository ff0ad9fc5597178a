//! Which rows changed, in order: what keeps views up to date without looking at every node.

use std::collections::VecDeque;

use super::Row;

/// Fewer rows than this are always remembered.
const MIN_REMEMBERED: usize = 4096;

/// The last changes of rows. Positions count all changes since the start.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    rows: VecDeque<Row>,
    /// The position of the first row that is remembered.
    first: u64,
}

impl Changes {
    /// Notes a change of `row` in a cluster of `n_rows`. Who has not looked for as many changes as there are rows
    /// had better look at every row.
    pub(crate) fn touch(&mut self, row: Row, n_rows: usize) {
        self.rows.push_back(row);
        while self.rows.len() > n_rows.max(MIN_REMEMBERED) {
            self.rows.pop_front();
            self.first += 1;
        }
    }

    /// The position after the last change.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.rows.len() as u64
    }

    /// The rows that changed from `position` on; `None` when that is forgotten.
    pub(crate) fn since(&self, position: u64) -> Option<impl Iterator<Item = Row> + Clone> {
        let skipped = usize::try_from(position.checked_sub(self.first)?).ok()?;
        Some(self.rows.range(skipped.min(self.rows.len())..).copied())
    }
}
