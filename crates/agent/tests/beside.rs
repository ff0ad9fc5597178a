//! The agent beside a kubelet: the real API server, a tree of real cgroups as a kubelet lays it out, and real processes in
//! it. Needs root.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy knows only inside the test functions themselves"
)]

#[path = "beside/kubelet.rs"]
mod kubelet;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use agent::beside::{Beside, Config};
use agent::cgroup::{Driver, Groups, Knob, Mounts, Place};
use agent::colocation::Report;
use api::User;
use api::authority::{Authority, Holder};
use k8s_openapi::api::core::v1::{Event, Node, Pod, ServiceAccount};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use model::CpuSet;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use kubelet::{Kubelet, Qos, node, resources};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// A machine that emulates another is slow.
const PATIENCE: Duration = Duration::from_secs(90);
const SPIN: &str = "while :; do :; done";
const SLEEP: &str = "exec sleep 1000";

/// An API server, and a kubelet's host beside it.
struct Host {
    client: Client,
    kubelet: Kubelet,
    folder: TempDir,
    token: CancellationToken,
}

type Values = BTreeMap<String, String>;

struct Running {
    reports: watch::Receiver<Report>,
    token: CancellationToken,
    task: JoinHandle<()>,
}

impl Host {
    async fn start(name: &str, driver: Driver) -> Self {
        kit::tls::install_default_provider();
        let folder = tempfile::tempdir().unwrap();
        let now = kit::clock::wall();
        let authority = Authority::build(&folder.path().join("pki"), now).unwrap();
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
            has_agents: false,
            security: api::SecurityConfig::default(),
            limits: api::Limits::default(),
        };
        let options = store::embedded::Options::default();
        let store = store::embedded::Embedded::open(&folder.path().join("store"), options).unwrap();
        let server = api::Server::build(config, store as Arc<dyn store::Store>).await.unwrap();
        let client = server.client(&User::new("admin", ["system:masters"]));
        let token = CancellationToken::new();
        kit::task::spawn("api", server.run(token.clone()));
        // No controller runs here that would make the account.
        let account = json!({ "metadata": { "name": "default" }, "automountServiceAccountToken": false });
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
        accounts.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
        let kubelet = Kubelet::new(name, driver);
        let cpus = std::thread::available_parallelism().unwrap().get() as u64;
        let node: Node = serde_json::from_value(node(&kubelet.node, cpus * 1000)).unwrap();
        Api::<Node>::all(client.clone()).create(&PostParams::default(), &node).await.unwrap();
        Self { client, kubelet, folder, token }
    }

    fn config(&self) -> Config {
        let mut arbiter = agent::Arbiter::default();
        arbiter.hands.pool = Some(level0::pools::Policy::default());
        Config {
            node_name: self.kubelet.node.clone(),
            client: self.client.clone(),
            cgroup_root: self.kubelet.parent.clone(),
            driver: None,
            root: self.folder.path().join("agent"),
            arbiter,
            metrics: None,
        }
    }

    async fn agent(&self) -> Running {
        let beside = Beside::build(self.config()).await.unwrap();
        let (reports, token) = (beside.reports(), self.token.child_token());
        Running { reports, task: kit::task::spawn("agent", beside.run(token.clone())), token }
    }

    async fn node(&self) -> Node {
        Api::<Node>::all(self.client.clone()).get(&self.kubelet.node).await.unwrap()
    }

    async fn forget(&self, pod: &str) {
        let pods = Api::<Pod>::namespaced(self.client.clone(), "default");
        pods.delete(pod, &DeleteParams::default().grace_period(0)).await.unwrap();
    }

    /// The Pods of a host of services and batch, of which only batch works. Returns the groups of these: a service with CPUs
    /// promised, one with a limit, and batch.
    async fn populate(&mut self) -> [String; 3] {
        let (client, kubelet) = (self.client.clone(), &mut self.kubelet);
        let all = json!({ "cpu": "1", "memory": "64Mi" });
        let nothing = json!({});
        let db = kubelet.start(&client, ("db", Qos::Guaranteed), resources(&all, &all), SLEEP).await;
        let limit = json!({ "cpu": "200m" });
        let spec = resources(&json!({ "cpu": "100m" }), &limit);
        let web = kubelet.start(&client, ("web", Qos::Burstable), spec, SLEEP).await;
        kubelet.start(&client, ("proxy", Qos::BestEffort), resources(&nothing, &nothing), SLEEP).await;
        let batch = json!({ "kubernetes.io/batch-cpu": "1900", "kubernetes.io/batch-memory": "256Mi" });
        let spec = resources(&batch, &batch);
        let hog = kubelet.start(&client, ("hog", Qos::BestEffort), spec, SPIN).await;
        [db, web, hog]
    }
}

impl Running {
    async fn sees(&self, what: &str, mut condition: impl FnMut(&Report) -> bool) {
        let mut reports = self.reports.clone();
        let seen = tokio::time::timeout(PATIENCE, reports.wait_for(|report| condition(report))).await;
        let last = self.reports.borrow();
        let short =
            format!("online {} batch {} quota {:?}", last.online_milli, last.batch_milli, last.quota_milli);
        assert!(seen.is_ok_and(|seen| seen.is_ok()), "{what}: not seen; {short}");
    }

    /// As SIGTERM ends a process.
    async fn stop(self) {
        self.token.cancel();
        self.task.await.unwrap();
    }

    /// As SIGKILL does: nothing more is done.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begun = kit::clock::monotonic();
    while !condition().await {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        // Files of the kernel tell nobody when they change.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn amount<'a>(node: &'a Value, of: &str, name: &str) -> Option<&'a str> {
    node["status"][of][name].as_str()
}

/// The values of all groups but one and those below it.
fn without(mut values: Values, group: &str) -> Values {
    values.retain(|name, _| !name.starts_with(group));
    values
}

async fn shares_a_host(name: &str, driver: Driver) {
    let mut host = Host::start(name, driver).await;
    let [db, web, hog] = host.populate().await;
    let before = host.kubelet.values();
    let other = if driver == Driver::Systemd { Driver::Cgroupfs } else { Driver::Systemd };
    let wrong = Beside::build(Config { driver: Some(other), ..host.config() }).await.unwrap_err();
    assert!(wrong.to_string().contains("no kubelet"), "{wrong}");

    let agent = host.agent().await;
    // Batch stands among the services in this tree, and counts as batch all the same.
    agent.sees("batch works", |report| report.batch_milli >= 100 && report.online_milli < 100).await;
    host.is_told().await;
    host.has_its_hands_moved([&web, &hog]).await;
    host.squeezes(&agent, &db).await;

    // The kubelet's CPU manager gives a CPU away: nobody counts on what it leaves idle, and batch's pool is without it.
    host.gives_a_cpu(&agent, &db).await;

    // The kubelet takes a Pod away between two looks, and tells the API later; another's group is not there yet.
    host.kubelet.vanish("web");
    let nothing = json!({});
    let ghost = json!({ "metadata": { "name": "ghost" }, "spec": resources(&nothing, &nothing) });
    let mut ghost: Pod = serde_json::from_value(ghost).unwrap();
    ghost.spec.as_mut().unwrap().node_name = Some(host.kubelet.node.clone());
    let pods = Api::<Pod>::namespaced(host.client.clone(), "default");
    pods.create(&PostParams::default(), &ghost).await.unwrap();
    host.kubelet.tell_running(&host.client, "ghost", &"0".repeat(64)).await;
    agent.sees("the ghost counts", |report| report.online.iter().any(|pod| pod.name == "ghost")).await;
    host.forget("web").await;
    host.forget("ghost").await;
    agent
        .sees("both are forgotten", |report| {
            report.online.iter().all(|pod| !["ghost", "web"].contains(&pod.name.as_str()))
        })
        .await;

    agent.stop().await;
    let before = without(before, &web);
    assert_eq!(host.changed(&before), [""; 0], "all is as it was");
    let node = serde_json::to_value(host.node().await).unwrap();
    assert_eq!(amount(&node, "capacity", "kubernetes.io/batch-cpu"), None, "{node}");
    assert_eq!(node["status"]["conditions"].as_array().unwrap().len(), 1, "{node}");

    // One that was killed has left something behind; the next one puts it right, whoever went meanwhile.
    let killed = host.agent().await;
    killed.sees("batch is held again", |report| report.quota_milli.is_some()).await;
    eventually("hands are moved again", async || {
        host.kubelet.says(&hog, "cpu", "cpu.idle").as_deref() == Some("1")
    })
    .await;
    killed.kill().await;
    assert_ne!(host.changed(&before), [""; 0]);
    host.kubelet.vanish("db");
    host.forget("db").await;
    let next = host.agent().await;
    next.sees("batch works again", |report| report.batch_milli > 0).await;
    next.stop().await;
    host.evicts().await;
    let before = without(before, &db);
    assert_eq!(host.changed(&before), [""; 0], "what a killed agent left is put right");
    host.token.cancel();
}

impl Host {
    /// Those values that are others than in `before`.
    fn changed(&self, before: &Values) -> Vec<String> {
        let now = self.kubelet.values();
        let changed = before.iter().filter(|(name, value)| now.get(*name) != Some(value));
        changed.map(|(name, value)| format!("{name}: {value} is {:?}", now.get(name))).collect()
    }

    /// The Node says what batch is offered and what the kernel lacks, and keeps what the kubelet says.
    async fn is_told(&self) {
        eventually("the offer is told", async || {
            let node = serde_json::to_value(self.node().await).unwrap();
            let offers = ["capacity", "allocatable"].map(|of| {
                let told = |name: &str| amount(&node, of, name).is_some_and(|amount| amount != "0");
                told("kubernetes.io/batch-cpu") && told("kubernetes.io/batch-memory")
            });
            let conditions = node["status"]["conditions"].as_array().unwrap();
            let types: Vec<&str> = conditions.iter().map(|one| one["type"].as_str().unwrap()).collect();
            offers == [true; 2]
                && ["Ready", "IsolationDegraded", "BatchOffered"].iter().all(|one| types.contains(one))
                && amount(&node, "capacity", "memory") == Some("2Gi")
        })
        .await;
    }

    async fn has_its_hands_moved(&self, [web, hog]: [&String; 2]) {
        let kubelet = &self.kubelet;
        let limit = if kubelet.is_v2() { "memory.max" } else { "memory.limit_in_bytes" };
        let bound = if kubelet.is_v2() { "memory.high" } else { "memory.soft_limit_in_bytes" };
        let burst = if kubelet.is_v2() { "cpu.max.burst" } else { "cpu.cfs_burst_us" };
        let batch = kubelet.class(Qos::BestEffort);
        eventually("hands are moved", async || {
            kubelet.says(hog, "cpu", "cpu.idle").as_deref() == Some("1")
                && kubelet.says(hog, "memory", limit) == Some((256_u64 << 20).to_string())
                && kubelet
                    .says(&batch, "memory", bound)
                    .is_some_and(|bytes| bytes.parse::<u64>().is_ok_and(|bytes| bytes < 1 << 62))
        })
        .await;
        // A Pod with a limit that the kubelet has not written yet has nothing left over; the kubelet's weights are its own.
        assert_eq!(kubelet.says(web, "cpu", burst).as_deref(), Some("0"));
        let weight = if kubelet.is_v2() { ("cpu.weight", "1") } else { ("cpu.shares", "2") };
        assert_eq!(kubelet.says(&batch, "cpu", weight.0).as_deref(), Some(weight.1));
    }

    /// A service that was idle works on all processors: batch gives way.
    async fn squeezes(&mut self, agent: &Running, db: &str) {
        let offered = agent.reports.borrow().cpu.offered;
        let worker = format!("(exec sh -c '{SPIN}') & {SPIN}");
        let all = json!({ "cpu": "1", "memory": "64Mi" });
        let client = self.client.clone();
        self.kubelet.start(&client, ("busy", Qos::Guaranteed), resources(&all, &all), &worker).await;
        let batch = self.kubelet.class(Qos::BestEffort);
        agent
            .sees("the service works, batch is held", |report| {
                let is_held = report.quota_milli.is_some_and(|quota| quota <= 500);
                report.online_milli >= 150 && is_held && report.batch_milli <= 600
            })
            .await;
        assert!(self.kubelet.quota(&batch).is_some_and(|micros| micros <= 50_000));
        // As systemd does for a kubelet that sets its slices' weights. More than once, as a quota that changes is written, too.
        let groups = self.groups();
        for _ in 0..3 {
            let begun = kit::clock::monotonic();
            groups.backend().set(&batch, Knob::Quota(None)).unwrap();
            eventually("batch is held again", async || self.kubelet.quota(&batch).is_some()).await;
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(2), "batch was free for {took:?}");
        }
        agent.sees("the offer fell", |report| report.cpu.offered < offered || offered <= 200).await;
        assert!(self.kubelet.quota(db).is_none(), "who is not batch is left alone");
    }
}

impl Host {
    fn groups(&self) -> Groups {
        let mounts = Mounts::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap());
        Groups::of_kubelet(&mounts, &self.kubelet.parent, None).unwrap()
    }

    async fn gives_a_cpu(&self, agent: &Running, db: &str) {
        let groups = self.groups();
        let container = groups.backend().children(db).remove(0);
        let all = groups.backend().usable_cpus(db).unwrap();
        let own: CpuSet = all.iter().take(1).collect();
        let rest = all.without(&own);
        assert!(!rest.is_empty(), "this test needs two CPUs");
        let place = |cpus| Place { cpus, mems: None };
        groups.backend().set_place(&container, &place(Some(own.clone()))).unwrap();
        let is_pinned = |report: &Report| report.online.iter().any(|pod| pod.name == "db" && pod.is_pinned);
        agent.sees("its CPU is its own", is_pinned).await;
        let batch = self.kubelet.class(Qos::BestEffort);
        eventually("batch is kept off it", async || {
            groups.backend().usable_cpus(&batch).is_ok_and(|cpus| cpus.common(&own).is_empty())
        })
        .await;
        assert_eq!(
            groups.backend().usable_cpus(&container).unwrap(),
            own,
            "the kubelet's cpusets are its own"
        );
        groups.backend().set_place(&container, &place(None)).unwrap();
        agent.sees("its CPU is everybody's", |report| !is_pinned(report)).await;
    }

    /// Where memory is short, batch has to go: the API is asked, which knows of budgets.
    async fn evicts(&self) {
        let mut config = self.config();
        (config.arbiter.evict.low, config.arbiter.evict.enough) = (2.0, 2.0);
        let beside = Beside::build(config).await.unwrap();
        let token = self.token.child_token();
        let task = kit::task::spawn("agent", beside.run(token.clone()));
        let pods = Api::<Pod>::namespaced(self.client.clone(), "default");
        eventually("batch is evicted", async || {
            pods.get("hog").await.unwrap().metadata.deletion_timestamp.is_some()
        })
        .await;
        let events = Api::<Event>::namespaced(self.client.clone(), "default");
        eventually("an event says why", async || {
            let told = events.list(&ListParams::default()).await.unwrap().items;
            told.iter().any(|event| event.reason.as_deref() == Some("Evicted"))
        })
        .await;
        for service in ["proxy", "busy"] {
            assert_eq!(pods.get(service).await.unwrap().metadata.deletion_timestamp, None);
        }
        token.cancel();
        task.await.unwrap();
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_systemd() {
    if is_root() {
        shares_a_host("beside-systemd", Driver::Systemd).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_cgroupfs() {
    if is_root() {
        shares_a_host("beside-cgroupfs", Driver::Cgroupfs).await;
    }
}

#[test]
fn the_same_on_cgroup_v2() {
    if !is_root() || !Path::new("/usr/bin/qemu-system-x86_64").exists() {
        println!("skipped: needs root and qemu-system-x86");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/guest.sh");
    let this = std::env::current_exe().unwrap();
    let command = format!("{} --test-threads 1 with_", this.display());
    let said = Command::new("sh").arg(script).arg(command).arg(&this).output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(
        said.status.success() && text.contains("2 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&said.stderr)
    );
}
