//! One small cluster per rule of the documentation.

use std::sync::Arc;

use expect_test::{Expect, expect};

use crate::Cluster;
use crate::label::{Labels, NodeTerm, Operator, PreferredTerm, Requirement, Selector};
use crate::node::{Effect, Node, Taint};
use crate::place::{Outcome, Pending};
use crate::pod::{
    HostPort, InclusionPolicy, Pod, PodId, SpreadConstraint, Toleration, TolerationMatch, WhenUnsatisfiable,
};
use crate::resources::Amounts;

fn amounts(text: &str) -> Amounts {
    let parse = |part: &str| part.split_once('=').map(|(name, n)| (name.to_owned(), n.parse().unwrap()));
    text.split_whitespace().filter_map(parse).collect()
}

pub(super) fn labels(text: &str) -> Labels {
    let parse = |part: &str| part.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    text.split_whitespace().filter_map(parse).collect()
}

pub(super) fn node(name: &str, text: &str) -> Node {
    let mut labels = labels(text);
    labels.insert("kubernetes.io/hostname".to_owned(), name.to_owned());
    let allocatable = amounts("cpu=4000 memory=4096 pods=10");
    Node { name: name.to_owned(), allocatable, labels, ..Node::default() }
}

fn tainted(name: &str, key: &str, effect: Effect) -> Node {
    let taint = Taint { key: key.to_owned(), value: "v".to_owned(), effect };
    Node { taints: vec![taint], ..node(name, "") }
}

pub(super) fn pod(requests: &str) -> Pod {
    Pod { namespace: "default".to_owned(), requests: amounts(requests), ..Pod::default() }
}

/// Places `count` pods one after another on `nodes` and prints where each went, or why not.
fn check(nodes: &[Node], pod: &Pod, count: usize, expect: Expect) {
    let mut cluster = Cluster::new(7);
    nodes.iter().for_each(|node| cluster.set_node(node));
    let batch: Vec<Pending> = (0..count)
        .map(|index| Pending { id: PodId::new(&format!("p{index}")), pod: Arc::new(pod.clone()) })
        .collect();
    let lines: Vec<String> = cluster.place(&batch).iter().map(line).collect();
    expect.assert_eq(&lines.join("\n"));
}

pub(super) fn line(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Placed { node, .. } => node.clone(),
        Outcome::Unplaced(unplaced) => unplaced.to_string(),
    }
}

#[test]
fn no_nodes() {
    check(&[], &pod("cpu=1"), 1, expect!["no nodes available to schedule pods"]);
}

#[test]
fn resources_run_out_and_every_short_one_is_named() {
    let nodes = [node("a", ""), node("b", "")];
    check(
        &nodes,
        &pod("cpu=2000 memory=4096"),
        3,
        expect![[r#"
            b
            a
            0/2 nodes are available: 2 Insufficient memory."#]],
    );
    check(
        &nodes,
        &pod("nvidia.com/gpu=1"),
        1,
        expect!["0/2 nodes are available: 2 Insufficient nvidia.com/gpu."],
    );
    check(
        &[node("a", "")],
        &pod(""),
        11,
        expect![[r#"
        a
        a
        a
        a
        a
        a
        a
        a
        a
        a
        0/1 nodes are available: 1 Too many pods."#]],
    );
}

#[test]
fn batch_resources_are_not_sigmas_to_spend() {
    let mut rich = node("a", "");
    rich.allocatable.insert("kubernetes.io/batch-cpu".to_owned(), 1000);
    check(
        &[rich],
        &pod("kubernetes.io/batch-cpu=1"),
        1,
        expect!["kubernetes.io/batch-cpu is spent by the batch scheduler only: submit the work as a DagJob"],
    );
}

#[test]
fn what_the_mid_tier_is_offered_is_spent_as_any_other_resource() {
    let mut rich = node("a", "");
    rich.allocatable.insert("kubernetes.io/mid-cpu".to_owned(), 1500);
    check(
        &[rich, node("b", "")],
        &pod("kubernetes.io/mid-cpu=1000"),
        2,
        expect![[r#"
        a
        0/2 nodes are available: 2 Insufficient kubernetes.io/mid-cpu."#]],
    );
}

#[test]
fn taints_repel_unless_tolerated() {
    let nodes = [tainted("a", "k", Effect::NoSchedule), tainted("b", "k", Effect::NoExecute), node("c", "")];
    let tolerant = |effect| {
        let toleration = Toleration { key: "k".to_owned(), matches: TolerationMatch::Exists, effect };
        Pod { tolerations: vec![toleration], ..pod("cpu=4000") }
    };
    check(
        &nodes,
        &pod("cpu=4000"),
        2,
        expect![[r#"
            c
            0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {k: v}."#]],
    );
    check(&nodes[..2], &tolerant(Some(Effect::NoExecute)), 1, expect!["b"]);
    check(
        &nodes[..2],
        &tolerant(None),
        2,
        expect![[r#"
            b
            a"#]],
    );
}

#[test]
fn a_disliked_taint_is_avoided_while_there_is_room_elsewhere() {
    let nodes = [tainted("a", "k", Effect::PreferNoSchedule), node("b", "")];
    check(
        &nodes,
        &pod("cpu=2000"),
        3,
        expect![[r#"
        b
        b
        a"#]],
    );
}

#[test]
fn cordoned_nodes() {
    let cordoned = Node { unschedulable: true, ..node("a", "") };
    check(
        std::slice::from_ref(&cordoned),
        &pod(""),
        1,
        expect!["0/1 nodes are available: 1 node(s) were unschedulable."],
    );
    let all = Toleration::default();
    check(&[cordoned], &Pod { tolerations: vec![all], ..pod("") }, 1, expect!["a"]);
}

#[test]
fn selectors_and_required_affinity() {
    let nodes = [node("a", "disk=ssd zone=z1"), node("b", "disk=hdd zone=z2")];
    let selecting = |text: &str| Pod { node_selector: labels(text), ..pod("") };
    check(&nodes, &selecting("disk=ssd"), 1, expect!["a"]);
    check(
        &nodes,
        &selecting("disk=ssd zone=z2"),
        1,
        expect!["0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."],
    );
    let term = |key: &str, operator, values: &[&str]| NodeTerm {
        labels: vec![Requirement {
            key: key.to_owned(),
            operator,
            values: values.iter().map(|&value| value.to_owned()).collect(),
        }],
        fields: Vec::new(),
    };
    let requiring = |terms: Vec<NodeTerm>| Pod { required_nodes: Some(terms), ..pod("") };
    check(&nodes, &requiring(vec![term("zone", Operator::In, &["z2", "z3"])]), 1, expect!["b"]);
    check(
        &nodes,
        &requiring(vec![term("gpu", Operator::Exists, &[]), term("zone", Operator::In, &["z1"])]),
        1,
        expect!["a"],
    );
    check(
        &nodes,
        &requiring(vec![NodeTerm::default()]),
        1,
        expect!["0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."],
    );
    let named = NodeTerm { labels: vec![], fields: vec![Requirement::equals("metadata.name", "b")] };
    check(&nodes, &requiring(vec![named]), 1, expect!["b"]);
}

#[test]
fn preferred_affinity_is_a_wish() {
    let nodes = [node("a", "disk=ssd"), node("b", "")];
    let term = NodeTerm { labels: vec![Requirement::equals("disk", "ssd")], fields: vec![] };
    let wishing = Pod { preferred_nodes: vec![PreferredTerm { weight: 5, term }], ..pod("cpu=2000") };
    check(
        &nodes,
        &wishing,
        3,
        expect![[r#"
        a
        a
        b"#]],
    );
}

#[test]
fn host_ports_are_taken_once_per_node() {
    let port = HostPort { protocol: "TCP".to_owned(), address: String::new(), port: 80 };
    check(
        &[node("a", ""), node("b", "")],
        &Pod { host_ports: vec![port], ..pod("") },
        3,
        expect![[r#"
            b
            a
            0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports."#]],
    );
}

#[test]
fn one_owners_pods_spread_over_hosts() {
    let nodes = [node("a", ""), node("b", ""), node("c", "")];
    check(
        &nodes,
        &Pod { owner: Some("rs".to_owned()), ..pod("") },
        6,
        expect![[r#"
            b
            a
            c
            b
            a
            c"#]],
    );
}

fn constraint(key: &str, unsatisfiable: WhenUnsatisfiable) -> SpreadConstraint {
    SpreadConstraint {
        topology_key: key.to_owned(),
        max_skew: 1,
        unsatisfiable,
        selector: Some(Selector { requirements: vec![Requirement::equals("app", "web")] }),
        min_domains: None,
        affinity_policy: InclusionPolicy::Honor,
        taints_policy: InclusionPolicy::Ignore,
    }
}

fn spreading(spread: Vec<SpreadConstraint>, requests: &str) -> Pod {
    Pod { labels: labels("app=web"), spread, ..pod(requests) }
}

#[test]
fn a_hard_constraint_holds_the_skew() {
    let nodes = [node("a", "zone=z1"), node("b", "zone=z1"), node("c", "zone=z2"), node("d", "")];
    let hard = constraint("zone", WhenUnsatisfiable::DoNotSchedule);
    check(
        &nodes,
        &spreading(vec![hard.clone()], "cpu=4000"),
        4,
        expect![[r#"
            b
            c
            a
            0/4 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label), 3 Insufficient cpu."#]],
    );
    let few = SpreadConstraint { min_domains: Some(3), ..hard.clone() };
    check(
        &nodes[..3],
        &spreading(vec![few], "cpu=100"),
        3,
        expect![[r#"
            b
            c
            0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints."#]],
    );
    let elsewhere = Pod { labels: Labels::new(), ..spreading(vec![hard], "") };
    check(
        &nodes[..1],
        &elsewhere,
        2,
        expect![[r#"
        a
        a"#]],
    );
}

#[test]
fn pods_that_were_told_to_go_are_not_counted() {
    let mut cluster = Cluster::new(7);
    [node("a", "zone=z1"), node("b", "zone=z2")].iter().for_each(|node| cluster.set_node(node));
    let hard = constraint("zone", WhenUnsatisfiable::DoNotSchedule);
    let pod = Arc::new(spreading(vec![hard], "cpu=100"));
    for name in ["x", "y"] {
        cluster.add_pod(&PodId::new(name), &pod, "a");
    }
    let place = |cluster: &mut Cluster| {
        let pending = Pending { id: PodId::new("p"), pod: Arc::clone(&pod) };
        let placed = line(&cluster.place(&[pending])[0]);
        cluster.remove_pod(&PodId::new("p"));
        placed
    };
    cluster.add_pod(&PodId::new("z"), &pod, "b");
    assert_eq!(place(&mut cluster), "b");
    cluster.set_leaving(&PodId::new("x"), true);
    cluster.set_leaving(&PodId::new("y"), true);
    assert_eq!(place(&mut cluster), "a");
    cluster.set_leaving(&PodId::new("x"), false);
    cluster.set_leaving(&PodId::new("y"), false);
    assert_eq!(place(&mut cluster), "b");
}

#[test]
fn a_soft_constraint_only_leans() {
    let nodes = [node("a", "zone=z1"), node("b", "zone=z1"), node("c", "zone=z2")];
    let soft = constraint("zone", WhenUnsatisfiable::ScheduleAnyway);
    check(
        &nodes,
        &spreading(vec![soft], "cpu=2000"),
        6,
        expect![[r#"
            b
            c
            a
            c
            b
            a"#]],
    );
}

#[test]
fn a_soft_constraint_does_not_narrow_what_a_hard_one_counts() {
    // Only `a` has a rack; the two zones count all the same, and `b` is the emptier.
    let nodes = [node("a", "zone=z1 rack=r1"), node("b", "zone=z2")];
    let hard = constraint("zone", WhenUnsatisfiable::DoNotSchedule);
    let soft = constraint("rack", WhenUnsatisfiable::ScheduleAnyway);
    let placed = |count| {
        let mut cluster = Cluster::new(7);
        nodes.iter().for_each(|node| cluster.set_node(node));
        let there = Arc::new(spreading(vec![], "cpu=100"));
        (0..2).for_each(|each| cluster.add_pod(&PodId::new(&format!("there{each}")), &there, "b"));
        let pod = Arc::new(spreading(vec![hard.clone(), soft.clone()], "cpu=100"));
        let pending = |each| Pending { id: PodId::new(&format!("p{each}")), pod: Arc::clone(&pod) };
        let batch: Vec<Pending> = (0..count).map(pending).collect();
        cluster.place(&batch).iter().map(line).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(placed(2), "a a");
}

#[test]
fn higher_priority_goes_first() {
    let mut cluster = Cluster::new(1);
    cluster.set_node(&node("a", ""));
    let pending = |name: &str, priority| Pending {
        id: PodId::new(name),
        pod: Arc::new(Pod { priority, ..pod("cpu=4000") }),
    };
    let outcomes = cluster.place(&[pending("low", 0), pending("high", 10)]);
    assert_eq!(line(&outcomes[1]), "a");
    assert_eq!(line(&outcomes[0]), "0/1 nodes are available: 1 Insufficient cpu.");
}
