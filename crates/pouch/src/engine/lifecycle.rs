//! A container's way from created to gone.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use libcgroups::common::{CgroupConfig, CgroupManager, ControllerOpt, create_cgroup_manager};
use rustix::process::Signal;
use tokio::time::timeout;

use super::Engine;
use super::record::{CONTAINER, Container, EXIT, Phase};
use super::sandbox::{blocking, in_turn};
use super::shim_client::{self, ShimError};
use crate::cri::{ContainerEventType, LinuxContainerResources};
use crate::disk::{self, DiskError};
use crate::process::{self, Handle};
use crate::shim::job::{Exit, Request, Runtime};
use crate::snapshot::SnapshotError;
use crate::spec;

/// How long a killed container may take to be gone. Only a process stuck in the kernel takes so long.
const DEATH: Duration = Duration::from_secs(30);
/// As a shell would say of a process killed by SIGKILL: the cause is lost with the shim.
const LOST: i32 = 137;

#[derive(Debug, thiserror::Error)]
pub(crate) enum LifecycleError {
    #[error("there is no container `{0}`")]
    NoContainer(String),
    #[error("the container `{0}` is not running")]
    NotRunning(String),
    #[error("the container `{0}` was started already")]
    AlreadyStarted(String),
    #[error("cannot start the container")]
    Start(#[source] ShimError),
    #[error("cannot reopen the container's log")]
    Reopen(#[source] ShimError),
    #[error("cannot signal the container")]
    Signal(#[source] io::Error),
    #[error("the container `{0}` was killed but does not end")]
    Stuck(String),
    #[error("cannot remove the container's control group")]
    Cgroup(#[source] io::Error),
    #[error("cannot remove the container's file system")]
    Snapshot(#[from] SnapshotError),
    #[error("cannot remove `{path}`")]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot record the container")]
    Record(#[from] DiskError),
    #[error("cannot set the container's limits: {0}")]
    Limits(String),
}

impl Engine {
    pub(crate) fn known(&self, id: &str) -> Result<Arc<Container>, LifecycleError> {
        self.container(id).ok_or_else(|| LifecycleError::NoContainer(id.to_owned()))
    }

    pub(crate) fn running(&self, id: &str) -> Result<Arc<Container>, LifecycleError> {
        let container = self.known(id)?;
        match container.phase() {
            Phase::Running { .. } => Ok(container),
            Phase::Created | Phase::Exited(_) => Err(LifecycleError::NotRunning(id.to_owned())),
        }
    }

    pub(crate) async fn start_container(&self, id: &str) -> Result<(), LifecycleError> {
        let container = self.known(id)?;
        let _gate = container.gate.lock().await;
        if container.phase() != Phase::Created {
            return Err(LifecycleError::AlreadyStarted(id.to_owned()));
        }
        let run = self.inner.config.container_run(&container.record().id);
        let (started_at, _) = shim_client::ask(&run, Request::Start).await.map_err(LifecycleError::Start)?;
        let started_at = started_at.unwrap_or_else(|| disk::nanoseconds(kit::clock::wall()));
        // The end may have been seen already: then it stays.
        container.phase.send_modify(|phase| *phase = phase.clone().started(started_at));
        self.tell(&container, ContainerEventType::ContainerStartedEvent);
        Ok(())
    }

    /// Asks it to end, and makes it end when `grace` is over. An unknown container has been stopped.
    pub(crate) async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), LifecycleError> {
        let Some(container) = self.container(id) else { return Ok(()) };
        let _gate = container.gate.lock().await;
        if matches!(container.phase(), Phase::Running { .. }) && !grace.is_zero() {
            let signal = stop_signal(container.record().stop_signal.as_deref());
            if let Some(init) = container.init() {
                process::kill(init, signal).map_err(LifecycleError::Signal)?;
            }
            if timeout(grace, container.exited()).await.is_ok() {
                return Ok(());
            }
        }
        self.kill_container(&container).await
    }

    pub(super) async fn stop_container_now(&self, container: &Container) -> Result<(), LifecycleError> {
        let _gate = container.gate.lock().await;
        self.kill_container(container).await
    }

    async fn kill_container(&self, container: &Container) -> Result<(), LifecycleError> {
        if container.phase().is_exited() {
            return Ok(());
        }
        if let Some(init) = container.init() {
            process::kill(init, Signal::KILL).map_err(LifecycleError::Signal)?;
        }
        let ended = timeout(DEATH, container.exited()).await;
        ended.map_err(|_| LifecycleError::Stuck(container.record().id))
    }

    /// Leaves nothing of it but its log. An unknown container has been removed.
    pub(crate) async fn remove_container(&self, id: &str) -> Result<(), LifecycleError> {
        let Some(container) = self.container(id) else { return Ok(()) };
        let _gate = container.gate.lock().await;
        self.kill_container(&container).await?;
        let id = container.record().id;
        let engine = self.clone();
        {
            let id = id.clone();
            in_turn(move || engine.sweep(&id)).await?;
        }
        self.inner.containers.lock().remove(&id);
        self.tell(&container, ContainerEventType::ContainerDeletedEvent);
        Ok(())
    }

    /// Removes all traces of a container that no shim looks after any more; blocking.
    pub(super) fn sweep(&self, id: &str) -> Result<(), LifecycleError> {
        let state = self.inner.config.containers().join(id);
        let record: Option<super::record::ContainerRecord> =
            disk::read_if_there(&state.join(CONTAINER)).ok().flatten();
        if let Some(record) = &record {
            self.inner.cgroups.remove(&record.cgroup).map_err(LifecycleError::Cgroup)?;
        }
        self.inner.snapshots.remove(id)?;
        let mut runtime_state = vec![self.inner.config.runtime_root().join(id)];
        if let Some(Runtime::Named(program)) = record.map(|record| record.runtime) {
            runtime_state.push(self.inner.config.runtime_root().join(program).join(id));
        }
        for path in runtime_state.into_iter().chain([self.inner.config.container_run(id), state]) {
            disk::remove_dir(&path).map_err(|source| LifecycleError::Directory { path, source })?;
        }
        Ok(())
    }

    /// Awaits the end of the container's shim in the background, and with it the container's.
    pub(super) fn watch(&self, container: &Arc<Container>) {
        let (engine, container) = (self.clone(), Arc::clone(container));
        kit::task::spawn("container", async move {
            let processes = container.record.lock().processes;
            if let Some(processes) = processes
                && let Ok(Some(shim)) = Handle::open(processes.shim)
                && let Err(error) = shim.ended().await
            {
                tracing::error!(container = container.record.lock().id, %error, "Cannot wait for a shim");
            }
            let record = container.record();
            let exit = {
                let engine = engine.clone();
                in_turn(move || engine.settle(&record)).await
            };
            container.phase.send_replace(Phase::Exited(exit));
            engine.tell(&container, ContainerEventType::ContainerStoppedEvent);
        });
    }

    /// How the container ended, now that its shim is gone. If the shim left no word, it is ended here; blocking.
    fn settle(&self, record: &super::record::ContainerRecord) -> Exit {
        let path = self.inner.config.containers().join(&record.id).join(EXIT);
        let told = disk::read_if_there::<Exit>(&path).ok().flatten();
        if told.is_none() {
            tracing::warn!(container = record.id, "The shim is gone without a word; the container is ended");
            if let Some(processes) = record.processes {
                let _gone_already = process::kill(processes.init, Signal::KILL).is_err();
            }
            self.inner.cgroups.kill(&record.cgroup);
        }
        if let Err(error) = self.inner.cgroups.remove(&record.cgroup) {
            tracing::warn!(container = record.id, %error, "A control group stays behind");
        }
        let exit = told.unwrap_or_else(|| Exit {
            code: LOST,
            signal: None,
            oom_killed: false,
            started_at: None,
            finished_at: disk::nanoseconds(kit::clock::wall()),
        });
        if let Err(error) = disk::write_fast(&path, &exit) {
            tracing::warn!(container = record.id, error = %kit::Chain(&error), "An exit is not recorded");
        }
        exit
    }

    pub(crate) async fn reopen_log(&self, id: &str) -> Result<(), LifecycleError> {
        let container = self.running(id)?;
        let run = self.inner.config.container_run(&container.record().id);
        shim_client::ask(&run, Request::Reopen).await.map_err(LifecycleError::Reopen)?;
        Ok(())
    }

    pub(crate) async fn update_limits(
        &self,
        id: &str,
        limits: LinuxContainerResources,
    ) -> Result<(), LifecycleError> {
        let container = self.known(id)?;
        let _gate = container.gate.lock().await;
        let merged = merge(container.resources(), limits);
        let cgroup = container.record().cgroup;
        if !container.phase().is_exited() {
            let merged = merged.clone();
            blocking(move || apply(&cgroup, &merged)).await.map_err(LifecycleError::Limits)?;
        }
        let record = {
            let mut record = container.record.lock();
            record.config.linux.get_or_insert_default().resources = Some(merged);
            record.clone()
        };
        Ok(disk::write_fast(&self.inner.config.containers().join(&record.id).join(CONTAINER), &record)?)
    }
}

/// What is not given stays.
fn merge(old: LinuxContainerResources, new: LinuxContainerResources) -> LinuxContainerResources {
    let number = |new: i64, old: i64| if new == 0 { old } else { new };
    let text = |new: String, old: String| if new.is_empty() { old } else { new };
    let mut unified = old.unified;
    unified.extend(new.unified);
    LinuxContainerResources {
        cpu_period: number(new.cpu_period, old.cpu_period),
        cpu_quota: number(new.cpu_quota, old.cpu_quota),
        cpu_shares: number(new.cpu_shares, old.cpu_shares),
        memory_limit_in_bytes: number(new.memory_limit_in_bytes, old.memory_limit_in_bytes),
        memory_swap_limit_in_bytes: number(new.memory_swap_limit_in_bytes, old.memory_swap_limit_in_bytes),
        oom_score_adj: number(new.oom_score_adj, old.oom_score_adj),
        cpuset_cpus: text(new.cpuset_cpus, old.cpuset_cpus),
        cpuset_mems: text(new.cpuset_mems, old.cpuset_mems),
        hugepage_limits: if new.hugepage_limits.is_empty() {
            old.hugepage_limits
        } else {
            new.hugepage_limits
        },
        unified,
    }
}

/// Writes the limits as the runtime does at the container's creation; blocking.
fn apply(cgroup: &str, limits: &LinuxContainerResources) -> Result<(), String> {
    let resources =
        serde_json::from_value(spec::resource_limits(limits)).map_err(|error| error.to_string())?;
    let manager = create_cgroup_manager(CgroupConfig {
        cgroup_path: cgroup.into(),
        systemd_cgroup: false,
        container_name: String::new(),
    });
    let options = ControllerOpt {
        resources: &resources,
        disable_oom_killer: false,
        oom_score_adj: None,
        freezer_state: None,
    };
    manager.map_err(|error| error.to_string())?.apply(&options).map_err(|error| error.to_string())
}

/// By name or number, as images tell it; SIGTERM for what makes no sense.
fn stop_signal(name: Option<&str>) -> Signal {
    let Some(name) = name else { return Signal::TERM };
    let full = if name.starts_with("SIG") { name.to_owned() } else { format!("SIG{name}") };
    let number = match name.parse() {
        Ok(number) => number,
        Err(_) => nix::sys::signal::Signal::from_str(&full).map_or(0, |signal| signal as i32),
    };
    Signal::from_named_raw(number).unwrap_or(Signal::TERM)
}
