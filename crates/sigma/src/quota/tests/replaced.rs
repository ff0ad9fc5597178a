//! Pods and their successors, against a count of all who are there.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::{amounts, node, quota};
use crate::label::{Labels, Operator, Requirement, Selector};
use crate::pod::{Pod, PodId, PodTerm};
use crate::{Cluster, Outcome, Pending};

const SUCCESSOR: &str = "successor-of";

fn successors_of(name: &str) -> PodTerm {
    let requirement =
        Requirement { key: SUCCESSOR.to_owned(), operator: Operator::In, values: vec![name.to_owned()] };
    PodTerm {
        selector: Some(Selector { requirements: vec![requirement] }),
        namespaces: ["a".to_owned()].into(),
        namespace_selector: None,
        topology_key: String::new(),
    }
}

fn pod(namespace: &str, cpu: u64, before: Option<&str>) -> Arc<Pod> {
    let labels: Labels = before.map(|before| (SUCCESSOR.to_owned(), before.to_owned())).into_iter().collect();
    Arc::new(Pod {
        namespace: namespace.to_owned(),
        labels,
        requests: amounts(&format!("cpu={cpu}")),
        ..Pod::default()
    })
}

fn place(cluster: &mut Cluster, name: &str, pod: Arc<Pod>) -> bool {
    let outcome = cluster.place(&[Pending { id: PodId::new(name), pod }]).remove(0);
    matches!(outcome, Outcome::Placed { .. })
}

fn used(cluster: &mut Cluster) -> u128 {
    cluster.quota_usages()["a"].used["cpu"]
}

#[test]
fn who_takes_the_place_of_another_finds_it_in_a_full_quota() {
    let mut cluster = Cluster::new(1);
    cluster.set_node(&node("n", 20));
    cluster.set_quota("a", quota("a", "cpu=4", "cpu=4"));
    assert!(place(&mut cluster, "x", pod("a", 4, None)));
    assert!(!place(&mut cluster, "y", pod("a", 4, Some("x"))), "nobody said that it is replaced");
    cluster.set_replaced(&PodId::new("x"), Some(successors_of("x")));
    assert!(!place(&mut cluster, "y", pod("a", 5, Some("x"))), "it asks for more");
    assert!(place(&mut cluster, "y", pod("a", 4, Some("x"))));
    assert!(!place(&mut cluster, "z", pod("a", 4, Some("x"))), "one takes the place, not two");
    assert_eq!(used(&mut cluster), 4);
    cluster.remove_pod(&PodId::new("x"));
    assert_eq!(used(&mut cluster), 4);
    assert!(!place(&mut cluster, "w", pod("a", 1, None)));
    cluster.remove_pod(&PodId::new("y"));
    assert_eq!(used(&mut cluster), 0);
}

proptest! {
    /// Whatever comes and goes in which order, the accounts say the same as those that are drawn up anew.
    #[test]
    fn pairs_count_once(steps in prop::collection::vec((0..8_u8, 0..6_u8, 1..4_u64), 1..60)) {
        let mut cluster = Cluster::new(1);
        cluster.set_node(&node("n", 1000));
        cluster.set_quota("a", quota("a", "cpu=10", "cpu=1000"));
        let mut pods: BTreeMap<u8, (u64, bool)> = BTreeMap::new();
        let mut replaced = [false; 2];
        for (slot, what, cpu) in steps {
            // Slots 0 and 1 are replaced; 2, 4 and 6 come in the place of 0, and the others of 1.
            let (name, before) = (slot.to_string(), (slot % 2).to_string());
            let id = PodId::new(&name);
            match what {
                0 => {
                    cluster.remove_pod(&id);
                    pods.remove(&slot);
                }
                1 => {
                    let is_leaving = pods.get(&slot).is_some_and(|(_, is_leaving)| !is_leaving);
                    cluster.set_leaving(&id, is_leaving);
                    pods.entry(slot).and_modify(|pod| pod.1 = is_leaving);
                }
                2 => {
                    let side = usize::from(slot % 2);
                    replaced[side] = !replaced[side];
                    let successors = replaced[side].then(|| successors_of(&before));
                    cluster.set_replaced(&PodId::new(&before), successors);
                }
                _ => {
                    let is_leaving = pods.get(&slot).is_some_and(|(_, is_leaving)| *is_leaving);
                    cluster.add_pod(&id, &pod("a", cpu, (slot > 1).then_some(&before)), "n");
                    pods.insert(slot, (cpu, is_leaving));
                }
            }
            let mut expected: u64 = pods.values().map(|(cpu, _)| cpu).sum();
            for side in 0..2_u8 {
                let own = pods.get(&side).filter(|_| replaced[usize::from(side)]);
                let first = pods.iter().find(|(slot, _)| **slot > 1 && **slot % 2 == side);
                if let (Some((own, _)), Some((_, (theirs, _)))) = (own, first) {
                    expected -= own.min(theirs);
                }
            }
            prop_assert_eq!(used(&mut cluster), u128::from(expected));
            let told = cluster.quota_usages();
            cluster.set_quota("b", quota("b", "cpu=1", "cpu=1"));
            cluster.remove_quota("b");
            prop_assert_eq!(cluster.quota_usages(), told, "drawn up anew");
        }
        // Nothing is left over.
        for slot in 0..8_u8 {
            cluster.remove_pod(&PodId::new(&slot.to_string()));
        }
        prop_assert_eq!(used(&mut cluster), 0);
    }
}
