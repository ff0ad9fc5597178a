//! Properties against a slow, obvious model: no GPU is overcommitted, nobody is left over who would fit, equal inputs
//! give equal plans, and the chosen place is the one whose expected fragments grow least by the definition's letter.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::gpu::{GpuAsk, GpuRequest, GpuSet, NodeGpus, WHOLE_MILLI};
use crate::node::Node;
use crate::pod::{Pod, PodId};
use crate::resources::{Amounts, CPU, MEMORY, PODS};
use crate::{Cluster, Outcome, Pending, Unplaced};

const CORES: u64 = 8;

fn node(name: u8, count: u16, model: &str) -> Node {
    let amounts = [(CPU, CORES), (MEMORY, 1_000), (PODS, 100)];
    Node {
        name: format!("n{name}"),
        allocatable: amounts.map(|(name, amount)| (name.to_owned(), amount)).into(),
        gpus: NodeGpus { count, model: model.to_owned() },
        ..Node::default()
    }
}

fn pod(ask: Option<GpuAsk>, cpu: u64, model: Option<&str>) -> Pod {
    let models: BTreeSet<String> = model.into_iter().map(str::to_owned).collect();
    Pod {
        requests: Amounts::from([(CPU.to_owned(), cpu)]),
        gpu: ask.map(|ask| GpuRequest { ask, models }),
        ..Pod::default()
    }
}

fn any_pod() -> impl Strategy<Value = Pod> {
    let ask = prop_oneof![
        1 => Just(None),
        2 => (1..4_u16).prop_map(|count| Some(GpuAsk::Whole(count))),
        4 => prop_oneof![Just(200), Just(300), Just(500), Just(700)].prop_map(|milli| Some(GpuAsk::Share(milli))),
    ];
    let model = prop_oneof![3 => Just(None), 1 => Just(Some("A")), 1 => Just(Some("B"))];
    (ask, 0..4_u64, model).prop_map(|(ask, cpu, model)| pod(ask, cpu, model))
}

#[derive(Clone, Debug)]
enum Event {
    SetNode(Node),
    Place(u8, Pod),
    Bind(u8, Pod, u8, GpuSet),
    Remove(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let model = prop_oneof![Just("A"), Just("B")];
    prop_oneof![
        1 => (0..3_u8, 0..5_u16, model).prop_map(|(name, count, model)| Event::SetNode(node(name, count, model))),
        6 => (0..20_u8, any_pod()).prop_map(|(id, pod)| Event::Place(id, pod)),
        1 => (0..20_u8, any_pod(), 0..3_u8, 0..6_u16).prop_map(|(id, pod, node, first)| {
            let count = pod.gpu.as_ref().map_or(0, |gpu| gpu.ask.count());
            let count = u16::try_from(count).unwrap();
            Event::Bind(id, pod, node, GpuSet::new(first..first + count))
        }),
        2 => (0..20_u8).prop_map(Event::Remove),
    ]
}

/// What must be true, kept in the plainest way.
#[derive(Clone, Default)]
struct Ledger {
    nodes: BTreeMap<String, Node>,
    pods: BTreeMap<PodId, (Pod, String, GpuSet)>,
}

impl Ledger {
    fn free(&self, node: &Node) -> Vec<u32> {
        let mut free = vec![WHOLE_MILLI; usize::from(node.gpus.count)];
        for (pod, on, gpus) in self.pods.values().filter(|(_, on, _)| *on == node.name) {
            assert_eq!(*on, node.name);
            let each = pod.gpu.as_ref().map_or(0, |gpu| gpu.ask.milli_each());
            for index in gpus.iter() {
                // GPUs that are gone are nobody's.
                if let Some(free) = free.get_mut(index) {
                    *free = free.saturating_sub(each);
                }
            }
        }
        free
    }

    fn cpu(&self, node: &Node) -> u64 {
        let here = self.pods.values().filter(|(_, on, _)| *on == node.name);
        CORES.saturating_sub(here.map(|(pod, ..)| pod.requests[CPU]).sum())
    }

    fn fits(&self, pod: &Pod, node: &Node) -> bool {
        fits(pod, &self.free(node), self.cpu(node), &node.gpus.model)
    }

    fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::new(1);
        self.nodes.values().for_each(|node| cluster.set_node(node));
        for (id, (pod, node, gpus)) in &self.pods {
            cluster.add_pod(id, &pod.clone().into(), node);
            cluster.hold_gpus(id, gpus);
        }
        cluster
    }
}

fn fits(pod: &Pod, free: &[u32], cpu: u64, model: &str) -> bool {
    let gpus = pod.gpu.as_ref().is_none_or(|gpu| {
        let roomy = free.iter().filter(|&&free| free >= gpu.ask.milli_each()).count();
        roomy >= gpu.ask.count() && (gpu.models.is_empty() || gpu.models.contains(model))
    });
    gpus && (pod.requests[CPU] == 0 || pod.requests[CPU] <= cpu)
}

fn check_outcome(ledger: &mut Ledger, id: PodId, pod: Pod, outcome: &Outcome) {
    ledger.pods.remove(&id);
    match outcome {
        Outcome::Placed { node, gpus, .. } => {
            let known = &ledger.nodes[node];
            assert!(ledger.fits(&pod, known), "{pod:?} does not fit {node}");
            let free = ledger.free(known);
            let (count, each) =
                pod.gpu.as_ref().map_or((0, 0), |gpu| (gpu.ask.count(), gpu.ask.milli_each()));
            assert_eq!(gpus.iter().count(), count, "{pod:?} got {gpus}");
            assert!(gpus.iter().all(|index| free[index] >= each), "{pod:?} got {gpus} of {free:?}");
            ledger.pods.insert(id, (pod, node.clone(), gpus.clone()));
        }
        Outcome::Unplaced(_) => {
            let fitting = ledger.nodes.values().find(|node| ledger.fits(&pod, node));
            assert_eq!(fitting, None, "{pod:?} was left over though it fits");
        }
    }
}

proptest! {
    #[test]
    fn no_gpu_is_overcommitted(events in proptest::collection::vec(event(), 1..60)) {
        let (mut cluster, mut twin) = (Cluster::new(1), Cluster::new(1));
        let mut ledger = Ledger::default();
        for event in events {
            match event {
                Event::SetNode(node) => {
                    cluster.set_node(&node);
                    twin.set_node(&node);
                    ledger.nodes.insert(node.name.clone(), node);
                }
                Event::Place(id, pod) => {
                    let id = PodId::new(&id.to_string());
                    let batch = [Pending { id: id.clone(), pod: pod.clone().into() }];
                    let outcomes = cluster.place(&batch);
                    prop_assert_eq!(&outcomes, &twin.place(&batch));
                    check_outcome(&mut ledger, id, pod, &outcomes[0]);
                }
                Event::Bind(id, pod, node, gpus) => {
                    let (id, node) = (PodId::new(&id.to_string()), format!("n{node}"));
                    for cluster in [&mut cluster, &mut twin] {
                        cluster.add_pod(&id, &pod.clone().into(), &node);
                        cluster.hold_gpus(&id, &gpus);
                    }
                    ledger.pods.insert(id, (pod, node, gpus));
                }
                Event::Remove(id) => {
                    let id = PodId::new(&id.to_string());
                    cluster.remove_pod(&id);
                    twin.remove_pod(&id);
                    ledger.pods.remove(&id);
                }
            }
            let rebuilt = ledger.cluster();
            for (name, node) in &ledger.nodes {
                prop_assert_eq!(cluster.free_gpus(name), Some(ledger.free(node)));
                prop_assert_eq!(rebuilt.free_gpus(name), Some(ledger.free(node)));
            }
        }
    }

    #[test]
    fn the_place_is_the_one_that_fragments_least(
        placed in proptest::collection::vec(any_pod(), 0..12),
        workload in proptest::collection::vec((any_pod(), 1..5_u64), 1..5),
        next in any_pod(),
    ) {
        let mut ledger = Ledger::default();
        for (name, count, model) in [(0, 2, "A"), (1, 4, "A"), (2, 3, "B")] {
            let node = node(name, count, model);
            ledger.nodes.insert(node.name.clone(), node);
        }
        for (id, pod) in placed.into_iter().enumerate() {
            let id = PodId::new(&id.to_string());
            let outcomes = ledger.cluster().place(&[Pending { id: id.clone(), pod: pod.clone().into() }]);
            check_outcome(&mut ledger, id, pod, &outcomes[0]);
        }
        let mut cluster = ledger.cluster();
        cluster.set_gpu_workload(workload.iter().map(|(pod, part)| (pod, *part)));
        let id = PodId::new("next");
        let outcomes = cluster.place(&[Pending { id: id.clone(), pod: next.clone().into() }]);
        let Outcome::Placed { node, gpus, .. } = &outcomes[0] else { return Ok(()) };
        let chosen = growth(&ledger, &workload, &next, &ledger.nodes[node], gpus);
        for node in ledger.nodes.values().filter(|node| ledger.fits(&next, node)) {
            for gpus in all_choices(&ledger, &next, node) {
                let other = growth(&ledger, &workload, &next, node, &gpus);
                // The engine rounds to millionths; what is that near is equal.
                prop_assert!(chosen <= other + 0.01, "{chosen} against {other} on {} {gpus}", node.name);
            }
        }
    }
}

/// Every GPU that a share could be of; one choice of whole GPUs, which are all alike.
fn all_choices(ledger: &Ledger, pod: &Pod, node: &Node) -> Vec<GpuSet> {
    let Some(gpu) = &pod.gpu else { return vec![GpuSet::default()] };
    let free = ledger.free(node);
    let roomy = (0..node.gpus.count).filter(|&index| free[usize::from(index)] >= gpu.ask.milli_each());
    match gpu.ask {
        GpuAsk::Whole(count) => vec![GpuSet::new(roomy.take(usize::from(count)))],
        GpuAsk::Share(_) => roomy.map(|index| GpuSet::new([index])).collect(),
    }
}

/// In milli of a GPU.
fn growth(ledger: &Ledger, workload: &[(Pod, u64)], pod: &Pod, node: &Node, gpus: &GpuSet) -> f64 {
    let mut after = ledger.clone();
    after.pods.insert(PodId::new("next"), (pod.clone(), node.name.clone(), gpus.clone()));
    // What is left of GPUs without their share of cores, or the other way round, counts as a 50th of a fragment.
    let free: u32 = after.free(node).iter().sum();
    let n_gpus: u16 = after.nodes.values().map(|node| node.gpus.count).sum();
    let cpu_per_gpu = CORES as f64 * after.nodes.len() as f64 / f64::from(n_gpus);
    let imbalance = (f64::from(free) - 1000.0 * after.cpu(node) as f64 / cpu_per_gpu).abs() / 50.0;
    fragments(&after, workload, node) - fragments(ledger, workload, node) + imbalance
}

fn fragments(ledger: &Ledger, workload: &[(Pod, u64)], node: &Node) -> f64 {
    let (free, cpu) = (ledger.free(node), ledger.cpu(node));
    let with_gpus = || workload.iter().filter(|(pod, _)| pod.gpu.is_some());
    let total: u64 = with_gpus().map(|(_, part)| part).sum();
    let of_class = |pod: &Pod| -> u32 {
        let least = pod.gpu.as_ref().unwrap().ask.milli_each();
        match fits(pod, &free, cpu, &node.gpus.model)
            || pod.requests[CPU] == 0 && fits(pod, &free, 99, &node.gpus.model)
        {
            true => free.iter().filter(|&&free| free < least).sum(),
            false => free.iter().sum(),
        }
    };
    let parts = with_gpus().map(|(pod, part)| f64::from(of_class(pod)) * *part as f64);
    if total == 0 { 0.0 } else { parts.sum::<f64>() / total as f64 }
}

fn check_reason(free_after: &[(GpuAsk, u16)], ask: GpuAsk, model: Option<&str>, expected: &str) {
    let mut cluster = Cluster::new(1);
    cluster.set_node(&node(0, 2, "A"));
    for (id, (ask, index)) in free_after.iter().enumerate() {
        let id = PodId::new(&id.to_string());
        cluster.add_pod(&id, &pod(Some(*ask), 0, None).into(), "n0");
        cluster.hold_gpus(&id, &GpuSet::new([*index]));
    }
    let outcomes = cluster.place(&[Pending { id: PodId::new("next"), pod: pod(Some(ask), 1, model).into() }]);
    let Outcome::Unplaced(Unplaced::NoFit(no_fit)) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!(no_fit.to_string(), format!("0/1 nodes are available: 1 {expected}."));
}

#[test]
fn why_gpus_do_not_fit() {
    let (half, most) = (GpuAsk::Share(500), GpuAsk::Share(900));
    check_reason(&[], GpuAsk::Whole(3), None, "Insufficient nvidia.com/gpu");
    check_reason(&[(half, 0), (half, 1)], GpuAsk::Whole(2), None, "Insufficient nvidia.com/gpu");
    check_reason(
        &[(half, 0), (half, 1)],
        GpuAsk::Whole(1),
        None,
        "node(s) had too little left of each single GPU",
    );
    check_reason(&[(most, 0), (most, 1)], half, None, "Insufficient nvidia.com/gpu");
    check_reason(&[], half, Some("B"), "node(s) didn't have a GPU of a requested model");
}

#[test]
fn more_gpus_than_any_machine_has_are_not_told_apart() {
    let mut cluster = Cluster::new(1);
    cluster.set_node(&node(0, u16::MAX, "A"));
    assert_eq!(cluster.free_gpus("n0").unwrap().len(), 256);
}
