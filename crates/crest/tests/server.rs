//! `crest server`, `crest agent`, `crest scheduler`, `crest store` and the verbs that ask about placement, as commands: several servers on
//! one etcd, one leader, backups, exit codes.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests, which clippy knows only inside the test functions themselves"
)]

#[path = "server/agent.rs"]
mod agent;
#[path = "server/identity.rs"]
mod identity;
#[path = "../../agent/tests/beside/kubelet.rs"]
mod kubelet;
#[path = "server/rebalance.rs"]
mod rebalance;
#[path = "server/scheduler.rs"]
mod scheduler;
#[path = "server/verbs.rs"]
mod verbs;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use store::conformance::EtcdServer;
use tempfile::TempDir;

/// Longer than a lease that nobody renews, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);

/// A server with a state folder of its own.
struct Server {
    folder: PathBuf,
    port: u16,
    arguments: Vec<String>,
    /// Options of a file system of its own for its folder, which is gone with it.
    disk: Option<&'static str>,
    child: Option<Child>,
}

impl Server {
    fn new(folder: PathBuf, arguments: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { folder, port, arguments, disk: None, child: None }
    }

    /// Starts it; returns when it answers.
    async fn start(&mut self) -> kube::Client {
        let mut command = match self.disk {
            None => Command::new(env!("CARGO_BIN_EXE_crest")),
            Some(options) => {
                let script = "mount -t tmpfs -o \"$1\" tmpfs \"$2\" && shift 2 && exec \"$0\" \"$@\"";
                let mut command = Command::new("unshare");
                command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_crest"), options]);
                command.arg(&self.folder);
                command
            }
        };
        command.arg("server").arg("--state-dir").arg(&self.folder).args(["--port", &self.port.to_string()]);
        self.child = Some(command.args(&self.arguments).stdin(Stdio::null()).spawn().unwrap());
        until("the server answers", async || {
            let kubeconfig = Kubeconfig::read_from(self.seen_folder().join("kubeconfig")).ok()?;
            let options = KubeConfigOptions::default();
            let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.ok()?;
            // What the server answers is what is tested, not what a client makes of it.
            config.default_retry = false;
            let client = kube::Client::try_from(config).ok()?;
            client.apiserver_version().await.ok().map(|_| client)
        })
        .await
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Its folder, from outside of its mounts.
    fn seen_folder(&self) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.pid())).join(self.folder.strip_prefix("/").unwrap())
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks again until there is an answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        // Nothing tells when; a moment spares the machine.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn crest(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crest")).args(arguments).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_dies_another_server_goes_on() {
    let directory = TempDir::new().unwrap();
    let Some(etcd) = EtcdServer::start(&directory.path().join("etcd")).unwrap() else { return };
    let store = format!("etcd={}", etcd.url());
    let pki = directory.path().join("pki");
    let arguments = ["--store", &store, "--pki-dir", text(&pki), "--log", "warn"];
    let mut first = Server::new(directory.path().join("first"), &arguments);
    let mut second = Server::new(directory.path().join("second"), &arguments);
    first.start().await;
    let client = second.start().await;

    let leases = Api::<Lease>::namespaced(client.clone(), "kube-system");
    let holder = async |other_than: Option<&str>| {
        let lease = leases.get_opt("crest-controllers").await.ok()??;
        lease.spec?.holder_identity.filter(|holder| Some(holder.as_str()) != other_than)
    };
    let leader = until("somebody leads", async || holder(None).await).await;
    let is_first = leader.ends_with(&format!(":{}", first.port));
    assert!(is_first, "the one that came first leads: {leader}");
    check_controllers(&client, "one").await;

    first.kill();
    until("another leads", async || holder(Some(&leader)).await).await;
    check_controllers(&client, "two").await;
}

/// A Deployment gets its Pod: somebody's controllers work.
async fn check_controllers(client: &kube::Client, name: &str) {
    let deployment: Deployment = serde_json::from_value(json!({"metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}))
    .unwrap();
    let deployments = Api::<Deployment>::default_namespaced(client.clone());
    deployments.create(&PostParams::default(), &deployment).await.unwrap();
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let labelled = ListParams::default().labels(&format!("app={name}"));
    until("the Deployment has its Pod", async || {
        pods.list(&labelled).await.ok().filter(|pods| !pods.items.is_empty())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_brings_back_what_was_there() {
    let directory = TempDir::new().unwrap();
    let folder = directory.path().join("state");
    let backup = directory.path().join("backup");
    let mut server = Server::new(folder.clone(), &["--controllers", "none", "--log", "warn"]);
    let maps = Api::<ConfigMap>::default_namespaced(server.start().await);
    let kept = maps.create(&PostParams::default(), &map("kept")).await.unwrap();

    let kubeconfig = folder.join("kubeconfig");
    let said = crest(&["store", "backup", text(&backup), "--kubeconfig", text(&kubeconfig)]);
    assert!(said.status.success(), "{said:?}");
    maps.create(&PostParams::default(), &map("later")).await.unwrap();
    let said = crest(&["store", "backup", text(&backup), "--kubeconfig", text(&kubeconfig)]);
    assert_eq!(said.status.code(), Some(1), "a backup is never written over: {said:?}");
    let said = crest(&["store", "restore", text(&backup), "--state-dir", text(&folder)]);
    assert_eq!(said.status.code(), Some(4), "a store in use is not replaced: {said:?}");

    server.kill();
    let said = crest(&["store", "restore", text(&backup), "--state-dir", text(&folder)]);
    assert!(said.status.success(), "{said:?}");
    let maps = Api::<ConfigMap>::default_namespaced(server.start().await);
    assert_eq!(maps.get("kept").await.unwrap(), kept, "the very object, its version included");
    assert!(maps.get_opt("later").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_tells_by_its_exit_code() {
    let directory = TempDir::new().unwrap();
    let folder = directory.path().join("state");
    let mut server = Server::new(folder.clone(), &["--controllers", "none", "--log", "warn"]);
    server.start().await;
    let file = folder.join("store.redb");
    let code = |path: &Path| crest(&["store", "check", text(path)]).status.code();
    assert_eq!(code(&file), Some(4), "in use");
    server.kill();
    assert_eq!(code(&file), Some(0), "sound");
    assert_eq!(code(&directory.path().join("nowhere")), Some(1), "not there");
    std::fs::write(&file, b"garbage").unwrap();
    assert_eq!(code(&file), Some(2), "damaged");
    let said = crest(&["store", "check", "--state-dir", text(&folder), "--output", "json"]);
    let told: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((said.status.code(), told["code"].as_u64()), (Some(2), Some(2)), "{said:?}");
    let said = crest(&["store", "restore", text(&file), "--state-dir", text(&folder)]);
    assert_eq!(said.status.code(), Some(2), "what is no backup is not restored: {said:?}");
}

/// Only root can give a server a disk of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_writes_only_and_needs_no_restart() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let folder = directory.path().join("state");
    std::fs::create_dir(&folder).unwrap();
    let mut server = Server::new(folder, &["--controllers", "none", "--log", "warn"]);
    server.disk = Some("size=8m");
    let maps = Api::<ConfigMap>::default_namespaced(server.start().await);
    // The mount is in the server's own name space; this is the way to it from here.
    let ballast = format!("/proc/{}/root{}/ballast", server.pid(), text(&server.folder));
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let big = |number: usize| -> ConfigMap {
        serde_json::from_value(
            json!({"metadata": {"name": format!("big-{number}")}, "data": {"k": "v".repeat(100_000)}}),
        )
        .unwrap()
    };
    let mut written = 0;
    let refused = loop {
        match maps.create(&PostParams::default(), &big(written)).await {
            Ok(_) => written += 1,
            Err(kube::Error::Api(status)) => break status,
            Err(error) => panic!("{error}"),
        }
        assert!(written < 1_000, "the disk never got full");
    };
    assert_eq!((refused.code, refused.reason.as_str()), (503, "ServiceUnavailable"), "{refused:?}");
    assert!(refused.message.contains("full"), "{refused:?}");
    assert!(refused.details.as_ref().is_some_and(|details| details.retry_after_seconds > 0), "{refused:?}");
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items.len(), written, "reads go on");
    std::fs::remove_file(&ballast).unwrap();
    maps.create(&PostParams::default(), &big(written)).await.expect("there is room again");
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items.len(), written + 1);
}
