//! Two real batch processes in real groups: of one the services suffer. Needs root.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use kube::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::sync::watch;

use super::*;
use crate::cgroup::Mounts;
use crate::events;
use crate::pods::registry::{Entry, Live, Order};

const TICK: Duration = Duration::from_millis(50);

struct Host {
    mounts: Mounts,
    groups: Groups,
    root: String,
    hogs: Vec<Child>,
}

impl Host {
    /// Each of `pods` computes without end in its own group; none is idle, so that a busy machine lets them work.
    fn with(name: &str, pods: &[Arc<Pod>]) -> Self {
        let mounts = Mounts::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap());
        let root = format!("crest-test-{name}-{}", std::process::id());
        let groups = Groups::new(&mounts, &root);
        groups.prepare(MilliCpu(2000)).unwrap();
        groups.backend().set(&groups.class(QosClass::Batch), Knob::Idle(false)).unwrap();
        let mut host = Self { mounts, groups, root, hogs: Vec::new() };
        for pod in pods {
            host.start(pod);
        }
        host
    }

    fn start(&mut self, pod: &Pod) {
        let group = self.groups.pod(QosClass::Batch, pod.metadata.uid.as_deref().unwrap());
        self.groups.backend().create(&group).unwrap();
        for knob in resources::knobs(pod) {
            self.groups.backend().set(&group, knob).unwrap();
        }
        // On cgroup v1 use is counted by a controller of its own.
        let roots: Vec<PathBuf> = match &self.mounts.v2 {
            Some(root) if !self.mounts.v1.contains_key("cpu") => vec![root.clone()],
            _ => ["cpu", "cpuacct"].iter().filter_map(|name| self.mounts.v1.get(*name).cloned()).collect(),
        };
        let enter = roots.iter().map(|root| format!("echo $$ > {}/{group}/cgroup.procs && ", root.display()));
        let script = enter.collect::<String>() + "while :; do :; done";
        self.hogs.push(Command::new("sh").args(["-c", &script]).spawn().unwrap());
    }

    fn signal(&self, hog: usize, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.hogs[hog].id()).unwrap()), signal).unwrap();
    }

    /// Microseconds in a period of 100 ms; `None` is no limit.
    fn quota(&self, uid: &str) -> Option<u64> {
        let group = self.groups.pod(QosClass::Batch, uid);
        let path = match (self.mounts.v1.get("cpu"), &self.mounts.v2) {
            (Some(root), _) => root.join(group).join("cpu.cfs_quota_us"),
            (None, Some(root)) => root.join(group).join("cpu.max"),
            (None, None) => panic!("no controller of the CPU"),
        };
        fs::read_to_string(path).unwrap().split_whitespace().next().unwrap().parse().ok()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for hog in &mut self.hogs {
            let _gone_already = hog.kill();
            let _ended = hog.wait();
        }
        self.groups.remove_all().unwrap();
        assert!(!self.groups.backend().exists(&self.root));
    }
}

/// A batch Pod that may use half a core.
fn pod(uid: &str) -> Arc<Pod> {
    let pod = json!({"metadata": {"name": uid, "namespace": "default", "uid": uid}, "spec": {
        "schedulerName": "fuxi",
        "containers": [{"name": "c", "resources": {"limits": {"kubernetes.io/batch-cpu": "500"}}}],
    }});
    Arc::new(serde_json::from_value(pod).unwrap())
}

/// Nobody answers there: what it would write is only queued.
fn recorder() -> Recorder {
    let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    events::recorder(Client::try_from(config).unwrap(), "host".to_owned()).0
}

#[tokio::test]
async fn the_offender_alone_is_held_back_and_gets_back_what_it_may() {
    let pods = [pod("loud"), pod("steady")];
    let host = Host::with("offence", &pods);
    let policy = Policy { cap_time: Duration::from_secs(1), ..Policy::default() };
    let whom = (Registry::default(), recorder());
    let mut offence = Offence::new(host.groups.clone(), whom, policy, MilliCpu(100));
    // What an agent that was killed left behind is put right.
    host.groups
        .backend()
        .set(&host.groups.pod(QosClass::Batch, "steady"), Knob::Quota(Some(MilliCpu(60))))
        .unwrap();
    assert_eq!([host.quota("loud"), host.quota("steady")], [Some(50_000), Some(6000)]);

    let started = kit::clock::monotonic();
    let mut capped = 0;
    for tick in 0..400 {
        // Half of the time the loud one stands still, and services do not suffer.
        let is_loud = tick % 20 >= 10;
        host.signal(0, if is_loud { Signal::SIGCONT } else { Signal::SIGSTOP });
        tokio::time::sleep(TICK).await;
        let suffering = if is_loud { 4.0 } else { 0.2 };
        let outcome = offence.tick(&pods, 1000.0, (Some(suffering), true), started.elapsed());
        capped += outcome.capped;
        assert_eq!(host.quota("steady"), Some(50_000), "it was not the steady one");
        if capped > 0 {
            break;
        }
    }
    assert_eq!((capped, offence.n_capped()), (1, 1));
    assert_eq!(host.quota("loud"), Some(5000), "the least that one keeps");

    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..2 {
        offence.tick(&pods, 1000.0, (Some(0.2), true), started.elapsed());
    }
    assert_eq!((host.quota("loud"), offence.n_capped()), (Some(50_000), 0), "its time is over");
}

#[tokio::test]
async fn batch_is_squeezed_below_what_its_pods_may_use() {
    let pods = [pod("one"), pod("two")];
    let host = Host::with("squeeze", &pods);
    let mut offence = Offence::new(
        host.groups.clone(),
        (Registry::default(), recorder()),
        Policy::default(),
        MilliCpu(100),
    );
    let backend = host.groups.backend();
    let class = host.groups.class(QosClass::Batch);
    for squeeze in [300, 100, 400] {
        let quota = Some(MilliCpu(squeeze));
        // From below where there is less, as the arbiter does, and from above where there is more.
        if squeeze < 400 {
            offence.keep_within(quota, &pods);
        }
        backend.set(&class, Knob::Quota(quota)).unwrap();
        offence.keep_within(quota, &pods);
        let least = if backend.may_exceed_parents() { 500 } else { squeeze };
        assert_eq!([host.quota("one"), host.quota("two")], [Some(least * 100); 2]);
    }
    backend.set(&class, Knob::Quota(None)).unwrap();
    offence.keep_within(None, &pods);
    assert_eq!([host.quota("one"), host.quota("two")], [Some(50_000); 2], "what they ask for");
}

#[tokio::test]
async fn nobody_who_is_away_or_of_another_time_forbids_a_squeeze() {
    let pods = [pod("old"), pod("away")];
    let host = Host::with("away", &pods);
    let backend = host.groups.backend();
    // As an agent left it that had its engine bound containers.
    let container = format!("{}/c", host.groups.pod(QosClass::Batch, "old"));
    backend.create(&container).unwrap();
    backend.set(&container, Knob::Quota(Some(MilliCpu(500)))).unwrap();
    // Of the other, the container is just away.
    let registry = Registry::default();
    let order = Order::new(pods[1].clone());
    let (orders, live) = (watch::channel(order).0, watch::channel(Live::default()).1);
    registry.insert("away".to_owned(), Entry { orders, poke: Arc::default(), live });
    let whom = (registry, recorder());
    let mut offence = Offence::new(host.groups.clone(), whom, Policy::default(), MilliCpu(100));
    let quota = Some(MilliCpu(100));
    offence.keep_within(quota, &pods[..1]);
    backend.set(&host.groups.class(QosClass::Batch), Knob::Quota(quota)).unwrap();
    if !backend.may_exceed_parents() {
        assert_eq!([host.quota("old"), host.quota("away")], [Some(10_000); 2]);
    }
}

#[tokio::test]
async fn what_others_write_is_put_right() {
    let pods = [pod("one")];
    let host = Host::with("others", &pods);
    let mut offence = Offence::new(
        host.groups.clone(),
        (Registry::default(), recorder()),
        Policy::default(),
        MilliCpu(100),
    );
    let tick = |offence: &mut Offence, second| {
        offence.tick(&pods, 1000.0, (None, true), Duration::from_secs(second));
        host.quota("one")
    };
    assert_eq!(tick(&mut offence, 0), Some(50_000));
    host.groups.backend().set(&host.groups.pod(QosClass::Batch, "one"), Knob::Quota(None)).unwrap();
    assert_eq!(tick(&mut offence, 1), None);
    assert_eq!(tick(&mut offence, 11), Some(50_000));
}

#[tokio::test]
async fn at_the_end_who_was_forgotten_meanwhile_gets_back_what_it_may() {
    let pods = [pod("capped")];
    let host = Host::with("end", &pods);
    // The registry has forgotten it, as whoever tends to Pods ends at the same time.
    let whom = (Registry::default(), recorder());
    let mut offence = Offence::new(host.groups.clone(), whom, Policy::default(), MilliCpu(100));
    offence.caps.insert("capped".to_owned(), MilliCpu(60));
    offence.find(&pods);
    assert!(offence.settle());
    assert_eq!(host.quota("capped"), Some(6000));
    offence.end(&pods);
    assert_eq!(host.quota("capped"), Some(50_000));
}

#[tokio::test]
async fn an_offender_whose_container_is_away_for_a_moment_gets_its_cap_lifted_in_time() {
    let pods = [pod("loud")];
    let host = Host::with("restart", &pods);
    let order = Order::new(pods[0].clone());
    let (orders, live) = (watch::channel(order).0, watch::channel(Live::default()).1);
    let registry = Registry::default();
    registry.insert("loud".to_owned(), Entry { orders, poke: Arc::default(), live });
    let policy = Policy { cap_time: Duration::from_secs(1), ..Policy::default() };
    let mut offence = Offence::new(host.groups.clone(), (registry, recorder()), policy, MilliCpu(100));
    let started = kit::clock::monotonic();
    for tick in 0..400 {
        let is_loud = tick % 20 >= 10;
        host.signal(0, if is_loud { Signal::SIGCONT } else { Signal::SIGSTOP });
        tokio::time::sleep(TICK).await;
        let suffering = if is_loud { 4.0 } else { 0.2 };
        if offence.tick(&pods, 1000.0, (Some(suffering), true), started.elapsed()).capped > 0 {
            break;
        }
    }
    assert_eq!((host.quota("loud"), offence.n_capped()), (Some(5000), 1));
    // It is not among those at work while its container begins anew.
    offence.tick(&[], 1000.0, (Some(0.2), true), started.elapsed());
    assert_eq!((host.quota("loud"), offence.n_capped()), (Some(5000), 1), "it is not forgiven for that");
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..2 {
        offence.tick(&pods, 1000.0, (Some(0.2), true), started.elapsed());
    }
    assert_eq!((host.quota("loud"), offence.n_capped()), (Some(50_000), 0));
}
