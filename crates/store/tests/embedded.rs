//! The embedded store on a real disk: conformance, restarts, watches that lag, files that are no store.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use store::embedded::{Embedded, Keep, OpenError, Options};
use store::{Change, Expect, Range, ReadError, Revision, Store, WatchError, WatchEvent};
use tempfile::TempDir;

mod conformance {
    store::conformance_tests!(async || Some(super::empty().await));
}

async fn empty() -> (Arc<Embedded>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (open(directory.path()), directory)
}

fn open(directory: &Path) -> Arc<Embedded> {
    Embedded::open(&directory.join("store"), Options::default()).unwrap()
}

async fn write(store: &Embedded, key: &str, value: &str) -> Revision {
    let expect = match store.get(key).await.unwrap() {
        Some(entry) => Expect::At(entry.modified),
        None => Expect::Absent,
    };
    store.put(key, Bytes::copy_from_slice(value.as_bytes()), expect).await.unwrap().modified
}

#[tokio::test]
async fn all_is_there_after_a_restart() {
    let (store, directory) = empty().await;
    write(&store, "a", "1").await;
    write(&store, "a", "2").await;
    let gone = write(&store, "b", "1").await;
    store.delete("b", gone).await.unwrap();
    let before = store.range(Range::default()).await.unwrap();
    drop(store);

    let store = open(directory.path());
    let after = store.range(Range::default()).await.unwrap();
    assert_eq!((&after.entries, after.revision), (&before.entries, before.revision));
    let past = store.range(Range { at: Some(Revision(2)), ..Range::default() }).await.unwrap();
    assert_eq!(past.entries.iter().map(|entry| &entry.value[..]).collect::<Vec<_>>(), [b"1"]);
    let mut watch = store.watch("", Revision(1)).await.unwrap();
    for revision in 2..=5 {
        let Some(Ok(WatchEvent::Change(change))) = watch.next().await else { unreachable!() };
        assert_eq!(change.revision(), Revision(revision));
    }
    assert_eq!(watch.next().await.unwrap().unwrap(), WatchEvent::Progress(Revision(5)));
}

#[tokio::test]
async fn a_compacted_deletion_gives_no_revision_back() {
    let (store, directory) = empty().await;
    let created = write(&store, "a", "1").await;
    let deleted = store.delete("a", created).await.unwrap();
    store.compact(deleted).await.unwrap();
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.revision().await.unwrap(), deleted);
    let outcome = store.range(Range { at: Some(created), ..Range::default() }).await;
    assert!(matches!(outcome, Err(ReadError::Compacted { .. })), "{outcome:?}");
    assert_eq!(write(&store, "a", "2").await, Revision(deleted.0 + 1));
}

#[tokio::test]
async fn history_is_compacted_by_policy() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { compaction: Some(Keep::Revisions(32)), ..Options::default() };
    let store = Embedded::open(&directory.path().join("store"), options).unwrap();
    write(&store, "kept", "1").await;
    for round in 0..100 {
        write(&store, "a", &round.to_string()).await;
    }
    let now = store.revision().await.unwrap();
    let read = async |back: u64| {
        let at = Some(Revision(now.0 - back));
        store.range(Range { at, ..Range::default() }).await.map(|page| page.entries.len())
    };
    assert_eq!(read(32).await.unwrap(), 2);
    assert!(matches!(read(40).await, Err(ReadError::Compacted { .. })));
}

#[tokio::test]
async fn a_slow_watch_is_dropped_and_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { watch_buffer: 4, ..Options::default() };
    let store = Embedded::open(&directory.path().join("store"), options).unwrap();
    let watch = store.watch("", Revision(1)).await.unwrap();
    for round in 0..9 {
        write(&store, "a", &round.to_string()).await;
    }
    let events = watch.collect::<Vec<_>>().await;
    let changes = events.iter().filter(|event| matches!(event, Ok(WatchEvent::Change(_)))).count();
    assert_eq!(changes, 4);
    assert!(matches!(events.last(), Some(Err(WatchError::Lagged))), "{:?}", events.last());
}

#[tokio::test]
async fn the_end_of_the_store_ends_its_watches() {
    let (store, _directory) = empty().await;
    let mut live = store.watch("", Revision(1)).await.unwrap();
    assert!(matches!(live.next().await, Some(Ok(WatchEvent::Progress(_)))));
    drop(store);
    assert!(matches!(live.next().await, Some(Err(WatchError::Closed))));
    assert!(live.next().await.is_none());
}

#[tokio::test]
async fn a_watch_of_the_future_waits_for_it() {
    let (store, _directory) = empty().await;
    let mut watch = store.watch("", Revision(3)).await.unwrap();
    assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Progress(_)))));
    for round in 0..3 {
        write(&store, "a", &round.to_string()).await;
    }
    let Some(Ok(WatchEvent::Change(Change::Put { entry, .. }))) = watch.next().await else { unreachable!() };
    assert_eq!(entry.modified, Revision(4));
}

#[tokio::test]
async fn two_cannot_open_one_file() {
    let (store, directory) = empty().await;
    let path = directory.path().join("store");
    let refused = Embedded::open(&path, Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused:?}");
    drop(store);
    Embedded::open(&path, Options::default()).unwrap();
}

#[test]
fn a_missing_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nowhere/store");
    let refused = Embedded::open(&path, Options::default()).unwrap_err();
    assert!(refused.to_string().contains("nowhere/store"), "{refused}");
    assert!(matches!(refused, OpenError::Create { .. }), "{refused:?}");
}

/// A file as the first version wrote it, record by record: what later versions must be able to read.
#[tokio::test]
async fn a_store_of_format_one_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let record = |head: &[u8], key: &[u8], value: &[u8]| [head, key, value].concat();
    let put = |created: u8, previous: u8| {
        [&[1_u8, created][..], &[0; 7], &[previous], &[0; 7], &[1, 0, 0, 0]].concat()
    };
    let database = redb::Database::create(directory.path().join("store")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut log = transaction.open_table(redb::TableDefinition::<u64, &[u8]>::new("log")).unwrap();
        log.insert(2, record(&put(2, 0), b"a", b"one").as_slice()).unwrap();
        log.insert(3, record(&put(3, 0), b"b", b"two").as_slice()).unwrap();
        log.insert(4, record(&put(2, 2), b"a", b"three").as_slice()).unwrap();
        let mut facts = transaction.open_table(redb::TableDefinition::<&str, u64>::new("facts")).unwrap();
        facts.insert("format", 1).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let store = open(directory.path());
    let page = store.range(Range::default()).await.unwrap();
    let found: Vec<_> = page
        .entries
        .iter()
        .map(|entry| (&*entry.key, &*entry.value, entry.created.0, entry.modified.0))
        .collect();
    assert_eq!(found, [("a", b"three".as_slice(), 2, 4), ("b", b"two".as_slice(), 3, 3)]);
    let past = store.range(Range { at: Some(Revision(3)), ..Range::default() }).await.unwrap();
    assert_eq!(&*past.entries[0].value, b"one");
}

#[test]
fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let path = directory.path().join("store");
    let database = redb::Database::open(&path).unwrap();
    let facts = redb::TableDefinition::<&str, u64>::new("facts");
    let transaction = database.begin_write().unwrap();
    transaction.open_table(facts).unwrap().insert("format", 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = Embedded::open(&path, Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found: 2, known: 1, .. }), "{refused:?}");
}

#[test]
fn other_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let check = |name: &str, contents: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, contents).unwrap();
        let refused = Embedded::open(&path, Options::default()).unwrap_err();
        assert!(matches!(refused, OpenError::Corrupt { .. }), "{name}: {refused:?}");
        assert_eq!(fs::read(&path).unwrap(), contents, "a refused file is left as it was");
    };
    check("empty", b"");
    check("text", b"this is no store");
    check("garbage", &[0x5a; 1 << 16]);

    let foreign = directory.path().join("foreign");
    let database = redb::Database::create(&foreign).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(redb::TableDefinition::<u64, u64>::new("log")).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = Embedded::open(&foreign, Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused:?}");
}

/// A damaged file is refused or, where the damage hits no data, opened with all that was in it.
#[tokio::test]
async fn damage_is_noticed() {
    let (store, directory) = empty().await;
    for number in 0..50 {
        write(&store, &format!("key/{number}"), &"value".repeat(100)).await;
    }
    let whole = store.range(Range::default()).await.unwrap().entries;
    drop(store);
    let path = directory.path().join("store");
    let bytes = fs::read(&path).unwrap();
    let mut refused = 0;
    for turn in 0..60 {
        let mut damaged = bytes.clone();
        if turn < 10 {
            damaged.truncate(bytes.len() * turn / 10);
        } else {
            // Spread by a large odd step, so that all parts of the file are hit.
            let place = (turn * 7_368_787 + 13) % damaged.len();
            damaged[place..].iter_mut().take(16).for_each(|byte| *byte ^= 0xff);
        }
        fs::write(&path, damaged).unwrap();
        match Embedded::open(&path, Options::default()) {
            Ok(store) => assert_eq!(store.range(Range::default()).await.unwrap().entries, whole),
            Err(OpenError::Corrupt { .. }) => refused += 1,
            Err(other) => unreachable!("{other:?}"),
        }
    }
    assert!(refused >= 10, "only {refused} of 60 damaged files were refused");
}

/// A store with changes of all sorts behind it, and a backup of it, taken while it is open.
async fn backed_up() -> (Arc<Embedded>, TempDir, Vec<u8>) {
    let (store, directory) = empty().await;
    for number in 0..20 {
        write(&store, &format!("key/{}", number % 7), &number.to_string()).await;
    }
    let gone = write(&store, "gone", "1").await;
    store.delete("gone", gone).await.unwrap();
    let page = store.snapshot().await.unwrap();
    let backup = store::backup::chunks(page).collect::<Vec<_>>().concat();
    (store, directory, backup)
}

#[tokio::test]
async fn a_restored_store_has_the_same_objects_at_the_same_revisions() {
    let (store, directory, backup) = backed_up().await;
    write(&store, "later", "1").await;
    let path = directory.path().join("restored");
    let mut told = Vec::new();
    let head = store::embedded::restore(&path, &*backup, |done| told.push(done)).unwrap();
    assert_eq!((head.objects, told.last()), (7, Some(&7)));
    let report = store::embedded::check(&path).unwrap();
    assert_eq!((report.objects, report.revision, report.compacted), (7, Revision(23), Revision(23)));

    let restored = Embedded::open(&path, Options::default()).unwrap();
    let at = Some(Revision(23));
    let expected = store.range(Range { at, ..Range::default() }).await.unwrap();
    let page = restored.range(Range::default()).await.unwrap();
    assert_eq!((&page.entries, page.revision), (&expected.entries, expected.revision));
    let before = restored.watch("", Revision(22)).await.map(drop);
    assert!(matches!(before, Err(WatchError::Compacted { .. })), "{before:?}");
    assert_eq!(write(&restored, "key/0", "new").await, Revision(24));
    drop(restored);
    assert_eq!(store::embedded::check(&path).unwrap().changes, 8);
}

#[tokio::test]
async fn a_damaged_backup_leaves_no_store() {
    let (_store, directory, mut backup) = backed_up().await;
    let path = directory.path().join("restored");
    let place = backup.len() / 2;
    backup[place] ^= 1;
    store::embedded::restore(&path, &*backup, |_| {}).unwrap_err();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "only the store itself is left");
}

#[tokio::test]
async fn a_check_tells_sound_from_damaged_and_from_in_use() {
    use store::embedded::{CheckError, check};
    let (store, directory, _) = backed_up().await;
    let path = directory.path().join("store");
    assert!(matches!(check(&path), Err(CheckError::Open(OpenError::InUse { .. }))));
    drop(store);
    assert_eq!(check(&path).unwrap().objects, 7);
    assert!(matches!(check(&directory.path().join("none")), Err(CheckError::Missing { .. })));
    fs::write(&path, b"garbage").unwrap();
    assert!(matches!(check(&path), Err(CheckError::Open(OpenError::Corrupt { .. }))));
}
