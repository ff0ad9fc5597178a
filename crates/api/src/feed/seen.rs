//! A change that many watchers look at: what their selectors need to know of it is read once.

use std::ops::Deref;
use std::sync::OnceLock;

use kinds::Kind;
use kinds::status::Failure;
use serde_json::Value;
use store::{Change, Entry};

use crate::query::Selection;
use crate::record;

/// A change, and what selectors see of the object before and after it.
#[derive(Debug)]
pub(crate) struct Seen {
    change: Change,
    outlines: OnceLock<Outlines>,
}

/// Before and after the change, as one version of the kind shows it.
#[derive(Debug)]
struct Outlines {
    version: (String, String),
    before_and_after: [Option<Value>; 2],
}

impl Seen {
    pub(crate) fn new(change: Change) -> Self {
        Self { change, outlines: OnceLock::new() }
    }

    /// The object before the change and after it.
    pub(crate) fn before_and_after(&self) -> [Option<&Entry>; 2] {
        match &self.change {
            Change::Put { entry, previous } => [previous.as_ref(), Some(entry)],
            Change::Delete { previous, .. } => [Some(previous), None],
        }
    }

    /// Whether `selection` picked the object before the change, and after it.
    pub(crate) fn selected(&self, kind: &Kind, selection: &Selection) -> Result<(bool, bool), Failure> {
        let [before, after] = self.before_and_after();
        if selection.is_all() {
            return Ok((before.is_some(), after.is_some()));
        }
        let may_match = |entry: Option<&Entry>| {
            entry.is_some_and(|entry| record::may_be_selected(kind, entry, selection))
        };
        let outlines = match self.outlines.get() {
            Some(outlines) => outlines,
            // Most changes are of no interest to most who select by label, and need not be read for them.
            None if !may_match(before) && !may_match(after) => return Ok((false, false)),
            None => {
                let outlines = Outlines::read(kind, [before, after])?;
                self.outlines.get_or_init(|| outlines)
            }
        };
        let matching = |[before, after]: &[Option<Value>; 2]| {
            let picks = |object: &Option<Value>| {
                object.as_ref().is_some_and(|object| selection.matches(kind, object))
            };
            (picks(before), picks(after))
        };
        if outlines.is_of(kind) {
            return Ok(matching(&outlines.before_and_after));
        }
        // Another version of the kind is watched, too.
        Ok(matching(&Outlines::read(kind, [before, after])?.before_and_after))
    }
}

impl Deref for Seen {
    type Target = Change;

    fn deref(&self) -> &Change {
        &self.change
    }
}

impl Outlines {
    fn read(kind: &Kind, entries: [Option<&Entry>; 2]) -> Result<Self, Failure> {
        let outline = |entry: Option<&Entry>| entry.map(|entry| record::outline(kind, entry)).transpose();
        let [before, after] = entries;
        let version = ((*kind.group).to_owned(), (*kind.version).to_owned());
        Ok(Self { version, before_and_after: [outline(before)?, outline(after)?] })
    }

    fn is_of(&self, kind: &Kind) -> bool {
        self.version.0 == *kind.group && self.version.1 == *kind.version
    }
}
