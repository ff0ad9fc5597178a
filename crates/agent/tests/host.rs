//! A whole host in a network namespace of its own: the real API server, the real engine, the agent between them,
//! and Pods that run. Needs root.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test program with a main of its own"
)]

#[path = "host/hands.rs"]
mod hands;
#[path = "host/pinned.rs"]
mod pinned;
#[path = "host/policies.rs"]
mod policies;

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use api::User;
use api::authority::{Authority, Holder};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, NodeCondition, Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, ListParams, LogParams, PostParams};
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Client};
use pouch::image::ImageStore;
use pouch::image::build::Recipe;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NODE: &str = "host";

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    // Before there is any other thread.
    if words.next().is_some_and(|word| word == "shim") {
        return pouch::shim::main(words);
    }
    let alone = std::env::args().nth(1);
    if alone.is_none() && !pinned::in_a_guest() {
        return ExitCode::FAILURE;
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
    kit::tls::install_default_provider();
    kit::telemetry::init("warn", kit::telemetry::Format::Text).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if runtime.block_on(all()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn all() -> bool {
    let host = Arc::new(Host::start().await);
    let tested = host.clone();
    // On a task of its own, so that a failure still ends with a clean host.
    let passed = kit::task::spawn("test", async move { tested.tests().await }).await.is_ok();
    host.stop().await;
    passed
}

/// The servers of the cluster; the agent comes and goes.
struct Host {
    client: Client,
    agent_client: Client,
    authority: Authority,
    directory: TempDir,
    cgroup: String,
    token: CancellationToken,
    /// Closed when the engine has ended.
    engine: tokio::sync::mpsc::Sender<()>,
}

struct Running {
    token: CancellationToken,
    task: JoinHandle<()>,
}

impl Host {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        build_image(home);
        let now = kit::clock::wall();
        let authority = Authority::build(&home.join("pki"), now).unwrap();
        let certificate = |name: &str, holder: &Holder| authority.certificate(name, holder, now).unwrap();
        let service = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));
        let config = api::Config {
            listen: SocketAddr::new(LOOPBACK, 0),
            advertised: None,
            service_cidr: "10.96.0.0/16".to_owned(),
            serving: certificate("server", &Holder::api_server([], [LOOPBACK], service)),
            kubelet_client: certificate("admin", &Holder::client("admin", "system:masters")),
            authority: authority.certificate_path(),
            authenticator: api::authentication::Authenticator::default(),
            has_agents: true,
            security: api::SecurityConfig::default(),
            limits: api::Limits::default(),
        };
        let store = store::embedded::Embedded::open(&home.join("store"), store::embedded::Options::default())
            .unwrap();
        let server = api::Server::build(config, store as Arc<dyn store::Store>).await.unwrap();
        let client = server.client(&User::new("admin", ["system:masters"]));
        let agent_client = server.client(&User::node(NODE));
        let token = CancellationToken::new();
        kit::task::spawn("api", server.run(token.clone()));
        // No controller runs here that would make the account, or publish the authority beside its tokens.
        let account = json!({ "metadata": { "name": "default" }, "automountServiceAccountToken": false });
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        accounts.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
        let cgroup = format!("crest-test-{}", std::process::id());
        let engine = pouch::Engine::build(engine_config(home, &cgroup)).await.unwrap();
        let stop = token.clone();
        let (alive, ended) = tokio::sync::mpsc::channel(1);
        kit::task::spawn("pouch", async move {
            engine.run(stop).await.unwrap();
            drop(ended);
        });
        Self { client, agent_client, authority, directory, cgroup, token, engine: alive }
    }

    async fn tests(&self) {
        let mut agent = self.agent().await;
        self.registers().await;
        self.follows_policies().await;
        // Alone, it does without probes, which a virtual machine under emulation is too slow for.
        if std::env::args().nth(1).is_some_and(|name| name == "groups") {
            agent = self.pins(agent).await;
            agent = self.moves_hands(agent).await;
            self.deletes().await;
            return agent.stop().await;
        }
        self.ends_as_it_exits().await;
        self.replaces_a_namesake().await;
        self.runs_logs_and_executes().await;
        self.shows_what_is_wrong().await;
        agent = self.adopts(agent).await;
        self.batch_has_its_own_group().await;
        agent = self.pins(agent).await;
        agent = self.moves_hands(agent).await;
        self.rotates_logs().await;
        self.deletes().await;
        agent.stop().await;
    }

    fn agent_config(&self) -> agent::Config {
        let home = self.directory.path();
        let holder = Holder::agent(NODE, [LOOPBACK]);
        agent::Config {
            node_name: NODE.to_owned(),
            node_ip: LOOPBACK,
            client: self.agent_client.clone(),
            cri_socket: home.join("cri.sock"),
            kubelet_listen: SocketAddr::new(LOOPBACK, 0),
            kubelet_pair: self.authority.certificate("agent", &holder, kit::clock::wall()).unwrap(),
            client_authority: self.authority.certificate_path(),
            root: home.join("agent"),
            run_dir: home.join("run"),
            cgroup_root: self.cgroup.clone(),
            max_pods: 100,
            labels: BTreeMap::new(),
            arbiter: agent::Arbiter::default(),
            workers: None,
        }
    }

    async fn agent(&self) -> Running {
        self.agent_of(self.agent_config()).await
    }

    async fn agent_of(&self, config: agent::Config) -> Running {
        let agent = agent::Agent::build(config).await.unwrap();
        let token = self.token.child_token();
        let task = kit::task::spawn("agent", agent.run(token.clone()));
        Running { token, task }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create(&self, name: &str, spec: &Value) -> Pod {
        let manifest = json!({ "metadata": { "name": name }, "spec": spec });
        let mut pod: Pod = serde_json::from_value(manifest).unwrap();
        pod.spec.as_mut().unwrap().node_name = Some(NODE.to_owned());
        self.pods().create(&PostParams::default(), &pod).await.unwrap()
    }

    async fn until(&self, name: &str, what: &str, condition: impl Condition<Pod>) -> Option<Pod> {
        let waited =
            tokio::time::timeout(Duration::from_secs(30), await_condition(self.pods(), name, condition))
                .await;
        match waited {
            Ok(pod) => pod.unwrap(),
            Err(_) => {
                let pod = self.pods().get_opt(name).await.unwrap();
                let status = pod.and_then(|pod| pod.status);
                panic!(
                    "{name} is not {what}: {}\n{}",
                    serde_json::to_string_pretty(&status).unwrap(),
                    self.events().await
                );
            }
        }
    }

    async fn ready(&self, name: &str) -> Pod {
        let ready = |pod: Option<&Pod>| pod.is_some_and(is_ready);
        self.until(name, "ready", ready).await.unwrap()
    }

    async fn events(&self) -> String {
        let events: Api<Event> = Api::namespaced(self.client.clone(), "default");
        let events = events.list(&ListParams::default()).await.unwrap();
        let line = |event: &Event| {
            let about = event.involved_object.name.clone().unwrap_or_default();
            format!(
                "{about}: {} {}",
                event.reason.clone().unwrap_or_default(),
                event.message.clone().unwrap_or_default()
            )
        };
        events.items.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    async fn registers(&self) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let ready = |node: Option<&Node>| {
            let Some(status) = node.and_then(|node| node.status.as_ref()) else { return false };
            let is = |condition: &NodeCondition| condition.type_ == "Ready" && condition.status == "True";
            let offers =
                |capacity: &BTreeMap<String, Quantity>| capacity.contains_key("kubernetes.io/batch-cpu");
            // What batch is offered is told once it was measured.
            status.conditions.iter().flatten().any(is) && status.capacity.as_ref().is_some_and(offers)
        };
        let waited =
            tokio::time::timeout(Duration::from_secs(20), await_condition(nodes.clone(), NODE, ready)).await;
        waited.expect("the node is ready, and offers batch something").unwrap();
        passed("registers");
    }

    async fn runs_logs_and_executes(&self) {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "default");
        let config_map = json!({ "metadata": { "name": "words" }, "data": { "greeting": "good day" } });
        let config_map = serde_json::from_value(config_map).unwrap();
        config_maps.create(&PostParams::default(), &config_map).await.unwrap();
        let started = kit::clock::monotonic();
        let mut container = shell("echo \"$GREETING from $WHO\"; cat /etc/words/greeting; echo; sleep 1000");
        container["env"] = json!([
            { "name": "GREETING", "valueFrom": { "configMapKeyRef": { "name": "words", "key": "greeting" } } },
            { "name": "WHO", "value": "$(GREETING)!" },
        ]);
        container["volumeMounts"] = json!([{ "name": "words", "mountPath": "/etc/words" }]);
        container["readinessProbe"] =
            json!({ "exec": { "command": ["cat", "/etc/words/greeting"] }, "periodSeconds": 1 });
        let volumes = json!([{ "name": "words", "configMap": { "name": "words" } }]);
        self.create("web", &json!({ "containers": [container], "volumes": volumes })).await;
        let pod = self.ready("web").await;
        println!("create to ready: {:?}", started.elapsed());
        assert!(pod.status.unwrap().pod_ip.is_some());
        let logs = self.pods().logs("web", &LogParams::default()).await.unwrap();
        assert_eq!(logs, "good day from good day!\ngood day\n");
        passed("runs_logs_and_executes");
    }

    async fn ends_as_it_exits(&self) {
        self.create("bad", &json!({ "restartPolicy": "Never", "containers": [shell("echo -n farewell > /dev/termination-log; exit 3")] })).await;
        self.create("good", &json!({ "restartPolicy": "OnFailure", "containers": [shell("true")], "initContainers": [init()] })).await;
        let failed = self.until("bad", "failed", phase("Failed")).await.unwrap();
        let state = failed.status.unwrap().container_statuses.unwrap().remove(0).state.unwrap();
        let terminated = state.terminated.unwrap();
        assert_eq!((terminated.exit_code, terminated.message.as_deref()), (3, Some("farewell")));
        self.until("good", "succeeded", phase("Succeeded")).await;
        passed("ends_as_it_exits");
    }

    async fn shows_what_is_wrong(&self) {
        let mut missing = shell("true");
        missing["image"] = json!("nowhere.invalid/none:1");
        missing["imagePullPolicy"] = json!("Never");
        self.create("missing", &json!({ "containers": [missing] })).await;
        self.until("missing", "refused", waiting("ErrImageNeverPull")).await;
        self.create("crash", &json!({ "containers": [shell("exit 1")] })).await;
        self.until("crash", "in a crash loop", waiting("CrashLoopBackOff")).await;
        let mut sick = shell("sleep 1000");
        sick["livenessProbe"] =
            json!({ "exec": { "command": ["false"] }, "periodSeconds": 1, "failureThreshold": 1 });
        self.create("sick", &json!({ "containers": [sick], "terminationGracePeriodSeconds": 1 })).await;
        let restarted =
            |pod: Option<&Pod>| pod.and_then(status).is_some_and(|status| status.restart_count > 0);
        self.until("sick", "restarted", restarted).await;
        let events = self.events().await;
        for word in
            ["sick: Unhealthy", "sick: Killing", "web: Started", "web: Created", "missing: ErrImageNeverPull"]
        {
            assert!(events.contains(word), "{word} in\n{events}");
        }
        passed("shows_what_is_wrong");
    }

    /// Pods are deleted while they come up, and others of their name take their place at once.
    async fn replaces_a_namesake(&self) {
        let spec = json!({ "containers": [shell("sleep 1000")], "terminationGracePeriodSeconds": 1 });
        let mut uids = Vec::new();
        for _ in 0..4 {
            let pod = self.create("again", &spec).await;
            uids.push(pod.metadata.uid.unwrap());
            self.pods().delete("again", &DeleteParams::default().grace_period(0)).await.unwrap();
        }
        let last = self.create("again", &spec).await.metadata.uid;
        assert_eq!(self.ready("again").await.metadata.uid, last);
        let gone = |directory: &str| {
            let entries = fs::read_dir(self.directory.path().join("agent").join(directory)).unwrap();
            let names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            uids.iter().all(|uid| names.iter().all(|name| !name.ends_with(uid.as_str())))
        };
        self.eventually("the traces of the first are gone", || gone("pods") && gone("volumes")).await;
        passed("replaces_a_namesake");
    }

    /// For what only the host's files tell.
    async fn eventually(&self, what: &str, condition: impl Fn() -> bool) {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        let holds = async {
            while !condition() {
                ticks.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), holds).await.expect(what);
    }

    async fn rotates_logs(&self) {
        let script = "busybox yes | busybox head -c 600000; sleep 1000";
        let uid =
            self.create("chatty", &json!({ "containers": [shell(script)] })).await.metadata.uid.unwrap();
        let logs = self.directory.path().join(format!("agent/pods/default_chatty_{uid}/main"));
        self.eventually("a second file", || fs::read_dir(&logs).is_ok_and(|files| files.count() == 2)).await;
        self.ready("chatty").await;
        passed("rotates_logs");
    }

    /// The agent dies and comes back; the container ran on and is the same.
    async fn adopts(&self, running: Running) -> Running {
        let before = status(&self.pods().get("web").await.unwrap()).unwrap();
        self.create("orphan", &json!({ "containers": [shell("sleep 1000")] })).await;
        self.ready("orphan").await;
        running.stop().await;
        self.pods().delete("orphan", &DeleteParams::default().grace_period(0)).await.unwrap();
        let running = self.agent().await;
        self.create("later", &json!({ "containers": [shell("sleep 1000")] })).await;
        self.ready("later").await;
        let after = status(&self.pods().get("web").await.unwrap()).unwrap();
        assert_eq!((before.container_id, before.restart_count), (after.container_id, after.restart_count));
        passed("adopts");
        running
    }

    async fn batch_has_its_own_group(&self) {
        let mut container = shell("sleep 1000");
        let share = json!({ "kubernetes.io/batch-cpu": "100", "kubernetes.io/batch-memory": "64Mi" });
        container["resources"] = json!({ "requests": share, "limits": share });
        let pod = self.create("batch", &json!({ "containers": [container] })).await;
        self.ready("batch").await;
        let mounts = agent::cgroup::Mounts::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap());
        let groups = agent::cgroup::Groups::new(&mounts, &self.cgroup);
        let group = groups.pod(model::QosClass::Batch, &pod.metadata.uid.unwrap());
        assert_eq!(groups.backend().threads(&group).len(), 1);
        passed("batch_has_its_own_group");
    }

    async fn deletes(&self) {
        let pods = self.pods().list(&ListParams::default()).await.unwrap();
        for pod in &pods.items {
            let name = pod.metadata.name.clone().unwrap();
            self.pods().delete(&name, &DeleteParams::default().grace_period(1)).await.unwrap();
        }
        for pod in &pods.items {
            self.until(pod.metadata.name.as_deref().unwrap(), "gone", |pod: Option<&Pod>| pod.is_none())
                .await;
        }
        let left = |dir: &str| fs::read_dir(self.directory.path().join("agent").join(dir)).unwrap().count();
        assert_eq!((left("pods"), left("volumes")), (0, 0));
        passed("deletes");
    }

    async fn stop(&self) {
        self.token.cancel();
        self.engine.closed().await;
        let engine = pouch::Engine::build(engine_config(self.directory.path(), &self.cgroup)).await.unwrap();
        engine.purge(Duration::ZERO).await.unwrap();
        agent::remove_traces(&self.directory.path().join("agent"), &self.cgroup).unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.directory.path().to_str().unwrap()), "{mounts}");
        passed("leaves_nothing_behind");
    }
}

impl Running {
    async fn stop(self) {
        self.token.cancel();
        self.task.await.unwrap();
    }
}

fn passed(name: &str) {
    println!("test {name} ... ok");
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn status(pod: &Pod) -> Option<k8s_openapi::api::core::v1::ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first().cloned()
}

fn phase(wanted: &'static str) -> impl Condition<Pod> {
    move |pod: Option<&Pod>| pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()) == Some(wanted)
}

fn waiting(reason: &'static str) -> impl Condition<Pod> {
    move |pod: Option<&Pod>| {
        let waiting = pod.and_then(status).and_then(|status| status.state?.waiting?.reason);
        waiting.as_deref() == Some(reason)
    }
}

fn shell(script: &str) -> Value {
    json!({ "name": "main", "image": "busybox:test", "command": ["sh", "-c", script], "imagePullPolicy": "Never" })
}

fn init() -> Value {
    let mut init = shell("true");
    init["name"] = json!("init");
    init
}

fn engine_config(home: &Path, cgroup: &str) -> pouch::Config {
    pouch::Config {
        root: home.join("pouch"),
        run_dir: home.join("run/pouch"),
        socket: home.join("cri.sock"),
        bridge: "crest0".to_owned(),
        pod_cidr: "10.85.0.0/16".to_owned(),
        nft_table: "crest".to_owned(),
        mirrors: Vec::new(),
        shim: vec![std::env::current_exe().unwrap().into(), "shim".into()],
        cgroup_root: cgroup.to_owned(),
    }
}

/// A root file system of one static binary.
fn build_image(home: &Path) {
    let rootfs = home.join("rootfs");
    for directory in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
        fs::create_dir_all(rootfs.join(directory)).unwrap();
    }
    fs::copy("/usr/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for name in ["sh", "echo", "sleep", "cat", "true", "false"] {
        symlink("busybox", rootfs.join("bin").join(name)).unwrap();
    }
    let store = ImageStore::open(&home.join("pouch")).unwrap();
    let recipe = Recipe { tag: "busybox:test".to_owned(), cmd: vec!["sh".to_owned()], ..Recipe::default() };
    store.build(&rootfs, &recipe, &()).unwrap();
}
