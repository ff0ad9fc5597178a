//! The nodes that the test plays: for each worker Pod a real worker process, and its end reported as an agent would.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use fuxi::protocol::env;
use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
pub(crate) struct PlayedNode {
    client: Client,
    worker_dir: PathBuf,
    output: PathBuf,
    processes: Arc<Mutex<Processes>>,
    /// Nodes that have no image.
    bare: Arc<Mutex<BTreeSet<String>>>,
    /// Whether what is bound to a node is never begun, and nobody says why.
    mute: Arc<AtomicBool>,
}

#[derive(Default)]
struct Processes {
    /// By Pod; `None` once it has ended.
    by_pod: BTreeMap<String, Option<Pid>>,
    most_at_once: usize,
}

impl PlayedNode {
    /// Registers a Node `here` and serves all worker Pods.
    pub(crate) async fn start(
        client: Client,
        worker_dir: PathBuf,
        output: PathBuf,
        token: CancellationToken,
    ) -> Self {
        let played = Self {
            client,
            worker_dir,
            output,
            processes: Arc::default(),
            bare: Arc::default(),
            mute: Arc::default(),
        };
        played.add("here").await;
        let node = played.clone();
        kit::task::spawn("played-node", async move {
            token.run_until_cancelled(node.serve()).await;
        });
        played
    }

    /// Registers a Node with room for four half-core workers.
    pub(crate) async fn add(&self, name: &str) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": {
            "name": name, "annotations": { model::names::WORKER_FOLDER: self.worker_dir.to_string_lossy() },
        }});
        nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
        let status = json!({ "status": {
            "allocatable": {
                "kubernetes.io/batch-cpu": "2000", "kubernetes.io/batch-memory": "1073741824", "pods": "110",
            },
            "conditions": [{ "type": "Ready", "status": "True" }],
        }});
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    /// From now on, whether no image is on a Node.
    pub(crate) fn set_bare(&self, name: &str, is_bare: bool) {
        let mut bare = self.bare.lock().unwrap();
        let _changed = if is_bare { bare.insert(name.to_owned()) } else { bare.remove(name) };
    }

    pub(crate) fn set_mute(&self, is_mute: bool) {
        self.mute.store(is_mute, Ordering::Relaxed);
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.processes.lock().unwrap().most_at_once
    }

    pub(crate) fn n_running(&self) -> usize {
        self.processes.lock().unwrap().by_pod.values().flatten().count()
    }

    pub(crate) fn end_all(&self) {
        for pid in self.processes.lock().unwrap().by_pod.values().flatten() {
            let _gone = kill(*pid, Signal::SIGTERM);
        }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn serve(self) {
        let config = watcher::Config::default().labels(model::names::JOB_LABEL);
        let mut pods = std::pin::pin!(watcher(self.pods(), config).default_backoff().applied_objects());
        while let Some(pod) = pods.next().await {
            let Ok(pod) = pod else { continue };
            let known = self.processes.lock().unwrap().by_pod.get(&pod.name_any()).copied();
            match (known, pod.metadata.deletion_timestamp.is_some()) {
                (None, false) if self.mute.load(Ordering::Relaxed) => self.note(&pod.name_any(), None),
                (None, false) => self.begin(&pod).await,
                (Some(Some(pid)), true) => drop(kill(pid, Signal::SIGTERM)),
                (None | Some(None), true) => self.remove(&pod.name_any()).await,
                (Some(_), false) => {}
            }
        }
    }

    async fn begin(&self, pod: &Pod) {
        let name = pod.name_any();
        let spec = pod.spec.as_ref().unwrap();
        let container = &spec.containers[0];
        if self.bare.lock().unwrap().contains(spec.node_name.as_ref().unwrap()) {
            self.note(&name, None);
            let state =
                json!({ "waiting": { "reason": "ErrImagePull", "message": "there is no image tools" } });
            let container = json!({ "name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state });
            return self.report(&name, json!({ "phase": "Pending", "containerStatuses": [container] })).await;
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("worker").arg("--socket").arg(self.worker_dir.join("fuxi.sock"));
        command
            .env("OUT", &self.output)
            .env("NODE", spec.node_name.as_ref().unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for variable in container.env.iter().flatten() {
            if let Some(value) = &variable.value {
                command.env(&variable.name, value);
            } else {
                let reference =
                    variable.value_from.as_ref().and_then(|from| from.secret_key_ref.as_ref()).unwrap();
                let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "default");
                let mut found = secrets.get_opt(&reference.name).await.unwrap();
                while found.is_none() {
                    let message = format!("secret \"{}\" not found", reference.name);
                    let state =
                        json!({ "waiting": { "reason": "CreateContainerConfigError", "message": message } });
                    let container = json!({ "name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state });
                    self.report(&name, json!({ "phase": "Pending", "containerStatuses": [container] })).await;
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    found = secrets.get_opt(&reference.name).await.unwrap();
                }
                let secret = found.unwrap();
                let value = String::from_utf8(secret.data.unwrap()[&reference.key].0.clone()).unwrap();
                command.env(&variable.name, value);
            }
        }
        assert!(container.env.iter().flatten().any(|variable| variable.name == env::NAME));
        // One that begins while the test ends is in nobody's list.
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
        self.note(&name, Some(pid));
        self.report(&name, json!({ "phase": "Running" })).await;
        let node = self.clone();
        kit::task::spawn("played-container", async move {
            let status = child.wait().await.unwrap();
            node.note(&name, None);
            let code = status.code().unwrap_or(137);
            let phase = if code == 0 { "Succeeded" } else { "Failed" };
            let state = json!({ "terminated": { "exitCode": code, "reason": "Error" } });
            let container = json!({ "name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state });
            node.report(&name, json!({ "phase": phase, "containerStatuses": [container] })).await;
            // At the end of a test the server may be gone first.
            let pod = node.pods().get_opt(&name).await.ok().flatten();
            if pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some()) {
                node.remove(&name).await;
            }
        });
    }

    fn note(&self, name: &str, pid: Option<Pid>) {
        let mut processes = self.processes.lock().unwrap();
        processes.by_pod.insert(name.to_owned(), pid);
        let now = processes.by_pod.values().flatten().count();
        processes.most_at_once = processes.most_at_once.max(now);
    }

    async fn report(&self, name: &str, status: serde_json::Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        // It may be gone already.
        let _gone = self.pods().patch_status(name, &PatchParams::default(), &patch).await;
    }

    async fn remove(&self, name: &str) {
        let _gone = self.pods().delete(name, &DeleteParams::default().grace_period(0)).await;
    }
}
