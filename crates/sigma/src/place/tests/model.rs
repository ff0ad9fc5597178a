//! Properties against a slow, obvious model: nothing is overcommitted, nobody waits who fits, equal inputs give equal
//! plans, and a state that saw many events equals one built from what is left.

mod inputs;
mod ledger;

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::Cluster;
use crate::place::{Outcome, Pending};

use inputs::{Event, events};
use ledger::Ledger;

/// Takes the outcomes of a batch into the ledger, pod by pod as they were decided.
fn settle(ledger: &mut Ledger, batch: &[Pending], outcomes: &[Outcome]) {
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_by_key(|&each| std::cmp::Reverse(batch[each].pod.priority));
    for position in order {
        let Pending { id, pod } = &batch[position];
        ledger.remove(id);
        match &outcomes[position] {
            Outcome::Placed { node, .. } => {
                assert!(ledger.fits(pod, node), "{id:?} does not fit {node}");
                ledger.put(id, pod, node);
            }
            Outcome::Unplaced(_) => {
                let fitting = ledger.nodes.keys().find(|node| ledger.fits(pod, node));
                assert_eq!(fitting, None, "{id:?} was left over though it fits");
            }
        }
    }
}

/// The scores that are told of decide as the engine does, and name every node that the pod fits.
fn check_scores(cluster: &mut Cluster, ledger: &Ledger, Pending { id, pod }: &Pending) -> Option<String> {
    cluster.remove_pod(id);
    let ranking = cluster.ranking(pod);
    let fitting = ledger.nodes.keys().filter(|node| ledger.fits(pod, node));
    let told: BTreeSet<&String> = ranking.iter().map(|score| &score.node).collect();
    assert_eq!(told, fitting.collect(), "for {id:?}");
    assert!(ranking.is_sorted_by(|better, worse| better.total >= worse.total), "{ranking:?}");
    for score in &ranking {
        let sum: f64 = score.parts.iter().map(|part| part.points).sum();
        assert!((sum - score.total).abs() < 0.1, "{score:?}");
    }
    ranking.into_iter().next().map(|best| best.node)
}

/// Makes room for a pod that fits nowhere; the victims must be lesser pods, and enough.
fn make_room(cluster: &mut Cluster, ledger: &mut Ledger, pending: &Pending) {
    let Pending { id, pod } = pending;
    let Some(preemption) = cluster.preempt(pending) else {
        // Where pods that it requires are missing, Kubernetes does not look whether it could be the first of them; and
        // nobody goes for a claim.
        let may_help = |node: &&String| {
            ledger.claims_are_free(pod)
                && ledger.has_what_it_requires(pod, node)
                && ledger.without_lesser(pod, node).fits(pod, node)
        };
        let helped = ledger.nodes.keys().find(may_help);
        assert_eq!(helped, None, "no room was made for {id:?} though it could be");
        return;
    };
    let node = &preemption.node;
    for victim in &preemption.victims {
        let (lesser, on) = &ledger.pods[victim];
        assert!(lesser.priority < pod.priority && on == node && !ledger.leaving.contains(victim));
    }
    ledger.leaving.extend(preemption.victims.iter().cloned());
    assert!(ledger.without_leaving(node).fits(pod, node), "too few leave {node} for {id:?}");
    ledger.put(id, pod, node);
}

fn apply(cluster: &mut Cluster, ledger: &mut Ledger, event: Event) {
    match event {
        Event::SetNode(node) => {
            cluster.set_node(&node);
            ledger.nodes.insert(node.name.clone(), node);
        }
        Event::RemoveNode(name) => {
            cluster.remove_node(&name);
            ledger.nodes.remove(&name);
        }
        Event::SetLimits(node, limits) => {
            cluster.set_volume_limits(&node, limits.clone());
            ledger.limits.insert(node, limits);
        }
        Event::SetNamespace(name, labels) => {
            cluster.set_namespace(&name, &labels);
            ledger.namespaces.insert(name, labels);
        }
        Event::RemoveNamespace(name) => {
            cluster.remove_namespace(&name);
            ledger.namespaces.remove(&name);
        }
        Event::Place(batch) => {
            let rebuilt = ledger.rebuilt().place(&batch);
            let outcomes = cluster.place(&batch);
            assert_eq!(rebuilt, outcomes, "what came before must not matter");
            settle(ledger, &batch, &outcomes);
        }
        Event::Preempt(pending) => {
            let batch = [pending];
            ledger.remove(&batch[0].id);
            let best = check_scores(cluster, ledger, &batch[0]);
            let outcomes = cluster.place(&batch);
            let taken = match &outcomes[0] {
                Outcome::Placed { node, .. } => Some(node.clone()),
                Outcome::Unplaced(_) => None,
            };
            assert_eq!(best, taken, "the best score is where the pod goes");
            settle(ledger, &batch, &outcomes);
            if matches!(outcomes[..], [Outcome::Unplaced(_)]) {
                make_room(cluster, ledger, &batch[0]);
            }
        }
        Event::Bind(id, pod, node) => {
            cluster.add_pod(&id, &pod, &node);
            ledger.put(&id, &pod, &node);
        }
        Event::Leave(id, is_leaving) => {
            cluster.set_leaving(&id, is_leaving);
            match is_leaving && ledger.pods.contains_key(&id) {
                true => drop(ledger.leaving.insert(id)),
                false => drop(ledger.leaving.remove(&id)),
            }
        }
        Event::Remove(id) => {
            cluster.remove_pod(&id);
            ledger.remove(&id);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn the_engine_agrees_with_the_obvious_model(events in events()) {
        let mut cluster = Cluster::new(3);
        let mut ledger = Ledger::default();
        for event in events {
            // The same event twice, as a watch that starts again tells it; and the same question twice.
            let again = (!matches!(event, Event::Place(_))).then(|| event.clone());
            apply(&mut cluster, &mut ledger, event);
            again.into_iter().for_each(|event| apply(&mut cluster, &mut ledger, event));
            prop_assert_eq!(cluster.n_pods(), ledger.pods.len());
            prop_assert_eq!(cluster.n_nodes(), ledger.nodes.len());
            for name in ledger.nodes.keys() {
                prop_assert_eq!(cluster.used(name), Some(ledger.used(name)));
            }
            for (id, (_, node)) in &ledger.pods {
                prop_assert_eq!(cluster.node_of(id), Some(node.as_str()));
            }
        }
    }
}
