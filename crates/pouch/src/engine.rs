//! The engine: sandboxes and containers by the calls of CRI, adopted again after a restart.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::RngCore;
use tokio::net::UnixListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;

use crate::cgroup::Hierarchies;
use crate::config::Config;
use crate::cri::image_service_server::ImageServiceServer;
use crate::cri::runtime_service_server::RuntimeServiceServer;
use crate::image::{ImageStore, StoreError};
use crate::network::{Network, NetworkConfig, NetworkError};
use crate::service::Service;
use crate::snapshot::{SnapshotError, Snapshots};
use crate::spec::Host;

mod adopt;
pub(crate) mod create;
pub(crate) mod events;
pub(crate) mod lifecycle;
pub(crate) mod record;
pub(crate) mod sandbox;
pub(crate) mod shim_client;

use record::{Container, Sandbox};

/// The largest message that a caller may send or get.
const LARGEST_MESSAGE: usize = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("cannot make the directory `{path}`")]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot open the image store")]
    Images(#[source] StoreError),
    #[error("cannot open the snapshots")]
    Snapshots(#[source] SnapshotError),
    #[error("cannot set up the pod network")]
    Network(#[source] NetworkError),
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen on `{socket}`")]
    Listen { socket: PathBuf, source: io::Error },
    #[error("cannot start the streaming server")]
    Stream(#[source] io::Error),
    #[error("cannot serve on `{socket}`")]
    Serve { socket: PathBuf, source: tonic::transport::Error },
}

/// Something of the engine's could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    #[error("cannot remove the sandbox {id}")]
    Sandbox { id: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("cannot take the pod network down")]
    Network(#[source] NetworkError),
    #[error("cannot unmount the snapshots")]
    Snapshots(#[source] SnapshotError),
    #[error("cannot remove the control groups")]
    Cgroups(#[source] io::Error),
    #[error("cannot remove `{path}`")]
    Directory { path: PathBuf, source: io::Error },
}

/// A container engine on this machine. Clones are the same engine.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub config: Config,
    pub host: Host,
    pub cgroups: Hierarchies,
    pub images: ImageStore,
    pub snapshots: Snapshots,
    pub network: Network,
    pub sandboxes: Mutex<HashMap<String, Arc<Sandbox>>>,
    pub containers: Mutex<HashMap<String, Arc<Container>>>,
    pub events: broadcast::Sender<events::Event>,
    pub streams: crate::stream::Streams,
}

impl Engine {
    /// Opens the state at `config.root` and adopts what still runs.
    pub async fn build(config: Config) -> Result<Self, BuildError> {
        make_directories(&config)?;
        let network = Network::new(NetworkConfig {
            bridge: config.bridge.clone(),
            pod_cidr: config.pod_cidr.clone(),
            nft_table: config.nft_table.clone(),
            state_dir: config.root.join("network"),
        });
        let inner = Inner {
            host: Host::probe(),
            cgroups: Hierarchies::detect(),
            images: ImageStore::open(&config.root)
                .map_err(BuildError::Images)?
                .with_mirrors(config.mirrors.clone()),
            snapshots: Snapshots::open(&config.root).map_err(BuildError::Snapshots)?,
            network: network.map_err(BuildError::Network)?,
            sandboxes: Mutex::default(),
            containers: Mutex::default(),
            events: events::channel(),
            streams: crate::stream::Streams::default(),
            config,
        };
        let engine = Self { inner: Arc::new(inner) };
        engine.adopt().await;
        Ok(engine)
    }

    /// Serves CRI on the configured socket until `token` is cancelled. Containers run on.
    pub async fn run(&self, token: CancellationToken) -> Result<(), RunError> {
        let socket = &self.inner.config.socket;
        let listener =
            listen(socket).map_err(|source| RunError::Listen { socket: socket.clone(), source })?;
        crate::stream::serve(self.clone(), token.clone()).await.map_err(RunError::Stream)?;
        let service = Service::new(self.clone(), token.clone());
        let runtime = RuntimeServiceServer::new(service.clone())
            .max_decoding_message_size(LARGEST_MESSAGE)
            .max_encoding_message_size(LARGEST_MESSAGE);
        let served = tonic::transport::Server::builder()
            .add_service(runtime)
            .add_service(ImageServiceServer::new(service))
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), token.cancelled_owned())
            .await;
        served.map_err(|source| RunError::Serve { socket: socket.clone(), source })
    }

    /// Stops and removes every sandbox and container, and all that the engine made on this machine but the images.
    /// Containers are asked to end, all at once, and killed after `grace`; at once if that is zero.
    pub async fn purge(&self, grace: Duration) -> Result<(), PurgeError> {
        let containers: Vec<String> = self.inner.containers.lock().keys().cloned().collect();
        let stops = containers.iter().map(|id| self.stop_container(id, grace));
        for (id, stopped) in containers.iter().zip(futures::future::join_all(stops).await) {
            if let Err(error) = stopped {
                // Removing it below tries again, by force, and that error counts.
                tracing::warn!(container = %id, error = %kit::Chain(&error), "Container does not stop");
            }
        }
        let ids: Vec<String> = self.inner.sandboxes.lock().keys().cloned().collect();
        for id in ids {
            self.remove_sandbox(&id)
                .await
                .map_err(|error| PurgeError::Sandbox { id, source: Box::new(error) })?;
        }
        self.inner.network.teardown().await.map_err(PurgeError::Network)?;
        self.inner.snapshots.cleanup().map_err(PurgeError::Snapshots)?;
        let (cgroups, root) = (self.inner.cgroups.clone(), self.inner.config.cgroup_root.clone());
        sandbox::blocking(move || cgroups.remove(&root)).await.map_err(PurgeError::Cgroups)?;
        let path = self.inner.config.run_dir.clone();
        crate::disk::remove_dir(&path).map_err(|source| PurgeError::Directory { path, source })
    }

    pub(crate) fn sandbox(&self, id: &str) -> Option<Arc<Sandbox>> {
        find(&self.inner.sandboxes.lock(), id)
    }

    pub(crate) fn container(&self, id: &str) -> Option<Arc<Container>> {
        find(&self.inner.containers.lock(), id)
    }

    pub(crate) fn containers_of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        let containers = self.inner.containers.lock();
        containers.values().filter(|container| container.record.lock().sandbox == sandbox).cloned().collect()
    }
}

/// By the whole id, or by the beginning of one if it is that of no other.
fn find<T>(all: &HashMap<String, Arc<T>>, id: &str) -> Option<Arc<T>> {
    if let Some(found) = all.get(id) {
        return Some(Arc::clone(found));
    }
    let mut matching = all.iter().filter(|(known, _)| !id.is_empty() && known.starts_with(id));
    match (matching.next(), matching.next()) {
        (Some((_, found)), None) => Some(Arc::clone(found)),
        _ => None,
    }
}

/// 256 random bits: never the same again.
pub(crate) fn new_id() -> String {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}

/// This boot of the machine, told from all others.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Only the owner may look inside: configurations hold secrets.
fn make_directories(config: &Config) -> Result<(), BuildError> {
    let socket_dir = config.socket.parent().map(PathBuf::from).unwrap_or_default();
    let private = [config.sandboxes(), config.containers(), config.runtime_root(), config.exec_dir()];
    for path in private.iter().chain([&config.root, &config.run_dir, &socket_dir]) {
        std::fs::create_dir_all(path)
            .map_err(|source| BuildError::Directory { path: path.clone(), source })?;
    }
    for path in private {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700))
            .map_err(|source| BuildError::Directory { path, source })?;
    }
    Ok(())
}

/// Who can open the socket can be root on this machine: it appears under its name with its final mode.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    let beside = socket.with_extension("new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&beside)?;
    std::fs::set_permissions(&beside, PermissionsExt::from_mode(0o600))?;
    std::fs::rename(&beside, socket)?;
    Ok(listener)
}
