//! Who may use what: small tables, and a slow model that counts everything anew.

mod model;
mod replaced;

use std::sync::Arc;

use expect_test::{Expect, expect};

use super::Quota;
use crate::label::{Labels, Requirement, Selector};
use crate::node::Node;
use crate::pod::{Pod, PodId};
use crate::resources::Amounts;
use crate::{Budget, Cluster, Gang, Outcome, Pending, Unplaced};

/// `cpu=1 memory=2`.
fn amounts(text: &str) -> Amounts {
    let pairs = text.split_whitespace().map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(name, amount)| (name.to_owned(), amount.parse().unwrap())).collect()
}

fn node(name: &str, cpu: u64) -> Node {
    let allocatable = amounts(&format!("cpu={cpu} memory=1000 pods=100"));
    Node { name: name.to_owned(), allocatable, ..Node::default() }
}

/// Of the namespace of its name.
fn quota(name: &str, min: &str, max: &str) -> Quota {
    Quota {
        namespaces: [name.to_owned()].into(),
        namespace_selector: None,
        min: amounts(min),
        max: amounts(max),
    }
}

fn pod(namespace: &str, priority: i32, requests: &str) -> Pod {
    Pod { namespace: namespace.to_owned(), priority, requests: amounts(requests), ..Pod::default() }
}

/// A cluster with one node of each of these sizes, and with two quotas, each sure of 4000 milli-cores.
fn cluster(nodes: &[u64]) -> Cluster {
    let mut cluster = Cluster::new(7);
    for (at, cpu) in nodes.iter().enumerate() {
        cluster.set_node(&node(&format!("n{at}"), *cpu));
    }
    cluster.set_quota("a", quota("a", "cpu=4000", "cpu=6000"));
    cluster.set_quota("b", quota("b", "cpu=4000", "cpu=8000"));
    cluster
}

/// Places `name namespace priority cpu`, making room for it if that is needed; what came of it.
fn place(cluster: &mut Cluster, text: &str) -> String {
    let [name, namespace, priority, cpu] = text.split(' ').collect::<Vec<_>>()[..] else {
        panic!("no pod: {text}")
    };
    let pod = pod(namespace, priority.parse().unwrap(), &format!("cpu={cpu}"));
    let pending = Pending { id: PodId::new(name), pod: Arc::new(pod) };
    match cluster.place(std::slice::from_ref(&pending)).remove(0) {
        Outcome::Placed { node, .. } => node,
        Outcome::Unplaced(unplaced) => match cluster.preempt(&pending) {
            None => unplaced.to_string(),
            Some(made) => {
                let victims: Vec<&str> = made.victims.iter().map(PodId::as_str).collect();
                let awaited = cluster.awaited_by(&pending.id);
                let mut awaited: Vec<&str> = awaited.iter().map(PodId::as_str).collect();
                awaited.sort_unstable();
                format!("{} instead of {}, waits for {}", made.node, victims.join(" "), awaited.join(" "))
            }
        },
    }
}

/// What comes of each line's pod.
fn check(cluster: &mut Cluster, pods: &str, expect: Expect) {
    let lines = pods.lines().map(str::trim).filter(|line| !line.is_empty());
    let told: Vec<String> = lines.map(|line| format!("{line}: {}\n", place(cluster, line))).collect();
    expect.assert_eq(&told.concat());
}

#[test]
fn nobody_goes_beyond_max_nor_borrows_what_is_not_left() {
    check(
        &mut cluster(&[20_000]),
        "a1 a 0 4000
         a2 a 0 2000
         a3 a 0 1
         b1 b 0 2000
         b2 b 0 2000
         b3 b 0 1
         x1 x 0 9000",
        expect![[r#"
            a1 a 0 4000: n0
            a2 a 0 2000: n0
            a3 a 0 1: quota a: cpu: 6 used and 1m asked for are more than its max of 6
            b1 b 0 2000: n0
            b2 b 0 2000: n0
            b3 b 0 1: quota b: cpu: 4 used and 1m asked for are more than its min of 4, and too little is left to borrow: all quotas together use 10 of 8
            x1 x 0 9000: n0
        "#]],
    );
}

#[test]
fn what_was_borrowed_is_given_back_to_whom_it_is_guaranteed() {
    check(
        &mut cluster(&[8000]),
        "b1 b 5 2000
         b2 b 1 2000
         b3 b 9 2000
         b4 b 1 2000
         a1 a 0 2000
         a2 a 0 1000
         a3 a 0 1000
         a4 a 100 1000",
        // The least important first, and of those the youngest; never what `b` is guaranteed itself.
        expect![[r#"
            b1 b 5 2000: n0
            b2 b 1 2000: n0
            b3 b 9 2000: n0
            b4 b 1 2000: n0
            a1 a 0 2000: n0 instead of b4, waits for b4
            a2 a 0 1000: n0 instead of b2, waits for b2 b4
            a3 a 0 1000: n0 instead of , waits for b2 b4
            a4 a 100 1000: n0 instead of a3, waits for a3 b2 b4
        "#]],
    );
}

#[test]
fn who_borrows_takes_nothing_from_other_quotas() {
    let mut cluster = cluster(&[4000, 2000]);
    check(
        &mut cluster,
        "a1 a 0 4000
         x1 x 0 1000
         b1 b 0 1000
         a2 a 100 2000",
        expect![[r#"
            a1 a 0 4000: n0
            x1 x 0 1000: n1
            b1 b 0 1000: n1
            a2 a 100 2000: n0 instead of a1, waits for a1
        "#]],
    );
    cluster.remove_pod(&PodId::new("a1"));
    check(
        &mut cluster,
        "b2 b 0 3000
         b3 b 100 1000",
        expect![[r#"
            b2 b 0 3000: 0/2 nodes are available: 2 Insufficient cpu.
            b3 b 100 1000: n0
        "#]],
    );
}

#[test]
fn within_a_quota_the_more_important_come_first_wherever_the_others_are() {
    let mut cluster = cluster(&[4000, 4000]);
    check(
        &mut cluster,
        "a1 a 3 3000
         a2 a 1 1000
         a3 a 2 2000
         a4 a 5 3000
         a5 a 1 100",
        // `a2` alone is too small, and with `a3` there is no need of it.
        expect![[r#"
            a1 a 3 3000: n0
            a2 a 1 1000: n1
            a3 a 2 2000: n1
            a4 a 5 3000: n1 instead of a3 a2, waits for a2 a3
            a5 a 1 100: quota a: cpu: 9 used and 100m asked for are more than its max of 6
        "#]],
    );
    for id in ["a2", "a3"] {
        cluster.remove_pod(&PodId::new(id));
    }
    assert_eq!(place(&mut cluster, "a4 a 5 3000"), "n1");
}

#[test]
fn budgets_are_kept_where_possible() {
    let mut cluster = cluster(&[8000]);
    for (name, priority) in [("b1", 1), ("b2", 2), ("b3", 3)] {
        let mut pod = pod("b", priority, "cpu=2000");
        pod.labels = Labels::from([("app".to_owned(), name.to_owned())]);
        cluster.add_pod(&PodId::new(name), &Arc::new(pod), "n0");
    }
    let selector = Selector { requirements: vec![Requirement::equals("app", "b1")] };
    cluster.set_budget("one", Budget { namespace: "b".to_owned(), selector, allowed: 0 });
    assert_eq!(place(&mut cluster, "a1 a 0 2000"), "n0");
    assert_eq!(place(&mut cluster, "a2 a 0 2000"), "n0 instead of b2, waits for b2");
}

#[test]
fn only_a_resource_that_is_borrowed_can_be_taken_back() {
    let mut cluster = Cluster::new(7);
    cluster.set_node(&node("n0", 8000));
    cluster.set_quota("a", quota("a", "cpu=4000 memory=500", ""));
    cluster.set_quota("b", quota("b", "cpu=4000 memory=500", ""));
    for name in ["b1", "b2", "b3"] {
        cluster.add_pod(&PodId::new(name), &Arc::new(pod("b", 0, "cpu=2000 memory=10")), "n0");
    }
    // Of memory `b` uses far less than it is sure of, which does not make what it borrows of processors its own.
    assert_eq!(place(&mut cluster, "a1 a 0 4000"), "n0 instead of b3, waits for b3");
    assert_eq!(cluster.quota_usages()["b"].borrowed, [("cpu".to_owned(), 2000)].into());
}

#[test]
fn of_what_nobody_is_guaranteed_only_max_counts() {
    let mut cluster = Cluster::new(7);
    cluster.set_node(&node("n0", 8000));
    cluster.set_quota("a", quota("a", "", "cpu=3000 pods=2"));
    check(
        &mut cluster,
        "a1 a 0 1000
         a2 a 0 2500
         a3 a 0 1000
         a4 a 0 100",
        expect![[r#"
            a1 a 0 1000: n0
            a2 a 0 2500: quota a: cpu: 1 used and 2500m asked for are more than its max of 3
            a3 a 0 1000: n0
            a4 a 0 100: quota a: pods: 2 used and 1 asked for are more than its max of 2
        "#]],
    );
}

#[test]
fn a_namespace_is_the_first_quotas_that_names_it() {
    let mut cluster = cluster(&[20_000]);
    let labels = Labels::from([("team".to_owned(), "c".to_owned())]);
    cluster.set_namespace("c1", &labels);
    cluster.set_namespace("c2", &labels);
    let selector = Selector { requirements: vec![Requirement::equals("team", "c")] };
    let all = Quota { namespace_selector: Some(selector), ..quota("b", "", "cpu=1000") };
    cluster.set_quota("c", all);
    assert_eq!(place(&mut cluster, "p1 c1 0 600"), "n0");
    let over = "quota c: cpu: 600m used and 500m asked for are more than its max of 1";
    assert_eq!(place(&mut cluster, "p2 c2 0 500"), over);
    assert_eq!(cluster.quota_usages()["c"].taken, [("b".to_owned(), "b".to_owned())].into());
    // Of another team from now on, with its pod.
    cluster.set_namespace("c1", &Labels::new());
    assert_eq!(cluster.quota_usages()["c"].used, [("cpu".to_owned(), 0)].into());
    assert_eq!(place(&mut cluster, "p2 c2 0 500"), "n0");
    assert!(cluster.remove_quota("b"));
    assert!(cluster.quota_usages()["c"].taken.is_empty());
    assert!(!cluster.remove_quota("b"));
}

#[test]
fn a_gang_counts_as_a_whole() {
    let gang = |n: usize| {
        let pods = (0..n)
            .map(|at| Pending { id: PodId::new(&format!("g{at}")), pod: Arc::new(pod("a", 5, "cpu=2000")) });
        (
            pods.collect::<Vec<_>>(),
            Gang { name: "g".to_owned(), min_member: n, n_bound: 0, members: (0..n).collect() },
        )
    };
    let mut cluster = cluster(&[20_000]);
    let (pods, four) = gang(4);
    let outcomes = cluster.place_together(&pods, std::slice::from_ref(&four));
    let Outcome::Unplaced(Unplaced::HalfGang(half)) = &outcomes[0] else { panic!("{outcomes:?}") };
    expect!["gang g: 3 of 4 fit: quota a: cpu: 6 used and 2 asked for are more than its max of 6"]
        .assert_eq(&half.to_string());
    assert_eq!(cluster.quota_usages()["a"].used["cpu"], 0, "half a gang uses nothing");
    let (pods, three) = gang(3);
    place(&mut cluster, "a1 a 1 500");
    let outcomes = cluster.place_together(&pods, std::slice::from_ref(&three));
    assert!(matches!(outcomes[0], Outcome::Unplaced(_)), "{outcomes:?}");
    let held = cluster.preempt_gang(&pods, &three, |_| true).unwrap();
    assert_eq!(held.len(), 3);
    assert_eq!(cluster.awaited_by(&PodId::new("g2")), [PodId::new("a1")]);
    cluster.remove_pod(&PodId::new("a1"));
    let outcomes = cluster.place_together(&pods, std::slice::from_ref(&three));
    assert!(outcomes.iter().all(|each| matches!(each, Outcome::Placed { .. })), "{outcomes:?}");
}

#[test]
fn asking_whom_it_would_hit_changes_nothing() {
    let mut cluster = cluster(&[8000]);
    for name in ["b1", "b2", "b3", "b4"] {
        place(&mut cluster, &format!("{name} b 0 2000"));
    }
    let before = cluster.quota_usages();
    let pending = Pending { id: PodId::new("a1"), pod: Arc::new(pod("a", 0, "cpu=2000")) };
    let told = cluster.foretell_preemption(&pending).unwrap();
    assert_eq!(told.victims, [PodId::new("b4")]);
    assert_eq!(cluster.quota_usages(), before);
    assert!(!cluster.is_leaving(&PodId::new("b4")));
}

#[test]
fn gpus_count_by_the_names_of_whole_ones_and_of_shares() {
    use crate::gpu::{GpuAsk, GpuRequest};
    let asks = |ask: GpuAsk| Pod {
        gpu: Some(GpuRequest { ask, models: std::collections::BTreeSet::new() }),
        ..Pod::default()
    };
    let check = |ask: GpuAsk, expected: [u64; 2]| {
        let names = ["nvidia.com/gpu", "koordinator.sh/gpu-core"];
        assert_eq!(names.map(|name| super::asked(&asks(ask), name)), expected, "{ask:?}");
    };
    check(GpuAsk::Whole(2), [2, 200]);
    check(GpuAsk::Share(505), [0, 51]);
}
