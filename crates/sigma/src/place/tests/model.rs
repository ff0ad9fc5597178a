//! Properties against a slow, obvious model: nothing is overcommitted, equal inputs give equal plans, and a state
//! that saw many events equals one built from what is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::Cluster;
use crate::label::{Labels, Requirement, Selector};
use crate::node::Node;
use crate::place::{Outcome, Pending};
use crate::pod::{
    HostPort, InclusionPolicy, Pod, PodId, PodTerm, SpreadConstraint, WeightedPodTerm, WhenUnsatisfiable,
};
use crate::resources::{Amounts, CPU, MEMORY, PODS};

#[derive(Clone, Debug)]
enum Event {
    SetNode(Node),
    RemoveNode(String),
    Place(Vec<Pending>),
    Bind(PodId, Arc<Pod>, String),
    Remove(PodId),
}

fn node() -> impl Strategy<Value = Node> {
    (0..5_u8, 0..8_u64, 0..8_u64, 0..4_u64, 0..3_u8).prop_map(|(name, cpu, memory, pods, zone)| Node {
        name: format!("n{name}"),
        allocatable: Amounts::from([
            (CPU.to_owned(), cpu),
            (MEMORY.to_owned(), memory),
            (PODS.to_owned(), pods),
        ]),
        // A zone of several nodes, and a host of one: rules on the two are kept by different means.
        labels: Labels::from([
            ("zone".to_owned(), format!("z{zone}")),
            ("host".to_owned(), format!("n{name}")),
        ]),
        taints: Vec::new(),
        unschedulable: false,
        ..Node::default()
    })
}

fn pod() -> impl Strategy<Value = Pod> {
    let rules = (any::<bool>(), 0..6_u8, prop_oneof![Just("zone"), Just("host")]);
    let shape = (0..4_u64, 0..4_u64, any::<bool>(), rules, 0..3_u8, -1..2_i32);
    shape.prop_map(|(cpu, memory, takes_port, (spreads, company, key), app, priority)| {
        let (joins, avoids, wishes) = (company == 1, company == 2, company == 3);
        let app = Labels::from([("app".to_owned(), app.to_string())]);
        let requirements = vec![Requirement::equals("app", app["app"].clone())];
        let constraint = SpreadConstraint {
            topology_key: key.to_owned(),
            max_skew: 1,
            unsatisfiable: WhenUnsatisfiable::DoNotSchedule,
            selector: Some(Selector { requirements }),
            min_domains: None,
            affinity_policy: InclusionPolicy::Honor,
            taints_policy: InclusionPolicy::Ignore,
        };
        let same = PodTerm {
            selector: constraint.selector.clone(),
            namespaces: [String::new()].into(),
            namespace_selector: None,
            topology_key: key.to_owned(),
        };
        let wish = WeightedPodTerm { weight: if cpu > 1 { 10 } else { -10 }, term: same.clone() };
        let port = HostPort { protocol: "TCP".to_owned(), address: String::new(), port: 80 };
        Pod {
            owner: Some(app["app"].clone()),
            labels: app,
            requests: Amounts::from([(CPU.to_owned(), cpu), (MEMORY.to_owned(), memory)]),
            host_ports: takes_port.then_some(port).into_iter().collect(),
            spread: spreads.then_some(constraint).into_iter().collect(),
            required_pods: joins.then(|| same.clone()).into_iter().collect(),
            preferred_pods: wishes.then_some(wish).into_iter().collect(),
            forbidden_pods: avoids.then_some(same).into_iter().collect(),
            priority,
            ..Pod::default()
        }
    })
}

fn id() -> impl Strategy<Value = PodId> {
    (0..12_u8).prop_map(|id| PodId::new(&id.to_string()))
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        node().prop_map(Event::SetNode),
        (0..5_u8).prop_map(|name| Event::RemoveNode(format!("n{name}"))),
        proptest::collection::vec((id(), pod()), 1..6).prop_map(|pods| {
            Event::Place(pods.into_iter().map(|(id, pod)| Pending { id, pod: Arc::new(pod) }).collect())
        }),
        (id(), pod(), 0..5_u8).prop_map(|(id, pod, node)| Event::Bind(id, Arc::new(pod), format!("n{node}"))),
        id().prop_map(Event::Remove),
    ]
}

/// What must be true, kept in the plainest way.
#[derive(Default)]
struct Ledger {
    nodes: BTreeMap<String, Node>,
    pods: BTreeMap<PodId, (Arc<Pod>, String)>,
}

impl Ledger {
    fn used(&self, node: &str) -> [u64; 3] {
        let here = || self.pods.values().filter(|(_, on)| on == node).map(|(pod, _)| pod);
        let sum = |name: &str| here().filter_map(|pod| pod.requests.get(name)).sum();
        [sum(CPU), sum(MEMORY), here().count() as u64]
    }

    /// Whether `pod` may be added to `node` now.
    fn fits(&self, pod: &Pod, node: &str) -> bool {
        let Some(known) = self.nodes.get(node) else { return false };
        let used = self.used(node);
        let asked = [pod.requests[CPU], pod.requests[MEMORY], 1];
        let room = [CPU, MEMORY, PODS].map(|name| known.allocatable[name]);
        let resources = (0..3).all(|each| asked[each] == 0 || used[each] + asked[each] <= room[each]);
        let holds = |(other, on): &(Arc<Pod>, String)| on == node && !other.host_ports.is_empty();
        let port = pod.host_ports.is_empty() || !self.pods.values().any(holds);
        resources
            && port
            && pod.spread.iter().all(|each| self.keeps_skew(pod, &each.topology_key, known))
            && self.has_the_company(pod, known)
    }

    /// The pods of the same app, with whether they are near `node` by `key`.
    fn of_app(&self, pod: &Pod, key: &str, node: &Node) -> Vec<(&Pod, bool)> {
        let there = self.pods.values().filter(|(other, _)| other.labels == pod.labels);
        let near = |on: &String| Some(self.nodes.get(on)?.labels[key] == node.labels[key]);
        there.filter_map(|(other, on)| Some((&**other, near(on)?))).collect()
    }

    /// Whether the pods of the same app are there that the pod requires, and none that it or they forbid.
    fn has_the_company(&self, pod: &Pod, node: &Node) -> bool {
        let near = |key: &str| self.of_app(pod, key, node).iter().filter(|(_, is_near)| *is_near).count();
        let joined = pod.required_pods.iter().all(|term| {
            near(&term.topology_key) > 0 || self.of_app(pod, &term.topology_key, node).is_empty()
        });
        let is_apart = pod.forbidden_pods.iter().all(|term| near(&term.topology_key) == 0);
        let mut keys = ["zone", "host"].into_iter();
        let is_borne = keys.all(|key| {
            let forbids = |other: &Pod| other.forbidden_pods.iter().any(|term| term.topology_key == key);
            !self.of_app(pod, key, node).iter().any(|(other, is_near)| *is_near && forbids(other))
        });
        joined && is_apart && is_borne
    }

    fn keeps_skew(&self, pod: &Pod, key: &str, node: &Node) -> bool {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, node) in &self.nodes {
            let here = |(other, on): &&(Arc<Pod>, String)| on == name && other.labels == pod.labels;
            *counts.entry(&node.labels[key]).or_default() += self.pods.values().filter(here).count() as u64;
        }
        counts[node.labels[key].as_str()] < counts.values().min().unwrap() + 1
    }

    fn rebuilt(&self) -> Cluster {
        let mut cluster = Cluster::new(3);
        // The other way round on purpose: pods first, nodes backwards.
        self.pods.iter().rev().for_each(|(id, (pod, node))| cluster.add_pod(id, pod, node));
        self.nodes.values().rev().for_each(|node| cluster.set_node(node));
        cluster
    }
}

fn check_batch(cluster: &mut Cluster, ledger: &mut Ledger, batch: &[Pending]) {
    let outcomes = cluster.place(batch);
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_by_key(|&each| std::cmp::Reverse(batch[each].pod.priority));
    for position in order {
        let Pending { id, pod } = &batch[position];
        ledger.pods.remove(id);
        match &outcomes[position] {
            Outcome::Placed { node, .. } => {
                assert!(ledger.fits(pod, node), "{id:?} does not fit {node}");
                ledger.pods.insert(id.clone(), (pod.clone(), node.clone()));
            }
            Outcome::Unplaced(_) => {
                let fitting = ledger.nodes.keys().find(|node| ledger.fits(pod, node));
                assert_eq!(fitting, None, "{id:?} was left over though it fits");
            }
        }
    }
}

proptest! {
    #[test]
    fn the_engine_agrees_with_the_obvious_model(events in proptest::collection::vec(event(), 1..40)) {
        let mut cluster = Cluster::new(3);
        let mut ledger = Ledger::default();
        for event in events {
            match event {
                Event::SetNode(node) => {
                    cluster.set_node(&node);
                    ledger.nodes.insert(node.name.clone(), node);
                }
                Event::RemoveNode(name) => {
                    cluster.remove_node(&name);
                    ledger.nodes.remove(&name);
                }
                Event::Place(batch) => {
                    let mut rebuilt = ledger.rebuilt();
                    prop_assert_eq!(rebuilt.place(&batch), cluster.place(&batch));
                    // Undone and done again under the eyes of the model.
                    let mut cluster_again = ledger.rebuilt();
                    check_batch(&mut cluster_again, &mut ledger, &batch);
                }
                Event::Bind(id, pod, node) => {
                    cluster.add_pod(&id, &pod, &node);
                    ledger.pods.insert(id, (pod, node));
                }
                Event::Remove(id) => {
                    cluster.remove_pod(&id);
                    ledger.pods.remove(&id);
                }
            }
            prop_assert_eq!(cluster.n_pods(), ledger.pods.len());
            prop_assert_eq!(cluster.n_nodes(), ledger.nodes.len());
            for name in ledger.nodes.keys() {
                prop_assert_eq!(cluster.used(name), Some(ledger.used(name)));
            }
        }
    }
}
