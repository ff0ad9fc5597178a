//! Making a container: image, root file system, specification, shim.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{CONTAINER, Container, ContainerRecord, EXIT, Phase, SandboxRecord};
use super::sandbox::in_turn;
use super::shim_client::{self, ShimError};
use super::{Engine, new_id};
use crate::cri::{ContainerConfig, ContainerEventType, PodSandboxConfig};
use crate::disk::{self, DiskError};
use crate::image::{Image, StoreError};
use crate::shim::job::{JOB, RunJob, Stdin};
use crate::snapshot::SnapshotError;
use crate::spec::{self, Built, Inputs, Shared, SpecError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("there is no sandbox `{0}`")]
    NoSandbox(String),
    #[error("the sandbox `{0}` is not ready")]
    NotReady(String),
    #[error("the container's configuration is missing")]
    NoConfig,
    #[error("there is no image `{0}` on this machine")]
    NoImage(String),
    #[error("cannot look up the image")]
    Image(#[from] StoreError),
    #[error("cannot make the container's root file system")]
    Snapshot(#[from] SnapshotError),
    #[error("cannot make the working directory `{path}`")]
    WorkingDir { path: PathBuf, source: io::Error },
    #[error("cannot make the directory `{path}`")]
    Directory { path: PathBuf, source: io::Error },
    #[error("the configuration cannot be carried out")]
    Spec(#[from] SpecError),
    #[error("cannot record the container")]
    Record(#[from] DiskError),
    #[error("cannot create the container")]
    Shim(#[from] ShimError),
}

impl Engine {
    pub(crate) async fn create_container(
        &self,
        sandbox_id: &str,
        config: Option<ContainerConfig>,
    ) -> Result<String, CreateError> {
        let sandbox =
            self.sandbox(sandbox_id).ok_or_else(|| CreateError::NoSandbox(sandbox_id.to_owned()))?;
        // A sandbox must not go while a container is being made in it; containers do not wait for each other.
        let sandbox = {
            let _gate = sandbox.gate.lock().await;
            sandbox.record()
        };
        if !sandbox.ready {
            return Err(CreateError::NotReady(sandbox_id.to_owned()));
        }
        let config = config.ok_or(CreateError::NoConfig)?;
        let id = new_id();
        let made = {
            let (engine, id) = (self.clone(), id.clone());
            in_turn(move || engine.prepare(&id, &sandbox, config)).await
        };
        let made = match made {
            Ok(record) => self.launch(record).await,
            Err(error) => Err(error),
        };
        match made {
            Ok(container) => {
                self.inner.containers.lock().insert(id.clone(), Arc::clone(&container));
                self.tell(&container, ContainerEventType::ContainerCreatedEvent);
                self.watch(&container);
                Ok(id)
            }
            Err(error) => {
                let (engine, gone) = (self.clone(), id.clone());
                if let Err(second) = in_turn(move || engine.sweep(&gone)).await {
                    tracing::warn!(container = id, error = %kit::Chain(&second), "A failed container leaves traces");
                }
                Err(error)
            }
        }
    }

    /// Everything up to the shim; blocking.
    fn prepare(
        &self,
        id: &str,
        sandbox: &SandboxRecord,
        config: ContainerConfig,
    ) -> Result<ContainerRecord, CreateError> {
        let reference = config.image.as_ref().map(|image| image.image.clone()).unwrap_or_default();
        let image =
            self.inner.images.resolve(&reference)?.ok_or_else(|| CreateError::NoImage(reference.clone()))?;
        let (state, run) = (self.inner.config.containers().join(id), self.inner.config.container_run(id));
        for directory in [&state, &run] {
            std::fs::create_dir_all(directory)
                .and_then(|()| std::fs::set_permissions(directory, PermissionsExt::from_mode(0o700)))
                .map_err(|source| CreateError::Directory { path: directory.clone(), source })?;
        }
        let cgroup =
            cgroup(sandbox.config.linux.as_ref().map(|linux| linux.cgroup_parent.as_str()), self, id);
        // Recorded before anything is made, so that after a crash in between it is found and removed.
        let mut record = new_record(id, sandbox, &image, config);
        record.cgroup.clone_from(&cgroup);
        record.log = log_path(&sandbox.config, &record.config.log_path);
        disk::write_fast(&state.join(CONTAINER), &record)?;

        let rootfs = self.inner.snapshots.prepare(&image, id)?;
        let built = self.build_spec(sandbox, &record, &image, &rootfs.path)?;
        disk::write_fast(&run.join("config.json"), &built.spec)?;
        disk::write_fast(&run.join(JOB), &self.job(&record, built.oom_score_adj))?;
        record.adjustments = built.adjustments;
        (record.uid, record.gid, record.groups) =
            (built.identity.uid, built.identity.gid, built.identity.groups);
        Ok(record)
    }

    fn build_spec(
        &self,
        sandbox: &SandboxRecord,
        record: &ContainerRecord,
        image: &Image,
        rootfs: &Path,
    ) -> Result<Built, CreateError> {
        let own_shm = self.inner.config.sandbox_run(&sandbox.id).join("shm");
        let target = target_of(&record.config).and_then(|id| self.container(&id));
        let inputs = Inputs {
            config: &record.config,
            image: &image.config,
            rootfs,
            cgroup: &record.cgroup,
            sandbox: Shared {
                namespaces: &sandbox.namespaces,
                hostname: &sandbox.hostname,
                files: &self.inner.config.sandboxes().join(&sandbox.id),
                shm: if sandbox.namespaces.contains_key("ipc") { &own_shm } else { Path::new("/dev/shm") },
            },
            host: &self.inner.host,
            target_pid: target.and_then(|container| container.init()).map(|init| init.pid),
        };
        let built = spec::build(&inputs)?;
        let directory = PathBuf::from(spec::working_dir(&inputs)?);
        spec::make_directory_inside(rootfs, &directory)
            .map_err(|source| CreateError::WorkingDir { path: directory, source })?;
        Ok(built)
    }

    fn job(&self, record: &ContainerRecord, oom_score_adj: i32) -> RunJob {
        let stdin = match (record.config.stdin, record.config.stdin_once) {
            (false, _) => Stdin::Closed,
            (true, false) => Stdin::Open,
            (true, true) => Stdin::Once,
        };
        RunJob {
            id: record.id.clone(),
            runtime: record.runtime.clone(),
            runtime_root: self.inner.config.runtime_root(),
            bundle: self.inner.config.container_run(&record.id),
            exit: self.inner.config.containers().join(&record.id).join(EXIT),
            log: record.log.clone(),
            tty: record.config.tty,
            stdin,
            oom_score_adj,
            cgroup: record.cgroup.clone(),
        }
    }

    async fn launch(&self, mut record: ContainerRecord) -> Result<Arc<Container>, CreateError> {
        let run = self.inner.config.container_run(&record.id);
        record.processes = Some(shim_client::create(&self.inner.config.shim, &run).await?);
        disk::write_fast(&self.inner.config.containers().join(&record.id).join(CONTAINER), &record)?;
        Ok(Arc::new(Container::new(record, Phase::Created)))
    }
}

fn new_record(id: &str, sandbox: &SandboxRecord, image: &Image, config: ContainerConfig) -> ContainerRecord {
    ContainerRecord {
        id: id.to_owned(),
        sandbox: sandbox.id.clone(),
        image_ref: image.repo_digests.first().cloned().unwrap_or_else(|| image.id.clone()),
        image_id: image.id.clone(),
        runtime: sandbox.runtime.clone(),
        cgroup: String::new(),
        log: None,
        stop_signal: image.config.config().as_ref().and_then(|config| config.stop_signal().clone()),
        created_at: disk::nanoseconds(kit::clock::wall()),
        adjustments: Vec::new(),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        processes: None,
        config,
    }
}

fn cgroup(parent: Option<&str>, engine: &Engine, id: &str) -> String {
    let parent = parent.unwrap_or_default().trim_matches('/');
    let parent = if parent.is_empty() { engine.inner.config.cgroup_root.trim_matches('/') } else { parent };
    format!("/{parent}/{id}")
}

fn log_path(sandbox: &PodSandboxConfig, path: &str) -> Option<PathBuf> {
    let both = !path.is_empty() && !sandbox.log_directory.is_empty();
    both.then(|| Path::new(&sandbox.log_directory).join(path))
}

fn target_of(config: &ContainerConfig) -> Option<String> {
    let security = config.linux.as_ref()?.security_context.as_ref()?;
    Some(security.namespace_options.as_ref()?.target_id.clone()).filter(|id| !id.is_empty())
}
