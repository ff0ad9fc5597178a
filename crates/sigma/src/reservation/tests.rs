//! Room that is held: who may use it, and that it is never counted twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::Cluster;
use crate::label::{Labels, Requirement, Selector};
use crate::node::Node;
use crate::place::{Outcome, Pending};
use crate::pod::{Pod, PodId, PodTerm};
use crate::resources::Amounts;

fn node(name: &str, cpu: u64) -> Node {
    let allocatable = Amounts::from([("cpu".to_owned(), cpu), ("pods".to_owned(), 20)]);
    Node { name: name.to_owned(), allocatable, ..Node::default() }
}

fn pod(app: &str, cpu: u64) -> Pod {
    Pod {
        labels: Labels::from([("app".to_owned(), app.to_owned())]),
        requests: Amounts::from([("cpu".to_owned(), cpu)]),
        ..Pod::default()
    }
}

fn owners(app: &str) -> PodTerm {
    PodTerm {
        selector: Some(Selector { requirements: vec![Requirement::equals("app", app)] }),
        namespaces: [String::new()].into(),
        namespace_selector: None,
        topology_key: String::new(),
    }
}

fn place(cluster: &mut Cluster, name: &str, pod: Pod) -> Option<String> {
    match cluster.place(&[Pending { id: PodId::new(name), pod: Arc::new(pod) }]).remove(0) {
        Outcome::Placed { node, .. } => Some(node),
        Outcome::Unplaced(_) => None,
    }
}

fn reserve(cluster: &mut Cluster, name: &str, app: &str, cpu: u64) -> Option<String> {
    cluster.set_reservation(&PodId::new(name), owners(app));
    place(cluster, name, Pod { labels: Labels::new(), priority: i32::MAX, ..pod("", cpu) })
}

#[test]
fn only_owners_may_use_it_and_they_go_there_first() {
    let mut cluster = Cluster::new(7);
    cluster.set_node(&node("a", 4));
    assert_eq!(reserve(&mut cluster, "r", "db", 3).as_deref(), Some("a"));
    cluster.set_node(&node("b", 4));
    assert_eq!(place(&mut cluster, "x", pod("web", 2)).as_deref(), Some("b"), "the rest is too small");
    assert_eq!(place(&mut cluster, "y", pod("db", 2)).as_deref(), Some("a"), "b is emptier, but not held");
    assert_eq!(cluster.used("a").unwrap()[0], 3, "one core is still held beside the two");
    assert_eq!(
        place(&mut cluster, "z", pod("db", 2)).as_deref(),
        Some("a"),
        "one of it is held, one is free"
    );
    assert_eq!(cluster.used("a").unwrap()[0], 4);
    cluster.remove_pod(&PodId::new("y"));
    assert_eq!(cluster.used("a").unwrap()[0], 3, "what an owner gives back is held again");
    assert_eq!(place(&mut cluster, "w", pod("web", 2)).as_deref(), Some("b"));
    assert_eq!(place(&mut cluster, "v", pod("web", 2)), None);
    cluster.remove_reservation(&PodId::new("r"));
    assert_eq!(place(&mut cluster, "v", pod("web", 2)).as_deref(), Some("a"));
    assert_eq!(cluster.used("a").unwrap()[0], 4);
}

#[test]
fn nobody_makes_a_reservation_go() {
    let mut cluster = Cluster::new(7);
    cluster.set_node(&node("a", 4));
    assert!(reserve(&mut cluster, "r", "db", 3).is_some());
    let important = Pod { priority: 2_000_000_000, ..pod("web", 2) };
    assert!(cluster.preempt(&Pending { id: PodId::new("x"), pod: Arc::new(important) }).is_none());
}

proptest! {
    /// By the definition: a reservation holds what it was made for, less what its owners have there.
    #[test]
    fn what_is_in_use_is_what_pods_ask_and_what_is_held_for_them(
        steps in proptest::collection::vec((0..12_u8, 0..4_u8, 1..4_u64, 0..3_u8), 1..50),
    ) {
        let mut cluster = Cluster::new(3);
        let sizes = [("a", 6), ("b", 5)];
        for (name, cpu) in sizes {
            cluster.set_node(&node(name, cpu));
        }
        // By name: the node, the app (of owners, for a reservation), processors, whether it is a reservation.
        let mut known: BTreeMap<String, (String, u8, u64, bool)> = BTreeMap::new();
        for (slot, what, cpu, app) in steps {
            let app_name = app.to_string();
            let is_reservation = slot >= 9;
            let name = slot.to_string();
            if is_reservation {
                cluster.remove_reservation(&PodId::new(&name));
            } else {
                cluster.remove_pod(&PodId::new(&name));
            }
            known.remove(&name);
            let used = |known: &BTreeMap<String, (String, u8, u64, bool)>, node: &str| -> u64 {
                let here = || known.values().filter(|(on, ..)| on == node);
                let of = |app: u8, held: bool| -> u64 {
                    here().filter(|(_, of, _, is)| *of == app && *is == held).map(|(_, _, cpu, _)| cpu).sum()
                };
                // Of one app, either what its pods have or what is held for them, whichever is more.
                (0..3).map(|app| of(app, false).max(of(app, true))).sum()
            };
            if what > 0 {
                let placed = if is_reservation {
                    reserve(&mut cluster, &name, &app_name, cpu)
                } else {
                    place(&mut cluster, &name, pod(&app_name, cpu))
                };
                for (node, size) in sizes {
                    let mut with = known.clone();
                    with.insert(name.clone(), (node.to_owned(), app, cpu, is_reservation));
                    // A reservation is made of room that is free, not of what its owners have already.
                    let plain = used(&known, node) + cpu;
                    let fits = if is_reservation { plain <= size } else { used(&with, node) <= size };
                    prop_assert!(placed.is_some() || !fits, "{name} waits though {node} could take it: {known:?}");
                    prop_assert!(placed.as_deref() != Some(node) || fits, "{name} is on {node}: {known:?}");
                }
                if let Some(node) = placed {
                    known.insert(name, (node, app, cpu, is_reservation));
                }
            }
            for (node, _) in sizes {
                prop_assert_eq!(cluster.used(node).unwrap()[0], used(&known, node), "{:?}", &known);
            }
        }
    }
}
