//! The slow, obvious model: lists of nodes and pods, and every rule as its documentation words it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::Cluster;
use crate::label::{Labels, NodeTerm};
use crate::node::{Effect, Node, Taint};
use crate::pod::{InclusionPolicy, Namespaces, Pod, PodId, PodTerm, SpreadConstraint, WhenUnsatisfiable};
use crate::resources::{CPU, MEMORY, PODS};
use crate::volume::{Disk, Place, Volumes};

/// What must be true, kept in the plainest way.
#[derive(Clone, Default)]
pub(super) struct Ledger {
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) pods: BTreeMap<PodId, (Arc<Pod>, String)>,
    pub(super) leaving: BTreeSet<PodId>,
    pub(super) namespaces: Namespaces,
    pub(super) limits: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Ledger {
    pub(super) fn put(&mut self, id: &PodId, pod: &Arc<Pod>, node: &str) {
        self.pods.insert(id.clone(), (Arc::clone(pod), node.to_owned()));
    }

    pub(super) fn remove(&mut self, id: &PodId) {
        self.pods.remove(id);
        self.leaving.remove(id);
    }

    fn on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = (&'a PodId, &'a Pod)> {
        self.pods.iter().filter(move |(_, (_, on))| on == node).map(|(id, (pod, _))| (id, &**pod))
    }

    fn used_of(&self, node: &str, resource: &str) -> u128 {
        let amounts = self.on(node).filter_map(|(_, pod)| pod.requests.get(resource));
        amounts.map(|&amount| u128::from(amount)).sum()
    }

    pub(super) fn used(&self, node: &str) -> [u64; 3] {
        let used = |resource: &str| u64::try_from(self.used_of(node, resource)).unwrap_or(u64::MAX);
        [used(CPU), used(MEMORY), self.on(node).count() as u64]
    }

    /// Whether `pod` may be added to `node` now.
    pub(super) fn fits(&self, pod: &Pod, node: &str) -> bool {
        let Some(node) = self.nodes.get(node) else { return false };
        let cordon = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            value: String::new(),
            effect: Effect::NoSchedule,
        };
        (!node.unschedulable || tolerates(pod, &cordon))
            && tolerates_all(pod, node)
            && is_wanted(pod, node)
            && self.has_room(pod, node)
            && self.has_ports(pod, node)
            && self.has_volumes(pod, node)
            && self.is_spread(pod, node)
            && self.has_what_it_requires(pod, &node.name)
            && self.is_apart(pod, node)
    }

    /// As if all pods of `node` that are leaving, or that are less important than `pod`, had gone.
    pub(super) fn without_lesser(&self, pod: &Pod, node: &str) -> Self {
        let mut without = self.clone();
        without.pods.retain(|id, (other, on)| {
            on != node || !(self.leaving.contains(id) || other.priority < pod.priority)
        });
        without
    }

    /// As if all pods of `node` that are leaving had gone.
    pub(super) fn without_leaving(&self, node: &str) -> Self {
        let mut without = self.clone();
        without.pods.retain(|id, (_, on)| on != node || !self.leaving.contains(id));
        without
    }

    fn has_room(&self, pod: &Pod, node: &Node) -> bool {
        let there = |resource: &str| u128::from(node.allocatable.get(resource).copied().unwrap_or(0));
        let asked = pod.requests.iter().filter(|(_, amount)| **amount > 0);
        let mut asked = asked.map(|(name, &amount)| (name, u128::from(amount)));
        asked.all(|(name, amount)| self.used_of(&node.name, name) + amount <= there(name))
            && (self.on(&node.name).count() as u128) < there(PODS)
    }

    fn has_ports(&self, pod: &Pod, node: &Node) -> bool {
        let mut held = self.on(&node.name).flat_map(|(_, other)| &other.host_ports);
        held.all(|held| pod.host_ports.iter().all(|port| !port.conflicts(held)))
    }

    fn has_volumes(&self, pod: &Pod, node: &Node) -> bool {
        let reaches = |place: &Place| place.terms.iter().any(|term| is_term(term, node));
        let others: Vec<&Volumes> = self.on(&node.name).map(|(_, other)| &other.volumes).collect();
        let is_shared =
            |one: &Disk, other: &Disk| one.name != other.name || one.is_read_only && other.is_read_only;
        let mut held = others.iter().flat_map(|other| &other.disks);
        let no_limits = BTreeMap::new();
        let mut limits = self.limits.get(&node.name).unwrap_or(&no_limits).iter();
        let within = |(driver, limit): (&String, &u64)| {
            let of_driver = |volumes: &Volumes| -> BTreeSet<String> {
                let own = volumes.attached.iter().filter(|each| each.driver == *driver);
                own.map(|each| each.volume.clone()).collect()
            };
            let held: BTreeSet<String> = others.iter().flat_map(|other| of_driver(other)).collect();
            let asked = of_driver(&pod.volumes);
            asked.is_subset(&held) || held.union(&asked).count() as u64 <= *limit
        };
        pod.volumes.places.iter().all(reaches)
            && held.all(|held| pod.volumes.disks.iter().all(|disk| is_shared(disk, held)))
            && limits.all(within)
            && self.claims_are_free(pod)
    }

    /// Whether no pod anywhere uses a claim of the pod's that only one may use.
    pub(super) fn claims_are_free(&self, pod: &Pod) -> bool {
        let mut others = self.pods.values();
        others.all(|(other, _)| pod.volumes.exclusive.is_disjoint(&other.volumes.exclusive))
    }

    fn is_spread(&self, pod: &Pod, node: &Node) -> bool {
        let mut hard = pod.spread.iter().filter(|each| is_hard(each));
        hard.all(|constraint| self.keeps_skew(pod, constraint, node))
    }

    fn keeps_skew(&self, pod: &Pod, constraint: &SpreadConstraint, node: &Node) -> bool {
        let Some(here) = node.labels.get(&constraint.topology_key) else { return false };
        let counts_node = |other: &Node| {
            let mut keys = pod.spread.iter().filter(|each| is_hard(each)).map(|each| &each.topology_key);
            keys.all(|key| other.labels.contains_key(key))
                && (constraint.affinity_policy == InclusionPolicy::Ignore || is_wanted(pod, other))
                && (constraint.taints_policy == InclusionPolicy::Ignore || tolerates_all(pod, other))
        };
        let counts_pod = |other: &Pod| {
            let is_named =
                constraint.selector.as_ref().is_some_and(|selector| selector.matches(&other.labels));
            is_named && other.namespace == pod.namespace
        };
        let mut domains: BTreeMap<&String, u64> = BTreeMap::new();
        for node in self.nodes.values().filter(|node| counts_node(node)) {
            let stay = self.on(&node.name).filter(|(id, _)| !self.leaving.contains(id));
            let count = stay.filter(|(_, other)| counts_pod(other)).count() as u64;
            *domains.entry(&node.labels[&constraint.topology_key]).or_default() += count;
        }
        let is_few = constraint.min_domains.is_some_and(|least| domains.len() < least as usize);
        let least = if is_few { 0 } else { domains.values().min().copied().unwrap_or(0) };
        let with_it = domains.get(here).copied().unwrap_or(0) + u64::from(counts_pod(pod));
        with_it <= least + u64::from(constraint.max_skew)
    }

    /// Whether the pods are near that the pod requires.
    pub(super) fn has_what_it_requires(&self, pod: &Pod, node: &str) -> bool {
        let Some(node) = self.nodes.get(node) else { return false };
        let is_of_all = |other: &Pod| pod.required_pods.iter().all(|term| self.names(term, other));
        let company: Vec<&Node> =
            self.placed().filter(|(other, _)| is_of_all(other)).map(|(_, on)| on).collect();
        let mut keys = pod.required_pods.iter().map(|term| &term.topology_key);
        let is_anywhere = keys.clone().any(|key| company.iter().any(|on| on.labels.contains_key(key)));
        let may_be_first = !is_anywhere && is_of_all(pod);
        keys.all(|key| {
            node.labels.contains_key(key)
                && (may_be_first || company.iter().any(|on| are_near(on, node, key)))
        })
    }

    /// Whether the pod forbids none that is near, and none that is near forbids it.
    fn is_apart(&self, pod: &Pod, node: &Node) -> bool {
        let parts = |term: &PodTerm, other: &Pod, on: &Node| {
            self.names(term, other) && are_near(on, node, &term.topology_key)
        };
        self.placed().all(|(other, on)| {
            !pod.forbidden_pods.iter().any(|term| parts(term, other, on))
                && !other.forbidden_pods.iter().any(|term| parts(term, pod, on))
        })
    }

    /// The pods on nodes that are there.
    fn placed(&self) -> impl Iterator<Item = (&Pod, &Node)> {
        self.pods.values().filter_map(|(pod, on)| Some((&**pod, self.nodes.get(on)?)))
    }

    fn names(&self, term: &PodTerm, pod: &Pod) -> bool {
        let labels = self.namespaces.get(&pod.namespace).cloned().unwrap_or_else(Labels::new);
        let is_selected = term.namespace_selector.as_ref().is_some_and(|selector| selector.matches(&labels));
        term.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels))
            && (is_selected || term.namespaces.contains(&pod.namespace))
    }

    /// A cluster that was told of what is left, in another order: pods first, nodes backwards.
    pub(super) fn rebuilt(&self) -> Cluster {
        let mut cluster = Cluster::new(3);
        self.pods.iter().rev().for_each(|(id, (pod, node))| cluster.add_pod(id, pod, node));
        self.nodes.values().rev().for_each(|node| cluster.set_node(node));
        self.namespaces.iter().for_each(|(name, labels)| cluster.set_namespace(name, labels));
        for (node, limits) in &self.limits {
            cluster.set_volume_limits(node, limits.clone());
        }
        self.leaving.iter().for_each(|id| cluster.set_leaving(id, true));
        cluster
    }
}

fn is_hard(constraint: &SpreadConstraint) -> bool {
    constraint.unsatisfiable == WhenUnsatisfiable::DoNotSchedule
}

fn are_near(one: &Node, other: &Node, key: &str) -> bool {
    one.labels.contains_key(key) && one.labels.get(key) == other.labels.get(key)
}

fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    pod.tolerations.iter().any(|toleration| toleration.tolerates(taint))
}

fn tolerates_all(pod: &Pod, node: &Node) -> bool {
    node.taints.iter().all(|taint| taint.effect == Effect::PreferNoSchedule || tolerates(pod, taint))
}

/// Whether the pod's own wording admits the node.
fn is_wanted(pod: &Pod, node: &Node) -> bool {
    let terms = pod.required_nodes.as_ref();
    pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && terms.is_none_or(|terms| terms.iter().any(|term| is_term(term, node)))
}

fn is_term(term: &NodeTerm, node: &Node) -> bool {
    let label = |key: &String| node.labels.get(key).map(String::as_str);
    let is_empty = term.labels.is_empty() && term.fields.is_empty();
    !is_empty
        && term.labels.iter().all(|each| each.matches(label(&each.key)))
        && term.fields.iter().all(|each| each.matches(Some(&node.name)))
}
