//! Policies: what counts decides where a pod goes.

use std::sync::Arc;

use expect_test::{Expect, expect};

use super::tables::{line, node, pod};
use crate::Cluster;
use crate::label::{NodeTerm, PreferredTerm, Requirement};
use crate::place::Pending;
use crate::pod::{Pod, PodId};
use crate::policy::{Fill, Policy, Weights};

/// Places four pods one after another on three nodes, of which one has the label `disk=ssd`.
fn check(shape: Pod, expect: Expect) {
    let mut cluster = Cluster::new(7);
    [node("a", ""), node("b", "disk=ssd"), node("c", "")].iter().for_each(|node| cluster.set_node(node));
    let batch: Vec<Pending> = (0..4)
        .map(|at| Pending { id: PodId::new(&format!("p{at}")), pod: Arc::new(shape.clone()) })
        .collect();
    let lines: Vec<String> = cluster.place(&batch).iter().map(line).collect();
    expect.assert_eq(&lines.join(" "));
}

#[test]
fn packing_fills_one_node_after_another() {
    check(pod("cpu=1000 memory=1024"), expect!["b a c b"]);
    let packed = Pod { policy: Policy::of(Fill::Pack), ..pod("cpu=1000 memory=1024") };
    check(packed.clone(), expect!["b b b b"]);
    // Siblings, too, unless they are to keep apart.
    let siblings = Pod { owner: Some("o".to_owned()), ..packed };
    check(siblings.clone(), expect!["b b b b"]);
    let policy = Policy { spreads_siblings: true, ..siblings.policy };
    check(Pod { policy, ..siblings }, expect!["b a c b"]);
}

#[test]
fn weights_say_what_counts() {
    let term = NodeTerm { labels: vec![Requirement::equals("disk", "ssd")], fields: Vec::new() };
    let wishing =
        Pod { preferred_nodes: vec![PreferredTerm { weight: 1, term }], ..pod("cpu=500 memory=512") };
    check(wishing.clone(), expect!["b b b b"]);
    let weights = Weights { node_affinity: 0, ..Weights::default() };
    check(Pod { policy: Policy { weights, ..Policy::default() }, ..wishing }, expect!["b a c b"]);
}
