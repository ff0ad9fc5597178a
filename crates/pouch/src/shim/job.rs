//! What engine and shim tell each other: files and lines of JSON.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The file of a [`RunJob`] or [`ExecJob`] in the directory that a shim is given.
pub(crate) const JOB: &str = "job.json";
/// The process that a [`ExecJob`] starts, as the runtime specification has it.
pub(crate) const PROCESS: &str = "process.json";
/// How an [`ExecJob`] went.
pub(crate) const EXEC_REPORT: &str = "report.json";

/// Who makes containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Runtime {
    /// The library in this binary.
    Linked,
    /// A program with the command line that runc set.
    Named(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stdin {
    Closed,
    /// Open for whoever attaches, again and again.
    Open,
    /// Closed when the first who attached leaves.
    Once,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunJob {
    pub id: String,
    pub runtime: Runtime,
    /// Where the runtime keeps its own state.
    pub runtime_root: PathBuf,
    pub bundle: PathBuf,
    /// Where the end is recorded.
    pub exit: PathBuf,
    pub log: Option<PathBuf>,
    pub tty: bool,
    pub stdin: Stdin,
    pub oom_score_adj: i32,
    /// Below each hierarchy's mount point.
    pub cgroup: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ExecJob {
    pub id: String,
    pub runtime: Runtime,
    pub runtime_root: PathBuf,
    pub bundle: PathBuf,
    /// Where to send the terminal, if the process gets one.
    pub console: Option<PathBuf>,
}

/// A process that no later process is mistaken for: ids come again, ids with start times do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub pid: i32,
    /// In the kernel's ticks since boot.
    pub start: u64,
}

/// The shim's first and only words on its standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum RunReport {
    Created { shim: Process, init: Process },
    Failed { message: String },
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// As a shell tells it: 128 and the signal's number for a death by signal.
    pub code: i32,
    pub signal: Option<i32>,
    pub oom_killed: bool,
    /// Nanoseconds since 1970; absent if it ended before it was started.
    pub started_at: Option<i64>,
    pub finished_at: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ExecReport {
    Exited { code: i32 },
    Failed { message: String },
}

/// A line to the shim's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    Start,
    /// Whether it runs, since when.
    Inspect,
    /// The log file was moved away: begin a new one.
    Reopen,
    /// From here on the connection carries frames.
    Attach {
        stdin: bool,
    },
}

/// The line that answers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done { started_at: Option<i64> },
    Refused { message: String },
}
