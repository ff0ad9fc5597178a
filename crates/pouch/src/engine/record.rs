//! What the engine remembers of sandboxes and containers, on disk and in memory.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::cri::{ContainerConfig, LinuxContainerResources, PodSandboxConfig};
use crate::shim::job::{Exit, Process, Runtime};

pub(crate) const SANDBOX: &str = "sandbox.json";
pub(crate) const CONTAINER: &str = "container.json";
pub(crate) const EXIT: &str = "exit.json";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub id: String,
    pub config: PodSandboxConfig,
    /// As the caller named it.
    pub runtime_handler: String,
    pub runtime: Runtime,
    /// Runtime's name of each namespace of its own, and the file that pins it.
    pub namespaces: BTreeMap<String, PathBuf>,
    pub hostname: String,
    pub ip: Option<Ipv4Addr>,
    pub created_at: i64,
    pub ready: bool,
    /// The machine's boot in which it was made: the next one ends it.
    pub boot: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub id: String,
    pub sandbox: String,
    pub config: ContainerConfig,
    /// What the image was called, and its id.
    pub image_ref: String,
    pub image_id: String,
    pub runtime: Runtime,
    pub cgroup: String,
    pub log: Option<PathBuf>,
    pub stop_signal: Option<String>,
    pub created_at: i64,
    /// What could not be as asked on this host.
    pub adjustments: Vec<String>,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// Absent while it is being made.
    pub processes: Option<Processes>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Processes {
    pub shim: Process,
    pub init: Process,
}

/// What a container is doing.
///
/// ```text
/// Created ── start ──> Running ── its first process ends ──> Exited
///    └───────────────── killed before its start ───────────────^
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Created,
    Running { started_at: i64 },
    Exited(Exit),
}

impl Phase {
    /// An end is final; a start that is learnt of late does not undo it.
    pub(crate) fn started(self, started_at: i64) -> Self {
        match self {
            Self::Created => Self::Running { started_at },
            later => later,
        }
    }

    pub(crate) fn is_exited(&self) -> bool {
        matches!(self, Self::Exited(_))
    }
}

#[derive(Debug)]
pub(crate) struct Sandbox {
    pub record: Mutex<SandboxRecord>,
    /// Held by whoever changes it.
    pub gate: tokio::sync::Mutex<()>,
}

impl Sandbox {
    pub(crate) fn new(record: SandboxRecord) -> Self {
        Self { record: Mutex::new(record), gate: tokio::sync::Mutex::new(()) }
    }

    pub(crate) fn record(&self) -> SandboxRecord {
        self.record.lock().clone()
    }
}

#[derive(Debug)]
pub(crate) struct Container {
    pub record: Mutex<ContainerRecord>,
    pub phase: watch::Sender<Phase>,
    /// Held by whoever changes it.
    pub gate: tokio::sync::Mutex<()>,
}

impl Container {
    pub(crate) fn new(record: ContainerRecord, phase: Phase) -> Self {
        Self {
            record: Mutex::new(record),
            phase: watch::Sender::new(phase),
            gate: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn record(&self) -> ContainerRecord {
        self.record.lock().clone()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    pub(crate) fn init(&self) -> Option<Process> {
        self.record.lock().processes.map(|processes| processes.init)
    }

    pub(crate) fn resources(&self) -> LinuxContainerResources {
        let record = self.record.lock();
        record.config.linux.as_ref().and_then(|linux| linux.resources.clone()).unwrap_or_default()
    }

    /// Returns once it has ended.
    pub(crate) async fn exited(&self) {
        let _the_sender_lives_in_self = self.phase.subscribe().wait_for(Phase::is_exited).await.is_ok();
    }
}
