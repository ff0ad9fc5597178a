//! Encrypted and plain side by side, other keys and bent bytes; and the suite of all stores.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use store::embedded::{Embedded, Options};
use store::{Change, Expect, Range, Revision, Store, WatchEvent};
use tempfile::TempDir;

use super::{Encrypted, MARK};

const PREFIX: &str = "/registry/core/secrets/";
const KEY: &str = "/registry/core/secrets/n/s";

fn open(directory: &TempDir) -> Arc<dyn Store> {
    Embedded::open(&directory.path().join("store"), Options::default()).unwrap()
}

fn encrypted(directory: &TempDir, inner: &Arc<dyn Store>, key: &str) -> Encrypted {
    let path = directory.path().join("key");
    std::fs::write(&path, key).unwrap();
    Encrypted::build(Arc::clone(inner), PREFIX, &path).unwrap()
}

fn key(byte: u8) -> String {
    hex::encode([byte; 32])
}

#[tokio::test]
async fn what_lies_in_the_store_tells_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let inner = open(&directory);
    let store = encrypted(&directory, &inner, &key(1));
    let plain = Bytes::from_static(b"{\"data\":\"hunter2\"}");
    let written = store.put(KEY, plain.clone(), Expect::Absent).await.unwrap();
    assert_eq!(written.value, plain);
    let lies = inner.get(KEY).await.unwrap().unwrap();
    assert!(lies.value.starts_with(MARK) && !lies.value.windows(7).any(|part| part == b"hunter2"));
    assert_eq!(store.get(KEY).await.unwrap().unwrap().value, plain);
    let mut watch = store.watch(PREFIX, Revision(1)).await.unwrap();
    let seen = watch.next().await.unwrap().unwrap();
    assert!(matches!(seen, WatchEvent::Change(Change::Put { entry, .. }) if entry.value == plain));
    let other = "/registry/core/configmaps/n/c";
    store.put(other, plain.clone(), Expect::Absent).await.unwrap();
    assert_eq!(inner.get(other).await.unwrap().unwrap().value, plain);
    // Another key reads nothing, and neither does the same under another name.
    assert!(encrypted(&directory, &inner, &key(2)).get(KEY).await.is_err());
    inner.put(&format!("{KEY}2"), lies.value.clone(), Expect::Absent).await.unwrap();
    assert!(store.get(&format!("{KEY}2")).await.is_err());
    let bent: Vec<u8> = lies.value.iter().rev().skip(1).rev().copied().collect();
    inner.put(KEY, bent.into(), Expect::At(lies.modified)).await.unwrap();
    assert!(store.get(KEY).await.is_err());
}

#[tokio::test]
async fn plain_values_are_read_and_then_encrypted() {
    let directory = tempfile::tempdir().unwrap();
    let inner = open(&directory);
    inner.put(KEY, Bytes::from_static(b"{}"), Expect::Absent).await.unwrap();
    let store = encrypted(&directory, &inner, &key(1));
    assert_eq!(&store.get(KEY).await.unwrap().unwrap().value[..], b"{}");
    store.rewrite().await.unwrap();
    assert!(inner.get(KEY).await.unwrap().unwrap().value.starts_with(MARK));
    let range = Range { prefix: PREFIX.to_owned(), ..Range::default() };
    assert_eq!(&store.range(range).await.unwrap().entries[0].value[..], b"{}");
    let before = inner.revision().await.unwrap();
    store.rewrite().await.unwrap();
    assert_eq!(inner.revision().await.unwrap(), before);
}

#[test]
fn a_key_is_32_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let inner = open(&directory);
    for wrong in ["", "00", &"g".repeat(64), &key(1)[2..]] {
        let path = directory.path().join("wrong");
        std::fs::write(&path, wrong).unwrap();
        assert!(Encrypted::build(Arc::clone(&inner), PREFIX, &path).is_err());
    }
}
