//! What only a process of its own can show: death by kill -9 while writing, and a disk that is full.
//!
//! The test starts itself as a child: `process write PATH`, `process fill PATH [BALLAST]`.

#![expect(clippy::print_stdout, reason = "a test program of its own tells its results there")]

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use rustix::process::{Resource, Rlimit};
use store::embedded::{Embedded, Options};
use store::{Expect, Range, Revision, Store, WriteError};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", path, round] => block_on(write_for_ever(path.as_ref(), round)),
        ["fill", path] => block_on(fill(path.as_ref(), None)),
        ["fill", path, ballast] => block_on(fill(path.as_ref(), Some(ballast.as_ref()))),
        _ => run_all(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run_all() -> Outcome {
    for (name, test) in [
        ("kill -9 loses no acknowledged write", killed as fn() -> Outcome),
        ("a file size limit stops writes only", limited),
        ("a full disk stops writes only", full_disk),
    ] {
        test().map_err(|error| format!("{name}: {error}"))?;
        println!("{name}: ok");
    }
    Ok(())
}

fn block_on(future: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(future)
}

/// Eight writers; each acknowledged write is told on standard output before the next one.
async fn write_for_ever(path: &Path, round: &str) -> Outcome {
    let store = Embedded::open(path, Options::default())?;
    try_join_all((0..8).map(|writer| {
        let store = store.clone();
        async move {
            for number in 0_u64.. {
                let key = format!("{round}/{writer}/{}", number % 50);
                let expect =
                    store.get(&key).await?.map_or(Expect::Absent, |entry| Expect::At(entry.modified));
                let entry = store.put(&key, Bytes::from(format!("{number}")), expect).await?;
                let line = format!("{key} {number} {}\n", entry.modified.0);
                std::io::stdout().lock().write_all(line.as_bytes())?;
            }
            Outcome::Ok(())
        }
    }))
    .await?;
    Ok(())
}

fn spawn_self(arguments: &[&str]) -> Outcome<Child> {
    Ok(Command::new(std::env::current_exe()?).args(arguments).stdout(Stdio::piped()).spawn()?)
}

fn killed() -> Outcome {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("store");
    let mut acknowledged = Vec::new();
    for round in 0..6_usize {
        let round_name = round.to_string();
        let mut child = spawn_self(&["write", path.to_str().ok_or("the path is no text")?, &round_name])?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        // Enough different moments: each round dies after another number of writes.
        let deadly = 1 + round * 137;
        for (count, line) in output.lines().enumerate() {
            acknowledged.push(line?);
            if count == deadly {
                child.kill()?;
            }
        }
        child.wait()?;
        block_on(check_all(&path, &acknowledged))?;
    }
    Ok(())
}

async fn check_all(path: &Path, acknowledged: &[String]) -> Outcome {
    let store = Embedded::open(path, Options::default())?;
    for line in acknowledged {
        let [key, number, revision] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("cannot understand `{line}`").into());
        };
        let entry = store.get(key).await?.ok_or_else(|| format!("`{line}` is lost"))?;
        let stored = std::str::from_utf8(&entry.value)?.parse::<u64>()?;
        if stored < number.parse()? || entry.modified < Revision(revision.parse()?) {
            return Err(format!("`{line}` is lost: {entry:?}").into());
        }
    }
    Ok(())
}

/// Runs the child below under a limit of its file size, which it lifts itself.
fn limited() -> Outcome {
    let directory = tempfile::tempdir()?;
    // Ignored signals stay ignored in a program that is executed: the write fails instead of killing.
    let script = "trap '' XFSZ; ulimit -S -f 4096; exec \"$0\" fill \"$1\"";
    let status = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe()?)
        .arg(directory.path().join("store"))
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("the child ended with {status}").into()) }
}

/// A small file system of its own in a mount namespace of its own; only root can make one.
fn full_disk() -> Outcome {
    if !rustix::process::geteuid().is_root() {
        println!("not root: no file system of its own, the size limit above has to do");
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let script = "mount -t tmpfs -o size=6m tmpfs \"$1\" && head -c 1m /dev/zero > \"$1/ballast\" && \
                  exec \"$0\" fill \"$1/store\" \"$1/ballast\"";
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(std::env::current_exe()?)
        .arg(directory.path())
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("the child ended with {status}").into()) }
}

/// Writes until there is no room, then checks that all else goes on, makes room, and writes again.
async fn fill(path: &Path, ballast: Option<&Path>) -> Outcome {
    let store = Embedded::open(path, Options::default())?;
    let mut count = write_until_full(&store).await?;
    for _ in 0..3 {
        check_readable(&store, count).await?;
        count = write_until_full(&store).await?;
    }
    make_room(ballast)?;
    let entry = store.put("after", Bytes::from_static(b"room"), Expect::Absent).await?;
    if entry.modified != Revision(count + 2) {
        return Err(format!("a failed write has taken a revision: {entry:?}").into());
    }
    let history = store.range(Range { at: Some(Revision(count)), ..Range::default() }).await?;
    if history.entries.len() as u64 != count - 1 {
        return Err(format!("history has {} entries", history.entries.len()).into());
    }
    drop(store);
    let store = Embedded::open(path, Options::default())?;
    let page = store.range(Range::default()).await?;
    if page.entries.len() as u64 != count + 1 || page.revision != Revision(count + 2) {
        return Err(format!("{} entries at {:?} of {count}", page.entries.len(), page.revision).into());
    }
    Ok(())
}

/// How many objects there are in the end. Each round may fit in a few more, as pages are freed by failures.
async fn write_until_full(store: &Arc<Embedded>) -> Outcome<u64> {
    for _ in 0..10_000 {
        let count = store.revision().await?.0 - 1;
        let key = format!("key/{count:05}");
        match store.put(&key, Bytes::from(vec![7; 64 << 10]), Expect::Absent).await {
            Ok(_) => {}
            Err(WriteError::Full { .. }) => return Ok(count),
            Err(error) => return Err(error.into()),
        }
    }
    Err("the disk never got full".into())
}

async fn check_readable(store: &Arc<Embedded>, count: u64) -> Outcome {
    let page = store.range(Range::default()).await?;
    let is_whole = page.entries.len() as u64 == count && page.revision == Revision(count + 1);
    let has_last = store.get(&format!("key/{:05}", count - 1)).await?.is_some();
    let has_none = store.get(&format!("key/{count:05}")).await?.is_none();
    if is_whole && has_last && has_none {
        return Ok(());
    }
    Err(format!("not all can be read while the disk is full: {} of {count}", page.entries.len()).into())
}

fn make_room(ballast: Option<&Path>) -> Outcome {
    if let Some(ballast) = ballast {
        return Ok(fs::remove_file(ballast)?);
    }
    let unlimited = Rlimit { current: None, maximum: rustix::process::getrlimit(Resource::Fsize).maximum };
    Ok(rustix::process::setrlimit(Resource::Fsize, unlimited)?)
}
