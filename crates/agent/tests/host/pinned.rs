//! CPUs of a Pod's own: what the kernel says of processes that run.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use agent::cgroup::{Groups, Mounts, Place};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use model::names::{CPU_POLICY, CPU_SET, CPU_TOPOLOGY};
use model::{CpuSet, CpuTopology, QosClass};
use serde_json::json;

use super::{Host, NODE, Running, passed, shell};

impl Host {
    /// A pinned Pod has its CPUs alone, others the rest: those that run already, batch, and those that come later; and so it
    /// is after the agent was away, until the pinned Pod goes. One that cannot be pinned runs all the same.
    pub(super) async fn pins(&self, running: Running) -> Running {
        let mounts = Mounts::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap());
        let groups = Groups::new(&mounts, &self.cgroup);
        let online = groups.class(QosClass::Online);
        let all = groups.backend().usable_cpus(&online).expect("groups of this host can be kept to CPUs");
        let nodes: Api<Node> = Api::all(self.client.clone());
        let told = nodes.get(NODE).await.unwrap().metadata.annotations.unwrap()[CPU_TOPOLOGY].clone();
        assert_eq!(serde_json::from_str::<CpuTopology>(&told).unwrap().cpus(), all);
        let own: CpuSet = all.iter().take(1).collect();
        let rest = all.without(&own);
        assert!(!rest.is_empty(), "this test needs two CPUs");
        self.create("service", &json!({ "containers": [shell("sleep 1000")] })).await;
        let mut container = shell("sleep 1000");
        let share = json!({ "kubernetes.io/batch-cpu": "100", "kubernetes.io/batch-memory": "64Mi" });
        container["resources"] = json!({ "requests": share, "limits": share });
        self.create("worker", &json!({ "containers": [container] })).await;
        self.ready("service").await;
        self.ready("worker").await;
        let (service, batch) =
            (self.group_of(&groups, "service").await, self.group_of(&groups, "worker").await);
        let affinity = |group: &str| -> Vec<CpuSet> {
            groups.backend().threads(group).into_iter().filter_map(affinity).collect()
        };
        assert_eq!((affinity(&service), affinity(&batch)), (vec![all.clone()], vec![all.clone()]));
        self.create_pinned("pinned", &own.to_string()).await;
        // It asks for one.
        self.create_pinned("greedy", &all.to_string()).await;
        self.create("after", &json!({ "containers": [shell("sleep 1000")] })).await;
        for name in ["pinned", "greedy", "after"] {
            self.ready(name).await;
        }
        let group = |name: &'static str| self.group_of(&groups, name);
        let (pinned, greedy, after) = (group("pinned").await, group("greedy").await, group("after").await);
        let is_split = || {
            affinity(&pinned) == [own.clone()]
                && [&service, &batch, &greedy, &after].iter().all(|group| affinity(group) == [rest.clone()])
        };
        assert!(is_split(), "{:?} {:?}", affinity(&pinned), affinity(&service));
        self.eventually_told("greedy: NotPinned").await;
        running.stop().await;
        // What somebody else wrote meanwhile is put right.
        groups.backend().set_place(&service, &Place::default()).unwrap();
        let running = self.agent().await;
        self.eventually("the agent has put all in its place again", is_split).await;
        let now = DeleteParams::default().grace_period(0);
        for name in ["greedy", "pinned"] {
            self.pods().delete(name, &now).await.unwrap();
            self.until(name, "gone", |pod: Option<&Pod>| pod.is_none()).await;
        }
        let is_whole = || [&service, &batch, &after].iter().all(|group| affinity(group) == [all.clone()]);
        self.eventually("all CPUs are everybody's", is_whole).await;
        passed("pins");
        running
    }

    async fn create_pinned(&self, name: &str, cpus: &str) {
        let mut container = shell("sleep 1000");
        let share = json!({ "cpu": "1", "memory": "64Mi" });
        container["resources"] = json!({ "requests": share, "limits": share });
        let manifest = json!({
            "metadata": { "name": name, "annotations": { CPU_POLICY: "pinned", CPU_SET: cpus } },
            "spec": { "nodeName": NODE, "containers": [container] },
        });
        let pod: Pod = serde_json::from_value(manifest).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap();
    }

    pub(super) async fn group_of(&self, groups: &Groups, name: &str) -> String {
        let pod = self.pods().get(name).await.unwrap();
        groups.pod(QosClass::of(&pod), &pod.metadata.uid.unwrap())
    }

    async fn eventually_told(&self, event: &str) {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        let told = async {
            while !self.events().await.contains(event) {
                ticks.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), told).await.expect(event);
    }
}

/// The same on a host with cgroup v2: this very program runs again inside a virtual machine. True where it passed, or there
/// is none to be had.
pub(super) fn in_a_guest() -> bool {
    if !Path::new("/usr/bin/qemu-system-x86_64").exists() {
        println!("test groups_on_cgroup_v2 ... skipped: qemu-system-x86 is not installed");
        return true;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/guest.sh");
    let this = std::env::current_exe().unwrap();
    let mut command = Command::new("sh");
    command.arg(script).arg(format!("{} groups", this.display())).arg(&this).arg("/usr/bin/busybox");
    let said = command.output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    if said.status.success() && text.contains("test moves_hands ... ok") {
        passed("groups_on_cgroup_v2");
        return true;
    }
    println!("test groups_on_cgroup_v2 ... FAILED\n{text}\n{}", String::from_utf8_lossy(&said.stderr));
    false
}

/// Where a thread may run; `None` where it has ended.
fn affinity(thread: u32) -> Option<CpuSet> {
    let thread = nix::unistd::Pid::from_raw(i32::try_from(thread).unwrap());
    let set = nix::sched::sched_getaffinity(thread).ok()?;
    Some((0..nix::sched::CpuSet::count()).filter(|&cpu| set.is_set(cpu) == Ok(true)).collect())
}
