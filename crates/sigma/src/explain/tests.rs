use expect_test::{Expect, expect};

use super::*;
use crate::label::Labels;
use crate::node::{Effect, Taint};
use crate::quota::Quota;
use crate::resources::{CPU, MEMORY, PODS};

fn node(name: &str, cpu: u64, zone: &str) -> Node {
    let amounts = [(CPU, cpu), (MEMORY, 1_000), (PODS, 10)];
    Node {
        name: name.to_owned(),
        allocatable: amounts.map(|(name, amount)| (name.to_owned(), amount)).into(),
        labels: Labels::from([("zone".to_owned(), zone.to_owned())]),
        ..Node::default()
    }
}

fn tainted(node: Node) -> Node {
    let taint = Taint { key: "gpu".to_owned(), value: "yes".to_owned(), effect: Effect::NoSchedule };
    Node { taints: vec![taint], ..node }
}

fn pod(cpu: u64) -> Pod {
    Pod { requests: [(CPU.to_owned(), cpu)].into(), ..Pod::default() }
}

fn check(nodes: &[Node], held: &[(&str, u64)], pod: &Pod, expected: Expect) {
    let mut cluster = Cluster::new(1);
    nodes.iter().for_each(|node| cluster.set_node(node));
    for (position, (node, cpu)) in held.iter().enumerate() {
        cluster.add_pod(&PodId::new(&position.to_string()), &self::pod(*cpu).into(), node);
    }
    let n_pods = cluster.n_pods();
    let explanation = pending(&mut cluster, nodes, pod);
    assert_eq!(cluster.n_pods(), n_pods, "explaining changes nothing");
    let mut lines = vec![format!("{} of {} nodes fit", explanation.n_feasible, explanation.n_nodes)];
    lines.extend(explanation.reasons.iter().map(|count| format!("{}: {}", count.nodes, count.reason)));
    for change in &explanation.changes {
        let remedies: Vec<String> = change.remedies.iter().map(ToString::to_string).collect();
        lines.push(format!("-> {}: {} nodes, {}", remedies.join("; "), change.n_nodes, change.node));
    }
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn the_least_that_a_pod_would_have_to_give_up() {
    check(
        &[node("a", 1000, "x"), node("b", 2000, "x")],
        &[("a", 400), ("b", 1200)],
        &pod(1000),
        expect![[r#"
            0 of 2 nodes fit
            2: Insufficient cpu
            -> lower the request for cpu by 200m: 1 nodes, b
            -> add a node like a: 1 nodes, a"#]],
    );
}

#[test]
fn a_taint_and_a_selector() {
    let nodes = [tainted(node("a", 1000, "x")), tainted(node("b", 1000, "x")), node("c", 1000, "y")];
    let selecting =
        |zone: &str| Pod { node_selector: Labels::from([("zone".to_owned(), zone.to_owned())]), ..pod(500) };
    check(
        &nodes,
        &[],
        &selecting("x"),
        expect![[r#"
            0 of 3 nodes fit
            2: node(s) had untolerated taint {gpu: yes}
            1: node(s) didn't match Pod's node affinity/selector
            -> tolerate the taint gpu=yes:NoSchedule: 2 nodes, a
            -> drop the node selector and the required node affinity: 1 nodes, c"#]],
    );
    check(
        &nodes,
        &[],
        &selecting("y"),
        expect![[r#"
        1 of 3 nodes fit
        2: node(s) had untolerated taint {gpu: yes}"#]],
    );
}

#[test]
fn two_changes_where_one_is_not_enough() {
    check(
        &[tainted(node("a", 1000, "x"))],
        &[("a", 400)],
        &pod(1000),
        expect![[r#"
            0 of 1 nodes fit
            1: node(s) had untolerated taint {gpu: yes}
            -> tolerate the taint gpu=yes:NoSchedule; lower the request for cpu by 400m: 1 nodes, a"#]],
    );
    check(
        &[node("a", 1000, "x")],
        &[],
        &pod(5000),
        expect![[r#"
        0 of 1 nodes fit
        1: Insufficient cpu
        -> lower the request for cpu by 4000m: 1 nodes, a"#]],
    );
    check(&[], &[], &pod(1), expect!["0 of 0 nodes fit"]);
}

#[test]
fn nothing_idle_is_asked_for() {
    // To tolerate the taint of a node that is too small as well would not help.
    check(
        &[tainted(node("a", 0, "x")), node("b", 1000, "x")],
        &[("b", 400)],
        &pod(1000),
        expect![[r#"
            0 of 2 nodes fit
            1: Insufficient cpu
            1: node(s) had untolerated taint {gpu: yes}
            -> lower the request for cpu by 400m: 1 nodes, b
            -> add a node like b: 1 nodes, b"#]],
    );
}

fn scored(cluster: &mut Cluster, id: &str) -> String {
    let before = cluster.used("a");
    let comparison = placed(cluster, &PodId::new(id), 2).unwrap();
    assert_eq!(cluster.used("a"), before, "explaining changes nothing");
    let Comparison { node, n_feasible, rank, refusals, scores, .. } = &comparison;
    let mut lines = vec![format!("on {node}, {rank:?} of {n_feasible} {refusals:?}")];
    for score in scores {
        let parts = score.parts.iter().filter(|part| part.points != 0.0);
        let parts = parts.map(|part| format!("{}:{}x{}", part.part.name(), part.score, part.weight));
        lines.push(format!(
            "{} {} = {} | {}",
            score.rank,
            score.node,
            score.total,
            parts.collect::<Vec<_>>().join(" ")
        ));
    }
    lines.join("\n")
}

#[test]
fn the_scores_of_a_placed_pod_and_of_others() {
    let mut cluster = Cluster::new(1);
    let mut disliked = tainted(node("b", 1000, "x"));
    disliked.taints[0].effect = Effect::PreferNoSchedule;
    [node("a", 1000, "x"), disliked, node("c", 100, "x")].iter().for_each(|node| cluster.set_node(node));
    cluster.add_pod(&PodId::new("other"), &pod(500).into(), "a");
    cluster.add_pod(&PodId::new("mine"), &pod(250).into(), "b");
    expect![[r#"
        on b, Some(2) of 2 []
        1 a = 375 | fill:12.5x1 balance:62.5x1 taints:100x3
        2 b = 125 | fill:37.5x1 balance:87.5x1"#]]
    .assert_eq(&scored(&mut cluster, "mine"));
    // It asks for more by now than there is.
    cluster.add_pod(&PodId::new("mine"), &pod(2000).into(), "b");
    expect![[r#"on b, None of 0 ["Insufficient cpu"]"#]].assert_eq(&scored(&mut cluster, "mine"));
    assert_eq!(placed(&mut cluster, &PodId::new("nobody"), 2), None);
}

#[test]
fn gpus_are_told_by_what_is_lost() {
    use crate::gpu::{GpuAsk, GpuRequest, NodeGpus};
    let mut cluster = Cluster::new(1);
    for name in ["a", "b"] {
        let gpus = NodeGpus { count: 2, model: String::new() };
        cluster.set_node(&Node { gpus, ..node(name, 1000, "x") });
    }
    let ask = |ask| Pod { gpu: Some(GpuRequest { ask, models: Default::default() }), ..pod(10) };
    cluster.add_pod(&PodId::new("half"), &ask(GpuAsk::Share(500)).into(), "a");
    cluster.add_pod(&PodId::new("mine"), &ask(GpuAsk::Share(500)).into(), "a");
    let held = cluster.gpus_of(&PodId::new("mine"));
    expect![[r#"
        on a, Some(2) of 2 []
        1 b = 291.393 | taints:100x3 gpus:-8.607x1
        2 a = 281.795 | taints:100x3 gpus:-18.205x1"#]]
    .assert_eq(&scored(&mut cluster, "mine"));
    assert_eq!(cluster.gpus_of(&PodId::new("mine")), held);
}

fn quota(name: &str, min: u64, max: u64) -> Quota {
    let cpu = |amount| [(CPU.to_owned(), amount)].into();
    Quota { namespaces: [name.to_owned()].into(), min: cpu(min), max: cpu(max), ..Quota::default() }
}

/// What helps a pod of namespace `a`, where `a` and `b` are guaranteed and allowed so much, and use so much; another
/// leaves all that it is guaranteed.
fn check_quotas((a, b, idle): ([u64; 3], [u64; 3], u64), free: u64, asked: u64, expected: Expect) {
    let mut cluster = Cluster::new(1);
    let nodes = [node("n", a[2] + b[2] + free, "x")];
    nodes.iter().for_each(|node| cluster.set_node(node));
    for (name, [min, max, used]) in [("a", a), ("b", b)] {
        cluster.set_quota(name, quota(name, min, max));
        let pod = Pod { namespace: name.to_owned(), ..pod(used) };
        cluster.add_pod(&PodId::new(name), &pod.into(), "n");
    }
    cluster.set_quota("idle", quota("idle", idle, idle));
    let usages = cluster.quota_usages();
    let asking = Pod { namespace: "a".to_owned(), ..pod(asked) };
    let explanation = pending(&mut cluster, &nodes, &asking);
    assert_eq!(cluster.quota_usages(), usages, "explaining changes nothing");
    let told = explanation.changes.iter().map(|change| {
        let remedies: Vec<String> = change.remedies.iter().map(ToString::to_string).collect();
        remedies.join(", and ")
    });
    expected.assert_eq(&told.collect::<Vec<_>>().join("\n"));
}

#[test]
fn how_much_more_a_quota_would_have_to_allow() {
    check_quotas(
        ([3000, 4000, 3000], [3000, 9000, 1000], 0),
        5000,
        2000,
        expect!["raise max of quota a by 1 cpu"],
    );
    check_quotas(([3000, 9000, 3000], [3000, 9000, 1000], 0), 5000, 2000, expect![""]);
}

#[test]
fn what_would_have_to_come_back_of_what_others_borrow() {
    check_quotas(
        ([1000, 4000, 1000], [3000, 9000, 3500], 900),
        5000,
        500,
        expect![[r#"
            100m cpu must come back of what quota b has borrowed
            raise min of quota a by 100m cpu"#]],
    );
    // Beyond both bounds, and nothing is borrowed.
    check_quotas(
        ([1000, 1500, 1000], [3000, 9000, 3000], 0),
        5000,
        1000,
        expect!["raise max of quota a by 500m cpu, and raise min of quota a by 1 cpu"],
    );
}

#[test]
fn where_nodes_are_full_too_both_are_told() {
    check_quotas(
        ([2000, 2000, 2000], [3000, 9000, 1000], 0),
        500,
        1000,
        expect![[r#"
            raise max of quota a by 1 cpu, and lower the request for cpu by 500m
            raise max of quota a by 1 cpu, and add a node like n"#]],
    );
}

#[test]
fn a_new_node_is_named_only_if_it_would_take_the_pod_beside_all_that_is_there() {
    let term = crate::pod::PodTerm {
        selector: Some(crate::label::Selector {
            requirements: vec![crate::label::Requirement::equals("app", "web")],
        }),
        namespaces: [String::new()].into(),
        namespace_selector: None,
        topology_key: "zone".to_owned(),
    };
    let suggests_a_node = |pod: &Pod| {
        let nodes = [node("a", 1000, "x")];
        let mut cluster = Cluster::new(1);
        nodes.iter().for_each(|node| cluster.set_node(node));
        let web = Pod { labels: Labels::from([("app".to_owned(), "web".to_owned())]), ..self::pod(800) };
        cluster.add_pod(&PodId::new("web"), &web.into(), "a");
        let explanation = pending(&mut cluster, &nodes, pod);
        assert_eq!(cluster.verdicts(pod).len(), 1, "the node was thought of only");
        explanation.changes.iter().any(|change| change.remedies == [Remedy::AddNode { like: "a".to_owned() }])
    };
    assert!(!suggests_a_node(&Pod { forbidden_pods: vec![term.clone()], ..pod(500) }));
    assert!(suggests_a_node(&Pod { required_pods: vec![term], ..pod(500) }));
    assert!(suggests_a_node(&pod(500)));
}
