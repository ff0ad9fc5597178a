//! At most so many of one beside another, on hosts and in zones; and a model that counts pods one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::label::{Labels, Requirement, Selector};
use crate::node::Node;
use crate::place::{Outcome, Pending};
use crate::pod::{Pod, PodId, PodTerm};
use crate::resources::Amounts;
use crate::{Cluster, Interference};

fn term(app: &str, key: &str) -> PodTerm {
    PodTerm {
        selector: Some(Selector { requirements: vec![Requirement::equals(app, "yes")] }),
        namespaces: [String::new()].into(),
        namespace_selector: None,
        topology_key: key.to_owned(),
    }
}

/// `at most 1 of x beside y on host`.
fn rule(text: &str) -> Interference {
    let words: Vec<&str> = text.split(' ').collect();
    let [_, _, at_most, _, pods, _, beside, _, key] = words[..] else { panic!("no rule: {text}") };
    Interference { pods: term(pods, key), beside: term(beside, key), at_most: at_most.parse().unwrap() }
}

fn node(name: &str, zone: &str) -> Node {
    let labels = [("host", name), ("zone", zone)].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let allocatable = Amounts::from([("pods".to_owned(), 100)]);
    Node { name: name.to_owned(), allocatable, labels: Labels::from(labels), ..Node::default() }
}

/// A pod that is of each of the apps, one letter each.
fn pod(apps: &str) -> Pod {
    let labels = apps.chars().map(|app| (app.to_string(), "yes".to_owned())).collect();
    Pod { labels, ..Pod::default() }
}

fn place(cluster: &mut Cluster, name: &str, pod: &Pod) -> String {
    let pending = Pending { id: PodId::new(name), pod: Arc::new(pod.clone()) };
    match &cluster.place(&[pending])[0] {
        Outcome::Placed { node, .. } => node.clone(),
        Outcome::Unplaced(unplaced) => unplaced.to_string(),
    }
}

/// Places the pods one after another on nodes a and b of zone 1 and c of zone 2.
fn check(rules: &[&str], pods: &str, expect: Expect) {
    let mut cluster = Cluster::new(7);
    for (name, zone) in [("a", "1"), ("b", "1"), ("c", "2")] {
        cluster.set_node(&node(name, zone));
    }
    rules.iter().for_each(|text| cluster.set_interference(text, rule(text)));
    let placed = pods.split(' ').enumerate();
    let lines: Vec<String> = placed
        .map(|(at, apps)| format!("{apps}: {}", place(&mut cluster, &format!("p{at}"), &pod(apps))))
        .collect();
    expect.assert_eq(&lines.join("\n"));
}

#[test]
fn none_beside_another_both_ways() {
    check(
        &["at most 0 of x beside y on host"],
        "x x x y",
        expect![[r#"
            x: b
            x: b
            x: b
            y: a"#]],
    );
    check(
        &["at most 0 of x beside y on host"],
        "y y y x",
        expect![[r#"
            y: b
            y: b
            y: b
            x: a"#]],
    );
}

#[test]
fn beside_itself_one_more_may_be() {
    check(
        &["at most 1 of x beside x on zone"],
        "x x x x x",
        expect![[r#"
            x: b
            x: b
            x: c
            x: c
            x: 0/3 nodes are available: 3 node(s) didn't keep the interference rule at most 1 of x beside x on zone."#]],
    );
}

#[test]
fn rules_come_and_go() {
    let mut cluster = Cluster::new(7);
    cluster.set_node(&node("a", "1"));
    assert_eq!(place(&mut cluster, "one", &pod("x")), "a");
    cluster.set_interference("r", rule("at most 0 of x beside x on host"));
    let refused = "0/1 nodes are available: 1 node(s) didn't keep the interference rule r.";
    assert_eq!(place(&mut cluster, "two", &pod("x")), refused);
    cluster.set_interference("r", rule("at most 1 of x beside x on host"));
    assert_eq!(place(&mut cluster, "two", &pod("x")), "a");
    assert_eq!(place(&mut cluster, "three", &pod("x")), refused);
    cluster.remove_pod(&PodId::new("one"));
    assert_eq!(place(&mut cluster, "three", &pod("x")), "a");
    cluster.remove_interference("r");
    assert_eq!(place(&mut cluster, "four", &pod("x")), "a");
}

#[test]
fn lesser_pods_go_for_one_that_a_rule_keeps_away() {
    let mut cluster = Cluster::new(7);
    cluster.set_node(&node("a", "1"));
    cluster.set_interference("r", rule("at most 1 of x beside y on host"));
    for name in ["one", "two"] {
        assert_eq!(place(&mut cluster, name, &pod("x")), "a");
    }
    let important = Pod { priority: 9, ..pod("y") };
    let pending = Pending { id: PodId::new("y"), pod: Arc::new(important) };
    let preemption = cluster.preempt(&pending).unwrap();
    assert_eq!((preemption.node.as_str(), preemption.victims.len()), ("a", 1));
}

type Rule = (u8, u8, u32, bool);

fn app(number: u8) -> String {
    char::from(b'a' + number).to_string()
}

proptest! {
    #[test]
    fn every_pod_goes_where_it_may_and_waits_only_where_it_may_nowhere(
        rules in proptest::collection::vec((0..3_u8, 0..3_u8, 0..3_u32, any::<bool>()), 1..4),
        steps in proptest::collection::vec((1..8_u8, proptest::option::of(0..6_usize)), 1..40),
    ) {
        let nodes = [("a", "1"), ("b", "1"), ("c", "2")];
        let mut cluster = Cluster::new(3);
        for (name, zone) in nodes {
            cluster.set_node(&node(name, zone));
        }
        for (at, &(pods, beside, at_most, is_host)) in rules.iter().enumerate() {
            let key = if is_host { "host" } else { "zone" };
            let rule = Interference { pods: term(&app(pods), key), beside: term(&app(beside), key), at_most };
            cluster.set_interference(&format!("r{at}"), rule);
        }
        let zone = |name: &str| nodes.iter().find(|(node, _)| *node == name).unwrap().1;
        // Each pod's apps as bits, and where it is.
        let mut placed: BTreeMap<usize, (u8, String)> = BTreeMap::new();
        let may = |placed: &BTreeMap<usize, (u8, String)>, apps: u8, on: &str| {
            let keeps = |&(pods, beside, at_most, is_host): &Rule| {
                let is_near = |other: &str| if is_host { other == on } else { zone(other) == zone(on) };
                let mut near: Vec<u8> =
                    placed.values().filter(|(_, node)| is_near(node)).map(|(apps, _)| *apps).collect();
                near.push(apps);
                let is_of = |apps: u8, app: u8| apps >> app & 1 == 1;
                let n_limited = near.iter().filter(|&&apps| is_of(apps, pods)).count();
                // Only what the new pod has to do with is judged: what was there before stays.
                let concerns = is_of(apps, pods) || is_of(apps, beside);
                let mut guarded = near.iter().filter(|&&apps| is_of(apps, beside));
                !concerns || guarded.all(|&each| {
                    n_limited - usize::from(is_of(each, pods)) <= at_most as usize
                })
            };
            rules.iter().all(keeps)
        };
        for (at, (apps, gone)) in steps.into_iter().enumerate() {
            if let Some(gone) = gone {
                cluster.remove_pod(&PodId::new(&gone.to_string()));
                placed.remove(&gone);
            }
            let letters: String = (0..3).filter(|bit| apps >> bit & 1 == 1).map(app).collect();
            let node = place(&mut cluster, &at.to_string(), &pod(&letters));
            if nodes.iter().any(|(name, _)| *name == node) {
                prop_assert!(may(&placed, apps, &node), "{letters} on {node}: {placed:?}");
                placed.insert(at, (apps, node));
            } else {
                for (name, _) in nodes {
                    prop_assert!(!may(&placed, apps, name), "{letters} waits though {name} would do: {placed:?}");
                }
            }
        }
    }
}
