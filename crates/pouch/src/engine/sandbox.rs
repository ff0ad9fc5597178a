//! Sandboxes: what the containers of one pod share.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::lifecycle::LifecycleError;
use super::record::{SANDBOX, Sandbox, SandboxRecord};
use super::{Engine, boot_id, new_id};
use crate::cri::{DnsConfig, NamespaceMode, PodSandboxConfig};
use crate::disk::{self, DiskError};
use crate::namespaces::{self, NamespaceError, Wanted};
use crate::network::{Bandwidth, BandwidthError, HostPort, LinkError, NetworkError, Protocol};
use crate::shim::job::Runtime;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error("there is no runtime `{0}`: choose none, `runc`, `crun` or `youki`")]
    Runtime(String),
    #[error("the sandbox's configuration is missing")]
    NoConfig,
    #[error("`{0}` is no port")]
    Port(i32),
    #[error("`{0}` is no IPv4 address")]
    HostIp(String),
    #[error(transparent)]
    Bandwidth(#[from] BandwidthError),
    #[error("cannot write the sandbox's file `{path}`")]
    File { path: PathBuf, source: io::Error },
    #[error("cannot record the sandbox")]
    Record(#[from] DiskError),
    #[error("cannot make the sandbox's namespaces")]
    Namespaces(#[from] NamespaceError),
    #[error("cannot connect the sandbox to the pod network")]
    Network(#[from] NetworkError),
    #[error("cannot remove a container of the sandbox")]
    Container(#[from] LifecycleError),
}

impl Engine {
    pub(crate) async fn run_sandbox(
        &self,
        config: Option<PodSandboxConfig>,
        runtime_handler: String,
    ) -> Result<String, SandboxError> {
        let config = config.ok_or(SandboxError::NoConfig)?;
        let runtime = runtime(&runtime_handler)?;
        let ports = host_ports(&config)?;
        // Before anything is made.
        Bandwidth::of(&config.annotations)?;
        let id = new_id();
        let mut record = SandboxRecord {
            hostname: hostname(&config),
            namespaces: BTreeMap::new(),
            ip: None,
            created_at: disk::nanoseconds(kit::clock::wall()),
            ready: false,
            boot: boot_id(),
            id: id.clone(),
            config,
            runtime_handler,
            runtime,
        };
        match self.make_sandbox(&mut record, &ports).await {
            Ok(()) => {
                self.inner.sandboxes.lock().insert(id.clone(), Arc::new(Sandbox::new(record)));
                Ok(id)
            }
            Err(error) => {
                let undone = self.unmake_sandbox(&id).await;
                if let Err(second) = undone {
                    tracing::warn!(sandbox = id, error = %kit::Chain(&second), "A failed sandbox leaves traces");
                }
                Err(error)
            }
        }
    }

    async fn make_sandbox(&self, record: &mut SandboxRecord, ports: &[HostPort]) -> Result<(), SandboxError> {
        let state = self.inner.config.sandboxes().join(&record.id);
        let run = self.inner.config.sandbox_run(&record.id);
        for directory in [&state, &run] {
            std::fs::create_dir_all(directory).map_err(file_error(directory))?;
        }
        // Recorded before anything is made, so that after a crash in between it is found and removed.
        disk::write_fast(&state.join(SANDBOX), record)?;
        let wanted = wanted_namespaces(record);
        let (own_network, own_ipc) = (wanted.network, wanted.ipc);
        record.namespaces = {
            let run = run.clone();
            in_turn(move || namespaces::make(&run, &wanted)).await?
        };
        if own_ipc {
            let shm = run.join("shm");
            namespaces::mount_shm(&shm).map_err(file_error(&shm))?;
        }
        if own_network {
            let attachment = self.inner.network.attach(&record.id, &run.join("net"), ports).await?;
            record.ip = Some(attachment.ip);
            self.shape(record, &run.join("net")).await?;
        }
        write_files(&state, record)?;
        record.ready = true;
        Ok(disk::write_fast(&state.join(SANDBOX), record)?)
    }

    /// Where the kernel cannot, the sandbox runs without bounds.
    async fn shape(&self, record: &SandboxRecord, netns: &Path) -> Result<(), SandboxError> {
        let bandwidth = Bandwidth::of(&record.config.annotations)?;
        match self.inner.network.shape(&record.id, netns, bandwidth).await {
            Err(NetworkError::Link(error @ LinkError::NoShaping { .. })) => {
                tracing::warn!(sandbox = record.id, error = %kit::Chain(&error), "Bandwidth not bounded");
                Ok(())
            }
            shaped => Ok(shaped?),
        }
    }

    /// Ends its containers and gives back its address. An unknown sandbox has been stopped.
    pub(crate) async fn stop_sandbox(&self, id: &str) -> Result<(), SandboxError> {
        let Some(sandbox) = self.sandbox(id) else { return Ok(()) };
        let _gate = sandbox.gate.lock().await;
        self.halt_sandbox(&sandbox).await
    }

    async fn halt_sandbox(&self, sandbox: &Sandbox) -> Result<(), SandboxError> {
        let mut record = sandbox.record();
        for container in self.containers_of(&record.id) {
            self.stop_container_now(&container).await?;
        }
        if !record.ready {
            return Ok(());
        }
        self.inner.network.detach(&record.id).await?;
        let run = self.inner.config.sandbox_run(&record.id);
        in_turn(move || namespaces::drop_all(&run)).await?;
        record.ready = false;
        disk::write_fast(&self.inner.config.sandboxes().join(&record.id).join(SANDBOX), &record)?;
        *sandbox.record.lock() = record;
        Ok(())
    }

    /// Leaves nothing of it. An unknown sandbox has been removed.
    pub(crate) async fn remove_sandbox(&self, id: &str) -> Result<(), SandboxError> {
        let Some(sandbox) = self.sandbox(id) else { return Ok(()) };
        let _gate = sandbox.gate.lock().await;
        let id = sandbox.record().id;
        self.halt_sandbox(&sandbox).await?;
        for container in self.containers_of(&id) {
            self.remove_container(&container.record().id).await?;
        }
        self.unmake_sandbox(&id).await?;
        self.inner.sandboxes.lock().remove(&id);
        Ok(())
    }

    pub(super) async fn unmake_sandbox(&self, id: &str) -> Result<(), SandboxError> {
        self.inner.network.detach(id).await?;
        let run = self.inner.config.sandbox_run(id);
        in_turn(move || namespaces::drop_all(&run)).await?;
        let state = self.inner.config.sandboxes().join(id);
        disk::remove_dir(&state).map_err(file_error(&state))
    }

    /// Brings up the pod network; repeated before each use it would cost, so once per start of the engine.
    pub(super) async fn ensure_network(&self) -> Result<(), NetworkError> {
        self.inner.network.ensure().await
    }
}

/// So many sandboxes and containers are made or ended at once. More would wait for the same processors and locks of the
/// kernel, and each thread keeps memory of its own: a hundred that start together would leave that of fifty threads behind.
static BENCHES: Semaphore = Semaphore::const_new(4);

/// Makes or ends something, as [`blocking`] does, when its turn comes.
pub(crate) async fn in_turn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // It is never closed.
    let _bench = BENCHES.acquire().await;
    blocking(work).await
}

/// Runs work that blocks for milliseconds beside the tasks.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn runtime(handler: &str) -> Result<Runtime, SandboxError> {
    match handler {
        "" | "libcontainer" => Ok(Runtime::Linked),
        "runc" | "crun" | "youki" => Ok(Runtime::Named(handler.to_owned())),
        other => Err(SandboxError::Runtime(other.to_owned())),
    }
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> SandboxError {
    let path = path.to_owned();
    move |source| SandboxError::File { path, source }
}

fn hostname(config: &PodSandboxConfig) -> String {
    match config.hostname.as_str() {
        "" => nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned(),
        own => own.to_owned(),
    }
}

fn wanted_namespaces(record: &SandboxRecord) -> Wanted {
    let linux = record.config.linux.clone().unwrap_or_default();
    let options = linux.security_context.and_then(|context| context.namespace_options).unwrap_or_default();
    Wanted {
        network: options.network() != NamespaceMode::Node,
        ipc: options.ipc() != NamespaceMode::Node,
        hostname: record.hostname.clone(),
        sysctls: linux.sysctls.into_iter().collect(),
    }
}

fn host_ports(config: &PodSandboxConfig) -> Result<Vec<HostPort>, SandboxError> {
    let port = |number: i32| u16::try_from(number).map_err(|_| SandboxError::Port(number));
    let mapped = config.port_mappings.iter().filter(|mapping| mapping.host_port != 0);
    mapped
        .map(|mapping| {
            let host_ip: Option<Ipv4Addr> = match mapping.host_ip.as_str() {
                "" | "0.0.0.0" | "::" => None,
                ip => Some(ip.parse().map_err(|_| SandboxError::HostIp(ip.to_owned()))?),
            };
            Ok(HostPort {
                protocol: match mapping.protocol() {
                    crate::cri::Protocol::Tcp => Protocol::Tcp,
                    crate::cri::Protocol::Udp => Protocol::Udp,
                    crate::cri::Protocol::Sctp => Protocol::Sctp,
                },
                host_ip,
                host_port: port(mapping.host_port)?,
                container_port: port(mapping.container_port)?,
            })
        })
        .collect()
}

/// The three files of `/etc` that the engine writes for every container.
fn write_files(directory: &Path, record: &SandboxRecord) -> Result<(), SandboxError> {
    let hosts = match record.ip {
        Some(ip) => format!(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{ip}\t{}\n",
            record.hostname
        ),
        None => std::fs::read_to_string("/etc/hosts").unwrap_or_default(),
    };
    let resolver = match &record.config.dns_config {
        Some(config) => resolver_file(config),
        None => std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    let files = [("hosts", hosts), ("hostname", format!("{}\n", record.hostname)), ("resolv.conf", resolver)];
    for (name, content) in files {
        let path = directory.join(name);
        std::fs::write(&path, content).map_err(file_error(&path))?;
    }
    Ok(())
}

fn resolver_file(config: &DnsConfig) -> String {
    let mut text = String::new();
    for (word, values) in [("search", &config.searches), ("options", &config.options)] {
        if !values.is_empty() {
            let _writing_to_memory_succeeds = writeln!(text, "{word} {}", values.join(" "));
        }
    }
    for server in &config.servers {
        let _writing_to_memory_succeeds = writeln!(text, "nameserver {server}");
    }
    text
}
