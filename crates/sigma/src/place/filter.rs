//! Filters: which nodes could take a pod at all. Those that look at no other pod are evaluated once per template
//! and batch.

use crate::cluster::{Cluster, Host, Row, Template};
use crate::node::{Effect, Taint};
use crate::pod::Pod;
use crate::reason::Reason;

use super::Others;

/// What holds for every pod of a template, whatever runs on the nodes.
#[derive(Debug)]
pub(super) struct StaticView {
    rows: Vec<Static>,
}

/// The static part of one node.
#[derive(Debug)]
pub(super) struct Static {
    pub(super) refused: Option<Reason>,
    pub(super) matches_affinity: bool,
    pub(super) tolerates_taints: bool,
    /// Sum of the weights of the preferred terms that match.
    pub(super) preference: u64,
    /// How many `PreferNoSchedule` taints the pod does not tolerate.
    pub(super) n_disliked_taints: u64,
}

impl StaticView {
    pub(super) fn of(cluster: &Cluster, pod: &Pod) -> Self {
        let rows = cluster.hosts.iter().enumerate().map(|(row, host)| judge(cluster, pod, row, host));
        Self { rows: rows.collect() }
    }

    pub(super) fn verdict(&self, row: Row) -> &Static {
        &self.rows[row]
    }
}

fn judge(cluster: &Cluster, pod: &Pod, row: Row, host: &Host) -> Static {
    let matches_affinity = matches_affinity(cluster, pod, row, host);
    let untolerated = host.taints.iter().find(|taint| repels(pod, taint));
    let refused = if host.is_unschedulable && !tolerates_unschedulable(pod) {
        Some(Reason::Unschedulable)
    } else if let Some(taint) = untolerated {
        Some(Reason::UntoleratedTaint(taint.clone()))
    } else if matches_affinity {
        None
    } else {
        Some(Reason::NodeAffinity)
    };
    let label = |key: &str| cluster.labels.get(row, key);
    let preferred = pod.preferred_nodes.iter().filter(|each| each.term.matches(&host.name, label));
    let disliked = |taint: &&Taint| taint.effect == Effect::PreferNoSchedule && !is_tolerated(pod, taint);
    Static {
        refused,
        matches_affinity,
        tolerates_taints: untolerated.is_none(),
        preference: preferred.map(|each| u64::from(each.weight)).sum(),
        n_disliked_taints: host.taints.iter().filter(disliked).count() as u64,
    }
}

fn matches_affinity(cluster: &Cluster, pod: &Pod, row: Row, host: &Host) -> bool {
    let label = |key: &str| cluster.labels.get(row, key);
    let selected = pod.node_selector.iter().all(|(key, value)| label(key) == Some(value));
    let required = pod.required_nodes.as_ref();
    selected && required.is_none_or(|terms| terms.iter().any(|term| term.matches(&host.name, label)))
}

fn is_tolerated(pod: &Pod, taint: &Taint) -> bool {
    pod.tolerations.iter().any(|toleration| toleration.tolerates(taint))
}

fn repels(pod: &Pod, taint: &Taint) -> bool {
    taint.effect != Effect::PreferNoSchedule && !is_tolerated(pod, taint)
}

/// A cordoned node is one with this taint, for pods that tolerate it.
fn tolerates_unschedulable(pod: &Pod) -> bool {
    let key = "node.kubernetes.io/unschedulable".to_owned();
    is_tolerated(pod, &Taint { key, value: String::new(), effect: Effect::NoSchedule })
}

/// Whether the node can take a pod of `template` now; if not, why. The first filter that fails speaks for the node,
/// and only resources name all that are short.
pub(super) fn check(
    cluster: &Cluster,
    template: &Template,
    fixed: &Static,
    (row, others): (Row, &Others<'_>),
) -> Result<(), Vec<Reason>> {
    if let Some(reason) = &fixed.refused {
        return Err(vec![reason.clone()]);
    }
    let held = &cluster.hosts[row].ports;
    if template.pod.host_ports.iter().any(|port| held.iter().any(|other| other.conflicts(port))) {
        return Err(vec![Reason::HostPorts]);
    }
    let short = cluster.resources.short(row, &template.demand);
    if !short.is_empty() {
        return Err(short);
    }
    cluster.gpus.check(row, template.pod.gpu.as_ref()).map_err(|reason| vec![reason])?;
    let checked = others.spread.check(row).and_then(|()| others.neighbours.check(row));
    checked.map_err(|reason| vec![reason])
}
