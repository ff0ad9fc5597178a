//! `crest agent` beside a kubelet, of which there is all but itself: Pods that its API server tells, and its cgroups with real
//! processes in them. With the rights of `deploy/agent.yaml` and no more. Needs root and kubectl.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use ::agent::cgroup::Driver;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use tempfile::TempDir;

use super::kubelet::{Kubelet, Qos, node, resources};
use super::scheduler::kubeconfig;
use super::{Server, text, until};

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/agent.yaml");

/// Ends with the test.
struct Agent(Child);

impl Agent {
    /// What it warns of goes to `log`.
    fn start(kubelet: &Kubelet, (kubeconfig, folder): (&Path, &Path), more: &[String], log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = command(kubelet, kubeconfig, folder);
        command.args(more);
        Self(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ended = self.0.kill();
        self.0.wait().unwrap();
    }
}

fn command(kubelet: &Kubelet, kubeconfig: &Path, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crest"));
    command.args(["agent", "--log", "warn", "--kubeconfig", text(kubeconfig), "--node-name", &kubelet.node]);
    command.args(["--cgroup-root", &kubelet.parent, "--state-directory", text(folder)]);
    command
}

/// The kubectl on the path, asked as the administrator.
fn kubectl(server: &Server, arguments: &[&str]) -> Option<Output> {
    let path = std::env::var_os("PATH")?;
    let program: PathBuf =
        std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|program| program.exists())?;
    let mut command = Command::new(program);
    command.arg("--kubeconfig").arg(server.folder.join("kubeconfig")).args(arguments);
    Some(command.output().unwrap())
}

/// What the Node says of a resource, in units.
async fn offered(client: &kube::Client, node: &str, name: &str) -> Option<i128> {
    let node = Api::<Node>::all(client.clone()).get(node).await.unwrap();
    let amount = node.status?.allocatable?.remove(name)?;
    Some(model::Quantity::parse(&amount.0).unwrap().to_units())
}

/// Applies the manifest; returns a kubeconfig with the rights of its account.
async fn apply(server: &Server, client: &kube::Client) -> PathBuf {
    // A dry run makes no namespace for what stands in it, so there must be one.
    let namespace = kubectl(server, &["create", "namespace", "crest-agent"]).unwrap();
    assert!(namespace.status.success(), "{namespace:?}");
    for dry_run in ["--dry-run=server", "--dry-run=none"] {
        let said = kubectl(server, &["apply", "--server-side", dry_run, "-f", MANIFEST]).unwrap();
        assert!(said.status.success(), "{said:?}");
    }
    let policies = ["watch", "colocationpolicies.crest.dev", ""];
    for allowed in
        [["create", "pods", "eviction"], ["patch", "nodes", "status"], ["watch", "pods", ""], policies]
    {
        may(server, allowed, true);
    }
    for forbidden in [["delete", "pods", ""], ["patch", "nodes", ""], ["patch", "pods", "status"]] {
        may(server, forbidden, false);
    }
    let account = ("crest-agent", "crest-agent");
    kubeconfig(server, client, account).await
}

/// Batch, and a service that wants all processors. Returns the group of batch's Pod.
async fn populate(kubelet: &mut Kubelet, client: &kube::Client) -> String {
    let batch = json!({ "kubernetes.io/batch-cpu": "1000", "kubernetes.io/batch-memory": "64Mi" });
    let hog = ("hog", Qos::BestEffort);
    let hog = kubelet.start(client, hog, resources(&batch, &batch), "while :; do :; done").await;
    let some = json!({ "cpu": "100m" });
    let busy = ("busy", Qos::Burstable);
    let work = "(exec sh -c 'while :; do :; done') & while :; do :; done";
    kubelet.start(client, busy, resources(&some, &json!({})), work).await;
    hog
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_another_kubernetes() {
    let directory = TempDir::new().unwrap();
    let arguments = ["--controllers", "*,-sigma,-node-lifecycle", "--log", "warn"];
    let mut server = Server::new(directory.path().join("state"), &arguments);
    let client = server.start().await;
    let may_be_told = kubectl(&server, &["version"]).is_some();
    if !rustix::process::geteuid().is_root() || !may_be_told {
        return;
    }
    let kubeconfig = apply(&server, &client).await;
    let mut kubelet = Kubelet::new("beside-command", Driver::Systemd);
    let (state, log) = (directory.path().join("agent"), directory.path().join("agent.log"));
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    let node: Node = serde_json::from_value(node(&kubelet.node, cpus * 1000)).unwrap();
    Api::<Node>::all(client.clone()).create(&PostParams::default(), &node).await.unwrap();
    until("the namespace has its account", async || {
        Api::<ServiceAccount>::default_namespaced(client.clone()).get_opt("default").await.ok()?
    })
    .await;
    let hog = populate(&mut kubelet, &client).await;
    let before = kubelet.values();

    refuses(&kubelet, &kubeconfig, &state);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let metrics = ["--metrics-listen".to_owned(), format!("127.0.0.1:{port}")];
    let mut first = Agent::start(&kubelet, (&kubeconfig, &state), &metrics, &log);
    until("the offer is told", async || {
        offered(&client, &kubelet.node, "kubernetes.io/batch-cpu").await.filter(|milli| *milli > 0)
    })
    .await;
    let memory = until("memory is offered, too", async || {
        offered(&client, &kubelet.node, "kubernetes.io/batch-memory").await.filter(|bytes| *bytes > 0)
    })
    .await;
    until("batch is idle", async || kubelet.says(&hog, "cpu", "cpu.idle").filter(|idle| idle == "1")).await;
    until("batch is held", async || kubelet.quota(&kubelet.class(Qos::BestEffort))).await;
    let second = command(&kubelet, &kubeconfig, &state).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains("two agents would fight"), "{said}");

    // A service that is told, and does not run yet, counts by what it asks for.
    let asked = json!({ "cpu": "100m", "memory": format!("{}", memory / 2) });
    let mut service = json!({ "metadata": { "name": "service" }, "spec": resources(&asked, &json!({})) });
    service["spec"]["nodeName"] = json!(kubelet.node);
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let service: Pod = serde_json::from_value(service).unwrap();
    pods.create(&PostParams::default(), &service).await.unwrap();
    until("the offer falls", async || {
        let bytes = offered(&client, &kubelet.node, "kubernetes.io/batch-memory").await?;
        (bytes < memory * 2 / 3).then_some(())
    })
    .await;

    tells_metrics(&server, port).await;
    first.kill();
    assert_eq!(kubelet.says(&hog, "cpu", "cpu.idle").as_deref(), Some("1"), "it had no time for anything");
    let next = Agent::start(&kubelet, (&kubeconfig, &state), &[], &log);
    pods.delete("service", &DeleteParams::default().grace_period(0)).await.unwrap();
    until("the offer is back", async || {
        let bytes = offered(&client, &kubelet.node, "kubernetes.io/batch-memory").await?;
        (bytes > memory * 4 / 5).then_some(())
    })
    .await;
    next.stop();
    assert_eq!(kubelet.values(), before, "all is as it was");
    assert_eq!(offered(&client, &kubelet.node, "kubernetes.io/batch-cpu").await, None);
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(!log.contains("orbidden"), "it needs no other rights: {log}");
}

/// To those whom the server lets read them, and to nobody else.
async fn tells_metrics(server: &Server, port: u16) {
    let bound = kubectl(
        server,
        &[
            "create",
            "clusterrolebinding",
            "scraper",
            "--clusterrole=crest-agent-metrics",
            "--serviceaccount=default:default",
        ],
    );
    assert!(bound.unwrap().status.success());
    let of_account = |namespace: &str, account: &str| {
        let made = kubectl(server, &["create", "token", account, "--namespace", namespace]).unwrap();
        assert!(made.status.success(), "{made:?}");
        Some(String::from_utf8(made.stdout).unwrap().trim().to_owned())
    };
    let ask = async |token: Option<String>, path: &str| {
        let mut config = kube::Config::new(format!("https://127.0.0.1:{port}").parse().unwrap());
        config.accept_invalid_certs = true;
        config.auth_info.token = token.map(Into::into);
        let client = kube::Client::try_from(config).unwrap();
        match client.request_text(http::Request::get(path).body(Vec::new()).unwrap()).await {
            Ok(text) => (200, text),
            Err(kube::Error::Api(status)) => (status.code, status.message),
            Err(error) => (0, error.to_string()),
        }
    };
    for (token, path, expected) in [
        (None, "/metrics", 401),
        (Some("nobody's".to_owned()), "/metrics", 401),
        (of_account("crest-agent", "crest-agent"), "/metrics", 403),
        (of_account("default", "default"), "/metrics", 200),
        (of_account("default", "default"), "/metrics/cadvisor", 200),
        (of_account("default", "default"), "/arbiter", 200),
        (None, "/healthz", 200),
    ] {
        let (code, said) = ask(token, path).await;
        assert_eq!(code, expected, "{path}: {said}");
        let told = [
            "crest_offered_cores ",
            "crest_class_cpu_usage_seconds_total{",
            "\"onlineMilli\":",
            "ok",
            "Unauthorized",
            "Forbidden",
        ];
        assert!(told.iter().any(|told| said.contains(told)), "{path}: {said}");
    }
}

/// What cannot be is said at once, with the way out.
fn refuses(kubelet: &Kubelet, kubeconfig: &Path, state: &Path) {
    let check = |more: &[&str], expected: &str| {
        let said = command(kubelet, kubeconfig, state).args(more).output().unwrap();
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.status.success() && text.contains(expected), "{more:?}: {text}");
    };
    check(&["--batch-egress", "10Mi"], "annotation kubernetes.io/egress-bandwidth");
    check(&["--cgroup-driver", "cgroupfs"], "no kubelet has made groups here");
}

/// Whether the agents' account has a right.
fn may(server: &Server, [verb, resource, subresource]: [&str; 3], expected: bool) {
    let who = "--as=system:serviceaccount:crest-agent:crest-agent";
    let below = format!("--subresource={subresource}");
    let said = kubectl(server, &["auth", "can-i", verb, resource, &below, who, "--all-namespaces"]).unwrap();
    assert_eq!(said.stdout.starts_with(b"yes"), expected, "{verb} {resource}/{subresource}: {said:?}");
}
