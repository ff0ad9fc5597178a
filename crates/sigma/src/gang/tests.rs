//! All or nothing, as Kubernetes' documentation of gangs has it, one small cluster each; and a model that counts.

use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::label::{Labels, Requirement, Selector};
use crate::node::Node;
use crate::pod::{Pod, PodId, PodTerm};
use crate::quota::Quota;
use crate::resources::Amounts;
use crate::{Budget, Cluster, Gang, Outcome, Pending};

fn amounts(cpu: u64) -> Amounts {
    Amounts::from([("cpu".to_owned(), cpu), ("pods".to_owned(), 100)])
}

/// Nodes `name=cpu`.
fn cluster(nodes: &str) -> Cluster {
    let mut cluster = Cluster::new(7);
    for (name, cpu) in nodes.split_whitespace().filter_map(|node| node.split_once('=')) {
        let labels = Labels::from([("host".to_owned(), name.to_owned())]);
        let allocatable = amounts(cpu.parse().unwrap());
        cluster.set_node(&Node { name: name.to_owned(), allocatable, labels, ..Node::default() });
    }
    cluster
}

fn pod(cpu: u64, priority: i32) -> Pod {
    Pod { requests: Amounts::from([("cpu".to_owned(), cpu)]), priority, ..Pod::default() }
}

fn pending(name: &str, pod: &Pod) -> Pending {
    Pending { id: PodId::new(name), pod: Arc::new(pod.clone()) }
}

/// A batch from pods `gang:cpu[@priority]`, or `-:cpu` for a pod of no gang, and gangs `name=min[+bound]`.
fn batch(pods: &str, gangs: &str) -> (Vec<Pending>, Vec<Gang>) {
    let pods: Vec<(&str, &str)> = pods.split_whitespace().filter_map(|pod| pod.split_once(':')).collect();
    let shape = |text: &str| {
        let (cpu, priority) = text.split_once('@').unwrap_or((text, "0"));
        pod(cpu.parse().unwrap(), priority.parse().unwrap())
    };
    let pendings = pods
        .iter()
        .enumerate()
        .map(|(place, (gang, text))| pending(&format!("{gang}{place}"), &shape(text)))
        .collect();
    let gang = |(name, least): (&str, &str)| {
        let (min_member, n_bound) = least.split_once('+').unwrap_or((least, "0"));
        let is_member = |place: &usize| pods[*place].0 == name;
        Gang {
            name: name.to_owned(),
            min_member: min_member.parse().unwrap(),
            n_bound: n_bound.parse().unwrap(),
            members: (0..pods.len()).filter(is_member).collect(),
        }
    };
    let gangs = gangs.split_whitespace().filter_map(|text| text.split_once('=')).map(gang).collect();
    (pendings, gangs)
}

fn told(pending: &Pending, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Placed { node, .. } => format!("{} on {node}", pending.id.as_str()),
        Outcome::Unplaced(unplaced) => format!("{}: {unplaced}", pending.id.as_str()),
    }
}

fn check(nodes: &str, pods: &str, gangs: &str, expect: Expect) {
    let mut cluster = cluster(nodes);
    let (batch, gangs) = batch(pods, gangs);
    let outcomes = cluster.place_together(&batch, &gangs);
    let lines: Vec<String> =
        batch.iter().zip(&outcomes).map(|(pending, outcome)| told(pending, outcome)).collect();
    expect.assert_eq(&lines.join("\n"));
    let n_placed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Placed { .. })).count();
    assert_eq!(cluster.n_pods(), n_placed, "room is held for nobody");
}

#[test]
fn all_or_none() {
    check(
        "a=2 b=2",
        "g:1 g:1 g:1 g:1",
        "g=4",
        expect![[r#"
            g0 on b
            g1 on a
            g2 on b
            g3 on a"#]],
    );
    check(
        "a=2 b=1",
        "g:1 g:1 g:1 g:1",
        "g=4",
        expect![[r#"
            g0: gang g: 3 of 4 fit: 0/2 nodes are available: 2 Insufficient cpu.
            g1: gang g: 3 of 4 fit: 0/2 nodes are available: 2 Insufficient cpu.
            g2: gang g: 3 of 4 fit: 0/2 nodes are available: 2 Insufficient cpu.
            g3: gang g: 3 of 4 fit: 0/2 nodes are available: 2 Insufficient cpu."#]],
    );
}

#[test]
fn more_than_the_least_may_be_left_over_alone() {
    check(
        "a=2",
        "g:1 g:1 g:1",
        "g=2",
        expect![[r#"
            g0 on a
            g1 on a
            g2: 0/1 nodes are available: 1 Insufficient cpu."#]],
    );
}

#[test]
fn those_that_are_bound_count() {
    check("a=1", "g:1", "g=3+2", expect!["g0 on a"]);
    check(
        "a=1",
        "g:2",
        "g=3+2",
        expect![
            "g0: gang g: 2 of 3 fit, 2 of them bound already: 0/1 nodes are available: 1 Insufficient cpu."
        ],
    );
    check("a=1", "g:1", "g=3", expect!["g0: gang g: 1 of 3 fit: there are no more pods of it"]);
}

#[test]
fn of_two_gangs_that_would_each_get_half_one_gets_all() {
    check(
        "a=2 b=1",
        "g:1 h:1 g:1 h:1 -:1",
        "g=2 h=2",
        expect![[r#"
            g0 on a
            h1: gang h: 1 of 2 fit: 0/2 nodes are available: 2 Insufficient cpu.
            g2 on b
            h3: gang h: 1 of 2 fit: 0/2 nodes are available: 2 Insufficient cpu.
            -4 on a"#]],
    );
    // The more important one, whoever came first.
    check(
        "a=2",
        "g:1 h:1@5 g:1 h:1",
        "g=2 h=2",
        expect![[r#"
            g0: gang g: 0 of 2 fit: 0/1 nodes are available: 1 Insufficient cpu.
            h1 on a
            g2: gang g: 0 of 2 fit: 0/1 nodes are available: 1 Insufficient cpu.
            h3 on a"#]],
    );
}

#[test]
fn where_small_ones_would_take_the_large_ones_room_the_large_go_first() {
    check(
        "a=4 b=2",
        "g:1 g:1 g:4",
        "g=3",
        expect![[r#"
            g0 on b
            g1 on b
            g2 on a"#]],
    );
}

#[test]
fn members_may_ask_for_each_other() {
    let mut cluster = cluster("a=2 b=2");
    let labels = Labels::from([("app".to_owned(), "x".to_owned())]);
    let term = PodTerm {
        selector: Some(Selector { requirements: vec![Requirement::equals("app", "x")] }),
        namespaces: [String::new()].into(),
        namespace_selector: None,
        topology_key: "host".to_owned(),
    };
    let together = Pod { labels, required_pods: vec![term], ..pod(1, 0) };
    let batch: Vec<Pending> = ["x", "y", "z"].iter().map(|name| pending(name, &together)).collect();
    let gang =
        |members: Vec<usize>| Gang { name: "g".to_owned(), min_member: members.len(), n_bound: 0, members };
    let outcomes = cluster.place_together(&batch, &[gang(vec![0, 1, 2])]);
    expect!["x: gang g: 2 of 3 fit: 0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match pod affinity rules."]
        .assert_eq(&told(&batch[0], &outcomes[0]));
    let outcomes = cluster.place_together(&batch[..2], &[gang(vec![0, 1])]);
    let [Outcome::Placed { node: one, .. }, Outcome::Placed { node: other, .. }] = &outcomes[..] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(one, other);
}

/// Nodes as for [`cluster`], full of pods `name=cpu@priority` on `node:`.
fn full(nodes: &str, pods: &str) -> Cluster {
    let mut cluster = cluster(nodes);
    for (node, rest) in pods.split_whitespace().filter_map(|pod| pod.split_once(':')) {
        let (name, shape) = rest.split_once('=').unwrap();
        let (cpu, priority) = shape.split_once('@').unwrap();
        let pod = pod(cpu.parse().unwrap(), priority.parse().unwrap());
        cluster.add_pod(&PodId::new(name), &Arc::new(pod), node);
    }
    cluster
}

fn preempt(cluster: &mut Cluster, pods: &str, gangs: &str) -> String {
    let (batch, gangs) = batch(pods, gangs);
    let Some(held) = cluster.preempt_gang(&batch, &gangs[0], |_| true) else { return "nobody".to_owned() };
    let mut lines: Vec<String> = held
        .iter()
        .map(|(&place, preemption)| {
            let victims: Vec<&str> = preemption.victims.iter().map(PodId::as_str).collect();
            format!("{} on {} for {}", batch[place].id.as_str(), preemption.node, victims.join(" "))
        })
        .collect();
    lines.sort();
    lines.join("; ")
}

#[test]
fn others_go_for_a_gang_only_if_it_fits_whole_then() {
    let occupied = || full("a=2 b=2", "a:x=2@1 b:y=1@1");
    expect!["g0 on a for x; g1 on b for ; g2 on a for "].assert_eq(&preempt(
        &mut occupied(),
        "g:1@9 g:1@9 g:1@9",
        "g=3",
    ));
    let mut cluster = occupied();
    cluster.set_budget(
        "b",
        Budget { namespace: String::new(), selector: Selector { requirements: Vec::new() }, allowed: 1 },
    );
    let budgets = format!("{:?}", cluster.budgets);
    expect!["nobody"].assert_eq(&preempt(&mut cluster, "g:1@9 g:1@9 g:1@9 g:1@9 g:1@9", "g=5"));
    assert_eq!((cluster.n_pods(), cluster.leaving_on("a")), (2, Vec::new()));
    // What was spent in thought is there again, as a later version.
    let allowed = |text: &str| text.split("version").next().unwrap().to_owned();
    assert_eq!(allowed(&format!("{:?}", cluster.budgets)), allowed(&budgets));
    // As many go as are needed, not one more.
    expect!["g0 on b for "].assert_eq(&preempt(&mut occupied(), "g:1@9 g:1@9", "g=1"));
}

#[test]
fn a_gang_takes_nobodys_place_among_its_own_or_its_equals() {
    expect!["nobody"].assert_eq(&preempt(&mut cluster("a=2"), "g:1@9 g:1@1 g:1@5", "g=3"));
    // As important as its least pod.
    expect!["nobody"].assert_eq(&preempt(&mut full("a=2", "a:x=1@3"), "g:1@9 g:1@2", "g=2"));
    expect!["g0 on a for x; g1 on a for "].assert_eq(&preempt(
        &mut full("a=2", "a:x=1@3"),
        "g:1@9 g:1@4",
        "g=2",
    ));
}

proptest! {
    /// Pods of one shape: then it is plain how many fit.
    #[test]
    fn enough_or_none_and_the_state_is_as_if_nothing_had_been_tried(
        cpus in proptest::collection::vec(0..6_u64, 1..5),
        gangs in proptest::collection::vec((1..5_usize, 1..6_usize, 0..3_i32), 1..5),
    ) {
        let nodes: Vec<String> = cpus.iter().enumerate().map(|(at, cpu)| format!("n{at}={cpu}")).collect();
        let nodes = nodes.join(" ");
        let (mut pods, mut leasts) = (Vec::new(), Vec::new());
        for (name, &(n_members, min_member, priority)) in gangs.iter().enumerate() {
            pods.extend((0..n_members).map(|_| format!("g{name}:1@{priority}")));
            leasts.push(format!("g{name}={min_member}"));
        }
        let (batch, gangs_) = batch(&pods.join(" "), &leasts.join(" "));
        let mut tried = cluster(&nodes);
        let outcomes = tried.place_together(&batch, &gangs_);
        prop_assert_eq!(&outcomes, &cluster(&nodes).place_together(&batch, &gangs_));

        let mut left: u64 = cpus.iter().sum();
        let mut order: Vec<usize> = (0..gangs.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(gangs[at].2));
        for at in order {
            let (n_members, min_member, _) = gangs[at];
            let n_fitting = left.min(n_members as u64);
            let expected = if n_fitting >= min_member as u64 { n_fitting } else { 0 };
            let is_placed = |&&place: &&usize| matches!(outcomes[place], Outcome::Placed { .. });
            prop_assert_eq!(gangs_[at].members.iter().filter(is_placed).count() as u64, expected);
            left -= expected;
        }
        let used: u64 = (0..cpus.len()).filter_map(|at| tried.used(&format!("n{at}"))).map(|[cpu, ..]| cpu).sum();
        prop_assert_eq!(used, cpus.iter().sum::<u64>() - left);
    }
}

/// Each member by itself would have the pod of another node go; together they find room with fewer.
#[test]
fn of_those_who_were_to_go_for_a_gang_who_need_not_stays() {
    let mut cluster = cluster("a=3 b=2");
    for (name, node, cpu) in [("x", "a", 2), ("y", "b", 1)] {
        cluster.add_pod(&PodId::new(name), &Arc::new(pod(cpu, 1)), node);
    }
    // The larger one finds the room of `y` cheapest; the others then need that of `x`, which is enough for all.
    let (batch, gangs) = batch("g:2@5 g:1@5 g:1@5", "g=3");
    let held = cluster.preempt_gang(&batch, &gangs[0], |_| true).unwrap();
    let victims: Vec<&str> = held.values().flat_map(|each| &each.victims).map(PodId::as_str).collect();
    assert_eq!((victims, held.len()), (vec!["x"], 3));
    assert!(cluster.is_leaving(&PodId::new("x")) && !cluster.is_leaving(&PodId::new("y")));
}

/// A lesser pod: its node, what it asks for, its priority, and whether it is of the gang's quota.
type Lesser = (usize, u64, i32, bool);

/// Of the gang's namespace, or of one without a quota.
fn of(is_own: bool, pod: Pod) -> Arc<Pod> {
    let namespace = if is_own { "own" } else { "other" };
    let labels = Labels::from([("app".to_owned(), namespace.to_owned())]);
    Arc::new(Pod { namespace: namespace.to_owned(), labels, ..pod })
}

/// Nodes and lesser pods on them; the gang's namespace may use `max` in all, and of its pods `spare` may be disrupted.
fn occupied(
    nodes: &[u64],
    lesser: &[Lesser],
    (max, spare): (u64, u64),
    without: impl Fn(usize) -> bool,
) -> Cluster {
    let names: Vec<String> = nodes.iter().enumerate().map(|(at, cpu)| format!("n{at}={cpu}")).collect();
    let mut cluster = cluster(&names.join(" "));
    let quota = Quota {
        namespaces: ["own".to_owned()].into(),
        max: Amounts::from([("cpu".to_owned(), max)]),
        ..Quota::default()
    };
    cluster.set_quota("own", quota);
    let selector = Selector { requirements: vec![Requirement::equals("app", "own")] };
    cluster.set_budget("b", Budget { namespace: "own".to_owned(), selector, allowed: spare });
    for (at, &(node, cpu, priority, is_own)) in lesser.iter().enumerate() {
        let node = format!("n{}", node % nodes.len());
        let id = PodId::new(&format!("l{at}"));
        if cluster.free(&node, "cpu").is_some_and(|free| free >= cpu) {
            cluster.add_pod(&id, &of(is_own, pod(cpu, priority)), &node);
        }
    }
    let gone = (0..lesser.len()).filter(|&at| without(at));
    gone.for_each(|at| cluster.remove_pod(&PodId::new(&format!("l{at}"))));
    cluster
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Once all victims have gone the gang fits, and without any one of them it would not.
    #[test]
    fn nobody_goes_for_a_gang_in_vain(
        nodes in proptest::collection::vec(1..8_u64, 1..5),
        lesser in proptest::collection::vec((0..5_usize, 1..4_u64, 0..3_i32, any::<bool>()), 0..12),
        members in proptest::collection::vec(1..5_u64, 1..6),
        bounds in (2..30_u64, 0..4_u64),
        short in 0..3_usize,
    ) {
        let texts: Vec<String> = members.iter().map(|cpu| format!("g:{cpu}@9")).collect();
        let min_member = members.len().saturating_sub(short).max(1);
        let (mut batch, gangs) = batch(&texts.join(" "), &format!("g={min_member}"));
        batch.iter_mut().for_each(|pending| pending.pod = of(true, (*pending.pod).clone()));
        let fits = |cluster: &mut Cluster| {
            let outcomes = cluster.place_together(&batch, &gangs);
            outcomes.iter().any(|outcome| matches!(outcome, Outcome::Placed { .. }))
        };
        let mut cluster = occupied(&nodes, &lesser, bounds, |_| false);
        if fits(&mut cluster) {
            return Ok(());
        }
        let (n_before, usage) = (cluster.n_pods(), cluster.quota_usages());
        let Some(held) = cluster.preempt_gang(&batch, &gangs[0], |_| true) else {
            prop_assert_eq!((cluster.n_pods(), cluster.quota_usages()), (n_before, usage));
            return Ok(());
        };
        prop_assert!(held.len() >= min_member);
        prop_assert_eq!(cluster.n_pods(), n_before + held.len());
        let name = |at: usize| PodId::new(&format!("l{at}"));
        let goes = |at: usize| held.values().any(|each| each.victims.contains(&name(at)));
        let victims: Vec<usize> = (0..lesser.len()).filter(|&at| goes(at)).collect();
        let n_leaving = (0..lesser.len()).filter(|&at| cluster.is_leaving(&name(at))).count();
        prop_assert_eq!(n_leaving, victims.len());
        // The room that is held is there once they have gone, on the nodes and in the quota.
        victims.iter().for_each(|&at| cluster.remove_pod(&name(at)));
        for (at, cpu) in nodes.iter().enumerate() {
            let node = format!("n{at}");
            prop_assert!(cluster.used(&node).unwrap()[0] <= *cpu, "{} is over-full", node);
        }
        let kept = lesser.iter().enumerate().filter(|(at, (.., is_own))| *is_own && cluster.node_of(&name(*at)).is_some());
        let kept: u64 = kept.map(|(_, (_, cpu, ..))| cpu).sum();
        let of_gang: u64 = held.keys().map(|&position| members[position]).sum();
        prop_assert_eq!(cluster.quota_usages()["own"].used["cpu"], u128::from(kept + of_gang));
        prop_assert!(victims.is_empty() || kept + of_gang <= bounds.0 || kept > bounds.0, "beyond max");
        for &spared in &victims {
            let mut without = occupied(&nodes, &lesser, bounds, |at| at != spared && goes(at));
            prop_assert!(!fits(&mut without), "l{} goes in vain: {:?}", spared, held);
        }
    }
}
