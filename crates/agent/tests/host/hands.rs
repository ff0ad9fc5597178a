//! The hands beside the quota: what the kernel's files say while an agent runs, after it has stopped, and after one was
//! killed.

use std::fs;

use agent::cgroup::{Groups, Knob, Mounts, Version};
use http::Request;
use model::{Bytes, MilliCpu, QosClass};
use serde_json::json;

use super::{Host, Running, passed, shell};

const MIB: u64 = 1 << 20;

/// The files of a host's version of cgroups.
struct Files {
    mounts: Mounts,
    is_v2: bool,
}

impl Files {
    fn of_host() -> Self {
        let mounts = Mounts::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap());
        let is_v2 = mounts.version() == Version::V2;
        Self { mounts, is_v2 }
    }

    /// What `file` of `group` says; `controller` is where v1 has it.
    fn say(&self, controller: &str, group: &str, file: &str) -> String {
        let root = if self.is_v2 { self.mounts.v2.as_ref().unwrap() } else { &self.mounts.v1[controller] };
        let path = root.join(group).join(file);
        fs::read_to_string(&path).unwrap_or_else(|error| format!("{path:?}: {error}")).trim().to_owned()
    }

    fn burst(&self, group: &str) -> String {
        self.say("cpu", group, if self.is_v2 { "cpu.max.burst" } else { "cpu.cfs_burst_us" })
    }

    /// The memory beyond which batch is reclaimed from first; `None` is no bound.
    fn bound(&self, batch: &str) -> Option<u64> {
        let file = if self.is_v2 { "memory.high" } else { "memory.soft_limit_in_bytes" };
        let bound = self.say("memory", batch, file).parse().ok();
        // What v1 has for no limit is a number, too.
        bound.filter(|bytes| *bytes < 1 << 62)
    }

    fn io_weight(&self, batch: &str) -> String {
        self.say("blkio", batch, if self.is_v2 { "io.weight" } else { "blkio.bfq.weight" })
    }

    /// What a service keeps; v1 has no such file.
    fn low(&self, group: &str) -> Option<String> {
        self.is_v2.then(|| self.say("memory", group, "memory.low"))
    }
}

impl Host {
    pub(super) async fn moves_hands(&self, running: Running) -> Running {
        let files = Files::of_host();
        let groups = Groups::new(&files.mounts, &self.cgroup);
        let batch = groups.class(QosClass::Batch);
        let mut service = shell("sleep 1000");
        service["resources"] = json!({ "limits": { "cpu": "200m", "memory": "64Mi" } });
        self.create("limited", &json!({ "containers": [service] })).await;
        let mut worker = shell("sleep 1000");
        let share = json!({ "kubernetes.io/batch-cpu": "100", "kubernetes.io/batch-memory": "64Mi" });
        worker["resources"] = json!({ "requests": share, "limits": share });
        self.create("bounded", &json!({ "containers": [worker] })).await;
        self.ready("limited").await;
        self.ready("bounded").await;
        let pod = self.group_of(&groups, "limited").await;
        let container = groups.backend().children(&pod).remove(0);
        let bursts = |micros: &str| files.burst(&pod) == micros && files.burst(&container) == micros;
        let is_held = || {
            let kept = files.low(&pod).is_none_or(|low| low == (64 * MIB).to_string())
                && files.low(&container) == files.low(&pod);
            let weight = files.io_weight(&batch);
            kept && files.bound(&batch).is_some() && weight.ends_with("10")
        };
        self.eventually("hands are moved", || bursts("20000") && is_held()).await;
        self.tells_prometheus().await;
        // The kernel takes no quota below the burst.
        let smaller = json!({ "spec": { "containers": [
            { "name": "main", "resources": { "limits": { "cpu": "100m" }, "requests": { "cpu": "100m" } } },
        ]}});
        let path = "/api/v1/namespaces/default/pods/limited/resize";
        let request = Request::patch(path).header("content-type", "application/strategic-merge-patch+json");
        let request = request.body(serde_json::to_vec(&smaller).unwrap()).unwrap();
        self.client.request_text(request).await.unwrap();
        self.eventually("the burst follows the quota", || bursts("10000")).await;
        running.stop().await;
        let is_neutral = || {
            bursts("0")
                && files.bound(&batch).is_none()
                && files.io_weight(&batch).ends_with("100")
                && files.low(&pod).is_none_or(|low| low == "0")
        };
        assert!(is_neutral(), "{} {:?} {}", files.burst(&pod), files.bound(&batch), files.io_weight(&batch));
        // As an agent that was killed leaves it, and the next one has its hands off.
        for knob in [Knob::MemoryHigh(Some(Bytes(300 * MIB))), Knob::IoWeight(77)] {
            groups.backend().set(&batch, knob).unwrap();
        }
        groups.backend().set(&container, Knob::Burst(Some(MilliCpu(100)))).unwrap();
        let mut config = self.agent_config();
        config.arbiter.hands = agent::Hands::none();
        let running = self.agent_of(config).await;
        self.eventually("what was left behind is put right", is_neutral).await;
        running.stop().await;
        let running = self.keeps_batch_to_a_pool(&groups).await;
        passed("moves_hands");
        running
    }

    async fn tells_prometheus(&self) {
        let scrape = async |path: &str| {
            let path = format!("/api/v1/nodes/{}/proxy/{path}", super::NODE);
            self.client.request_text(Request::get(path).body(Vec::new()).unwrap()).await.unwrap()
        };
        let counted = scrape("metrics/cadvisor").await;
        for (name, labels) in [
            (
                "container_cpu_cfs_throttled_seconds_total",
                r#"container="main",namespace="default",pod="limited""#,
            ),
            ("container_memory_working_set_bytes", r#"container="main",namespace="default",pod="bounded""#),
            ("container_network_receive_bytes_total", r#"namespace="default",pod="limited""#),
            ("crest_class_cpu_usage_seconds_total", r#"class="batch""#),
        ] {
            assert!(counted.contains(&format!("\n{name}{{{labels}")), "{name} {labels} in\n{counted}");
        }
        let arbitrated = scrape("metrics").await;
        for name in ["crest_batch_memory_bound_bytes", "crest_offered_cores", "crest_hand_writes_total"] {
            assert!(arbitrated.contains(&format!("\n{name} ")), "{name} in\n{arbitrated}");
        }
        assert!(arbitrated.contains("\ncrest_hand_failures_total 0\n"), "{arbitrated}");
    }

    /// Batch starts on one CPU; services have all of them.
    async fn keeps_batch_to_a_pool(&self, groups: &Groups) -> Running {
        let online = groups.class(QosClass::Online);
        let batch = groups.class(QosClass::Batch);
        let cpus = |group: &str| groups.backend().usable_cpus(group).unwrap().len();
        let all = cpus(&online);
        let mut config = self.agent_config();
        // It does not grow while this test looks.
        config.arbiter.hands.pool = Some(level0::pools::Policy { growth: 0.0, ..Default::default() });
        let running = self.agent_of(config).await;
        self.eventually("batch is kept to a pool", || cpus(&batch) == 1 && cpus(&online) == all).await;
        running.stop().await;
        assert_eq!(cpus(&batch), all);
        self.agent().await
    }
}
