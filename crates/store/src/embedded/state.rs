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
        let entries = self.objects(range).map(|(key, stored)| stored.entry(key));
        page_of(entries, range.limit, self.revision)
    }

    /// All current objects under `prefix`.
    pub(super) fn snapshot(&self, prefix: &str) -> BTreeMap<Arc<str>, Entry> {
        let range = Range { prefix: prefix.to_owned(), ..Range::default() };
        self.objects(&range).map(|(key, stored)| (key.clone(), stored.entry(key))).collect()
    }

    fn objects<'a>(&'a self, range: &'a Range) -> impl Iterator<Item = (&'a Arc<str>, &'a Stored)> {
        let start = start_of(range);
        self.index
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(range.prefix.as_str()))
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

/// The first `limit` of `entries`, and how many more there are.
pub(super) fn page_of(
    mut entries: impl Iterator<Item = Entry>,
    limit: Option<usize>,
    revision: Revision,
) -> Page {
    let entries_in_page = entries.by_ref().take(limit.unwrap_or(usize::MAX)).collect();
    Page { entries: entries_in_page, revision, remaining: entries.count() }
}
