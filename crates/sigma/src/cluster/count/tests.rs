//! Counts found by labels, against all of them held against a pod one by one.

use proptest::prelude::*;

use super::*;
use crate::pod::WeightedPodTerm;

/// A label of two keys and three values, so that much meets.
fn requirements() -> impl Strategy<Value = Selector> {
    let operator = prop_oneof![
        3 => Just(Operator::In),
        1 => Just(Operator::NotIn),
        1 => Just(Operator::Exists),
        1 => Just(Operator::DoesNotExist),
    ];
    let values = prop::collection::vec("[xyz]", 1..3);
    let requirement = ("[ab]", operator, values);
    prop::collection::vec(requirement, 0..3).prop_map(|all| Selector {
        requirements: all
            .into_iter()
            .map(|(key, operator, values)| Requirement { key, operator, values })
            .collect(),
    })
}

fn term() -> impl Strategy<Value = PodTerm> {
    (prop::option::weighted(0.9, requirements()), "[mn]", prop::option::weighted(0.2, requirements()))
        .prop_map(|(selector, namespace, namespace_selector)| PodTerm {
            selector,
            namespaces: [namespace].into(),
            namespace_selector,
            topology_key: "host".to_owned(),
        })
}

fn key() -> impl Strategy<Value = CountKey> {
    prop_oneof![
        "[op]".prop_map(|owner| CountKey::Owned { owner }),
        ("[mn]", requirements()).prop_map(|(namespace, selector)| CountKey::Selected { namespace, selector }),
        prop::collection::vec(term(), 1..3).prop_map(|terms| CountKey::Named { terms }),
        term().prop_map(|term| CountKey::Repelling { term }),
        (term(), 1..3).prop_map(|(term, weight)| CountKey::Attracting { term, weight }),
    ]
}

fn pod() -> impl Strategy<Value = Pod> {
    let labels = prop::collection::btree_map("[ab]", "[xyz]", 0..3);
    (labels, "[mn]", prop::option::of("[op]"), prop::collection::vec(term(), 0..3), prop::option::of(term()))
        .prop_map(|(labels, namespace, owner, forbidden_pods, liked)| Pod {
            labels,
            namespace,
            owner,
            forbidden_pods,
            preferred_pods: liked.into_iter().map(|term| WeightedPodTerm { weight: 1, term }).collect(),
            ..Pod::default()
        })
}

proptest! {
    #[test]
    fn no_count_is_overlooked(
        keys in prop::collection::vec(key(), 0..12),
        n_gone in 0..6_usize,
        pods in prop::collection::vec(pod(), 1..6),
    ) {
        let namespaces = Namespaces::from([("m".to_owned(), Labels::from([("a".to_owned(), "x".to_owned())]))]);
        let mut counts = Counts::default();
        for pod in &pods {
            for key in CountKey::asked_for_by(pod) {
                counts.acquire(&key);
            }
        }
        for key in &keys {
            counts.acquire(key);
        }
        for key in keys.iter().take(n_gone) {
            counts.release(key);
        }
        for pod in &pods {
            let sorted = |ids: Vec<CountId>| {
                let mut ids = ids;
                ids.sort_unstable();
                ids
            };
            let all = |meant: &dyn Fn(&CountKey) -> bool| {
                sorted(counts.iter().filter(|(key, _)| meant(key)).map(|(_, id)| id).collect())
            };
            prop_assert_eq!(sorted(counts.counting(pod, &namespaces)), all(&|key| key.matches(pod, &namespaces)));
            let speaking = counts.speaking_of(pod, &namespaces);
            prop_assert_eq!(sorted(speaking), all(&|key| key.speaks_of(pod, &namespaces)));
        }
    }
}
