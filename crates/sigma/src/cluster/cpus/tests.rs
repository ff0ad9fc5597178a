//! Properties against a slow, obvious model that tries every set of CPUs: nobody gets another's CPU, what is given back
//! is whole again, nobody is left over who would fit, and the same events give the same choices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::cpu_topology::NumaNode;
use model::pinning::{CoreShape, NumaPolicy, Pinning, PinningError};
use model::{CpuSet, CpuTopology};
use proptest::prelude::*;

use crate::cpu::LEAST_SHARED;
use crate::node::Node;
use crate::pod::{Pod, PodId};
use crate::reason::Reason;
use crate::resources::{Amounts, CPU, MEMORY, PODS};
use crate::{Cluster, Outcome, Pending, Unplaced};

/// NUMA nodes of so many cores with so many hyper-threads each, two NUMA nodes to a socket.
fn topology(n_numa: u16, n_cores: usize, n_threads: usize) -> CpuTopology {
    let core =
        |core: usize, n_all: usize| (0..n_threads).map(|thread| core + thread * n_all).collect::<CpuSet>();
    let n_all = usize::from(n_numa) * n_cores;
    let node = |id: u16| {
        let first = usize::from(id) * n_cores;
        let cores = (first..first + n_cores).map(|place| core(place, n_all)).collect();
        NumaNode { id, socket: id / 2, memory: Some(10), cores }
    };
    CpuTopology::try_new((0..n_numa).map(node).collect()).unwrap()
}

fn node(name: u8, topology: Option<CpuTopology>) -> Node {
    let n_cpus = topology.as_ref().map_or(4, |topology| topology.cpus().len() as u64);
    let amounts = [(CPU, n_cpus * 1_000), (MEMORY, 100), (PODS, 100)];
    Node {
        name: format!("n{name}"),
        allocatable: amounts.map(|(name, amount)| (name.to_owned(), amount)).into(),
        cpu_topology: topology.map(Arc::new),
        ..Node::default()
    }
}

fn pod(pinning: Option<Pinning>, cpu: u64, memory: u64) -> Pod {
    let cpu = pinning.map_or(cpu, |pinning| u64::from(pinning.count) * 1_000);
    let requests = [(CPU.to_owned(), cpu), (MEMORY.to_owned(), memory)];
    Pod { requests: Amounts::from(requests), pinning: pinning.map(Ok), ..Pod::default() }
}

fn any_pinning() -> impl Strategy<Value = Pinning> {
    let shape = prop_oneof![Just(CoreShape::Any), Just(CoreShape::Full), Just(CoreShape::Spread)];
    let numa = prop_oneof![Just(NumaPolicy::Preferred), Just(NumaPolicy::Single)];
    (1..7_u16, shape, numa).prop_map(|(count, shape, numa)| Pinning { count, shape, numa })
}

fn any_pod() -> impl Strategy<Value = Pod> {
    let pinning = prop_oneof![1 => Just(None), 4 => any_pinning().prop_map(Some)];
    (pinning, 0..3_000_u64, 0..8_u64).prop_map(|(pinning, cpu, memory)| pod(pinning, cpu, memory))
}

#[derive(Clone, Debug)]
enum Event {
    SetNode(Node),
    Place(u8, Pod),
    /// Others bound it, and say, rightly or not, which CPUs it has.
    Bind(u8, Pod, u8, BTreeSet<usize>),
    Remove(u8),
}

fn any_node() -> impl Strategy<Value = Node> {
    let shape =
        prop_oneof![Just((1, 4, 1)), Just((1, 5, 2)), Just((2, 3, 2)), Just((2, 4, 1)), Just((3, 2, 2))];
    let topology = prop_oneof![5 => shape.prop_map(|(numa, cores, threads)| Some(topology(numa, cores, threads))), 1 => Just(None)];
    (0..2_u8, topology).prop_map(|(name, topology)| node(name, topology))
}

fn event() -> impl Strategy<Value = Event> {
    let held = proptest::collection::btree_set(0..14_usize, 0..4);
    prop_oneof![
        1 => any_node().prop_map(Event::SetNode),
        6 => (0..12_u8, any_pod()).prop_map(|(id, pod)| Event::Place(id, pod)),
        1 => (0..12_u8, any_pod(), 0..2_u8, held).prop_map(|(id, pod, node, held)| Event::Bind(id, pod, node, held)),
        3 => (0..12_u8).prop_map(Event::Remove),
    ]
}

/// What must be true, kept in the plainest way.
#[derive(Clone, Default)]
struct Ledger {
    nodes: BTreeMap<String, Node>,
    pods: BTreeMap<PodId, (Pod, String, CpuSet)>,
}

impl Ledger {
    fn on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a (Pod, String, CpuSet)> {
        self.pods.values().filter(move |(_, on, _)| on == node)
    }

    fn free(&self, node: &Node) -> Option<CpuSet> {
        let mut free = node.cpu_topology.as_ref()?.cpus();
        self.on(&node.name).for_each(|(_, _, cpus)| free.subtract(cpus));
        Some(free)
    }

    fn has_room(&self, pod: &Pod, node: &Node) -> bool {
        [CPU, MEMORY].iter().all(|&name| {
            let used: u64 = self.on(&node.name).map(|(pod, ..)| pod.requests[name]).sum();
            pod.requests[name] == 0 || used + pod.requests[name] <= node.allocatable[name]
        })
    }

    /// Every set of CPUs that would do, by trying all.
    fn options(&self, pinning: Pinning, memory: u64, node: &Node) -> Vec<CpuSet> {
        let (Some(topology), Some(free)) = (&node.cpu_topology, self.free(node)) else { return Vec::new() };
        let free_cpus: Vec<usize> = free.iter().collect();
        let count = usize::from(pinning.count);
        if free_cpus.len() < count + LEAST_SHARED {
            return Vec::new();
        }
        let subsets = (0_u32..1 << free_cpus.len()).filter(|bits| bits.count_ones() as usize == count);
        let sets = subsets.map(|bits| {
            let chosen = free_cpus.iter().enumerate().filter(|(place, _)| bits & (1 << place) != 0);
            chosen.map(|(_, &cpu)| cpu).collect::<CpuSet>()
        });
        sets.filter(|cpus| {
            is_of_shape(cpus, pinning, topology) && self.has_memory(cpus, pinning, memory, node)
        })
        .collect()
    }

    fn has_memory(&self, cpus: &CpuSet, pinning: Pinning, memory: u64, node: &Node) -> bool {
        let Some(topology) = node.cpu_topology.as_ref().filter(|_| pinning.numa == NumaPolicy::Single) else {
            return true;
        };
        let [numa] = topology.numa_of(cpus)[..] else { return false };
        let taken = self.on(&node.name).filter(|(pod, _, held)| {
            let is_single = matches!(&pod.pinning, Some(Ok(pinning)) if pinning.numa == NumaPolicy::Single);
            let first: CpuSet = held.first().into_iter().collect();
            is_single && topology.numa_of(&first) == [numa]
        });
        let taken: u64 = taken.map(|(pod, ..)| pod.requests[MEMORY]).sum();
        let of_node = topology.numa().iter().find(|each| each.id == numa).unwrap();
        taken + memory <= of_node.memory.unwrap() || memory == 0
    }

    fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::new(1);
        self.nodes.values().for_each(|node| cluster.set_node(node));
        for (id, (pod, node, cpus)) in &self.pods {
            cluster.add_pod(id, &pod.clone().into(), node);
            cluster.hold_cpus(id, cpus);
        }
        cluster
    }
}

fn is_of_shape(cpus: &CpuSet, pinning: Pinning, topology: &CpuTopology) -> bool {
    let mut cores = topology.numa().iter().flat_map(|node| &node.cores);
    match pinning.shape {
        CoreShape::Any => true,
        CoreShape::Full => cores.all(|core| core.is_subset(cpus) || core.common(cpus).is_empty()),
        CoreShape::Spread => cores.all(|core| core.common(cpus).len() <= 1),
    }
}

fn check_outcome(ledger: &mut Ledger, (id, pod): (PodId, Pod), outcome: &Outcome) {
    ledger.pods.remove(&id);
    let options = |node: &Node| match &pod.pinning {
        Some(Ok(pinning)) => ledger.options(*pinning, pod.requests[MEMORY], node),
        _ => vec![CpuSet::default()],
    };
    match outcome {
        Outcome::Placed { node, cpus, .. } => {
            let known = &ledger.nodes[node];
            assert!(ledger.has_room(&pod, known));
            let options = options(known);
            assert!(options.contains(cpus), "{cpus} is none of {} sets for {pod:?}", options.len());
            if let Some(topology) = known.cpu_topology.as_ref().filter(|_| pod.pinning.is_some()) {
                let fewest = options.iter().map(|option| topology.numa_of(option).len()).min();
                assert_eq!(Some(topology.numa_of(cpus).len()), fewest, "{cpus} for {pod:?}");
            }
            ledger.pods.insert(id, (pod, node.clone(), cpus.clone()));
        }
        Outcome::Unplaced(unplaced) => {
            let mut roomy = ledger.nodes.values().filter(|node| ledger.has_room(&pod, node));
            assert!(roomy.all(|node| options(node).is_empty()), "{unplaced} for {pod:?}");
        }
    }
}

fn play(events: &[Event]) -> (Ledger, Cluster, Vec<Outcome>) {
    let (mut ledger, mut cluster, mut outcomes) = (Ledger::default(), Cluster::new(1), Vec::new());
    let id = |number: u8| PodId::new(&format!("p{number}"));
    for event in events.iter().cloned() {
        match event {
            Event::SetNode(node) => {
                cluster.set_node(&node);
                ledger.nodes.insert(node.name.clone(), node);
            }
            Event::Place(number, pod) => {
                let pending = Pending { id: id(number), pod: pod.clone().into() };
                let outcome = cluster.place(&[pending]).remove(0);
                check_outcome(&mut ledger, (id(number), pod), &outcome);
                outcomes.push(outcome);
            }
            Event::Bind(number, pod, node, cpus) => {
                let cpus: CpuSet = cpus.into_iter().filter(|_| pod.pinning.is_some()).collect();
                cluster.add_pod(&id(number), &pod.clone().into(), &format!("n{node}"));
                cluster.hold_cpus(&id(number), &cpus);
                ledger.pods.insert(id(number), (pod, format!("n{node}"), cpus));
            }
            Event::Remove(number) => {
                cluster.remove_pod(&id(number));
                ledger.pods.remove(&id(number));
            }
        }
        for node in ledger.nodes.values() {
            assert_eq!(cluster.free_cpus(&node.name), ledger.free(node), "{}", node.name);
        }
    }
    (ledger, cluster, outcomes)
}

proptest! {
    #[test]
    fn cpus_are_given_out_as_the_slow_model_would(events in proptest::collection::vec(event(), 1..30)) {
        let (ledger, mut cluster, outcomes) = play(&events);
        let (_, _, again) = play(&events);
        prop_assert_eq!(&outcomes, &again);
        // A scheduler that starts anew, and knows only what is bound, would decide alike.
        let mut restarted = ledger.cluster();
        for count in 1..5 {
            let next = Pinning { count, shape: CoreShape::Any, numa: NumaPolicy::Preferred };
            let pending = [Pending { id: PodId::new("next"), pod: pod(Some(next), 0, 1).into() }];
            let (here, there) = (cluster.place(&pending), restarted.place(&pending));
            prop_assert_eq!(here, there);
            cluster.remove_pod(&pending[0].id);
            restarted.remove_pod(&pending[0].id);
        }
        // All go: everything is free again.
        ledger.pods.keys().for_each(|id| cluster.remove_pod(id));
        for node in ledger.nodes.values() {
            let all = node.cpu_topology.as_ref().map(|topology| topology.cpus());
            prop_assert_eq!(cluster.free_cpus(&node.name), all);
        }
    }
}

fn pinned(count: u16, shape: CoreShape, numa: NumaPolicy) -> Arc<Pod> {
    pod(Some(Pinning { count, shape, numa }), 0, 1).into()
}

fn place(cluster: &mut Cluster, id: &str, pod: &Arc<Pod>) -> Outcome {
    cluster.place(&[Pending { id: PodId::new(id), pod: Arc::clone(pod) }]).remove(0)
}

fn node_of(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Placed { node, .. } => node,
        Outcome::Unplaced(unplaced) => panic!("{unplaced}"),
    }
}

#[test]
fn a_node_where_it_need_not_be_split_is_better() {
    let mut cluster = Cluster::new(1);
    // The first is emptier, but has no NUMA node of that size.
    cluster.set_node(&node(0, Some(topology(8, 2, 2))));
    cluster.set_node(&node(1, Some(topology(3, 3, 2))));
    let asking = pinned(6, CoreShape::Any, NumaPolicy::Preferred);
    assert_eq!(node_of(&place(&mut cluster, "a", &asking)), "n1");
    assert_eq!(node_of(&place(&mut cluster, "b", &asking)), "n1");
    // There, one CPU is left to everybody.
    assert_eq!(node_of(&place(&mut cluster, "c", &asking)), "n0");
}

#[test]
fn the_reason_says_what_is_wrong() {
    let mut cluster = Cluster::new(1);
    cluster.set_node(&node(0, None));
    let mut check = |pod: Arc<Pod>, expected: &str| match place(&mut cluster, "a", &pod) {
        Outcome::Unplaced(Unplaced::NoFit(no_fit)) => assert_eq!(no_fit.to_string(), expected),
        outcome => panic!("{outcome:?}"),
    };
    check(
        pinned(2, CoreShape::Any, NumaPolicy::Preferred),
        "0/1 nodes are available: 1 node(s) didn't tell their CPU topology, which a pinned pod needs.",
    );
    let faulty = Pod { pinning: Some(Err(PinningError::Fraction(1500))), ..pod(None, 1_500, 1) };
    check(
        faulty.into(),
        "0/1 nodes are available: 1 crest.dev/cpu-policy of the pod needs a whole number of CPUs; this pod asks for 1500m.",
    );
}

#[test]
fn the_smallest_change_is_told() {
    let mut cluster = Cluster::new(1);
    let nodes = [node(0, Some(topology(2, 3, 2)))];
    cluster.set_node(&nodes[0]);
    let mut check = |pod: &Arc<Pod>, expected: &[&str]| {
        let explained = crate::explain::pending(&mut cluster, &nodes, pod);
        let changes = explained.changes.iter().flat_map(|change| &change.remedies);
        assert_eq!(changes.map(ToString::to_string).collect::<Vec<_>>(), expected);
    };
    check(
        &pinned(3, CoreShape::Full, NumaPolicy::Single),
        &["let any CPUs do (crest.dev/cpu-policy: pinned)"],
    );
    check(
        &pinned(8, CoreShape::Full, NumaPolicy::Single),
        &["let several NUMA nodes do (crest.dev/numa-policy: preferred)"],
    );
    check(
        &pinned(12, CoreShape::Any, NumaPolicy::Preferred),
        &["share CPUs with other pods (without crest.dev/cpu-policy)"],
    );
}

#[test]
fn lesser_pods_go_for_a_shape_as_well_as_for_an_amount() {
    let mut cluster = Cluster::new(1);
    cluster.set_node(&node(0, Some(topology(1, 4, 2))));
    let id = |name: &str| PodId::new(name);
    // One CPU of each core is pinned: four are free, but no whole core.
    for (name, cpu) in [("a", 0), ("b", 1), ("c", 2), ("d", 3)] {
        cluster.add_pod(&id(name), &pinned(1, CoreShape::Any, NumaPolicy::Preferred), "n0");
        cluster.hold_cpus(&id(name), &[cpu].into_iter().collect());
    }
    let mut important = Pod::clone(&pinned(2, CoreShape::Full, NumaPolicy::Preferred));
    important.priority = 10;
    let pending = Pending { id: id("e"), pod: important.into() };
    let outcome = cluster.place(std::slice::from_ref(&pending)).remove(0);
    let Outcome::Unplaced(Unplaced::NoFit(no_fit)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(no_fit.reasons.keys().collect::<Vec<_>>(), [&Reason::Pinning(crate::cpu::Misfit::WholeCores)]);
    let preemption = cluster.preempt(&pending).unwrap();
    assert_eq!(preemption.victims.len(), 1);
    // All who stay have what they had, and nobody else gets the core that is being left.
    assert_eq!(cluster.cpus_of(&id("a")).to_string(), "0");
    assert_eq!(preemption.victims, [id("d")]);
    assert_eq!(cluster.cpus_of(&pending.id).to_string(), "3,7");
    assert_eq!(cluster.free_cpus("n0").unwrap().to_string(), "4-6");
    preemption.victims.iter().for_each(|victim| cluster.remove_pod(victim));
    let Outcome::Placed { cpus, .. } = cluster.place(&[pending]).remove(0) else { panic!("fits nowhere") };
    assert_eq!(cpus.len(), 2);
}
