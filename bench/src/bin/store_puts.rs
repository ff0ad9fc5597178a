//! Durable puts per second of the embedded store, alone and by 64 writers at once, beside what the disk itself
//! can do: 1 KiB appended and synced, one after another. Usage: `store_puts [DIRECTORY]`.
//!
//! The three take turns in short rounds, so that a disk whose pace changes is the same for all of them.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bench::summary::{Summary, millis};
use futures::future::try_join_all;
use store::embedded::{Embedded, Options};
use store::{Expect, Store};

const ROUNDS: usize = 10;
const SYNCS: usize = 100;
const WRITERS: usize = 64;
const PUTS_PER_WRITER: usize = 25;
/// About a small Pod in JSON.
const VALUE: [u8; 1024] = [b'x'; 1024];

/// What one of the three did in all its rounds.
#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    elapsed: Duration,
}

impl Tally {
    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }
}

fn main() -> anyhow::Result<()> {
    let parent = std::env::args().nth(1).unwrap_or_else(|| "target".to_owned());
    let directory = tempfile::tempdir_in(&parent).with_context(|| format!("cannot write to `{parent}`"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let store = Embedded::open(&directory.path().join("store"), Options::default())?;
    let (mut disk, mut single, mut many) = (Tally::default(), Tally::default(), Tally::default());
    for round in 0..ROUNDS {
        sync_round(directory.path(), &mut disk)?;
        runtime.block_on(put_round(&store, &format!("single/{round}"), (1, SYNCS), &mut single))?;
        runtime.block_on(put_round(
            &store,
            &format!("many/{round}"),
            (WRITERS, PUTS_PER_WRITER),
            &mut many,
        ))?;
    }
    let rate = disk.rate();
    println!("disk alone:  {rate:.0} syncs/s of 1 KiB; {}", Summary::new(disk.latencies));
    for (name, tally) in [("1 writer:   ", single), ("64 writers: ", many)] {
        let (puts, summary) = (tally.rate(), Summary::new(tally.latencies));
        println!("{name} {puts:.0} durable puts/s, {:.2} of the disk's rate; {summary}", puts / rate);
    }
    println!("a sync takes {:.2} ms on average", millis(disk.elapsed) / (ROUNDS * SYNCS) as f64);
    Ok(())
}

fn sync_round(directory: &Path, tally: &mut Tally) -> anyhow::Result<()> {
    let mut file = File::options().create(true).append(true).open(directory.join("syncs"))?;
    let begun = kit::clock::monotonic();
    for _ in 0..SYNCS {
        let begun = kit::clock::monotonic();
        file.write_all(&VALUE)?;
        file.sync_data()?;
        tally.latencies.push(begun.elapsed());
    }
    tally.elapsed += begun.elapsed();
    Ok(())
}

/// So many writers put so many new objects each, one after another.
async fn put_round(
    store: &Arc<Embedded>,
    prefix: &str,
    (writers, puts): (usize, usize),
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let begun = kit::clock::monotonic();
    let latencies = try_join_all((0..writers).map(async |writer| {
        let mut latencies = Vec::with_capacity(puts);
        for number in 0..puts {
            let begun = kit::clock::monotonic();
            let value = bytes::Bytes::from_static(&VALUE);
            store.put(&format!("{prefix}/{writer}/{number}"), value, Expect::Absent).await?;
            latencies.push(begun.elapsed());
        }
        anyhow::Ok(latencies)
    }))
    .await?;
    tally.elapsed += begun.elapsed();
    tally.latencies.extend(latencies.into_iter().flatten());
    Ok(())
}
