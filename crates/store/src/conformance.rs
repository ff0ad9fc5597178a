//! What every implementation of [`Store`] must do, as tests that any of them can run.
//!
//! ```text
//! store::conformance_tests!(async || Some((open_an_empty_store(), guard_that_cleans_up)));
//! ```
//! Each case is given an empty store. It fails by a panic or by an error. Where a store cannot be made because the host
//! lacks what it needs, `None` skips the cases; whoever returns it says so.

mod etcd_server;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::try_join_all;

use crate::{
    Change, Entry, Expect, Range, ReadError, Revision, Store, Watch, WatchError, WatchEvent, WriteError,
};

/// How a case ends.
pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;
type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub use etcd_server::EtcdServer;

/// One test per case. `$make` is called for each and returns an empty `Arc<dyn Store>` (or a concrete one) and
/// something to keep until the case has ended.
#[macro_export]
macro_rules! conformance_tests {
    ($make:expr) => {
        $crate::conformance_tests!($make;
            a_new_store_is_empty_at_revision_one
            an_object_remembers_its_revisions
            writes_need_their_expectation
            an_object_created_anew_is_a_new_object
            any_value_and_key_comes_back
            ranges_are_ordered_and_paged
            pages_come_from_one_snapshot
            the_future_cannot_be_read
            a_watch_tells_changes_with_what_stood_before
            a_watch_from_the_past_is_told_history_first
            a_watch_is_told_of_its_prefix_only
            a_quiet_watch_is_told_of_progress
            compaction_forgets_the_past_only
            concurrent_increments_all_count
            a_watch_misses_nothing_under_load
        );
    };
    ($make:expr; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() -> $crate::conformance::Outcome {
                let Some((store, _guard)) = ($make)().await else { return Ok(()) };
                $crate::conformance::$case(store).await
            }
        )*
    };
}

async fn create(store: &Arc<impl Store + ?Sized>, key: &str, value: &str) -> Result<Entry, WriteError> {
    store.put(key, Bytes::copy_from_slice(value.as_bytes()), Expect::Absent).await
}

async fn update(
    store: &Arc<impl Store + ?Sized>,
    key: &str,
    value: &str,
    at: Revision,
) -> Result<Entry, WriteError> {
    store.put(key, Bytes::copy_from_slice(value.as_bytes()), Expect::At(at)).await
}

/// The next event; a store that goes silent fails the case instead of hanging it.
async fn next(watch: &mut Watch) -> Fallible<WatchEvent> {
    let event = tokio::time::timeout(Duration::from_secs(20), watch.next()).await?;
    Ok(event.ok_or("the watch has ended")??)
}

async fn next_change(watch: &mut Watch) -> Fallible<Change> {
    loop {
        if let WatchEvent::Change(change) = next(watch).await? {
            return Ok(change);
        }
    }
}

fn keys(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.key).collect()
}

fn prefix(prefix: &str) -> Range {
    Range { prefix: prefix.to_owned(), ..Range::default() }
}

pub async fn a_new_store_is_empty_at_revision_one(store: Arc<impl Store + ?Sized>) -> Outcome {
    assert_eq!(store.revision().await?, Revision(1));
    assert_eq!(store.get("a").await?, None);
    let page = store.range(Range::default()).await?;
    assert_eq!((page.entries.len(), page.revision, page.remaining), (0, Revision(1), 0));
    Ok(())
}

pub async fn an_object_remembers_its_revisions(store: Arc<impl Store + ?Sized>) -> Outcome {
    let first = create(&store, "a", "1").await?;
    assert_eq!((first.created, first.modified), (Revision(2), Revision(2)));
    create(&store, "b", "1").await?;
    let second = update(&store, "a", "2", first.modified).await?;
    assert_eq!((second.created, second.modified), (Revision(2), Revision(4)));
    assert_eq!(store.get("a").await?, Some(second));
    assert_eq!(store.delete("a", Revision(4)).await?, Revision(5));
    assert_eq!(store.get("a").await?, None);
    assert_eq!(store.revision().await?, Revision(5));
    Ok(())
}

pub async fn writes_need_their_expectation(store: Arc<impl Store + ?Sized>) -> Outcome {
    let entry = create(&store, "a", "1").await?;
    let wrong = Revision(entry.modified.0 + 7);
    let refused = [
        create(&store, "a", "2").await.map(|_| ()),
        update(&store, "a", "2", wrong).await.map(|_| ()),
        store.delete("a", wrong).await.map(|_| ()),
    ];
    for outcome in refused {
        let Err(WriteError::Conflict { key, current }) = outcome else {
            return Err(format!("expected a conflict, got {outcome:?}").into());
        };
        assert_eq!((key.as_str(), current.as_ref()), ("a", Some(&entry)));
    }
    for outcome in [
        update(&store, "b", "1", entry.modified).await.map(|_| ()),
        store.delete("b", wrong).await.map(|_| ()),
    ] {
        assert!(matches!(outcome, Err(WriteError::Conflict { current: None, .. })), "{outcome:?}");
    }
    assert_eq!(store.get("a").await?, Some(entry.clone()));
    assert_eq!(store.revision().await?, entry.modified, "a refused write takes no revision");
    Ok(())
}

pub async fn an_object_created_anew_is_a_new_object(store: Arc<impl Store + ?Sized>) -> Outcome {
    let old = create(&store, "a", "1").await?;
    store.delete("a", old.modified).await?;
    let new = create(&store, "a", "2").await?;
    assert_eq!((new.created, new.modified), (Revision(4), Revision(4)));
    let outcome = update(&store, "a", "3", old.modified).await;
    assert!(matches!(outcome, Err(WriteError::Conflict { .. })), "{outcome:?}");
    Ok(())
}

pub async fn any_value_and_key_comes_back(store: Arc<impl Store + ?Sized>) -> Outcome {
    let large = vec![0xa5; 3 << 20];
    let values: [(&str, &[u8]); 4] =
        [("empty", b""), ("large", &large), ("köln/日本", b"\0\xff"), (" /%2f\n", b"x")];
    for (key, value) in values {
        store.put(key, Bytes::copy_from_slice(value), Expect::Absent).await?;
    }
    for (key, value) in values {
        let entry = store.get(key).await?.ok_or("the object is gone")?;
        assert!(entry.value == value, "the value of {key:?} has changed");
    }
    Ok(())
}

pub async fn ranges_are_ordered_and_paged(store: Arc<impl Store + ?Sized>) -> Outcome {
    for key in ["p/c", "p/a", "p", "p/b", "p0", "o/z", "p/a/x", "q"] {
        create(&store, key, key).await?;
    }
    let page = store.range(prefix("p/")).await?;
    assert_eq!(keys(&page.entries), ["p/a", "p/a/x", "p/b", "p/c"]);
    let page = store.range(Range { limit: Some(3), ..prefix("p/") }).await?;
    assert_eq!((keys(&page.entries), page.remaining), (vec!["p/a", "p/a/x", "p/b"], 1));
    let after = Some("p/a/x".to_owned());
    let page = store.range(Range { after, limit: Some(3), ..prefix("p/") }).await?;
    assert_eq!((keys(&page.entries), page.remaining), (vec!["p/b", "p/c"], 0));
    let outside = [Some("a".to_owned()), None, Some("z".to_owned())];
    let mut counts = Vec::new();
    for after in outside {
        counts.push(store.range(Range { after, ..prefix("p/") }).await?.entries.len());
    }
    assert_eq!(counts, [4, 4, 0]);
    let page = store.range(Range { limit: Some(0), ..prefix("") }).await?;
    assert_eq!((page.entries.len(), page.remaining), (0, 8));
    Ok(())
}

pub async fn pages_come_from_one_snapshot(store: Arc<impl Store + ?Sized>) -> Outcome {
    for key in ["a", "b", "c", "d"] {
        create(&store, key, "old").await?;
    }
    let first = store.range(Range { limit: Some(2), ..prefix("") }).await?;
    let at = first.revision;
    let changed = store.get("c").await?.ok_or("no c")?;
    update(&store, "c", "new", changed.modified).await?;
    store.delete("d", Revision(5)).await?;
    create(&store, "e", "new").await?;
    let after = Some("b".to_owned());
    let second = store.range(Range { after, limit: Some(2), at: Some(at), ..prefix("") }).await?;
    assert_eq!((keys(&second.entries), second.revision, second.remaining), (vec!["c", "d"], at, 0));
    assert_eq!(second.entries.first(), Some(&changed));
    let now = store.range(prefix("")).await?;
    assert_eq!(keys(&now.entries), ["a", "b", "c", "e"]);
    Ok(())
}

pub async fn the_future_cannot_be_read(store: Arc<impl Store + ?Sized>) -> Outcome {
    let outcome = store.range(Range { at: Some(Revision(9)), ..prefix("") }).await;
    let is_refused = matches!(outcome, Err(ReadError::Future { asked: Revision(9), current: Revision(1) }));
    assert!(is_refused, "{outcome:?}");
    Ok(())
}

pub async fn a_watch_tells_changes_with_what_stood_before(store: Arc<impl Store + ?Sized>) -> Outcome {
    let mut watch = store.watch("", Revision(1)).await?;
    assert_eq!(next(&mut watch).await?, WatchEvent::Progress(Revision(1)));
    let first = create(&store, "a", "1").await?;
    let second = update(&store, "a", "2", first.modified).await?;
    let revision = store.delete("a", second.modified).await?;
    let expected = [
        Change::Put { entry: first.clone(), previous: None },
        Change::Put { entry: second.clone(), previous: Some(first) },
        Change::Delete { revision, previous: second },
    ];
    for change in expected {
        assert_eq!(next(&mut watch).await?, WatchEvent::Change(change));
    }
    Ok(())
}

pub async fn a_watch_from_the_past_is_told_history_first(store: Arc<impl Store + ?Sized>) -> Outcome {
    let first = create(&store, "a", "1").await?;
    let second = update(&store, "a", "2", first.modified).await?;
    let revision = store.delete("a", second.modified).await?;
    let mut watch = store.watch("", first.modified).await?;
    let live = create(&store, "b", "1").await?;
    let put = Change::Put { entry: second.clone(), previous: Some(first) };
    assert_eq!(next_change(&mut watch).await?, put);
    assert_eq!(next_change(&mut watch).await?, Change::Delete { revision, previous: second });
    assert_eq!(next_change(&mut watch).await?, Change::Put { entry: live, previous: None });
    Ok(())
}

pub async fn a_watch_is_told_of_its_prefix_only(store: Arc<impl Store + ?Sized>) -> Outcome {
    create(&store, "a/1", "").await?;
    create(&store, "b/1", "").await?;
    let mut watch = store.watch("b/", Revision(1)).await?;
    create(&store, "a/2", "").await?;
    create(&store, "b/2", "").await?;
    create(&store, "b", "").await?;
    create(&store, "b/3", "").await?;
    for expected in ["b/1", "b/2", "b/3"] {
        assert_eq!(&**next_change(&mut watch).await?.key(), expected);
    }
    Ok(())
}

pub async fn a_quiet_watch_is_told_of_progress(store: Arc<impl Store + ?Sized>) -> Outcome {
    let mut watch = store.watch("quiet/", Revision(1)).await?;
    assert_eq!(next(&mut watch).await?, WatchEvent::Progress(Revision(1)));
    let names = (0..1000).map(|number| format!("loud/{number}")).collect::<Vec<_>>();
    try_join_all(names.iter().map(|name| create(&store, name, ""))).await?;
    let WatchEvent::Progress(revision) = next(&mut watch).await? else {
        return Err("a watch was told of what it does not watch".into());
    };
    assert!(revision > Revision(1) && revision <= store.revision().await?);
    Ok(())
}

pub async fn compaction_forgets_the_past_only(store: Arc<impl Store + ?Sized>) -> Outcome {
    let first = create(&store, "a", "1").await?;
    let kept = create(&store, "kept", "1").await?;
    let second = update(&store, "a", "2", first.modified).await?;
    create(&store, "gone", "1").await?;
    store.delete("gone", Revision(5)).await?;
    let third = update(&store, "a", "3", second.modified).await?;
    store.compact(Revision(6)).await?;

    let outcome = store.range(Range { at: Some(Revision(5)), ..prefix("") }).await;
    assert!(matches!(outcome, Err(ReadError::Compacted { .. })), "{outcome:?}");
    let outcome = store.watch("", Revision(5)).await.map(|_| ());
    assert!(matches!(outcome, Err(WatchError::Compacted { .. })), "{outcome:?}");

    let page = store.range(Range { at: Some(Revision(6)), ..prefix("") }).await?;
    assert_eq!(page.entries, [second.clone(), kept.clone()]);
    let page = store.range(prefix("")).await?;
    assert_eq!(page.entries, [third.clone(), kept]);
    let mut watch = store.watch("", Revision(6)).await?;
    let change = Change::Put { entry: third, previous: Some(second) };
    assert_eq!(next_change(&mut watch).await?, change);

    // Compacting less, or more than there is, is no error.
    store.compact(Revision(2)).await?;
    store.compact(Revision(1000)).await?;
    let outcome = store.watch("", Revision(6)).await.map(|_| ());
    assert!(matches!(outcome, Err(WatchError::Compacted { .. })), "{outcome:?}");
    assert_eq!(create(&store, "b", "1").await?.modified, Revision(8));
    Ok(())
}

async fn increment(store: &Arc<impl Store + ?Sized>, key: &str) -> Fallible<Revision> {
    loop {
        let current = store.get(key).await?.ok_or("no counter")?;
        let count = std::str::from_utf8(&current.value)?.parse::<u64>()? + 1;
        match update(store, key, &count.to_string(), current.modified).await {
            Ok(entry) => return Ok(entry.modified),
            Err(WriteError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub async fn concurrent_increments_all_count(store: Arc<impl Store + ?Sized>) -> Outcome {
    const WRITERS: usize = 8;
    const TIMES: usize = 20;
    create(&store, "counter", "0").await?;
    let writers = (0..WRITERS).map(async |_| {
        let mut revisions = Vec::new();
        for _ in 0..TIMES {
            revisions.push(increment(&store, "counter").await?);
        }
        Fallible::Ok(revisions)
    });
    let mut revisions = try_join_all(writers).await?.concat();
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), WRITERS * TIMES, "each write has a revision of its own");
    let entry = store.get("counter").await?.ok_or("no counter")?;
    assert_eq!(entry.value, (WRITERS * TIMES).to_string());
    Ok(())
}

pub async fn a_watch_misses_nothing_under_load(store: Arc<impl Store + ?Sized>) -> Outcome {
    const WRITES: u64 = 600;
    let writing = async {
        let names = (0..WRITES).map(|number| format!("k/{number}")).collect::<Vec<_>>();
        for some in names.chunks(20) {
            try_join_all(some.iter().map(|name| create(&store, name, "x"))).await?;
        }
        Fallible::Ok(())
    };
    // Watches that start at different moments of the load, all from the beginning.
    let watching = try_join_all((0..4).map(async |turn| {
        for _ in 0..turn * 50 {
            tokio::task::yield_now().await;
        }
        let mut watch = store.watch("k/", Revision(1)).await?;
        for revision in 2..WRITES + 2 {
            assert_eq!(next_change(&mut watch).await?.revision(), Revision(revision));
        }
        Fallible::Ok(())
    }));
    tokio::try_join!(writing, watching)?;
    Ok(())
}
