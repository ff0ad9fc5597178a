//! Placements per second of the online engine alone, by kind of constraint and size of the cluster, beside what is
//! asked of it. Usage: `placements [NODES]...` (5,000 and 100,000 if none is given).
//!
//! Nodes are synthetic: 32 cores, 64 GiB, 110 pods each, in ten zones. Pods of ten apps ask for 100 milli-cores and
//! 200 MiB and come one app after the other in turn, as from ten Deployments at once.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bench::summary::Summary;
use sigma::label::{Labels, NodeTerm, Operator, PreferredTerm, Requirement, Selector};
use sigma::node::Node;
use sigma::pod::{
    InclusionPolicy, Pod, PodId, PodTerm, SpreadConstraint, WeightedPodTerm, WhenUnsatisfiable,
};
use sigma::resources::Amounts;
use sigma::{Cluster, Outcome, Pending};

const SEED: u64 = 1;
const APPS: usize = 10;
const ZONES: usize = 10;
const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Pods that are placed as one batch, as they pile up while bindings are written.
const BATCH: usize = 500;
const BATCHES: usize = 40;
/// Pods that are placed alone, for the latency of one decision.
const SINGLES: usize = 5_000;

/// A kind of constraint, and the rate that is asked for it.
struct Kind {
    name: &'static str,
    limit: f64,
    constrain: fn(&mut Pod),
}

const KINDS: [Kind; 9] = [
    Kind { name: "plain", limit: 300_000.0, constrain: |_| {} },
    Kind { name: "owned", limit: 300_000.0, constrain: |pod| pod.owner = Some(pod.labels["app"].clone()) },
    Kind { name: "node affinity", limit: 50_000.0, constrain: require_zones },
    Kind { name: "preferred nodes", limit: 50_000.0, constrain: prefer_zones },
    Kind { name: "spread, zones", limit: 50_000.0, constrain: |pod| pod.spread.push(spread(pod, ZONE)) },
    Kind { name: "spread, hosts", limit: 50_000.0, constrain: |pod| pod.spread.push(spread(pod, HOST)) },
    Kind {
        name: "affinity, zones",
        limit: 20_000.0,
        constrain: |pod| pod.required_pods.push(same_app(pod, ZONE)),
    },
    Kind {
        name: "anti-affinity, hosts",
        limit: 20_000.0,
        constrain: |pod| pod.forbidden_pods.push(same_app(pod, HOST)),
    },
    Kind {
        name: "preferred affinity, zones",
        limit: 20_000.0,
        constrain: |pod| {
            let term = same_app(pod, ZONE);
            pod.preferred_pods.push(WeightedPodTerm { weight: 50, term });
        },
    },
];

fn main() -> anyhow::Result<()> {
    let sizes: Vec<usize> = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let sizes = if sizes.is_empty() { vec![5_000, 100_000] } else { sizes };
    println!("synthetic nodes and pods, seed {SEED}, one thread");
    for kind in &KINDS {
        let mut first = None;
        for &n_nodes in &sizes {
            let (rate, singles) = measure(kind, n_nodes);
            let micros = 1e6 / rate;
            let slower = micros / *first.get_or_insert(micros);
            println!(
                "{:<26} {n_nodes:>7} nodes: {rate:>9.0} placements/s, {:.2} of the limit; {micros:.2} us each, \
                 {slower:.2} times the first; alone p50 {:.1} us, p99 {:.1} us",
                kind.name,
                rate / kind.limit,
                singles.percentile(50).as_secs_f64() * 1e6,
                singles.percentile(99).as_secs_f64() * 1e6,
            );
        }
    }
    preempt();
    fill()
}

/// Fills 5,000 nodes with pods of low priority and places 5,000 of high priority, each in the place of three of them.
fn preempt() {
    const NODES: usize = 5_000;
    const LIMIT: f64 = 10.0;
    let mut cluster = Cluster::new(SEED);
    (0..NODES).for_each(|index| cluster.set_node(&node(index)));
    let shaped = |priority: i32, cpu: u64| {
        let requests = amounts(&[("cpu", cpu), ("memory", 500 << 20)]);
        Arc::new(Pod { namespace: "default".to_owned(), priority, requests, ..Pod::default() })
    };
    let (low, high) = (shaped(0, 8_000), shaped(10, 24_000));
    let pending = |index: usize, pod: &Arc<Pod>| Pending { id: id(index), pod: Arc::clone(pod) };
    let full: Vec<Pending> = (0..4 * NODES).map(|index| pending(index, &low)).collect();
    place(&mut cluster, &full);
    let newcomers: Vec<Pending> = (0..NODES).map(|index| pending(4 * NODES + index, &high)).collect();
    let start = kit::clock::monotonic();
    for newcomer in &newcomers {
        let is_placed = matches!(cluster.place(std::slice::from_ref(newcomer))[0], Outcome::Placed { .. });
        assert!(!is_placed, "the cluster is meant to be full");
        let made = cluster.preempt(newcomer).expect("lesser pods are on every node");
        made.victims.iter().for_each(|victim| cluster.remove_pod(victim));
        let outcome = cluster.place(std::slice::from_ref(newcomer));
        assert!(matches!(outcome[0], Outcome::Placed { .. }), "the room is held");
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{NODES} pods each in the place of three lesser ones, {NODES} nodes: {seconds:.2} s, {:.3} of the limit",
        seconds / LIMIT
    );
}

/// Fills 100,000 nodes with 1,000,000 pods of 500 apps and prints what they weigh.
fn fill() -> anyhow::Result<()> {
    const NODES: usize = 100_000;
    const PODS: usize = 1_000_000;
    const LIMIT: u64 = 2_000_000_000;
    let mut cluster = Cluster::new(SEED);
    (0..NODES).for_each(|index| cluster.set_node(&node(index)));
    let apps: Vec<Arc<Pod>> = (0..500).map(|app| Arc::new(pod(app, &KINDS[1]))).collect();
    let mut spent = Duration::ZERO;
    for index in 0..PODS {
        // Of one app after the other, as when its Deployment is made.
        let pod = Arc::clone(&apps[index / (PODS / apps.len())]);
        spent += place(&mut cluster, &[Pending { id: id(index), pod }]);
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let bytes = line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024;
    println!(
        "{NODES} nodes filled with {} pods in {:.1} s: {} MB at most, {:.2} of the limit",
        cluster.n_pods(),
        spent.as_secs_f64(),
        bytes / 1_000_000,
        bytes as f64 / LIMIT as f64,
    );
    Ok(())
}

fn id(index: usize) -> PodId {
    PodId::new(&format!("{index:08x}-0000-4000-8000-000000000000"))
}

fn measure(kind: &Kind, n_nodes: usize) -> (f64, Summary) {
    let mut cluster = Cluster::new(SEED);
    (0..n_nodes).for_each(|index| cluster.set_node(&node(index)));
    let apps: Vec<Arc<Pod>> = (0..APPS).map(|app| Arc::new(pod(app, kind))).collect();
    let mut arrivals =
        (0..).map(|index: usize| Pending { id: id(index), pod: Arc::clone(&apps[index % APPS]) });
    // Views are built at an app's first pod, which a running cluster has behind it.
    place(&mut cluster, &arrivals.by_ref().take(BATCH).collect::<Vec<_>>());
    let mut spent = Duration::ZERO;
    for _ in 0..BATCHES {
        let batch: Vec<Pending> = arrivals.by_ref().take(BATCH).collect();
        spent += place(&mut cluster, &batch);
    }
    let singles = arrivals.take(SINGLES).map(|pending| place(&mut cluster, &[pending]));
    let singles = Summary::new(singles.collect());
    ((BATCH * BATCHES) as f64 / spent.as_secs_f64(), singles)
}

/// Places a batch that fits, and says how long it took.
fn place(cluster: &mut Cluster, batch: &[Pending]) -> Duration {
    let start = kit::clock::monotonic();
    let outcomes = cluster.place(batch);
    let spent = start.elapsed();
    let is_placed = |outcome: &Outcome| matches!(outcome, Outcome::Placed { .. });
    assert!(outcomes.iter().all(is_placed), "the cluster is meant to be large enough");
    spent
}

fn node(index: usize) -> Node {
    let name = format!("node-{index:06}");
    let allocatable = [("cpu", 32_000), ("memory", 64 << 30), ("pods", 110)];
    let labels = [(HOST.to_owned(), name.clone()), (ZONE.to_owned(), zone(index % ZONES))];
    Node { name, allocatable: amounts(&allocatable), labels: labels.into(), ..Node::default() }
}

fn zone(index: usize) -> String {
    format!("zone-{index}")
}

fn amounts(amounts: &[(&str, u64)]) -> Amounts {
    amounts.iter().map(|&(name, amount)| (name.to_owned(), amount)).collect()
}

fn pod(app: usize, kind: &Kind) -> Pod {
    let mut pod = Pod {
        namespace: "default".to_owned(),
        labels: Labels::from([("app".to_owned(), format!("app-{app}"))]),
        requests: amounts(&[("cpu", 100), ("memory", 200 << 20)]),
        ..Pod::default()
    };
    (kind.constrain)(&mut pod);
    pod
}

fn in_zones(zones: &[usize]) -> NodeTerm {
    let values = zones.iter().map(|&index| zone(index)).collect();
    let requirement = Requirement { key: ZONE.to_owned(), operator: Operator::In, values };
    NodeTerm { labels: vec![requirement], fields: Vec::new() }
}

fn require_zones(pod: &mut Pod) {
    pod.required_nodes = Some(vec![in_zones(&[0, 3, 7])]);
}

fn prefer_zones(pod: &mut Pod) {
    pod.preferred_nodes = vec![PreferredTerm { weight: 10, term: in_zones(&[0, 3, 7]) }];
}

fn of_app(pod: &Pod) -> Selector {
    let requirements = pod.labels.iter().map(|(key, value)| Requirement::equals(key, value));
    Selector { requirements: requirements.collect() }
}

fn spread(pod: &Pod, key: &str) -> SpreadConstraint {
    SpreadConstraint {
        topology_key: key.to_owned(),
        max_skew: 1,
        unsatisfiable: WhenUnsatisfiable::DoNotSchedule,
        selector: Some(of_app(pod)),
        min_domains: None,
        affinity_policy: InclusionPolicy::Honor,
        taints_policy: InclusionPolicy::Ignore,
    }
}

fn same_app(pod: &Pod, key: &str) -> PodTerm {
    PodTerm {
        selector: Some(of_app(pod)),
        namespaces: [pod.namespace.clone()].into(),
        namespace_selector: None,
        topology_key: key.to_owned(),
    }
}
