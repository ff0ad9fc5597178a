//! What each file of the hands should say, from what is on the host. Pure.

use level0::shield::{self, Beyond, Shield};
use model::{Bytes, MilliCpu};

use crate::cgroup::{Disk, IoBound, Knob};
use crate::config::Hands;

/// What everybody's weight at disks is.
const COMMON_IO_WEIGHT: u16 = 100;

/// What is in use is claimed in such steps, so that not every page is a write.
const CLAIM_STEP: u64 = 16 << 20;

/// What is on the host.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scene {
    /// Bytes of memory.
    pub(super) capacity: u64,
    /// The groups that hold all services, from the top.
    pub(super) line: Vec<String>,
    /// The group that holds all of batch.
    pub(super) batch: String,
    pub(super) online: Vec<Online>,
    pub(super) batch_pods: Vec<BatchPod>,
    /// Those of a tree that is not ours that were batch a moment ago, and are services now.
    pub(super) converted: Vec<BatchPod>,
    pub(super) disk: Option<Disk>,
    pub(super) disk_bounds: DiskBounds,
    pub(super) beyond: Beyond,
    /// The most memory of batch.
    pub(super) bound: Option<u64>,
}

/// One service Pod that runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Online {
    pub(super) group: String,
    /// The groups of its containers.
    pub(super) below: Vec<String>,
    /// Bytes of memory.
    pub(super) request: u64,
    /// Of its groups those with a CPU limit, and that: what the quota is about to be.
    pub(super) limits: Vec<(String, MilliCpu)>,
    /// Memory in use, where what the line keeps beyond that would be given to batch.
    pub(super) in_use: Option<u64>,
    /// Of the mid tier, in a tree that is not ours.
    pub(super) lent: Option<Lent>,
}

/// What a Pod that lives on what is lent may have, which a kubelet does not know of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Lent {
    pub(super) quota: Option<MilliCpu>,
    pub(super) quota_without_us: Option<MilliCpu>,
    pub(super) memory: Option<Bytes>,
    pub(super) memory_without_us: Option<Bytes>,
}

/// One batch Pod that runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct BatchPod {
    pub(super) group: String,
    /// The groups of its containers.
    pub(super) below: Vec<String>,
    /// In a tree that is not ours.
    pub(super) foreign: Option<Foreign>,
}

/// A batch Pod in a tree of a kubelet, which knows no resources of batch: there it is idle by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Foreign {
    /// What it weighs without us.
    pub(super) weight: MilliCpu,
    pub(super) quota_without_us: Option<MilliCpu>,
    /// The most memory that it asked for, and that the kubelet has given it.
    pub(super) memory: Option<Bytes>,
    pub(super) memory_without_us: Option<Bytes>,
}

/// Whom a bound on a group holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskBounds {
    /// Together with all below it.
    OfTrees,
    /// Its own processes only, as in cgroup v1: what batch may have is divided evenly among its containers.
    OfGroups,
}

/// A group is to have a knob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) group: String,
    pub(super) knob: Knob,
}

pub(super) struct Wishes {
    /// From the top of the tree down.
    pub(super) list: Vec<Wish>,
    /// Of all services together.
    pub(super) shield: Shield,
}

/// All wishes: of settings that are off, those for what the kernel has without an arbiter.
pub(super) fn wishes(settings: &Hands, scene: &Scene) -> Wishes {
    let mut list = Vec::new();
    let mut wish = |group: &str, knob| list.push(Wish { group: group.to_owned(), knob });
    let requests: Vec<u64> = scene.online.iter().map(|pod| pod.request).collect();
    let (shield, shields) = match &settings.memory {
        Some(policy) => shield::shields(policy, scene.capacity, &requests),
        None => (Shield::default(), vec![Shield::default(); requests.len()]),
    };
    let mut keep = |group: &str, shield: Shield| {
        wish(group, Knob::MemoryLow(Bytes(shield.low)));
        wish(group, Knob::MemoryMin(Bytes(shield.min)));
    };
    let claimed = claimed(&scene.online, &shields);
    for group in &scene.line {
        keep(group, claimed);
    }
    for (pod, shield) in scene.online.iter().zip(shields) {
        keep(&pod.group, shield);
        // The kernel shares out among containers by use what their Pod keeps; without a mark of their own they get none.
        pod.below.iter().for_each(|container| keep(container, shield));
    }
    for (group, limit) in scene.online.iter().flat_map(|pod| &pod.limits) {
        wish(group, Knob::Burst(settings.burst.then_some(*limit)));
    }
    let is_bound = settings.memory.is_some();
    for (pod, lent) in scene.online.iter().filter_map(|pod| Some((pod, pod.lent?))) {
        wish(&pod.group, Knob::Memory(if is_bound { lent.memory } else { lent.memory_without_us }));
        wish(&pod.group, Knob::Quota(if is_bound { lent.quota } else { lent.quota_without_us }));
    }
    let mut hold = |pod: &BatchPod, is_idle: bool, is_bound: bool| {
        let Some(foreign) = pod.foreign else { return };
        wish(&pod.group, Knob::Memory(if is_bound { foreign.memory } else { foreign.memory_without_us }));
        wish(&pod.group, Knob::Idle(is_idle));
        if !is_idle {
            // The kernel has forgotten it.
            wish(&pod.group, Knob::Weight(foreign.weight));
        }
    };
    for pod in &scene.batch_pods {
        hold(pod, settings.idle, is_bound);
    }
    for pod in &scene.converted {
        hold(pod, false, false);
    }
    for (pod, foreign) in scene.converted.iter().filter_map(|pod| Some((pod, pod.foreign?))) {
        wish(&pod.group, Knob::Quota(foreign.quota_without_us));
    }
    wish(&scene.batch, Knob::MemoryHigh(scene.bound.map(Bytes)));
    if scene.beyond == Beyond::Killed {
        wish(&scene.batch, Knob::Memory(scene.bound.map(Bytes)));
    }
    wish(&scene.batch, Knob::IoWeight(settings.io_weight.unwrap_or(COMMON_IO_WEIGHT)));
    if let Some(disk) = scene.disk {
        for (group, bound) in disk_bounds(settings.io_bound, scene) {
            wish(group, Knob::IoBound(disk, bound));
        }
    }
    Wishes { list, shield }
}

/// What of all shields the line keeps: all, or as much as is in use.
fn claimed(online: &[Online], shields: &[Shield]) -> Shield {
    let of_pod = |(pod, shield): (&Online, &Shield)| {
        let most = pod.in_use.map_or(u64::MAX, |bytes| bytes.next_multiple_of(CLAIM_STEP));
        Shield { min: shield.min.min(most), low: shield.low.min(most) }
    };
    online.iter().zip(shields).map(of_pod).fold(Shield::default(), |sum, shield| Shield {
        min: sum.min.saturating_add(shield.min),
        low: sum.low.saturating_add(shield.low),
    })
}

fn disk_bounds(bound: IoBound, scene: &Scene) -> Vec<(&String, IoBound)> {
    match scene.disk_bounds {
        DiskBounds::OfTrees => vec![(&scene.batch, bound)],
        DiskBounds::OfGroups => {
            let containers: Vec<&String> = scene.batch_pods.iter().flat_map(|pod| &pod.below).collect();
            let n_containers = containers.len() as u64;
            // A bound of nothing would be none at all.
            let part = |bytes: Option<u64>| bytes.map(|bytes| (bytes / n_containers).max(4096));
            let each = |group| (group, IoBound { read: part(bound.read), write: part(bound.write) });
            containers.into_iter().map(each).collect()
        }
    }
}

/// Whether `new` gives a group less than `old` did.
pub(super) fn narrows(old: Knob, new: Knob) -> bool {
    let amount = |bound: Option<Bytes>| bound.map_or(u64::MAX, |bytes| bytes.0);
    match (old, new) {
        (Knob::MemoryMin(old), Knob::MemoryMin(new)) | (Knob::MemoryLow(old), Knob::MemoryLow(new)) => {
            new < old
        }
        (Knob::MemoryHigh(old), Knob::MemoryHigh(new)) | (Knob::Memory(old), Knob::Memory(new)) => {
            amount(new) < amount(old)
        }
        (Knob::IoBound(_, old), Knob::IoBound(_, new)) => {
            let least = |bound: IoBound| (bound.read.unwrap_or(u64::MAX), bound.write.unwrap_or(u64::MAX));
            least(new) < least(old)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::sides::Held;
    use super::*;

    fn scene() -> Scene {
        Scene {
            capacity: 10 << 30,
            line: vec!["c".into(), "c/online".into()],
            batch: "c-batch".into(),
            online: vec![
                Online {
                    group: "c/online/podA".into(),
                    below: vec!["c/online/podA/1".into()],
                    request: 1 << 30,
                    limits: vec![
                        ("c/online/podA".into(), MilliCpu(2000)),
                        ("c/online/podA/1".into(), MilliCpu(500)),
                    ],
                    ..Online::default()
                },
                Online { group: "c/online/podB".into(), ..Online::default() },
            ],
            batch_pods: Vec::new(),
            converted: Vec::new(),
            disk_bounds: DiskBounds::OfTrees,
            disk: Some(Disk { major: 254, minor: 0 }),
            beyond: Beyond::Slowed,
            bound: Some(2 << 30),
        }
    }

    fn shown(settings: &Hands, scene: &Scene) -> String {
        let lines = wishes(settings, scene).list.into_iter();
        lines.map(|wish| format!("{} {:?}\n", wish.group, wish.knob)).collect()
    }

    #[test]
    fn all_hands() {
        let io_bound = IoBound { read: None, write: Some(1 << 20) };
        expect![[r#"
            c MemoryLow(Bytes(1073741824))
            c MemoryMin(Bytes(536870912))
            c/online MemoryLow(Bytes(1073741824))
            c/online MemoryMin(Bytes(536870912))
            c/online/podA MemoryLow(Bytes(1073741824))
            c/online/podA MemoryMin(Bytes(536870912))
            c/online/podA/1 MemoryLow(Bytes(1073741824))
            c/online/podA/1 MemoryMin(Bytes(536870912))
            c/online/podB MemoryLow(Bytes(0))
            c/online/podB MemoryMin(Bytes(0))
            c/online/podA Burst(Some(MilliCpu(2000)))
            c/online/podA/1 Burst(Some(MilliCpu(500)))
            c-batch MemoryHigh(Some(Bytes(2147483648)))
            c-batch IoWeight(10)
            c-batch IoBound(Disk { major: 254, minor: 0 }, IoBound { read: None, write: Some(1048576) })
        "#]]
        .assert_eq(&shown(&Hands { io_bound, ..Hands::default() }, &scene()));
    }

    #[test]
    fn what_services_do_not_use_is_not_claimed_where_batch_would_get_it() {
        let mut scene = scene();
        scene.online[0].in_use = Some((100 << 20) + 1);
        let lows = |scene: &Scene| {
            let all = wishes(&Hands::default(), scene).list.into_iter();
            let lows = all.filter_map(|wish| match wish.knob {
                Knob::MemoryLow(bytes) => Some(bytes.0 >> 20),
                _ => None,
            });
            lows.take(3).collect::<Vec<_>>()
        };
        assert_eq!(lows(&scene), [112, 112, 1024]);
        scene.online[0].in_use = Some(5 << 30);
        assert_eq!(lows(&scene), [1024, 1024, 1024]);
    }

    #[test]
    fn where_a_bound_holds_one_group_it_is_divided() {
        let below = |names: &[&str]| BatchPod {
            below: names.iter().map(|name| (*name).to_owned()).collect(),
            ..BatchPod::default()
        };
        let scene = Scene {
            batch_pods: vec![below(&["a"]), below(&["b", "c"]), below(&[])],
            disk_bounds: DiskBounds::OfGroups,
            ..scene()
        };
        let bounds = |write| {
            let bounds = disk_bounds(IoBound { read: None, write }, &scene).into_iter();
            bounds.map(|(group, bound)| (group.as_str(), bound.write)).collect::<Vec<_>>()
        };
        assert_eq!(bounds(Some(30_000)), [("a", Some(10_000)), ("b", Some(10_000)), ("c", Some(10_000))]);
        assert_eq!(bounds(Some(5)), [("a", Some(4096)), ("b", Some(4096)), ("c", Some(4096))]);
        assert_eq!(bounds(None), [("a", None), ("b", None), ("c", None)]);
        assert_eq!(disk_bounds(IoBound::default(), &Scene { batch_pods: Vec::new(), ..scene.clone() }), []);
    }

    #[test]
    fn who_is_batch_no_more_is_as_a_kubelet_made_it() {
        let foreign = Foreign {
            weight: MilliCpu(100),
            quota_without_us: Some(MilliCpu(300)),
            memory: Some(Bytes(64)),
            memory_without_us: None,
        };
        let pod =
            |group: &str| BatchPod { group: group.into(), foreign: Some(foreign), ..BatchPod::default() };
        let mut held = Held::default();
        let gone = |group: &str| group != "gone";
        assert_eq!(held.follow(&[], &[pod("a"), pod("b"), pod("gone")], gone), []);
        let online = ["a", "gone"].map(|group| Online { group: group.into(), ..Online::default() });
        // Between two runs of its container it is on no side, and known all the same.
        assert_eq!(held.follow(&[], &[pod("b")], gone), []);
        let converted = held.follow(&online, &[pod("b")], gone);
        assert_eq!(converted, [pod("a")]);
        assert_eq!(held.follow(&online, &[pod("b")], gone), [], "it is told once");
        let scene = Scene { converted, batch_pods: vec![pod("b")], ..scene() };
        let all = shown(&Hands::default(), &scene);
        let of_both: Vec<&str> =
            all.lines().filter(|line| ["a ", "b "].iter().any(|group| line.starts_with(group))).collect();
        expect![[r#"
            b Memory(Some(Bytes(64)))
            b Idle(true)
            a Memory(None)
            a Idle(false)
            a Weight(MilliCpu(100))
            a Quota(Some(MilliCpu(300)))"#]]
        .assert_eq(&of_both.join("\n"));
    }

    #[test]
    fn the_mid_tier_has_its_limits_beside_a_kubelet_and_loses_them_at_the_end() {
        let lent = Lent {
            quota: Some(MilliCpu(4000)),
            memory: Some(Bytes(8 << 30)),
            quota_without_us: None,
            memory_without_us: Some(Bytes(64)),
        };
        let mid = Online { group: "mid".into(), lent: Some(lent), ..Online::default() };
        let scene = Scene { online: vec![mid], ..scene() };
        let shown = |settings: &Hands| {
            let all = shown(settings, &scene);
            let limits = ["mid Memory(", "mid Quota("];
            let of_mid = all.lines().filter(|line| limits.iter().any(|limit| line.starts_with(limit)));
            of_mid.collect::<Vec<_>>().join(", ")
        };
        let held = "mid Memory(Some(Bytes(8589934592))), mid Quota(Some(MilliCpu(4000)))";
        assert_eq!(shown(&Hands::default()), held);
        assert_eq!(shown(&Hands::none()), "mid Memory(Some(Bytes(64))), mid Quota(None)");
    }

    #[test]
    fn a_host_without_hands_is_as_it_was() {
        let scene = Scene { beyond: Beyond::Killed, bound: None, disk: None, ..scene() };
        let text = shown(&Hands::none(), &scene);
        let values: std::collections::BTreeSet<&str> =
            text.lines().filter_map(|line| line.split_once(' ')).map(|(_, knob)| knob).collect();
        let neutral = ["Burst(None)", "IoWeight(100)", "Memory(None)", "MemoryHigh(None)"];
        let zero = ["MemoryLow(Bytes(0))", "MemoryMin(Bytes(0))"];
        assert_eq!(values.into_iter().collect::<Vec<_>>(), [&neutral[..], &zero].concat());
    }
}
