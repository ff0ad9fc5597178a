//! What instances work on: the pieces of those that a worker holds, and the files that must be there.

pub(super) mod list;

use std::collections::BTreeMap;
use std::path::Path;

use fuxi::protocol::{Attempt, AttemptResult, Exit, Program};

/// The pieces of what the worker holds.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    by_index: BTreeMap<u32, String>,
}

impl Inputs {
    pub(super) fn add(&mut self, attempt: Attempt, piece: String) {
        self.by_index.insert(attempt.index, piece);
    }

    pub(super) fn forget(&mut self, attempt: Attempt) {
        self.by_index.remove(&attempt.index);
    }

    pub(super) fn of(&self, attempt: Attempt) -> Option<&str> {
        self.by_index.get(&attempt.index).map(String::as_str)
    }

    /// The result of an attempt whose files are not all there, which is not begun.
    pub(super) fn refuse(&self, program: &Program, attempt: Attempt) -> Option<AttemptResult> {
        let piece = self.of(attempt).filter(|_| program.has_files)?;
        let missing = piece.lines().find(|line| !Path::new(line).exists())?;
        let message = format!("its input `{missing}` is not there any more, as it was when the task began");
        Some(AttemptResult::without_run(attempt, Exit::Failed { message }))
    }
}
