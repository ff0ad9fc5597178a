//! What a worker and its master say to each other: one JSON object per line, both ways.
//!
//! ```text
//!   worker                                   master
//!     │ hello{worker, token, held} ──────────► │   again after every reconnect, with all that it still holds,
//!     │ results{…} ──────────────────────────► │   and all that it ended and knows not to be durable
//!     │ ◄──────────────── program{command, …}  │   what its instances are
//!     │ ◄──────────────── assign{instances}    │   enough for a moment, so that it need not wait for the next
//!     │ command{attempt, runs} ──────────────► │   between objects that come and go; these take as long as they take
//!     │ results{instance, attempt, exit…} ───► │
//!     │ ◄──────────────── assign{more}         │   at once, not waiting for the store
//!     │ ◄──────────────── ack{attempts}        │   when results are durable; the worker may forget them
//!     │ ◄──────────────── recall               │   others are idle: give back what you have not begun
//!     │ returned{attempts} ──────────────────► │
//!     │ ◄──────────────── stop                 │   nothing left to do, or no longer wanted
//! ```

mod span;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use model::dagjob::{Input, Mode, Objects};
use serde::{Deserialize, Serialize};

pub use span::{Span, attempts, spans};

/// Where the worker's directory appears in its container.
pub const MOUNT: &str = "/.crest";
/// The socket's file name in the worker's directory.
pub const SOCKET: &str = "fuxi.sock";
/// The program's file name in the worker's directory.
pub const PROGRAM: &str = "crest";
/// Where a worker of a task with objects keeps them while an instance needs them.
pub const FILES: &str = "/.crest-files";
/// Where the Secrets of its stores appear, each in a folder of its own.
pub const SECRETS: &str = "/.crest-secrets";
/// The longest line either side accepts. Input lists are the longest thing said.
pub const MAX_LINE: usize = 6 << 20;
/// The longest first line of a worker: all that it holds, one by one.
pub const MAX_HELLO: usize = 256 << 10;
/// The largest input list that a worker may tell, compressed.
pub const MAX_LIST: usize = 4 << 20;
/// How long taking an input list may take.
pub const LIST_LIMIT: Duration = Duration::from_secs(600);
/// Objects of one instance that are not fetched, or not put, by then are given up.
pub const OBJECTS_LIMIT: Duration = Duration::from_secs(3600);
/// The most bytes of input that go with one assignment; as text in JSON a byte may take six.
pub const MAX_INPUT: usize = 512 * 1024;
/// The index of the instance that takes the task's input list.
pub const LISTING: u32 = u32::MAX - 1;
/// The most results that a worker keeps.
pub const MAX_KEPT: u32 = 1 << 16;
/// How much of a failed instance's standard error, or of what it says of itself, travels with its result.
pub const MAX_TAIL: usize = 2048;
/// How long a program that takes instances as a stream may take until it is ready for the first.
pub const READY_LIMIT: Duration = Duration::from_secs(120);

/// How a master gets the workers of another host: by a request to the node's agent, which becomes the connection of the
/// next worker there.
pub mod remote {
    pub const PATH: &str = "/crest/workers";
    /// What the request asks to upgrade to.
    pub const UPGRADE: &str = "crest-workers/1";
    /// Names the master, so that another one's connections are known from its own.
    pub const MASTER_HEADER: &str = "crest-master";
}

/// Environment of the worker, which instances do not inherit.
pub mod env {
    /// Proves that the worker belongs to the job.
    pub const TOKEN: &str = "CREST_WORKER_TOKEN";
    /// The worker's name: `namespace/pod`.
    pub const NAME: &str = "CREST_WORKER_NAME";
}

/// One try of one instance of the worker's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attempt {
    /// The instance, from 0.
    pub index: u32,
    /// Which try it is, from 1.
    pub number: u32,
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self { index: LISTING, number } => write!(f, "taking the input list, attempt {number}"),
            Self { index, number } => write!(f, "instance {index} attempt {number}"),
        }
    }
}

/// From worker to master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum FromWorker {
    Hello(Hello),
    Results {
        results: Vec<AttemptResult>,
    },
    /// Answers a recall: these it has not begun, and will not.
    Returned {
        attempts: Vec<Attempt>,
    },
    /// Of a task with objects: the command of an attempt has begun, as its input is there; or has ended, and its output is
    /// on its way.
    Command {
        attempt: Attempt,
        runs: bool,
    },
    /// Answers a ping.
    Pong,
}

/// The first line of every connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub worker: String,
    pub token: String,
    /// What it was assigned and has neither ended nor returned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Attempt>,
    /// How many results follow that were not acknowledged. They belong to the hello: nothing is decided before them.
    #[serde(default)]
    pub ended: u32,
    /// Whether it has written more than it may, so that it begins nothing more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptResult {
    pub attempt: Attempt,
    pub exit: Exit,
    pub duration_ms: u64,
    /// How long the worker did nothing before it began this attempt, since it had ended another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_micros: Option<u32>,
    /// What it used, if it was a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The end of what a failed attempt wrote to its standard error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tail: String,
}

impl AttemptResult {
    /// Whether its worker has written more than it may, which it holds as long as it lives.
    pub fn tells_of_a_full_disk(&self) -> bool {
        matches!(self.exit, Exit::OutOfDisk { .. })
    }

    /// How many bytes of text travel with it.
    pub fn words_len(&self) -> usize {
        let message = match &self.exit {
            Exit::NotStarted { message, .. } | Exit::Failed { message } => message.len(),
            Exit::Listed { list } => list.len(),
            Exit::Code(_)
            | Exit::Signal(_)
            | Exit::OutOfMemory { .. }
            | Exit::OutOfDisk { .. }
            | Exit::TimedOut(_) => 0,
        };
        message + self.tail.len()
    }

    /// Of an attempt that took no time, as nothing ran.
    pub fn without_run(attempt: Attempt, exit: Exit) -> Self {
        Self { attempt, exit, duration_ms: 0, gap_micros: None, usage: None, tail: String::new() }
    }
}

/// What an attempt used with all its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Processor time.
    pub cpu_micros: u64,
    /// The most memory that one of its processes held.
    pub memory_kib: u64,
}

impl Usage {
    pub fn add(&mut self, other: Self) {
        self.cpu_micros = self.cpu_micros.saturating_add(other.cpu_micros);
        self.memory_kib = self.memory_kib.max(other.memory_kib);
    }
}

/// How a process ended, or why there was none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// The kernel killed it, or a process of it, as its worker's container was at its limit of so many bytes.
    OutOfMemory {
        limit: u64,
    },
    /// It was killed as its worker had written more than so many bytes, which the worker still holds.
    OutOfDisk {
        limit: u64,
    },
    /// It ran longer than this many seconds and was killed.
    TimedOut(u32),
    /// The command could not be started; the code is the one that a shell would give.
    NotStarted {
        code: i32,
        message: String,
    },
    /// It was to take the input list, and this is it: its lines, compressed by zstd, as base64.
    Listed {
        list: String,
    },
    /// An instance that was given to a running program failed, as the program said, or with the program.
    Failed {
        message: String,
    },
}

impl Exit {
    pub fn is_success(&self) -> bool {
        *self == Self::Code(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
            Self::OutOfMemory { limit } => {
                let limit = Size(*limit);
                write!(f, "out of memory: limit {limit}, the task's resources.memory")
            }
            Self::OutOfDisk { limit } => {
                let limit = Size(*limit);
                write!(f, "out of disk: limit {limit}, the task's resources.ephemeral-storage")
            }
            Self::TimedOut(seconds) => write!(f, "killed after its time limit of {seconds} s"),
            Self::NotStarted { code, message } => write!(f, "exit code {code}: {message}"),
            Self::Listed { .. } => f.write_str("an input list that nobody asked for"),
            Self::Failed { message } => f.write_str(message),
        }
    }
}

/// Bytes in the largest unit that they are a whole number of.
struct Size(u64);

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [("Gi", 30), ("Mi", 20), ("Ki", 10)];
        let fits = |(_, shift): &&(&str, u32)| self.0 != 0 && self.0.trailing_zeros() >= *shift;
        match units.iter().find(fits) {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// From master to worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum FromMaster {
    /// For every connection before the first assignment, and again when the task's input list is taken.
    Program(Program),
    Assign {
        attempts: Vec<Span>,
        /// What each of these instances works on, in the same order, if its task has an input list.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        inputs: Vec<String>,
    },
    Ack {
        attempts: Vec<Span>,
    },
    /// Give back what is not begun.
    Recall,
    /// Kill what runs and exit.
    Stop,
    Ping,
}

/// What the instances of the worker's task are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Program {
    pub job: String,
    pub task: String,
    /// How many instances the task has.
    pub count: u32,
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "is_exec")]
    pub mode: Mode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// How much of the machine's disk a worker with its instances may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Box<DiskLimit>>,
    /// Whether inputs are files, which are to be there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_files: bool,
    /// Where inputs are, if they are objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_store: Option<Box<Store>>,
    /// Where outputs are put, if not into a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_store: Option<Box<Store>>,
    /// The pattern of the input files, as long as their list is not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<Box<Input>>,
    /// The folder where outputs are collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The job's parameters, for programs that take instances as a stream. Processes have them in their environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

/// A bound for what a worker keeps on the machine's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskLimit {
    /// In bytes.
    pub limit: u64,
    /// Beside the container itself, the folders that are only the worker's.
    pub folders: Vec<PathBuf>,
}

/// A store of objects as a worker reaches it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Store {
    pub objects: Objects,
    /// The folder with its Secret, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<PathBuf>,
    /// Where files are kept for the time that an instance needs them.
    pub files: PathBuf,
}

fn is_exec(mode: &Mode) -> bool {
    *mode == Mode::Exec
}

#[cfg(test)]
mod tests;
