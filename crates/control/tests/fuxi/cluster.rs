//! A control plane in this process: store, API server, batch master. The master runs in a runtime of its own, which can
//! be torn down at any moment, as by kill -9.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::User;
use api::authority::{Authority, Holder};
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{ApiResource, DynamicObject, ListParams, PostParams, WatchParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use model::batch_quota::BatchQuota;
use model::dagjob::{DagJob, DagJobStatus};
use serde_json::{Value, json};
use store::Store;
use store::embedded::{Embedded, Options};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::node::PlayedNode;

pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) node: PlayedNode,
    store: Arc<dyn Store>,
    folder: TempDir,
    master: Option<Runtime>,
    token: CancellationToken,
    /// Heeded by the next master.
    pub(crate) expect_limit: Duration,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token = CancellationToken::new();
        let store: Arc<dyn Store> = Embedded::open(&folder.path().join("store"), Options::default()).unwrap();
        let server = api::Server::build(config(folder.path().join("pki")), Arc::clone(&store)).await.unwrap();
        let client = server.client(&User::new("admin", ["system:masters"]));
        kit::task::spawn("api", server.run(token.clone()));
        // No controller runs here that would make the account of the namespace's Pods.
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        let account = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
        accounts.create(&PostParams::default(), &account).await.unwrap();
        let output = folder.path().join("out");
        std::fs::create_dir(&output).unwrap();
        let node = PlayedNode::start(client.clone(), worker_dir(&folder), output, token.clone()).await;
        // The server begins to follow a kind on its first watch, in the runtime of whoever asks. The master's runtime
        // is to be killed, so this one asks first.
        let (nodes, pods): (Api<Node>, Api<Pod>) = (Api::all(client.clone()), Api::all(client.clone()));
        drop(nodes.watch(&WatchParams::default(), "0").await.unwrap());
        drop(pods.watch(&WatchParams::default(), "0").await.unwrap());
        let mut cluster = Self {
            client,
            node,
            store,
            folder,
            master: None,
            token,
            expect_limit: control::fuxi::EXPECT_LIMIT,
        };
        drop(cluster.raw_jobs().watch(&WatchParams::default(), "0").await.unwrap());
        let quotas: Api<BatchQuota> = Api::all(cluster.client.clone());
        drop(quotas.watch(&WatchParams::default(), "0").await.unwrap());
        cluster.start_master();
        cluster
    }

    pub(crate) fn start_master(&mut self) {
        let runtime = Runtime::new().unwrap();
        let config = control::fuxi::Config::new(self.client.clone(), worker_dir(&self.folder));
        let config = control::fuxi::Config {
            cut_off_limit: Duration::from_secs(3),
            expect_limit: self.expect_limit,
            ..config
        };
        let token = self.token.clone();
        runtime.spawn(async move { control::fuxi::run(config, token).await.unwrap() });
        self.master = Some(runtime);
    }

    /// Ends the master wherever it waits, and returns when no thread of it is left: two would fight for the socket.
    pub(crate) fn kill_master(&mut self) {
        if let Some(runtime) = self.master.take() {
            tokio::task::block_in_place(|| runtime.shutdown_timeout(Duration::from_secs(10)));
        }
    }

    pub(crate) async fn create_job(&self, name: &str, tasks: Value) {
        self.create(name, json!({ "tasks": tasks })).await;
    }

    pub(crate) async fn create(&self, name: &str, spec: Value) {
        let job = json!({
            "apiVersion": "crest.dev/v1alpha1", "kind": "DagJob",
            "metadata": { "name": name, "namespace": "default" },
            "spec": spec,
        });
        self.raw_jobs().create(&PostParams::default(), &serde_json::from_value(job).unwrap()).await.unwrap();
    }

    /// Puts a job into the store past all checks.
    pub(crate) async fn store_unchecked(&self, name: &str, spec: &Value) {
        let job = json!({
            "apiVersion": "crest.dev/v1alpha1", "kind": "DagJob",
            "metadata": {
                "name": name, "namespace": "default", "uid": format!("uid-of-{name}"),
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": spec,
        });
        let key = format!("/registry/crest.dev/dagjobs/default/{name}");
        let value = bytes::Bytes::from(job.to_string());
        self.store.put(&key, value, store::Expect::Absent).await.unwrap();
    }

    fn raw_jobs(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), "default", &ApiResource::erase::<DagJob>(&()))
    }

    /// Waits until a job's status is as wanted, and gives it back.
    pub(crate) async fn wait_for(&self, name: &str, wanted: impl Fn(&DagJobStatus) -> bool) -> DagJobStatus {
        let read = |status: &Value| serde_json::from_value::<DagJobStatus>(status.clone()).unwrap();
        let status = self.wait_for_raw(name, |status| !status.is_null() && wanted(&read(status))).await;
        read(&status)
    }

    pub(crate) async fn wait_for_raw(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let is_as_wanted = |job: Option<&DynamicObject>| job.is_some_and(|job| wanted(&job.data["status"]));
        let waiting = await_condition(self.raw_jobs(), name, is_as_wanted);
        match tokio::time::timeout(Duration::from_secs(60), waiting).await {
            Ok(job) => job.unwrap().unwrap().data["status"].clone(),
            Err(_) => {
                let job = self.raw_jobs().get(name).await.unwrap();
                panic!("job `{name}` did not get there: {}", job.data["status"])
            }
        }
    }

    pub(crate) async fn wait_for_no_pods(&self) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        self.wait_until(async || pods.list(&ListParams::default()).await.unwrap().items.is_empty()).await;
    }

    /// For what nothing announces.
    pub(crate) async fn wait_until(&self, is_so: impl AsyncFn() -> bool) {
        for _ in 0..600 {
            if is_so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it did not come about");
    }

    /// Where workers come to.
    pub(crate) fn socket(&self) -> PathBuf {
        worker_dir(&self.folder).join("fuxi.sock")
    }

    /// A folder of its own, for what the instances are to read.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    /// A file that the instances read.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join("out").join(name), text).unwrap();
    }

    /// Where a file is that the instances read or wrote.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("out").join(name)
    }

    /// A file that the instances wrote.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join("out").join(name)).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_master();
        self.node.end_all();
        self.token.cancel();
    }
}

fn worker_dir(folder: &TempDir) -> PathBuf {
    folder.path().join("worker")
}

fn config(pki: PathBuf) -> api::Config {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let now = jiff::Timestamp::now();
    let authority = Authority::build(&pki, now).unwrap();
    let service = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));
    let certificate = |name: &str, holder: &Holder| authority.certificate(name, holder, now).unwrap();
    api::Config {
        listen: SocketAddr::new(loopback, 0),
        advertised: None,
        service_cidr: "10.96.0.0/16".to_owned(),
        serving: certificate("server", &Holder::api_server([], [loopback], service)),
        kubelet_client: certificate("admin", &Holder::client("admin", "system:masters")),
        authority: authority.certificate_path(),
        authenticator: api::authentication::Authenticator::default(),
        has_agents: false,
        security: api::SecurityConfig::default(),
        limits: api::Limits::default(),
    }
}
