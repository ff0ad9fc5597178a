//! A kubelet's tree of real cgroups with real processes in it, in a group of the test's own, and Pods as the kubelet tells
//! them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use agent::cgroup::{Driver, Groups, Knob, Mounts, Version};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams, PostParams};
use model::MilliCpu;
use serde_json::{Value, json};

/// A class of the kubelet's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

pub(crate) struct Kubelet {
    pub(crate) node: String,
    /// The group in which the tree stands.
    pub(crate) parent: String,
    driver: Driver,
    mounts: Mounts,
    /// To make groups with, as the kubelet and its engine do.
    maker: Groups,
    /// The process of each Pod, and its group.
    processes: HashMap<String, (Child, String)>,
}

/// What an agent may write, by the controller that has it on cgroup v1, and what the kubelet does.
const FILES_V1: [(&str, &str); 10] = [
    ("cpu", "cpu.idle"),
    ("cpu", "cpu.shares"),
    ("cpu", "cpu.cfs_quota_us"),
    ("cpu", "cpu.cfs_burst_us"),
    ("memory", "memory.limit_in_bytes"),
    ("memory", "memory.soft_limit_in_bytes"),
    ("cpuset", "cpuset.cpus"),
    ("blkio", "blkio.bfq.weight"),
    ("blkio", "blkio.throttle.read_bps_device"),
    ("blkio", "blkio.throttle.write_bps_device"),
];
const FILES_V2: [&str; 12] = [
    "cpu.idle",
    "cpu.weight",
    "cpu.max",
    "cpu.max.burst",
    "memory.min",
    "memory.low",
    "memory.high",
    "memory.max",
    "cpuset.cpus.effective",
    "io.weight",
    "io.bfq.weight",
    "io.max",
];

impl Kubelet {
    pub(crate) fn new(name: &str, driver: Driver) -> Self {
        let mounts = Mounts::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap());
        let parent = format!("crest-test-{name}-{}", std::process::id());
        let maker = Groups::new(&mounts, &parent);
        let node = name.to_owned();
        let kubelet = Self { node, parent, driver, mounts, maker, processes: HashMap::new() };
        for class in [Qos::Burstable, Qos::BestEffort] {
            let group = kubelet.class(class);
            kubelet.maker.backend().create(&group).unwrap();
            kubelet.maker.backend().set(&group, Knob::Weight(MilliCpu(0))).unwrap();
        }
        kubelet
    }

    pub(crate) fn is_v2(&self) -> bool {
        self.mounts.version() == Version::V2
    }

    /// The group of a class of the kubelet's.
    pub(crate) fn class(&self, class: Qos) -> String {
        let below = match (self.driver, class) {
            (Driver::Systemd, Qos::Guaranteed) => "kubepods.slice",
            (Driver::Systemd, Qos::Burstable) => "kubepods.slice/kubepods-burstable.slice",
            (Driver::Systemd, Qos::BestEffort) => "kubepods.slice/kubepods-besteffort.slice",
            (Driver::Cgroupfs, Qos::Guaranteed) => "kubepods",
            (Driver::Cgroupfs, Qos::Burstable) => "kubepods/burstable",
            (Driver::Cgroupfs, Qos::BestEffort) => "kubepods/besteffort",
        };
        format!("{}/{below}", self.parent)
    }

    fn pod(&self, class: Qos, uid: &str) -> String {
        let above = self.class(class);
        match self.driver {
            Driver::Systemd => {
                let (_, slice) = above.rsplit_once('/').unwrap();
                let name = slice.strip_suffix(".slice").unwrap();
                format!("{above}/{name}-pod{}.slice", uid.replace('-', "_"))
            }
            Driver::Cgroupfs => format!("{above}/pod{uid}"),
        }
    }

    /// Starts `script` in a new Pod as a kubelet does, and tells the API. Returns the Pod's group.
    pub(crate) async fn start(
        &mut self,
        client: &kube::Client,
        (name, class): (&str, Qos),
        mut spec: Value,
        script: &str,
    ) -> String {
        let pods = Api::<Pod>::namespaced(client.clone(), "default");
        spec["nodeName"] = json!(self.node);
        let manifest = json!({ "metadata": { "name": name }, "spec": spec });
        let pod = pods.create(&PostParams::default(), &serde_json::from_value(manifest).unwrap()).await;
        let uid = pod.unwrap().metadata.uid.unwrap();
        let id = format!("{:0>64}", uid.replace('-', ""));
        let group = self.pod(class, &uid);
        let process = self.run(&group, &id, script);
        // Known at once, so that it ends with the test whatever fails.
        self.processes.insert(name.to_owned(), (process, group.clone()));
        // As the Pods of these tests ask for.
        let promised = MilliCpu(match class {
            Qos::Guaranteed => 1000,
            Qos::Burstable => 100,
            Qos::BestEffort => 0,
        });
        self.maker.backend().set(&group, Knob::Weight(promised)).unwrap();
        self.tell_running(client, name, &id).await;
        group
    }

    /// The groups as the kubelet and then the engine make them, and a process in them.
    fn run(&self, group: &str, id: &str, script: &str) -> Child {
        let backend = self.maker.backend();
        backend.create(group).unwrap();
        let below = match self.driver {
            Driver::Systemd => format!("{group}/cri-containerd-{id}.scope"),
            Driver::Cgroupfs => format!("{group}/{id}"),
        };
        if self.is_v2() {
            // What hands controllers down may have no process of its own.
            fs::create_dir(self.mounts.v2.as_ref().unwrap().join(&below)).unwrap();
        } else {
            backend.create(&below).unwrap();
        }
        let roots: Vec<PathBuf> = match self.is_v2() {
            true => self.mounts.v2.iter().cloned().collect(),
            false => self
                .mounts
                .v1
                .iter()
                .filter(|(name, _)| !name.starts_with("name="))
                .map(|(_, path)| path.clone())
                .collect(),
        };
        // Line by line: in `A && B & C` all of `A && B` is in the background, and C outside of the group.
        let enter = roots.iter().map(|root| format!("echo $$ > {}/{below}/cgroup.procs\n", root.display()));
        let script = format!("set -e\n{}set +e\n{script}", enter.collect::<String>());
        Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).process_group(0).spawn().unwrap()
    }

    /// The API is told that the one container of a Pod runs.
    pub(crate) async fn tell_running(&self, client: &kube::Client, name: &str, id: &str) {
        let state = json!({ "running": { "startedAt": "2020-01-01T00:00:00Z" } });
        let container = json!({ "name": "c", "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
            "containerID": format!("containerd://{id}"), "state": state });
        let status = json!({ "status": { "phase": "Running", "containerStatuses": [container] } });
        let pods = Api::<Pod>::namespaced(client.clone(), "default");
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    /// The Pod's processes and groups are gone before anybody tells the API.
    pub(crate) fn vanish(&mut self, name: &str) {
        let (mut process, group) = self.processes.remove(name).unwrap();
        self.kill(&process, &group);
        process.wait().unwrap();
        self.remove(&group);
    }

    /// Ends all processes of a group, which `process` is the first of, and those that it started and that left the group.
    fn kill(&self, process: &Child, group: &str) {
        let all = self.maker.backend().threads(group);
        let all: Vec<String> = all.iter().map(u32::to_string).collect();
        Command::new("sh")
            .args(["-c", &format!("kill -s KILL -- -{} {}", process.id(), all.join(" "))])
            .status()
            .unwrap();
    }

    /// Processes that were killed leave a moment later.
    fn remove(&self, group: &str) {
        let begun = kit::clock::monotonic();
        while let Err(error) = self.maker.backend().remove(group) {
            assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{error:?}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// What a file of a group says; nothing where there is none.
    pub(crate) fn says(&self, group: &str, controller: &str, file: &str) -> Option<String> {
        let root = if self.is_v2() { self.mounts.v2.as_ref()? } else { self.mounts.v1.get(controller)? };
        fs::read_to_string(root.join(group).join(file)).ok().map(|text| text.trim().to_owned())
    }

    /// The quota of a group in microseconds of 100 ms; `None` is no limit.
    pub(crate) fn quota(&self, group: &str) -> Option<u64> {
        let file = if self.is_v2() { "cpu.max" } else { "cpu.cfs_quota_us" };
        self.says(group, "cpu", file)?.split(' ').next()?.parse().ok()
    }

    /// All values of the whole tree that anybody writes.
    pub(crate) fn values(&self) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        let mut groups = vec![self.class(Qos::Guaranteed)];
        while let Some(group) = groups.pop() {
            groups.extend(self.maker.backend().children(&group));
            let mut add = |controller: &str, file: &str| {
                if let Some(value) = self.says(&group, controller, file) {
                    values.insert(format!("{group} {file}"), value);
                }
            };
            match self.is_v2() {
                true => FILES_V2.iter().for_each(|file| add("", file)),
                false => FILES_V1.iter().for_each(|(controller, file)| add(controller, file)),
            }
        }
        values
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        // All processes first: a group that stays must not keep others alive.
        self.processes.values().for_each(|(process, group)| self.kill(process, group));
        let names: Vec<String> = self.processes.keys().cloned().collect();
        names.iter().for_each(|name| self.vanish(name));
        self.remove(&self.parent);
    }
}

/// A container's resources, as requests and as limits.
pub(crate) fn resources(requests: &Value, limits: &Value) -> Value {
    json!({ "containers": [{ "name": "c", "image": "i",
        "resources": { "requests": requests, "limits": limits } }] })
}

/// A Node as a kubelet has it, which keeps a tenth of a core for the system.
pub(crate) fn node(name: &str, milli_cpu: u64) -> Value {
    let amounts = |milli: u64| json!({"cpu": format!("{milli}m"), "memory": "2Gi", "pods": "110"});
    json!({"metadata": {"name": name}, "status": {
        "capacity": amounts(milli_cpu), "allocatable": amounts(milli_cpu - 100),
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}})
}
