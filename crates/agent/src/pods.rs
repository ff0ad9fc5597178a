//! The Pods of this host: one caretaker ([`lane`]) each, told of changes by a watch and by glances at the engine, which
//! tells when there is something to see.
//!
//! ```text
//!   API watch ──orders──► lane (one task per Pod) ──steps──► engine ──events──► glance
//!   engine glance ──poke──►  │ observe ─► plan ─► act ─► status
//! ```

pub mod backoff;
pub mod ephemeral;
mod hearing;
pub(crate) mod hooks;
mod lane;
mod last_words;
mod leftovers;
pub mod log_files;
pub mod observed;
pub mod order;
pub mod plan;
mod prober;
pub mod registry;
mod start;
pub mod status;
mod supervise;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use tokio_util::task::TaskTracker;

pub use registry::Registry;
pub use supervise::supervise;

use crate::cgroup::Groups;
use crate::engine::Engine;
use crate::env::Host;
use crate::events::Recorder;
use crate::host::Facts;
use crate::pinning::Pinner;

/// Whether the API says that a Pod has ended: nothing of it runs, nor will.
pub fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// What all caretakers share.
pub struct Context {
    pub client: Client,
    pub engine: Engine,
    pub recorder: Recorder,
    pub groups: Groups,
    pub pinner: Arc<Pinner>,
    pub facts: Facts,
    pub host: Host,
    pub node_name: String,
    pub pod_logs: PathBuf,
    pub volumes: PathBuf,
    /// The most that a batch Pod may send, in bytes per second.
    pub batch_egress: Option<u64>,
    pub registry: Registry,
    /// Caretakers at work, awaited at the end.
    pub lanes: TaskTracker,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("node", &self.node_name)
            .field("pods", &self.registry)
            .finish_non_exhaustive()
    }
}

pub type Shared = Arc<Context>;
