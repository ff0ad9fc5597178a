//! The same hands on trees as a kubelet lays them out, with either of its drivers, on the real kernel. Needs root.

use serde_json::{Value, json};

use super::*;
use crate::cgroup::Version;
use crate::hands::sides::{Running, sides};

const UIDS: [&str; 3] = ["0d3f-1a", "0d3f-2b", "0d3f-3c"];

/// Pods of a kubelet: one of class Guaranteed, one Burstable with a limit, one of batch.
fn pods() -> [Value; 3] {
    let pod = |uid: &str, resources: Value| {
        let container = json!({ "name": "c", "resources": resources });
        json!({ "metadata": { "uid": uid }, "spec": { "containers": [container] } })
    };
    let all = json!({ "cpu": "1", "memory": "64Mi" });
    let batch = json!({ "kubernetes.io/batch-cpu": "500", "kubernetes.io/batch-memory": "64Mi" });
    [
        pod(UIDS[0], json!({ "requests": all, "limits": all })),
        pod(UIDS[1], json!({ "requests": { "memory": "32Mi" }, "limits": { "cpu": "200m" } })),
        pod(UIDS[2], json!({ "requests": batch, "limits": batch })),
    ]
}

/// The groups of these Pods, and of a container in each.
const SYSTEMD: [[&str; 2]; 3] = [
    ["kubepods.slice/kubepods-pod0d3f_1a.slice", "cri-containerd-id0.scope"],
    ["kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0d3f_2b.slice", "crio-id1.scope"],
    ["kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0d3f_3c.slice", "docker-id2.scope"],
];
const CGROUPFS: [[&str; 2]; 3] = [
    ["kubepods/pod0d3f-1a", "id0"],
    ["kubepods/burstable/pod0d3f-2b", "id1"],
    ["kubepods/besteffort/pod0d3f-3c", "id2"],
];

struct Kubelet {
    mounts: Mounts,
    parent: String,
    tree: [[&'static str; 2]; 3],
    /// To make the tree with, as the kubelet and its engine do.
    maker: Groups,
}

impl Kubelet {
    fn new(tree: [[&'static str; 2]; 3]) -> Self {
        let mounts = Mounts::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap());
        let parent = format!("crest-test-kubelet-{}", std::process::id());
        let maker = Groups::new(&mounts, &parent);
        assert!(Groups::of_kubelet(&mounts, &parent, None).is_none());
        let kubelet = Self { mounts, parent, tree, maker };
        for (place, [pod, container]) in tree.into_iter().enumerate() {
            let pod = kubelet.path(pod);
            kubelet.maker.backend().create(&pod).unwrap();
            let roots = if kubelet.is_v2() { &kubelet.mounts.v2 } else { &None };
            match roots {
                Some(root) => std::fs::create_dir(root.join(&pod).join(container)).unwrap(),
                None => kubelet.maker.backend().create(&format!("{pod}/{container}")).unwrap(),
            }
            // A kubelet gives weights to its Pods, the smallest to who asks for nothing, and quotas.
            let weight = if place == 0 { MilliCpu(1000) } else { MilliCpu(0) };
            kubelet.maker.backend().set(&pod, Knob::Weight(weight)).unwrap();
        }
        for group in [kubelet.path(tree[1][0]), kubelet.path(&tree[1].join("/"))] {
            kubelet.maker.backend().set(&group, Knob::Quota(Some(MilliCpu(200)))).unwrap();
        }
        kubelet
    }

    fn path(&self, group: &str) -> String {
        format!("{}/{group}", self.parent)
    }

    fn is_v2(&self) -> bool {
        self.mounts.version() == Version::V2
    }

    fn scene(&self, groups: &Groups, bound: Option<u64>) -> Scene {
        let running = pods().into_iter().enumerate().map(|(place, pod)| Running {
            pod: serde_json::from_value::<k8s_openapi::api::core::v1::Pod>(pod).unwrap().into(),
            containers: vec![("c".to_owned(), format!("id{place}"))],
        });
        let (online, batch_pods) = sides(groups, running);
        Scene {
            capacity: 1 << 30,
            line: groups.line_of(QosClass::Online),
            batch: groups.class(QosClass::Batch),
            online,
            batch_pods,
            converted: Vec::new(),
            disk: None,
            disk_bounds: DiskBounds::OfTrees,
            beyond: if self.is_v2() { Beyond::Slowed } else { Beyond::Killed },
            bound,
        }
    }

    /// All values of the whole tree that hands write, and the weights, which are the kubelet's.
    fn values(&self) -> Vec<String> {
        let files: &[(&str, &str)] = if self.is_v2() {
            &[
                ("", "cpu.idle"),
                ("", "cpu.weight"),
                ("", "cpu.max.burst"),
                ("", "memory.low"),
                ("", "memory.min"),
                ("", "memory.high"),
            ]
        } else {
            &[
                ("cpu", "cpu.idle"),
                ("cpu", "cpu.shares"),
                ("cpu", "cpu.cfs_burst_us"),
                ("memory", "memory.soft_limit_in_bytes"),
                ("memory", "memory.limit_in_bytes"),
            ]
        };
        let mut groups = vec![String::new()];
        for [pod, container] in self.tree {
            let parts: Vec<&str> = pod.split('/').chain([container]).collect();
            groups.extend((1..=parts.len()).map(|depth| parts[..depth].join("/")));
        }
        groups.sort_unstable();
        groups.dedup();
        let mut values = Vec::new();
        for group in groups {
            for (controller, file) in files {
                let root = self.mounts.v1.get(*controller).or(self.mounts.v2.as_ref()).unwrap();
                let path = root.join(&self.parent).join(&group).join(file);
                let value = std::fs::read_to_string(path).unwrap_or_default();
                values.push(format!("{group} {file} {}", value.trim()));
            }
        }
        values
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.maker.backend().remove(&self.parent).unwrap();
    }
}

#[test]
fn a_kubelets_tree_on_this_host() {
    for tree in [SYSTEMD, CGROUPFS] {
        let kubelet = Kubelet::new(tree);
        let before = kubelet.values();
        let groups = Groups::of_kubelet(&kubelet.mounts, &kubelet.parent, None).unwrap();
        // Not ours: nothing is made, nothing will be removed.
        assert_eq!(groups.prepare(MilliCpu(2000)).unwrap(), Vec::<&str>::new());
        groups.remove_all().unwrap();
        assert_eq!(kubelet.values(), before);
        let mut mover = Mover::new(groups.clone());
        let now = kit::clock::monotonic();
        let scene = kubelet.scene(&groups, Some(512 * MIB));
        mover.apply(wishes(&config::Hands::default(), &scene).list, now);
        assert_eq!(mover.failures, 0);
        let moved = kubelet.values();
        let changed: Vec<&String> = moved.iter().filter(|value| !before.contains(value)).collect();
        let has = |group: &str, end: &str| {
            let start = format!("{group} ");
            assert!(
                changed.iter().any(|value| value.starts_with(&start) && value.ends_with(end)),
                "{changed:#?}"
            );
        };
        let [burstable, batch] = [tree[1][0], tree[2][0]];
        has(batch, "cpu.idle 1");
        has(burstable, "20000");
        has(&tree[1].join("/"), "20000");
        let (best_effort, _) = batch.rsplit_once('/').unwrap();
        has(best_effort, &(512 * MIB).to_string());
        if kubelet.is_v2() {
            has(tree[0][0], &format!("memory.low {}", 64 * MIB));
            has(&tree[0].join("/"), &format!("memory.min {}", 32 * MIB));
        }
        // What the kubelet writes itself is left to it.
        let weight = if kubelet.is_v2() { "cpu.weight" } else { "cpu.shares" };
        let foreign = changed.iter().filter(|value| value.contains(weight) && !value.starts_with(batch));
        assert_eq!(foreign.count(), 0, "{changed:#?}");
        // Signals find containers by the ids that the kubelet tells.
        for (place, [pod, container]) in tree.into_iter().enumerate() {
            let class = if place == 2 { QosClass::Batch } else { QosClass::Online };
            let group = groups.pod(class, UIDS[place]);
            assert_eq!(group, kubelet.path(pod));
            let found = groups.container(&group, &format!("id{place}"));
            assert_eq!(found, format!("{group}/{container}"));
            assert!(groups.backend().counters(&found).memory.is_some());
        }
        let scene = kubelet.scene(&groups, None);
        mover.apply(wishes(&config::Hands::none(), &scene).list, now);
        assert_eq!((mover.failures, kubelet.values()), (0, before));
    }
}
