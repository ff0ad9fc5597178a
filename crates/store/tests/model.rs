//! The embedded store against an obvious model, by random operations with restarts in between.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use proptest::prelude::*;
use store::embedded::{Embedded, Options};
use store::{Change, Entry, Expect, Range, ReadError, Revision, Store, WatchError, WatchEvent, WriteError};

/// One step of a test. Revisions are chosen as shares of what there is, so that most are interesting.
#[derive(Clone, Debug)]
enum Step {
    Create { key: String, value: u8 },
    Update { key: String, value: u8, is_stale: bool },
    Delete { key: String, is_stale: bool },
    Read { range: (String, Option<String>, Option<usize>), at: Option<u8> },
    Watch { prefix: String, after: u8 },
    Compact { upto: u8 },
    Reopen,
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "a/b", "a/c", "a0", "b", ""]).prop_map(str::to_owned)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (key(), any::<u8>()).prop_map(|(key, value)| Step::Create { key, value }),
        6 => (key(), any::<u8>(), prop::bool::weighted(0.2))
            .prop_map(|(key, value, is_stale)| Step::Update { key, value, is_stale }),
        3 => (key(), prop::bool::weighted(0.2)).prop_map(|(key, is_stale)| Step::Delete { key, is_stale }),
        4 => ((key(), prop::option::of(key()), prop::option::of(0_usize..4)), prop::option::of(any::<u8>()))
            .prop_map(|(range, at)| Step::Read { range, at }),
        3 => (key(), any::<u8>()).prop_map(|(prefix, after)| Step::Watch { prefix, after }),
        1 => any::<u8>().prop_map(|upto| Step::Compact { upto }),
        1 => Just(Step::Reopen),
    ]
}

/// All changes that ever were, and nothing clever.
struct Model {
    changes: Vec<Change>,
    compacted: Revision,
}

impl Model {
    fn revision(&self) -> Revision {
        Revision(self.changes.len() as u64 + 1)
    }

    fn objects(&self, at: Revision) -> BTreeMap<Arc<str>, Entry> {
        let mut objects = BTreeMap::new();
        for change in self.changes.iter().filter(|change| change.revision() <= at) {
            match change {
                Change::Put { entry, .. } => _ = objects.insert(entry.key.clone(), entry.clone()),
                Change::Delete { previous, .. } => _ = objects.remove(&previous.key),
            }
        }
        objects
    }

    fn get(&self, key: &str) -> Option<Entry> {
        self.objects(self.revision()).get(key).cloned()
    }

    /// A revision from 0 to one in the future.
    fn pick(&self, share: u8) -> Revision {
        Revision(u64::from(share) % (self.revision().0 + 2))
    }
}

struct Test {
    model: Model,
    store: Option<Arc<Embedded>>,
    directory: tempfile::TempDir,
}

fn open(directory: &Path) -> Arc<Embedded> {
    let options = Options { compaction: None, ..Options::default() };
    Embedded::open(&directory.join("store"), options).unwrap()
}

impl Test {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Some(open(directory.path()));
        Self { model: Model { changes: Vec::new(), compacted: Revision(1) }, store, directory }
    }

    fn store(&self) -> &Embedded {
        self.store.as_ref().unwrap()
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Create { key, value } => self.put(&key, value, Expect::Absent).await,
            Step::Update { key, value, is_stale } => {
                let at = self.expectation(&key, is_stale);
                self.put(&key, value, Expect::At(at)).await;
            }
            Step::Delete { key, is_stale } => self.delete(&key, is_stale).await,
            Step::Read { range, at } => self.read(range, at).await,
            Step::Watch { prefix, after } => self.watch(&prefix, after).await,
            Step::Compact { upto } => {
                let upto = self.model.pick(upto);
                self.store().compact(upto).await.unwrap();
                self.model.compacted = self.model.compacted.max(upto.min(self.model.revision()));
            }
            Step::Reopen => {
                self.store = None;
                self.store = Some(open(self.directory.path()));
            }
        }
        assert_eq!(self.store().revision().await.unwrap(), self.model.revision());
    }

    fn expectation(&self, key: &str, is_stale: bool) -> Revision {
        let modified = self.model.get(key).map_or(Revision(1), |entry| entry.modified);
        if is_stale { Revision(modified.0 - 1) } else { modified }
    }

    async fn put(&mut self, key: &str, value: u8, expect: Expect) {
        let outcome = self.store().put(key, Bytes::from(vec![value]), expect).await;
        let previous = self.model.get(key);
        let is_expected = match expect {
            Expect::Absent => previous.is_none(),
            Expect::At(at) => previous.as_ref().is_some_and(|entry| entry.modified == at),
        };
        if !is_expected {
            let Err(WriteError::Conflict { current, .. }) = outcome else { unreachable!("{outcome:?}") };
            assert_eq!(current, previous);
            return;
        }
        let modified = Revision(self.model.revision().0 + 1);
        let created = previous.as_ref().map_or(modified, |entry| entry.created);
        let entry = Entry { key: key.into(), value: Bytes::from(vec![value]), created, modified };
        assert_eq!(outcome.unwrap(), entry);
        self.model.changes.push(Change::Put { entry, previous });
    }

    async fn delete(&mut self, key: &str, is_stale: bool) {
        let at = self.expectation(key, is_stale);
        let outcome = self.store().delete(key, at).await;
        match self.model.get(key) {
            Some(previous) if previous.modified == at => {
                let revision = Revision(self.model.revision().0 + 1);
                assert_eq!(outcome.unwrap(), revision);
                self.model.changes.push(Change::Delete { revision, previous });
            }
            standing => {
                let Err(WriteError::Conflict { current, .. }) = outcome else { unreachable!("{outcome:?}") };
                assert_eq!(current, standing);
            }
        }
    }

    async fn read(&self, (prefix, after, limit): (String, Option<String>, Option<usize>), at: Option<u8>) {
        let at = at.map(|share| self.model.pick(share));
        let range = Range { prefix: prefix.clone(), after: after.clone(), limit, at };
        let outcome = self.store().range(range).await;
        let (now, oldest) = (self.model.revision(), self.model.compacted);
        match at {
            Some(at) if at > now => assert!(matches!(outcome, Err(ReadError::Future { .. }))),
            Some(at) if at < oldest => assert!(matches!(outcome, Err(ReadError::Compacted { .. }))),
            at => {
                let all = self.model.objects(at.unwrap_or(now)).into_values();
                let in_range = all
                    .filter(|entry| entry.key.starts_with(&prefix))
                    .filter(|entry| after.as_deref().is_none_or(|after| *entry.key > *after))
                    .collect::<Vec<_>>();
                let count = limit.unwrap_or(usize::MAX).min(in_range.len());
                let page = outcome.unwrap();
                assert_eq!(page.revision, at.unwrap_or(now));
                assert_eq!(page.entries, in_range[..count]);
                assert_eq!(page.remaining, in_range.len() - count);
            }
        }
    }

    async fn watch(&self, prefix: &str, after: u8) {
        let after = self.model.pick(after);
        let outcome = self.store().watch(prefix, after).await;
        if after < self.model.compacted {
            assert!(matches!(outcome, Err(WatchError::Compacted { .. })));
            return;
        }
        let mut watch = outcome.unwrap();
        let expected = self
            .model
            .changes
            .iter()
            .filter(|change| change.revision() > after && change.key().starts_with(prefix));
        for change in expected {
            assert_eq!(watch.next().await.unwrap().unwrap(), WatchEvent::Change(change.clone()));
        }
        let progress = WatchEvent::Progress(self.model.revision());
        assert_eq!(watch.next().await.unwrap().unwrap(), progress);
        assert!(watch.next().now_or_never().is_none(), "nothing more has happened");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_store_behaves_as_its_model(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut test = Test::new();
            for step in steps {
                test.step(step).await;
            }
        });
    }
}
