//! Which records a compaction will find superseded, remembered while they are written: to read them again costs more than
//! all the rest of it.
//!
//! ```text
//!   changes, once durable ──► (revision, record that it made superfluous) ──► what a compaction up to there removes
//! ```
//! What was written before the store was opened is not in here; the file is read for that.

use std::collections::VecDeque;

use crate::{Change, Revision};

/// Beyond so many, the oldest are left to the file: sixteen bytes each.
const MOST: usize = 1 << 17;

#[derive(Debug)]
pub(super) struct Traces {
    /// All changes after this one are known.
    since: Revision,
    /// In the order of the changes that did it.
    superfluous: VecDeque<(Revision, Revision)>,
}

impl Traces {
    pub(super) fn new(since: Revision) -> Self {
        Self { since, superfluous: VecDeque::new() }
    }

    /// Takes in changes that are durable.
    pub(super) fn add(&mut self, changes: &[Change]) {
        for change in changes {
            let at = change.revision();
            let (previous, itself) = match change {
                Change::Put { previous, .. } => (previous.as_ref(), None),
                Change::Delete { previous, .. } => (Some(previous), Some(at)),
            };
            let superfluous = previous.map(|entry| entry.modified).into_iter().chain(itself);
            self.superfluous.extend(superfluous.map(|record| (at, record)));
        }
        while self.superfluous.len() > MOST {
            let Some((at, _)) = self.superfluous.pop_front() else { break };
            self.since = at;
        }
    }

    /// The records that the changes within `(from, upto]` made superfluous, if all of these changes are known.
    pub(super) fn between(&self, from: Revision, upto: Revision) -> Option<Vec<Revision>> {
        let known = self.superfluous.iter().skip_while(|(at, _)| *at <= from);
        (from >= self.since)
            .then(|| known.take_while(|(at, _)| *at <= upto).map(|(_, record)| *record).collect())
    }

    /// Changes up to `upto` are compacted.
    pub(super) fn forget(&mut self, upto: Revision) {
        while self.superfluous.pop_front_if(|(at, _)| *at <= upto).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{MOST, Traces};
    use crate::{Change, Entry, Revision};

    fn entry(at: u64) -> Entry {
        Entry { key: "k".into(), value: Bytes::new(), created: Revision(1), modified: Revision(at) }
    }

    fn put(at: u64, previous: Option<u64>) -> Change {
        Change::Put { entry: entry(at), previous: previous.map(entry) }
    }

    #[test]
    fn only_what_was_seen_is_told() {
        let mut traces = Traces::new(Revision(10));
        traces.add(&[put(11, None), put(12, Some(5)), put(13, Some(12))]);
        traces.add(&[Change::Delete { revision: Revision(14), previous: entry(13) }]);
        let between = |traces: &Traces, from, upto| {
            let records = traces.between(Revision(from), Revision(upto))?;
            Some(records.into_iter().map(|record| record.0).collect::<Vec<_>>())
        };
        assert_eq!(between(&traces, 9, 12), None, "the file knows");
        assert_eq!(between(&traces, 10, 11), Some(vec![]));
        assert_eq!(between(&traces, 10, 13), Some(vec![5, 12]));
        assert_eq!(between(&traces, 12, 14), Some(vec![12, 13, 14]));
        traces.forget(Revision(13));
        assert_eq!(between(&traces, 13, 14), Some(vec![13, 14]));
        assert_eq!(traces.superfluous.len(), 2);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut traces = Traces::new(Revision(1));
        let count = MOST as u64 + 5;
        (0..count).for_each(|number| traces.add(&[put(number + 2, Some(number + 1))]));
        assert_eq!(traces.superfluous.len(), MOST);
        assert_eq!(traces.between(Revision(5), Revision(9)), None);
        let known = traces.between(Revision(6), Revision(8));
        assert_eq!(known, Some(vec![Revision(6), Revision(7)]), "made superfluous by 7 and 8");
    }
}
