//! Pod affinity and anti-affinity, one small cluster per rule of the documentation.

use std::collections::BTreeSet;
use std::sync::Arc;

use expect_test::{Expect, expect};

use super::tables::{labels, line, node, pod};
use crate::Cluster;
use crate::label::{Requirement, Selector};
use crate::node::Node;
use crate::place::Pending;
use crate::pod::{Pod, PodId, PodTerm, WeightedPodTerm};

const HOST: &str = "kubernetes.io/hostname";

fn selector(text: &str) -> Selector {
    let requirements = labels(text).into_iter().map(|(key, value)| Requirement::equals(key, value));
    Selector { requirements: requirements.collect() }
}

/// Pods with these labels in the namespace `default`, near within `topology_key`.
fn term(text: &str, topology_key: &str) -> PodTerm {
    PodTerm {
        selector: Some(selector(text)),
        namespaces: BTreeSet::from(["default".to_owned()]),
        namespace_selector: None,
        topology_key: topology_key.to_owned(),
    }
}

fn labelled(text: &str) -> Pod {
    Pod { labels: labels(text), ..pod("cpu=1") }
}

fn requiring(text: &str, terms: &[PodTerm]) -> Pod {
    Pod { required_pods: terms.to_vec(), ..labelled(text) }
}

fn forbidding(text: &str, terms: &[PodTerm]) -> Pod {
    Pod { forbidden_pods: terms.to_vec(), ..labelled(text) }
}

fn wishing(text: &str, weight: i32, term: PodTerm) -> Pod {
    Pod { preferred_pods: vec![WeightedPodTerm { weight, term }], ..labelled(text) }
}

/// Two nodes in the zone `left`, one in the zone `right`, one in none.
fn nodes() -> Vec<Node> {
    vec![node("a", "zone=left"), node("b", "zone=left"), node("c", "zone=right"), node("d", "")]
}

fn cluster(there: &[(&str, Pod)]) -> Cluster {
    let mut cluster = Cluster::new(7);
    nodes().iter().for_each(|node| cluster.set_node(node));
    for (index, (node, pod)) in there.iter().enumerate() {
        cluster.add_pod(&PodId::new(&format!("there{index}")), &Arc::new(pod.clone()), node);
    }
    cluster
}

fn place(cluster: &mut Cluster, pod: &Pod, count: usize) -> String {
    let pending = |index: usize| Pending { id: PodId::new(&format!("p{index}")), pod: Arc::new(pod.clone()) };
    let batch: Vec<Pending> = (0..count).map(pending).collect();
    cluster.place(&batch).iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Places `count` pods beside those that are `there`.
fn check(there: &[(&str, Pod)], pod: &Pod, count: usize, expect: Expect) {
    expect.assert_eq(&place(&mut cluster(there), pod, count));
}

#[test]
fn what_is_required_must_be_in_the_same_domain() {
    let web = requiring("app=web", &[term("app=db", "zone")]);
    check(
        &[("c", labelled("app=db"))],
        &web,
        2,
        expect![[r#"
        c
        c"#]],
    );
    check(
        &[("a", labelled("app=cache"))],
        &web,
        1,
        expect!["0/4 nodes are available: 4 node(s) didn't match pod affinity rules."],
    );
    // A node without the label is in no domain, whoever runs there.
    check(
        &[("d", labelled("app=db"))],
        &web,
        1,
        expect!["0/4 nodes are available: 4 node(s) didn't match pod affinity rules."],
    );
}

#[test]
fn the_first_of_its_kind_need_not_wait_for_itself() {
    let group = requiring("app=db", &[term("app=db", "zone")]);
    let mut cluster = cluster(&[]);
    let first = place(&mut cluster, &group, 1);
    assert!(["a", "b", "c"].contains(&first.as_str()), "only where there is a zone: {first}");
    // It does for as long as there is one that is out of reach, in a zone that is full for example.
    check(
        &[
            ("c", labelled("app=db")),
            ("c", Pod { requests: node("c", "").allocatable, ..labelled("app=big") }),
        ],
        &group,
        1,
        expect!["0/4 nodes are available: 1 Insufficient cpu, 3 node(s) didn't match pod affinity rules."],
    );
}

#[test]
fn one_pod_must_be_of_all_required_terms() {
    let both = requiring("app=web", &[term("app=db", "zone"), term("tier=gold", "zone")]);
    check(
        &[("a", labelled("app=db")), ("b", labelled("tier=gold"))],
        &both,
        1,
        expect!["0/4 nodes are available: 4 node(s) didn't match pod affinity rules."],
    );
    check(&[("c", labelled("app=db tier=gold"))], &both, 1, expect!["c"]);
}

#[test]
fn what_is_forbidden_must_not_be_in_the_same_domain() {
    let lonely = forbidding("app=web", &[term("app=web", HOST)]);
    let mut cluster = cluster(&[]);
    let placed = place(&mut cluster, &lonely, 5);
    let (last, mut hosts) =
        placed.split("\n").collect::<Vec<_>>().split_last().map(|(l, h)| (*l, h.to_vec())).unwrap();
    hosts.sort_unstable();
    assert_eq!(hosts, ["a", "b", "c", "d"]);
    assert_eq!(last, "0/4 nodes are available: 4 node(s) didn't match pod anti-affinity rules.");
    // Nothing is near a node without the label.
    let apart = forbidding("app=web", &[term("app=db", "zone")]);
    check(
        &[("a", labelled("app=db")), ("c", labelled("app=db")), ("d", labelled("app=db"))],
        &apart,
        1,
        expect!["d"],
    );
}

#[test]
fn pods_that_are_there_keep_others_away() {
    let hermit = forbidding("app=hermit", &[term("app=web", "zone")]);
    let there = [("a", hermit.clone()), ("c", hermit)];
    check(&there, &labelled("app=web"), 1, expect!["d"]);
    check(
        &[&there[..], &[("d", forbidding("app=hermit", &[term("app=web", HOST)]))]].concat(),
        &labelled("app=web"),
        1,
        expect!["0/4 nodes are available: 4 node(s) didn't satisfy existing pods anti-affinity rules."],
    );
    // They mean pods of their own namespace only.
    let stranger = Pod { namespace: "other".to_owned(), ..labelled("app=web") };
    assert!(!place(&mut cluster(&there), &stranger, 1).starts_with("0/4"));
}

#[test]
fn terms_may_speak_of_other_namespaces() {
    let of_team = PodTerm {
        namespaces: BTreeSet::new(),
        namespace_selector: Some(selector("team=blue")),
        ..term("app=db", "zone")
    };
    let web = requiring("app=web", &[of_team]);
    let db = Pod { namespace: "store".to_owned(), ..labelled("app=db") };
    let mut cluster = cluster(&[("c", db)]);
    let nowhere = "0/4 nodes are available: 4 node(s) didn't match pod affinity rules.";
    assert_eq!(place(&mut cluster, &web, 1), nowhere);
    cluster.set_namespace("store", &labels("team=blue"));
    assert_eq!(place(&mut cluster, &web, 1), "c");
    cluster.set_namespace("store", &labels("team=red"));
    assert_eq!(place(&mut cluster, &web, 1), nowhere);
    cluster.set_namespace("store", &labels("team=blue"));
    cluster.remove_namespace("store");
    assert_eq!(place(&mut cluster, &web, 1), nowhere);
    // An empty selector names all namespaces, those included that nobody knows.
    let everywhere =
        PodTerm { namespace_selector: Some(Selector::default()), ..web.required_pods[0].clone() };
    assert_eq!(place(&mut cluster, &requiring("app=web", &[everywhere]), 1), "c");
}

#[test]
fn a_term_without_a_selector_names_nobody() {
    let nobody = PodTerm { selector: None, ..term("", "zone") };
    check(
        &[("a", labelled("app=db"))],
        &requiring("app=web", std::slice::from_ref(&nobody)),
        1,
        expect!["0/4 nodes are available: 4 node(s) didn't match pod affinity rules."],
    );
    let there = ["a", "b", "c", "d"].map(|node| (node, labelled("app=db")));
    assert!(!place(&mut cluster(&there), &forbidding("app=web", &[nobody]), 1).starts_with("0/4"));
}

#[test]
fn wishes_of_both_sides_count() {
    let db = || term("app=db", HOST);
    let there = [("b", labelled("app=db"))];
    check(
        &there,
        &wishing("app=web", 100, db()),
        2,
        expect![[r#"
        b
        b"#]],
    );
    let mut apart = cluster(&there);
    assert!(!place(&mut apart, &wishing("app=web", -100, db()), 3).contains('b'));
    // What pods that are there would like near them, or not, and what they require.
    check(&[("b", wishing("app=db", 50, term("app=web", HOST)))], &labelled("app=web"), 1, expect!["b"]);
    let mut disliked = cluster(&[("b", wishing("app=db", -50, term("app=web", HOST)))]);
    assert!(!place(&mut disliked, &labelled("app=web"), 3).contains('b'));
    check(&[("b", requiring("app=db", &[term("app=web", HOST)]))], &labelled("app=web"), 1, expect!["b"]);
}

#[test]
fn what_pods_declared_is_forgotten_with_them() {
    let mut cluster = cluster(&[("a", forbidding("app=hermit", &[term("app=web", "zone")]))]);
    let full = |name: &str| Pod { requests: node(name, "").allocatable, ..labelled("app=big") };
    for name in ["c", "d"] {
        cluster.add_pod(&PodId::new(name), &Arc::new(full(name)), name);
    }
    assert!(place(&mut cluster, &labelled("app=web"), 1).contains("existing pods anti-affinity"));
    cluster.remove_pod(&PodId::new("there0"));
    assert!(["a", "b"].contains(&place(&mut cluster, &labelled("app=web"), 1).as_str()));
}
