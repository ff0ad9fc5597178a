//! Inputs and outputs in stores of objects. Each step is a process of its own, so that a slow or broken store, and all that it
//! takes to speak to one, costs the worker nothing.
//!
//! ```text
//!   worker ──spawn──► `worker objects` ◄── what to fetch or to put, by standard input
//!                          └── exit code 0; or why not, by standard error
//! ```
//! Credentials are read by that process from the files of their Secret, and leave it in signed requests only: what it says is
//! searched for them before it is said.

mod fetch;
pub(super) mod list;
mod put;
mod store;

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use fuxi::protocol::{Attempt, Program, Store};
use serde::{Deserialize, Serialize};

use super::process::{self, SpawnError};
pub(super) use store::StoreError;

/// The word that makes a worker's program fetch or put objects.
pub(super) const VERB: &str = "objects";

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Request {
    Fetch { store: Box<Store>, wanted: Vec<Wanted> },
    Put { store: Box<Store>, attempt: Attempt, from: PathBuf },
}

/// An object of a list, and the file that it becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wanted {
    key: String,
    /// Which of all the states that the object may have had.
    version: String,
    to: PathBuf,
}

/// A folder of an attempt alone, which goes with it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn create(store: &Store, attempt: Attempt) -> io::Result<Self> {
        let name = format!("{}.{}.{:08x}", attempt.index, attempt.number, rand::random::<u32>());
        let path = store.files.join(name);
        fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    /// Where the instance writes what is to be put; nothing is there yet.
    pub(super) fn output(&self) -> PathBuf {
        self.path.join("output")
    }

    /// Which objects a piece of the task's list names, and where they are put: each in a folder of its own, by its own name.
    pub(super) fn wanted(&self, piece: &str) -> Vec<Wanted> {
        let wanted = |(position, line): (usize, &str)| {
            let (version, key) = line.split_once(' ').unwrap_or(("", line));
            let name = key.rsplit('/').next().unwrap_or(key);
            let to = self.path.join("input").join(position.to_string()).join(name);
            Wanted { key: key.to_owned(), version: version.to_owned(), to }
        };
        piece.lines().enumerate().map(wanted).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays goes with the worker.
        let _gone = fs::remove_dir_all(&self.path);
    }
}

/// Where the objects of a piece are files, line by line.
pub(super) fn paths(wanted: &[Wanted]) -> String {
    wanted.iter().map(|wanted| wanted.to.to_string_lossy()).collect::<Vec<_>>().join("\n")
}

/// The objects of a piece by their URLs, line by line.
pub(super) fn urls(store: &Store, piece: &str) -> String {
    let url = |line: &str| store::url(&store.objects, line.split_once(' ').map_or(line, |(_, key)| key));
    piece.lines().map(url).collect::<Vec<_>>().join("\n")
}

/// The process that does what is asked.
pub(super) fn command(program: &Program, request: &Request) -> Result<Command, SpawnError> {
    let words = ["/proc/self/exe", "worker", VERB].map(str::to_owned).to_vec();
    let mut command = process::command(&Program { command: words, ..program.clone() })?;
    let input = told(request).map_err(|source| SpawnError::Objects { source })?;
    command.stdin(Stdio::from(input)).stdout(Stdio::null());
    Ok(command)
}

fn told(request: &Request) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("crest-objects", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(request)?)?;
    file.rewind()?;
    Ok(file)
}

pub(super) fn main() -> ExitCode {
    let done = serde_json::from_reader(io::stdin())
        .map_err(|source| StoreError::Request { source })
        .and_then(|request: Request| {
            block_on(async {
                match request {
                    Request::Fetch { store, wanted } => fetch::all(&store, wanted).await,
                    Request::Put { store, attempt, from } => put::whole(&store, attempt, &from).await,
                }
            })
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", kit::Chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| StoreError::Runtime { source })?.block_on(work)
}

fn local(path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Local { path, source }
}
