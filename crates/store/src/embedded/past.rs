//! A page as it was: what is at the present, with the changes since undone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::state::Window;
use crate::{Change, Entry, Page, Range, Revision};

/// `window` holds at least as many present objects of `range` beyond its limit as there were `changes` since `at`, or all
/// that there are; `changes` are in order, and of the range's prefix.
pub(super) fn page(range: &Range, at: Revision, window: Window, changes: Vec<Change>) -> Page {
    let Window { entries, present } = window;
    let mut objects: BTreeMap<Arc<str>, Entry> =
        entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
    let mut count = present;
    let is_after = |key: &str| range.after.as_deref().is_none_or(|after| key > after);
    for change in changes.into_iter().rev() {
        let (was, is) = match change {
            Change::Put { entry, previous } => (previous, Some(entry.key)),
            Change::Delete { previous, .. } => (Some(previous), None),
        };
        let Some(key) = was.as_ref().map(|entry| entry.key.clone()).or_else(|| is.clone()) else { continue };
        if !is_after(&key) {
            continue;
        }
        match (was, is) {
            (Some(entry), is) => {
                count += usize::from(is.is_none());
                objects.insert(key, entry);
            }
            (None, Some(_)) => {
                count -= 1;
                objects.remove(&key);
            }
            (None, None) => {}
        }
    }
    let entries: Vec<Entry> = objects.into_values().take(range.limit.unwrap_or(usize::MAX)).collect();
    Page { revision: at, remaining: count - entries.len(), entries }
}
