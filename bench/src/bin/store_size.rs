//! How fast the embedded store opens with 1 GB in it, and that its file does not grow under steady update. Usage:
//! `store_size [FOLDER] [MEGABYTES]`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::path::Path;
use std::sync::Arc;

use bench::server::parent_folder;
use bytes::Bytes;
use futures::future::try_join_all;
use store::embedded::{Embedded, Options};
use store::{Expect, Range, Store};

const VALUE_BYTES: usize = 4096;
const WRITERS: usize = 512;
const RECOVERY_LIMIT_SECONDS: f64 = 10.0;
/// Objects under steady update, and how often each is updated between two looks at the file.
const STEADY: usize = 1024;
const UPDATES: usize = 32;
const LOOKS: usize = 6;

fn main() -> anyhow::Result<()> {
    let megabytes: usize = std::env::args().nth(2).map_or(Ok(1000), |text| text.parse())?;
    let folder = tempfile::tempdir_in(parent_folder())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    recovery(&folder.path().join("large"), megabytes, &runtime)?;
    runtime.block_on(growth(&folder.path().join("steady")))
}

fn recovery(path: &Path, megabytes: usize, runtime: &tokio::runtime::Runtime) -> anyhow::Result<()> {
    let objects = megabytes * 1_000_000 / VALUE_BYTES;
    let store = Embedded::open(path, Options::default())?;
    runtime.block_on(async {
        let lanes = (0..WRITERS).map(async |lane| {
            for number in 0..objects / WRITERS {
                store.put(&format!("{lane}/{number}"), value(number), Expect::Absent).await?;
            }
            anyhow::Ok(())
        });
        try_join_all(lanes).await
    })?;
    drop(store);
    let begun = kit::clock::monotonic();
    let store = Embedded::open(path, Options::default())?;
    let took = begun.elapsed().as_secs_f64();
    let there = runtime.block_on(store.range(Range { limit: Some(1), ..Range::default() }))?.remaining + 1;
    println!(
        "{there} objects, {megabytes} MB: opened and checked in {took:.2} s, ratio {:.2} of its limit of 10 s",
        took / RECOVERY_LIMIT_SECONDS
    );
    Ok(())
}

/// No two values are alike, so that nothing is won by their sameness.
fn value(number: usize) -> Bytes {
    number.to_le_bytes().repeat(VALUE_BYTES / size_of::<usize>()).into()
}

async fn growth(path: &Path) -> anyhow::Result<()> {
    let store = Embedded::open(path, Options::default())?;
    let mut sizes = Vec::new();
    for look in 0..LOOKS {
        try_join_all((0..STEADY).map(|object| update(store.clone(), object, look))).await?;
        sizes.push(std::fs::metadata(path)?.len() / 1_000_000);
    }
    let updates = STEADY * UPDATES;
    println!("{STEADY} objects, {updates} updates between looks: the file has {sizes:?} MB");
    let (early, last) = (sizes[LOOKS / 3], sizes[LOOKS - 1]);
    anyhow::ensure!(last <= early + early / 2, "the file grows without bound: {early} MB, then {last} MB");
    Ok(())
}

async fn update(store: Arc<Embedded>, object: usize, look: usize) -> anyhow::Result<()> {
    let key = format!("steady/{object}");
    let mut expect = store.get(&key).await?.map_or(Expect::Absent, |entry| Expect::At(entry.modified));
    for number in 0..UPDATES {
        expect = Expect::At(store.put(&key, value(look * UPDATES + number), expect).await?.modified);
    }
    Ok(())
}
