//! After a restart: what is on disk is matched with what still runs.

use std::sync::Arc;

use super::record::{CONTAINER, Container, ContainerRecord, EXIT, Phase, SANDBOX, Sandbox, SandboxRecord};
use super::sandbox::blocking;
use super::{Engine, boot_id, shim_client};
use crate::disk;
use crate::namespaces;
use crate::process;
use crate::shim::job::{Exit, Request};

impl Engine {
    /// Takes over every sandbox and container of an earlier engine. One that cannot be read is removed, not fatal.
    pub(super) async fn adopt(&self) {
        if let Err(error) = self.ensure_network().await {
            tracing::error!(error = %kit::Chain(&error), "The pod network is not up");
        }
        for id in entries(&self.inner.config.sandboxes()) {
            self.adopt_sandbox(&id).await;
        }
        for id in entries(&self.inner.config.containers()) {
            self.adopt_container(&id).await;
        }
        for id in entries(&self.inner.config.exec_dir()) {
            // Nobody waits for these commands any more.
            let _stays_until_the_boot = disk::remove_dir(&self.inner.config.exec_dir().join(id)).is_err();
        }
    }

    async fn adopt_sandbox(&self, id: &str) {
        let path = self.inner.config.sandboxes().join(id).join(SANDBOX);
        let record = disk::read::<SandboxRecord>(&path).ok().filter(|record| record.id == id);
        // One that was never ready was being made, and its maker is gone; stopped ones have been ready once.
        let Some(mut record) = record.filter(|record| record.ready || !record.namespaces.is_empty()) else {
            tracing::warn!(sandbox = id, "A sandbox was not finished; it is removed");
            if let Err(error) = self.unmake_sandbox(id).await {
                tracing::error!(sandbox = id, error = %kit::Chain(&error), "A sandbox stays behind");
            }
            return;
        };
        let pinned = record.namespaces.values().all(|path| path.exists());
        if record.ready && (record.boot != boot_id() || !pinned) {
            tracing::warn!(sandbox = id, "A sandbox did not survive the machine's boot");
            record.ready = false;
            let run = self.inner.config.sandbox_run(id);
            let dropped = blocking(move || namespaces::drop_all(&run)).await;
            let written = disk::write_fast(&path, &record);
            if dropped.is_err() || written.is_err() || self.inner.network.detach(id).await.is_err() {
                tracing::error!(sandbox = id, "Parts of a dead sandbox stay behind");
            }
        }
        self.inner.sandboxes.lock().insert(id.to_owned(), Arc::new(Sandbox::new(record)));
    }

    async fn adopt_container(&self, id: &str) {
        let state = self.inner.config.containers().join(id);
        let record = disk::read::<ContainerRecord>(&state.join(CONTAINER)).ok();
        let known = |record: &ContainerRecord| {
            record.id == id
                && record.processes.is_some()
                && self.inner.sandboxes.lock().contains_key(&record.sandbox)
        };
        let Some(record) = record.filter(known) else {
            tracing::warn!(container = id, "A container was not finished; it is removed");
            let (engine, id) = (self.clone(), id.to_owned());
            if let Err(error) = blocking(move || engine.sweep(&id)).await {
                tracing::error!(error = %kit::Chain(&error), "A container stays behind");
            }
            return;
        };
        let exit = disk::read_if_there::<Exit>(&state.join(EXIT)).ok().flatten();
        let container = match exit {
            Some(exit) => Arc::new(Container::new(record, Phase::Exited(exit))),
            None => {
                let phase = self.ask_phase(&record).await;
                let container = Arc::new(Container::new(record, phase));
                self.watch(&container);
                container
            }
        };
        self.inner.containers.lock().insert(id.to_owned(), container);
    }

    /// A shim that does not answer is dead or about to be: the watch will tell.
    async fn ask_phase(&self, record: &ContainerRecord) -> Phase {
        let alive = record.processes.is_some_and(|processes| {
            process::identify(processes.shim.pid).is_some_and(|found| found == processes.shim)
        });
        if !alive {
            return Phase::Created;
        }
        let run = self.inner.config.container_run(&record.id);
        match shim_client::ask(&run, Request::Inspect).await {
            Ok((Some(started_at), _)) => Phase::Running { started_at },
            Ok((None, _)) | Err(_) => Phase::Created,
        }
    }
}

fn entries(directory: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
