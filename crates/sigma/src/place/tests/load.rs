//! Placement by measured use, one small cluster per rule.

use std::sync::Arc;

use super::tables::{line, node, pod};
use crate::Cluster;
use crate::load::{LoadPolicy, Usage};
use crate::place::{Outcome, Pending};
use crate::pod::{Pod, PodId};

/// Nodes of 4000 milli-cores and 4096 bytes.
fn cluster(names: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(7);
    cluster.set_load_policy(Some(LoadPolicy::default()));
    names.iter().for_each(|name| cluster.set_node(&node(name, "")));
    cluster
}

fn measure(cluster: &mut Cluster, name: &str, cpu: u64, memory: u64) -> bool {
    let last = cluster.last_arrival();
    cluster.set_usage(name, Some(Usage { cpu, memory }), last)
}

fn place(cluster: &mut Cluster, name: &str, pod: &Pod) -> String {
    line(&cluster.place(&[Pending { id: PodId::new(name), pod: Arc::new(pod.clone()) }])[0])
}

#[test]
fn a_hot_node_takes_no_more_pods() {
    let small = pod("cpu=10 memory=10");
    let mut both = cluster(&["a", "b"]);
    measure(&mut both, "a", 2600, 100);
    measure(&mut both, "b", 100, 3900);
    assert_eq!(
        place(&mut both, "p", &small),
        "0/2 nodes are available: 1 node(s) cpu usage exceed threshold, 1 node(s) memory usage exceed threshold."
    );
    assert_eq!(place(&mut both, "daemon", &Pod { ignores_load: true, ..small.clone() }), "a");
    // It has cooled down.
    assert!(measure(&mut both, "a", 2400, 100));
    assert!(!measure(&mut both, "a", 2300, 100), "it was cool before");
    assert_eq!(place(&mut both, "p", &small), "a");
    both.set_load_policy(None);
    measure(&mut both, "a", 4000, 4096);
    assert_ne!(place(&mut both, "q", &small), "");
}

#[test]
fn the_coolest_node_is_best_and_counts_what_was_placed_since() {
    let mut cluster = cluster(&["a", "b"]);
    measure(&mut cluster, "a", 400, 400);
    measure(&mut cluster, "b", 1600, 400);
    // Both are as empty as each other by what pods ask for, but one is cooler.
    let pod = pod("cpu=1000 memory=10");
    assert_eq!(place(&mut cluster, "p1", &pod), "a");
    assert_eq!(place(&mut cluster, "p2", &pod), "b");
    // 400 measured, 850 estimated; then 1600 and 850, which is close to hot.
    assert_eq!(place(&mut cluster, "p3", &pod), "a");
    // All that is left on `b` would make it hot only afterwards.
    assert_eq!(place(&mut cluster, "p4", &pod), "b");
    assert_eq!(
        place(&mut cluster, "p5", &Pod { ignores_load: false, ..pod.clone() }),
        "a",
        "b is hot by estimate"
    );
    // It was measured with its pods in, which use less than they ask for.
    measure(&mut cluster, "b", 1700, 400);
    measure(&mut cluster, "a", 2500, 400);
    assert_eq!(place(&mut cluster, "p6", &pod), "b");
}

#[test]
fn a_pod_that_was_placed_after_the_measurement_stays_estimated() {
    let mut cluster = cluster(&["a"]);
    let pod = pod("cpu=1000 memory=10");
    measure(&mut cluster, "a", 100, 100);
    let before = cluster.last_arrival();
    assert_eq!(place(&mut cluster, "p1", &pod), "a");
    // The watch tells of it, and its status changes: it is the same pod still.
    cluster.add_pod(&PodId::new("p1"), &Arc::new(pod.clone()), "a");
    cluster.set_usage("a", Some(Usage { cpu: 1800, memory: 100 }), before);
    let full = "0/1 nodes are available: 1 node(s) cpu usage exceed threshold.";
    assert_eq!(place(&mut cluster, "p2", &pod), full);
    cluster.remove_pod(&PodId::new("p1"));
    assert_eq!(place(&mut cluster, "p2", &pod), "a");
}

#[test]
fn without_fresh_figures_use_does_not_matter() {
    let mut cluster = cluster(&["a", "b"]);
    let score = |cluster: &mut Cluster| {
        let outcome =
            cluster.place(&[Pending { id: PodId::new("p"), pod: Arc::new(pod("cpu=10")) }]).remove(0);
        cluster.remove_pod(&PodId::new("p"));
        let Outcome::Placed { score, .. } = outcome else { panic!("{outcome:?}") };
        score
    };
    let before = score(&mut cluster);
    for name in ["a", "b"] {
        measure(&mut cluster, name, 3900, 100);
    }
    assert_eq!(
        place(&mut cluster, "q", &pod("cpu=10")),
        "0/2 nodes are available: 2 node(s) cpu usage exceed threshold."
    );
    assert!(cluster.set_usage("a", None, 0));
    assert!(score(&mut cluster) > before, "the node without figures is estimated");
    assert!(cluster.set_usage("b", None, 0));
    assert_eq!(score(&mut cluster), before);
}
