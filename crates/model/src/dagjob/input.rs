//! Input lists: what the instances of a task work on, cut into one piece for each.
//!
//! ```text
//!   range, items   stand in the job itself, and so does their number
//!   files          are listed on a machine that mounts them, once, when the task begins; the list is kept
//!   objects        the same, by a worker that reaches their store
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Objects;

/// The most entries of a list of files.
pub const MAX_ENTRIES: u32 = 1_000_000;
/// The most items that may stand in a job.
pub const MAX_ITEMS: usize = 10_000;
/// The largest piece of one instance, in bytes: it stands in one variable of an environment.
pub const MAX_PIECE: usize = 64 * 1024;

/// Just one of `files`, `objects`, `range` and `items`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// Files as the task's containers see them: a pattern such as `/data/2026-*/*.csv`, or a folder for all files below it.
    /// `**` is any folders. Names that begin with a dot are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
    /// Objects of a store: every instance finds its own as files of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<Objects>,
    /// Whole numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<NumberRange>,
    /// The entries themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<String>>,
    /// So many entries for each instance, line by line in `CREST_INPUT`. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_instance: Option<u32>,
}

/// Whole numbers from the first to the last, both included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NumberRange {
    pub from: i64,
    pub to: i64,
    /// Every so many-th number. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// Cut into so many pieces of about the same size; each instance gets the first and the last number of its own, with
    /// a space between them. Not with `step` or `perInstance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<u32>,
}

/// A list of files that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputStatus {
    /// How many entries it has.
    pub entries: u32,
    /// The beginning of the names of the `ConfigMaps` that hold it; empty if the list is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub list: String,
    /// How many of those there are.
    pub parts: u32,
}

impl Input {
    /// Whether a worker has to take the list.
    pub fn is_listed(&self) -> bool {
        self.files.is_some() || self.objects.is_some()
    }

    pub fn per_instance(&self) -> u32 {
        self.per_instance.unwrap_or(1).max(1)
    }

    /// How many instances there are for so many entries.
    pub fn count_for(&self, entries: u64) -> u32 {
        u32::try_from(entries.div_ceil(u64::from(self.per_instance()))).unwrap_or(u32::MAX)
    }

    /// How many instances there are, if that stands in the job.
    pub(super) fn count(&self) -> Option<u32> {
        let range = self.range.as_ref();
        if let Some(chunks) = range.and_then(|range| range.chunks) {
            return Some(chunks);
        }
        let entries = range.map(NumberRange::len).or(self.items.as_ref().map(|items| items.len() as u64));
        entries.map(|entries| self.count_for(entries))
    }
}

impl NumberRange {
    /// How many numbers it has.
    pub fn len(&self) -> u64 {
        if self.is_empty() {
            return 0;
        }
        (self.to.abs_diff(self.from) / u64::from(self.step.unwrap_or(1).max(1))).saturating_add(1)
    }

    pub fn is_empty(&self) -> bool {
        self.to < self.from
    }
}
