//! What a worker and its master say to each other: one JSON object per line, both ways.
//!
//! ```text
//!   worker                                   master
//!     │ hello{worker, token, running, results} │   again after every reconnect, with all it still holds
//!     │ ◄─────────────────── assign{instance…} │
//!     │ result{instance, attempt, exit…} ────► │
//!     │ ◄─────────────── assign{the next one…} │   at once, not waiting for the store
//!     │ ◄─────────────────────── ack{attempts} │   when the results are durable; the worker may forget them
//!     │ ◄───────────────────────────────  stop │   nothing left to do, or no longer wanted
//! ```

use serde::{Deserialize, Serialize};

/// Where the worker's directory appears in its container.
pub const MOUNT: &str = "/.crest";
/// The socket's file name in the worker's directory.
pub const SOCKET: &str = "fuxi.sock";
/// The program's file name in the worker's directory.
pub const PROGRAM: &str = "crest";
/// The longest line either side accepts. Commands are the longest thing said.
pub const MAX_LINE: usize = 4 << 20;
/// How much of a failed instance's standard error travels with its result.
pub const MAX_TAIL: usize = 2048;

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

/// From worker to master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum FromWorker {
    Hello(Hello),
    Result(AttemptResult),
    /// Answers a ping.
    Pong,
}

/// The first line of every connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub worker: String,
    pub token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Attempt>,
    /// Results that were not acknowledged yet, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<AttemptResult>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptResult {
    pub attempt: Attempt,
    pub exit: Exit,
    pub duration_ms: u64,
    /// The end of what a failed attempt wrote to its standard error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tail: String,
}

/// How a process ended, or why there was none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// It ran longer than this many seconds and was killed.
    TimedOut(u32),
    /// The command could not be started; the code is the one that a shell would give.
    NotStarted {
        code: i32,
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
            Self::TimedOut(seconds) => write!(f, "killed after its time limit of {seconds} s"),
            Self::NotStarted { code, message } => write!(f, "exit code {code}: {message}"),
        }
    }
}

/// From master to worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum FromMaster {
    Assign(Assign),
    Ack {
        attempts: Vec<Attempt>,
    },
    /// Kill what runs and exit.
    Stop,
    Ping,
}

/// An instance to run now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assign {
    pub attempt: Attempt,
    pub job: String,
    pub task: String,
    /// How many instances the task has.
    pub count: u32,
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
}

#[cfg(test)]
mod tests;
