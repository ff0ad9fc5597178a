//! What the store holds in memory: the current objects, where history stands, and who watches.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::file::Loaded;
use crate::watch::Watchers;
use crate::{Change, Entry, Page, Range, ReadError, Revision};

/// A current object without its key, which the index holds.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) value: Bytes,
    pub(super) created: Revision,
    pub(super) modified: Revision,
}

impl Stored {
    fn entry(&self, key: &Arc<str>) -> Entry {
        let Self { value, created, modified } = self;
        Entry { key: key.clone(), value: value.clone(), created: *created, modified: *modified }
    }
}

/// The first objects of a range.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) entries: Vec<Entry>,
    /// How many objects the range has, those beyond the window included.
    pub(super) present: usize,
}

/// Only what is durable is ever in here.
#[derive(Debug)]
pub(super) struct State {
    index: BTreeMap<Arc<str>, Stored>,
    pub(super) revision: Revision,
    /// History up to and including this revision is forgotten; the objects as they stood then can still be read.
    pub(super) compacted: Revision,
    pub(super) watchers: Watchers,
    pub(super) is_closed: bool,
}

impl State {
    pub(super) fn new(loaded: Loaded) -> Self {
        let Loaded { index, revision, compacted } = loaded;
        Self { index, revision, compacted, watchers: Watchers::default(), is_closed: false }
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.index.get_key_value(key).map(|(key, stored)| stored.entry(key))
    }

    /// Whether objects as of `at` can be told.
    pub(super) fn check_readable(&self, at: Revision) -> Result<(), ReadError> {
        if at > self.revision {
            return Err(ReadError::Future { asked: at, current: self.revision });
        }
        if at < self.compacted {
            return Err(ReadError::Compacted { asked: at, oldest: self.compacted });
        }
        Ok(())
    }

    pub(super) fn page(&self, range: &Range) -> Page {
        let window = self.window(range, range.limit);
        let remaining = window.present - window.entries.len();
        Page { entries: window.entries, revision: self.revision, remaining }
    }

    /// The first `limit` current objects of `range`, and how many there are in all.
    pub(super) fn window(&self, range: &Range, limit: Option<usize>) -> Window {
        let mut objects = self.objects(range);
        let first = objects.by_ref().take(limit.unwrap_or(usize::MAX));
        let entries: Vec<Entry> = first.map(|(key, stored)| stored.entry(key)).collect();
        let present = entries.len() + objects.count();
        Window { entries, present }
    }

    fn objects<'a>(&'a self, range: &Range) -> impl Iterator<Item = (&'a Arc<str>, &'a Stored)> + use<'a> {
        let (start, end) = (start_of(range), end_of(&range.prefix));
        let is_beyond = match (&start, &end) {
            (Bound::Excluded(after), Bound::Excluded(end)) => *after >= end.as_str(),
            _ => false,
        };
        let end = end.as_ref().map(String::as_str);
        let objects = (!is_beyond).then(|| self.index.range::<str, _>((start, end)));
        objects.into_iter().flatten()
    }

    /// Takes in durable changes and tells them to the watchers.
    pub(super) fn publish(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Put { entry, .. } => self.set(entry),
                Change::Delete { previous, .. } => _ = self.index.remove(&*previous.key),
            }
            self.revision = change.revision();
        }
        let revision = self.revision;
        self.watchers.tell(changes, revision);
    }

    fn set(&mut self, entry: &Entry) {
        let stored = Stored { value: entry.value.clone(), created: entry.created, modified: entry.modified };
        self.index.insert(entry.key.clone(), stored);
    }

    /// Ends all watches.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.watchers.close();
    }
}

fn start_of(range: &Range) -> Bound<&str> {
    match &range.after {
        Some(after) if after.as_str() >= range.prefix.as_str() => Bound::Excluded(after),
        _ => Bound::Included(&range.prefix),
    }
}

/// Before which text all end that begin with `prefix`.
fn end_of(prefix: &str) -> Bound<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        if let Some(next) = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32) {
            end.push(next);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}
