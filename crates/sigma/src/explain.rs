//! Why a pod has no node, and the smallest changes that would give it one; or why it has the one that it has.
//!
//! ```text
//!   verdict of every node ──► counts by reason
//!                        └──► remedies that the reasons suggest ──► each tried alone, then in pairs ──► Changes
//! ```
//!
//! Of a pod that has a node, the scores of all nodes are told, part by part, as they would decide today if the pod were
//! not there: of the moment when it was placed nothing is kept.
//!
//! A remedy is tried on the engine itself: it is named only if the changed pod, or the new node, would really fit.

mod quota;
mod remedy;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cluster::Cluster;
use crate::node::Node;
use crate::pod::{Pod, PodId};
use crate::reason::Reason;
use crate::score::NodeScore;

pub use remedy::Remedy;

/// Shapes of nodes that are looked at when a new node is suggested.
const MOST_SHAPES: usize = 64;
/// Nobody reads more.
const MOST_CHANGES: usize = 5;

/// What stands between a pod and its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub n_nodes: usize,
    /// Nodes that would take the pod now.
    pub n_feasible: usize,
    /// How many nodes each reason rules out, the most frequent first.
    pub reasons: Vec<Count>,
    /// What would help, the smallest first.
    pub changes: Vec<Change>,
}

/// How many nodes a reason rules out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    pub reason: String,
    pub nodes: usize,
}

/// Something that would give the pod a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// All of these together.
    pub remedies: Vec<Remedy>,
    /// How many nodes would take the pod then.
    pub n_nodes: usize,
    /// One of them.
    pub node: String,
}

/// How the node that a pod has compares to the others.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// The one that the pod has.
    pub node: String,
    pub n_nodes: usize,
    /// Nodes that would take the pod, if it had none.
    pub n_feasible: usize,
    /// The place of its node among those; `None` when that would not take it any more.
    pub rank: Option<usize>,
    /// Why its node would not take it.
    pub refusals: Vec<String>,
    /// The best nodes, and its own.
    pub scores: Vec<NodeScore>,
    /// How many nodes each reason rules out, the most frequent first.
    pub reasons: Vec<Count>,
}

/// Compares the node of a pod to the best `n_shown` as if the pod were not there; `None` when it has no node.
pub fn placed(cluster: &mut Cluster, id: &PodId, n_shown: usize) -> Option<Comparison> {
    let (pod, gpus, cpus) = (cluster.pod(id)?.clone(), cluster.gpus_of(id), cluster.cpus_of(id));
    let lifted = cluster.lift(id)?;
    let node = cluster.hosts[lifted.row].name.clone();
    let (mut scores, verdicts) = (cluster.ranking(&pod), cluster.verdicts(&pod));
    cluster.put(id.clone(), lifted);
    if !gpus.is_empty() {
        cluster.hold_gpus(id, &gpus);
    }
    cluster.hold_cpus(id, &cpus);
    let rank = scores.iter().find(|score| score.node == node).map(|score| score.rank);
    let n_feasible = scores.len();
    scores.retain(|score| score.rank <= n_shown || score.node == node);
    let refusals = verdicts.get(&node).into_iter().flatten().map(ToString::to_string).collect();
    let (n_nodes, reasons) = (verdicts.len(), counted(&verdicts));
    Some(Comparison { node, n_nodes, n_feasible, rank, refusals, scores, reasons })
}

/// Explains why `pod` waits in `cluster`, which was told of `nodes`.
pub fn pending(cluster: &mut Cluster, nodes: &[Node], pod: &Pod) -> Explanation {
    let verdicts = cluster.verdicts(pod);
    let reasons = counted(&verdicts);
    let n_feasible = n_feasible(&verdicts);
    let mut changes = Vec::new();
    if n_feasible == 0 {
        changes = changes_for(cluster, pod, &verdicts);
        changes.extend(new_node(cluster, nodes, pod));
    }
    let changes = quota::beside(cluster, pod, (&verdicts, changes));
    Explanation { n_nodes: verdicts.len(), n_feasible, reasons, changes }
}

fn counted(verdicts: &Verdicts) -> Vec<Count> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for reason in verdicts.values().flatten() {
        *counts.entry(reason.to_string()).or_default() += 1;
    }
    let mut reasons: Vec<Count> = counts.into_iter().map(|(reason, nodes)| Count { reason, nodes }).collect();
    reasons.sort_by_key(|count| std::cmp::Reverse(count.nodes));
    reasons
}

/// Every node's reasons against a pod; none where it fits.
type Verdicts = BTreeMap<String, Vec<Reason>>;

fn n_feasible(verdicts: &Verdicts) -> usize {
    verdicts.values().filter(|reasons| reasons.is_empty()).count()
}

/// One remedy where one is enough; else two.
fn changes_for(cluster: &mut Cluster, pod: &Pod, verdicts: &Verdicts) -> Vec<Change> {
    let remedies = remedy::suggested_by(cluster, pod, verdicts);
    let singles: Vec<Change> = remedies.iter().filter_map(|remedy| tried(cluster, pod, &[remedy])).collect();
    if !singles.is_empty() {
        return ranked(without_idle(singles));
    }
    let pairs = remedies
        .iter()
        .enumerate()
        .flat_map(|(position, one)| remedies[position + 1..].iter().map(move |other| (one, other)));
    ranked(pairs.filter_map(|(one, other)| tried(cluster, pod, &[one, other])).collect())
}

/// Leaves out what asks for more than asking for less alone, on the very same node.
fn without_idle(mut changes: Vec<Change>) -> Vec<Change> {
    let lowered = |change: &Change| {
        change.remedies.iter().find_map(|remedy| match remedy {
            Remedy::Lower { node, .. } => Some(node.clone()),
            _ => None,
        })
    };
    let alone = changes.iter().filter(|change| change.remedies.len() == 1).find_map(lowered);
    changes.retain(|change| change.remedies.len() == 1 || lowered(change) != alone);
    changes
}

fn ranked(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_by_key(|change| {
        let cost: u32 = change.remedies.iter().map(Remedy::cost).sum();
        (cost, std::cmp::Reverse(change.n_nodes))
    });
    changes.truncate(MOST_CHANGES);
    changes
}

/// The change, if the pod really fits somewhere after it.
fn tried(cluster: &mut Cluster, pod: &Pod, remedies: &[&Remedy]) -> Option<Change> {
    let mut changed = pod.clone();
    remedies.iter().for_each(|remedy| remedy.apply(&mut changed));
    let mut verdicts = cluster.verdicts(&changed);
    let mut remedies: Vec<Remedy> = remedies.iter().map(|&remedy| remedy.clone()).collect();
    if n_feasible(&verdicts) == 0 {
        // Less of a resource may be what is missing on top: how much less shows only now.
        let lower = remedy::lower(cluster, &changed, &verdicts)?;
        if remedies.iter().any(|remedy| matches!(remedy, Remedy::Lower { .. })) || remedies.len() > 1 {
            return None;
        }
        lower.apply(&mut changed);
        remedies.push(lower);
        verdicts = cluster.verdicts(&changed);
    }
    let node = verdicts.iter().find(|(_, reasons)| reasons.is_empty())?.0.clone();
    Some(Change { remedies, n_nodes: n_feasible(&verdicts), node })
}

/// A node like one that is there, but empty and beside all others, that would take the pod.
fn new_node(cluster: &mut Cluster, nodes: &[Node], pod: &Pod) -> Option<Change> {
    let mut shapes: Vec<&Node> = Vec::new();
    for node in nodes {
        let is_known = shapes.iter().any(|&shape| is_alike(shape, node));
        if !is_known && shapes.len() < MOST_SHAPES {
            shapes.push(node);
        }
    }
    let fits = |node: &&Node| {
        // No node of a cluster has such a name.
        let name = format!("like {}", node.name);
        let mut labels = node.labels.clone();
        if let Some(host) = labels.get_mut(model::names::HOSTNAME_LABEL) {
            host.clone_from(&name);
        }
        cluster.set_node(&Node { name: name.clone(), labels, unschedulable: false, ..(*node).clone() });
        let takes = cluster.verdicts(pod).get(&name).is_some_and(Vec::is_empty);
        cluster.remove_node(&name);
        takes
    };
    let like = shapes.into_iter().find(fits)?.name.clone();
    Some(Change { remedies: vec![Remedy::AddNode { like: like.clone() }], n_nodes: 1, node: like })
}

/// Whether two nodes differ in nothing but their names and cordons.
fn is_alike(one: &Node, other: &Node) -> bool {
    let labels = |node: &Node| {
        let mut labels = node.labels.clone();
        labels.remove(model::names::HOSTNAME_LABEL);
        labels
    };
    one.allocatable == other.allocatable
        && one.taints == other.taints
        && one.gpus == other.gpus
        && one.cpu_topology == other.cpu_topology
        && labels(one) == labels(other)
}
