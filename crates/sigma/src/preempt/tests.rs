//! Who goes, and where, one small cluster per rule of the documentation; and a model that tries everything.

use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::gpu::{GpuAsk, GpuRequest, GpuSet, NodeGpus};
use crate::label::{Labels, Requirement, Selector};
use crate::node::Node;
use crate::pod::{InclusionPolicy, Pod, PodId, PodTerm, SpreadConstraint, WhenUnsatisfiable};
use crate::resources::Amounts;
use crate::{Budget, Cluster, Outcome, Pending};

fn node(name: &str) -> Node {
    let allocatable = Amounts::from([("cpu".to_owned(), 4), ("pods".to_owned(), 10)]);
    let labels = Labels::from([("host".to_owned(), name.to_owned())]);
    Node { name: name.to_owned(), allocatable, labels, ..Node::default() }
}

/// `app priority cpu`.
fn pod(text: &str) -> Pod {
    let [app, priority, cpu] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("no pod: {text}") };
    Pod {
        labels: Labels::from([("app".to_owned(), app.to_owned())]),
        priority: priority.parse().unwrap(),
        requests: Amounts::from([("cpu".to_owned(), cpu.parse().unwrap())]),
        ..Pod::default()
    }
}

fn selector(app: &str) -> Selector {
    Selector { requirements: vec![Requirement::equals("app", app)] }
}

/// Nodes of 4 cores by name, from pods given as `node: name app priority cpu`.
fn cluster(pods: &str) -> Cluster {
    let mut cluster = Cluster::new(7);
    for line in pods.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (on, rest) = line.split_once(": ").unwrap();
        let (name, shape) = rest.split_once(' ').unwrap();
        cluster.set_node(&node(on));
        cluster.add_pod(&PodId::new(name), &Arc::new(pod(shape)), on);
    }
    cluster
}

fn preempt(cluster: &mut Cluster, name: &str, pod: Pod) -> String {
    match cluster.preempt(&Pending { id: PodId::new(name), pod: Arc::new(pod) }) {
        None => "nobody".to_owned(),
        Some(preemption) => {
            let mut victims: Vec<&str> = preemption.victims.iter().map(PodId::as_str).collect();
            victims.sort_unstable();
            format!("{} on {}", victims.join(" "), preemption.node)
        }
    }
}

fn check(pods: &str, shape: &str, expect: Expect) {
    expect.assert_eq(&preempt(&mut cluster(pods), "new", pod(shape)));
}

#[test]
fn as_few_and_as_unimportant_as_can_be() {
    check("a: x web 1 4\n b: y web 2 4", "top 9 1", expect!["x on a"]);
    check("a: x web 1 2\n a: y web 2 2", "top 9 1", expect!["x on a"]);
    check("a: x web 1 2\n a: y web 1 2\n b: z web 1 4", "top 9 4", expect!["z on b"]);
    check("a: x web 1 1\n a: y web 3 3\n b: z web 2 4", "top 9 4", expect!["z on b"]);
    // Of equals, what came last goes.
    check("a: x web 1 2\n a: y web 1 2", "top 9 2", expect!["y on a"]);
    check("a: x web 1 4\n b: y web 1 4", "top 9 2", expect!["y on b"]);
}

#[test]
fn nobody_goes_for_an_equal_or_in_vain() {
    check("a: x web 9 4", "top 9 1", expect!["nobody"]);
    check("a: x web 1 4", "top 9 5", expect!["nobody"]);
    let elsewhere =
        Pod { node_selector: Labels::from([("host".to_owned(), "c".to_owned())]), ..pod("top 9 1") };
    expect!["nobody"].assert_eq(&preempt(&mut cluster("a: x web 1 4"), "new", elsewhere));
}

#[test]
fn budgets_are_broken_only_where_nothing_else_helps() {
    let guarded = |pods: &str| {
        let mut cluster = cluster(pods);
        let budget = Budget { namespace: String::new(), selector: selector("db"), allowed: 0 };
        cluster.set_budget("db", budget);
        cluster
    };
    expect!["y on b"].assert_eq(&preempt(&mut guarded("a: x db 1 4\n b: y web 5 4"), "new", pod("top 9 1")));
    expect!["y on a"].assert_eq(&preempt(&mut guarded("a: x db 1 2\n a: y web 5 2"), "new", pod("top 9 2")));
    expect!["x on a"].assert_eq(&preempt(&mut guarded("a: x db 1 4"), "new", pod("top 9 1")));
}

#[test]
fn a_budget_is_spent_by_the_first_that_asks() {
    let mut cluster = cluster("a: x db 1 4\n b: y db 1 4\n c: z web 5 4");
    cluster.set_budget("db", Budget { namespace: String::new(), selector: selector("db"), allowed: 1 });
    expect!["y on b"].assert_eq(&preempt(&mut cluster, "one", pod("top 9 4")));
    expect!["z on c"].assert_eq(&preempt(&mut cluster, "two", pod("top 9 4")));
}

#[test]
fn who_leaves_already_is_not_told_twice_and_the_room_is_held() {
    let mut cluster = cluster("a: x web 1 4");
    expect!["x on a"].assert_eq(&preempt(&mut cluster, "one", pod("top 9 1")));
    // Three more fit once x has left; nobody else must go.
    expect![" on a"].assert_eq(&preempt(&mut cluster, "two", pod("top 9 3")));
    expect!["nobody"].assert_eq(&preempt(&mut cluster, "three", pod("top 9 1")));
    let again = Pending { id: PodId::new("one"), pod: Arc::new(pod("top 9 1")) };
    assert!(matches!(cluster.place(std::slice::from_ref(&again))[0], Outcome::Unplaced(_)));
    cluster.remove_pod(&PodId::new("x"));
    assert!(matches!(cluster.place(&[again])[0], Outcome::Placed { .. }));
}

#[test]
fn pods_that_keep_the_new_one_away_go() {
    let forbidding = Pod {
        forbidden_pods: vec![PodTerm {
            selector: Some(selector("web")),
            namespaces: [String::new()].into(),
            namespace_selector: None,
            topology_key: "host".to_owned(),
        }],
        ..pod("top 9 1")
    };
    let there = "a: x web 1 1\n a: y db 1 1";
    expect!["x on a"].assert_eq(&preempt(&mut cluster(there), "new", forbidding.clone()));
    expect!["nobody"].assert_eq(&preempt(&mut cluster("a: x web 9 1"), "new", forbidding));
}

fn term(app: &str, topology_key: &str) -> PodTerm {
    PodTerm {
        selector: Some(selector(app)),
        namespaces: [String::new()].into(),
        namespace_selector: None,
        topology_key: topology_key.to_owned(),
    }
}

/// Twenty full nodes of one zone, whose pods are the least important, and one of another; beside them `others`.
fn zones(others: &str) -> Cluster {
    let lines = (10..30).map(|number| format!("far{number}: x{number} web 0 4\n")).collect::<String>();
    let mut cluster = cluster(&format!("{lines}near: y web 1 4\n{others}"));
    let names: Vec<String> = (10..30).map(|number| format!("far{number}")).collect();
    for name in names.iter().map(String::as_str).chain(["near", "near2", "far0"]) {
        let zone = if name.starts_with("near") { "near" } else { "far" };
        let mut node = node(name);
        node.labels.insert("zone".to_owned(), zone.to_owned());
        cluster.set_node(&node);
    }
    cluster
}

#[test]
fn nodes_that_are_cheaper_but_never_take_the_pod_do_not_stand_in_its_way() {
    let wanting = Pod { required_pods: vec![term("db", "zone")], ..pod("top 9 2") };
    let db = "near2: d db 9 4\nfar0: e cache 9 4";
    expect!["y on near"].assert_eq(&preempt(&mut zones(db), "new", wanting.clone()));
    let mut cluster = zones("far0: e cache 9 4\nnear2: d cache 9 4");
    expect!["nobody"].assert_eq(&preempt(&mut cluster, "new", wanting.clone()));
    // What comes to another node of the zone counts at once.
    cluster.remove_pod(&PodId::new("d"));
    cluster.add_pod(&PodId::new("d"), &Arc::new(pod("db 9 4")), "near2");
    expect!["y on near"].assert_eq(&preempt(&mut cluster, "new", wanting));

    let apart = Pod { forbidden_pods: vec![term("cache", "zone")], ..pod("top 9 2") };
    let cache = "far0: e cache 9 4\nnear2: d db 9 4";
    expect!["y on near"].assert_eq(&preempt(&mut zones(cache), "new", apart));

    let spread = SpreadConstraint {
        topology_key: "zone".to_owned(),
        max_skew: 1,
        unsatisfiable: WhenUnsatisfiable::DoNotSchedule,
        selector: Some(selector("top")),
        min_domains: None,
        affinity_policy: InclusionPolicy::Honor,
        taints_policy: InclusionPolicy::Ignore,
    };
    let even = Pod { spread: vec![spread], ..pod("top 9 2") };
    let top = "far0: e top 9 4\nnear2: d db 9 4";
    expect!["y on near"].assert_eq(&preempt(&mut zones(top), "new", even));
}

#[test]
fn who_holds_a_claim_that_is_for_one_pod_goes_for_a_more_important_one() {
    let using = |shape: &str| {
        let mut pod = pod(shape);
        pod.volumes.exclusive.insert("claim".to_owned());
        pod
    };
    let there = |priority: u8| {
        let mut cluster = cluster("a: x web 1 2\nb: y web 1 2");
        cluster.add_pod(&PodId::new("z"), &Arc::new(using(&format!("db {priority} 1"))), "b");
        cluster
    };
    expect!["z on b"].assert_eq(&preempt(&mut there(1), "new", using("top 9 1")));
    expect!["nobody"].assert_eq(&preempt(&mut there(9), "new", using("top 9 1")));
    expect!["y z on b"].assert_eq(&preempt(&mut there(1), "new", using("top 9 4")));
}

fn with_gpus(name: &str, count: u16, model: &str) -> Node {
    Node { gpus: NodeGpus { count, model: model.to_owned() }, ..node(name) }
}

fn on_gpus(shape: &str, ask: GpuAsk, models: &[&str]) -> Pod {
    let models = models.iter().map(ToString::to_string).collect();
    Pod { gpu: Some(GpuRequest { ask, models }), ..pod(shape) }
}

/// A node `a` of two GPUs, a node `b` of one of another model, and pods as `(name, node, priority, ask, GPU)`.
fn gpu_cluster(pods: &[(&str, &str, i32, GpuAsk, u16)]) -> Cluster {
    let mut cluster = Cluster::new(7);
    cluster.set_node(&with_gpus("a", 2, "big"));
    cluster.set_node(&with_gpus("b", 1, "small"));
    for &(name, node, priority, ask, gpu) in pods {
        let pod = on_gpus(&format!("web {priority} 0"), ask, &[]);
        cluster.add_pod(&PodId::new(name), &Arc::new(pod), node);
        let held = match ask {
            GpuAsk::Whole(count) => GpuSet::new(gpu..gpu + count),
            GpuAsk::Share(_) => GpuSet::new([gpu]),
        };
        cluster.hold_gpus(&PodId::new(name), &held);
    }
    cluster
}

#[test]
fn gpus_are_made_free_for_those_who_are_worth_more() {
    use GpuAsk::{Share, Whole};
    let pods = [("x", "a", 1, Share(500), 0), ("y", "a", 2, Share(400), 1), ("z", "b", 3, Whole(1), 0)];
    let cases: [(Pod, Expect); 8] = [
        (on_gpus("top 9 1", Whole(1), &[]), expect!["x on a"]),
        (on_gpus("top 9 1", Whole(2), &[]), expect!["x y on a"]),
        (on_gpus("top 9 1", Share(700), &[]), expect!["x on a"]),
        (on_gpus("top 9 1", Whole(1), &["small"]), expect!["z on b"]),
        (on_gpus("top 3 1", Whole(1), &["small"]), expect!["nobody"]),
        (on_gpus("top 9 1", Whole(1), &["other"]), expect!["nobody"]),
        (on_gpus("top 9 1", Whole(3), &[]), expect!["nobody"]),
        (on_gpus("top 1 1", Whole(1), &[]), expect!["nobody"]),
    ];
    for (pod, expect) in cases {
        expect.assert_eq(&preempt(&mut gpu_cluster(&pods), "new", pod));
    }
}

#[test]
fn the_gpu_that_is_being_left_is_held_for_who_comes() {
    use GpuAsk::{Share, Whole};
    // The emptier GPU is held by one who stays.
    let mut cluster = gpu_cluster(&[("x", "a", 1, Whole(1), 0), ("y", "a", 9, Share(100), 1)]);
    let pending = |name: &str, priority: i32| {
        let pod = Arc::new(on_gpus(&format!("top {priority} 1"), Whole(1), &["big"]));
        Pending { id: PodId::new(name), pod }
    };
    let new = pending("new", 9);
    expect!["x on a"].assert_eq(&preempt(&mut cluster, "new", (*new.pod).clone()));
    assert_eq!(cluster.gpus_of(&new.id), GpuSet::new([0]));
    cluster.remove_pod(&PodId::new("x"));
    assert!(matches!(cluster.place(&[pending("other", 9)])[0], Outcome::Unplaced(_)));
    assert!(matches!(cluster.place(&[new])[0], Outcome::Placed { .. }));
}

proptest! {
    /// Room is made exactly where lesser pods together hold enough, nobody goes whom the pod does not outrank, and
    /// whoever goes is needed.
    #[test]
    fn victims_are_lesser_enough_and_needed(
        pods in proptest::collection::vec((0..3_u8, 0..4_i32, 0..3_u64), 0..12),
        newcomers in proptest::collection::vec((0..5_i32, 1..5_u64), 1..6),
    ) {
        let mut cluster = Cluster::new(7);
        (0..3).for_each(|name| cluster.set_node(&node(&format!("n{name}"))));
        let mut there: Vec<(String, u8, i32, u64)> = Vec::new();
        let used = |there: &[(String, u8, i32, u64)], on: u8, below: i32| -> u64 {
            there.iter().filter(|each| each.1 == on && each.2 >= below).map(|each| each.3).sum()
        };
        for (index, (on, priority, cpu)) in pods.into_iter().enumerate() {
            if used(&there, on, i32::MIN) + cpu > 4 {
                continue;
            }
            let id = format!("p{index}");
            cluster.add_pod(&PodId::new(&id), &Arc::new(pod(&format!("web {priority} {cpu}"))), &format!("n{on}"));
            there.push((id, on, priority, cpu));
        }
        for (index, (priority, cpu)) in newcomers.into_iter().enumerate() {
            let id = format!("new{index}");
            let pending =
                Pending { id: PodId::new(&id), pod: Arc::new(pod(&format!("top {priority} {cpu}"))) };
            let could = (0..3).any(|on| used(&there, on, priority) + cpu <= 4);
            let Some(preemption) = cluster.preempt(&pending) else {
                prop_assert!(!could, "{id} could have had room");
                continue;
            };
            prop_assert!(could);
            let on: u8 = preemption.node[1..].parse().unwrap();
            let victims: Vec<String> =
                preemption.victims.iter().map(|victim| victim.as_str().to_owned()).collect();
            let room = 4 - cpu;
            for victim in there.iter().filter(|each| victims.contains(&each.0)) {
                prop_assert!(victim.1 == on && victim.2 < priority);
            }
            let (gone, kept): (Vec<_>, Vec<_>) =
                there.into_iter().partition(|each| victims.contains(&each.0));
            there = kept;
            let left = used(&there, on, i32::MIN);
            prop_assert!(left <= room);
            prop_assert!(gone.iter().all(|victim| left + victim.3 > room), "someone goes in vain");
            for victim in &victims {
                cluster.remove_pod(&PodId::new(victim));
            }
            there.push((id, on, priority, cpu));
        }
    }
}

#[test]
fn a_spread_constraint_has_more_pods_go_than_room_alone_would() {
    // Three of the like on `a`, one on `b`, where nothing lesser is: two of `a` must go for a skew of one.
    let mut cluster = cluster("a: x web 1 0\n a: y web 2 0\n a: z web 3 0\n b: w web 9 4");
    let constraint = SpreadConstraint {
        topology_key: "host".to_owned(),
        max_skew: 1,
        unsatisfiable: WhenUnsatisfiable::DoNotSchedule,
        selector: Some(selector("web")),
        min_domains: None,
        affinity_policy: InclusionPolicy::Honor,
        taints_policy: InclusionPolicy::Ignore,
    };
    let spreading = Pod { spread: vec![constraint], ..pod("web 9 1") };
    expect!["x y on a"].assert_eq(&preempt(&mut cluster, "new", spreading));
}
