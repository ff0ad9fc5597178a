//! Preemption: which pods of lower priority go when a pod fits nowhere, and where.
//!
//! ```text
//!   every node: without its lesser pods, does the pod fit? ──► take back as many as possible ──► what is left: the cost
//!   cheapest node ──► tried in earnest ──► victims marked as leaving, the pod holds the room ──► Preemption
//! ```
//!
//! As in kube-scheduler, a node is cheaper when fewer disruption budgets are broken, then by the highest priority
//! among the victims, the sum of their priorities, their number, and how lately the most important of them came. The
//! costs of all nodes are kept per class and only reckoned again where something changed.
//!
//! Who may have whom go is the matter of a [`Claim`]: lesser pods, and where elastic quotas are, borrowers.

mod claim;
mod room;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use model::CpuSet;

use crate::cluster::{Cluster, Placed, Row, Template, TemplateId};
use crate::gpu::GpuSet;
use crate::place::Pending;
use crate::pod::{Pod, PodId};
use crate::view::{View, is_closed};

use claim::Claim;
use room::Room;

#[cfg(test)]
mod tests;

/// Of the cheapest nodes so many are looked for at a time.
const AT_A_TIME: usize = 16;

/// Nodes that are tried in earnest before a pod is left to wait. A node on which it turns out then that more than one rule
/// stands against the pod is rare.
const MAX_TRIES: usize = 256;

/// Room that is being made for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preemption {
    pub node: String,
    /// Pods that must be told to go. Empty where enough are leaving already.
    pub victims: Vec<PodId>,
}

/// What it would cost to make room on a row; less is better.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    n_broken_budgets: usize,
    highest_priority: i64,
    priorities: i64,
    n_victims: usize,
    /// When the first of the most important victims came: the later, the less is lost.
    arrival: Reverse<u64>,
}

/// The costs of all rows for one class of pods with one claim.
#[derive(Debug)]
pub(crate) struct Costs {
    claim: Claim,
    structure: u64,
    budgets: u64,
    seen: u64,
    of_row: Vec<Option<Cost>>,
    /// How many losses of borrowers each row's cost has seen: since then it can only have become dearer.
    losses: Vec<u64>,
}

impl Cluster {
    /// In whose place a pod that fits nowhere could run. Nothing is changed.
    pub fn foretell_preemption(&mut self, pending: &Pending) -> Option<Preemption> {
        let budgets = self.budgets.clone();
        let found = self.preempt(pending)?;
        self.remove_pod(&pending.id);
        found.victims.iter().for_each(|victim| self.set_leaving(victim, false));
        self.budgets.restore(budgets);
        Some(found)
    }

    /// Makes room for a pod that fits nowhere: the pod is assumed on the node, its victims are leaving. Place it again
    /// when they have gone. `None` when no pods of lower priority could make room.
    pub fn preempt(&mut self, pending: &Pending) -> Option<Preemption> {
        self.preempt_below(pending, pending.pod.priority)
    }

    /// As [`Cluster::preempt`], of pods below `priority` only.
    pub(crate) fn preempt_below(&mut self, pending: &Pending, priority: i32) -> Option<Preemption> {
        let template = self.intern(&pending.pod);
        self.remove_pod(&pending.id);
        let made = self.preempt_in_both((pending, template), priority);
        if made.is_none() {
            self.drop_template(template);
        }
        made
    }

    /// Makes room in the pod's quota and on a node, or none at all.
    fn preempt_in_both(
        &mut self,
        (pending, template): (&Pending, TemplateId),
        priority: i32,
    ) -> Option<Preemption> {
        let mut in_quota = self.victims_in_quota(&pending.pod, priority)?;
        if in_quota.is_empty() {
            return self.preempt_on_node((pending, template), priority);
        }
        let budgets = self.budgets.clone();
        in_quota.iter().for_each(|victim| self.give_up(victim));
        let Some(Preemption { node, victims }) = self.preempt_on_node((pending, template), priority) else {
            in_quota.iter().for_each(|victim| self.set_leaving(victim, false));
            self.budgets.restore(budgets);
            return None;
        };
        in_quota.extend(victims);
        Some(Preemption { node, victims: in_quota })
    }

    /// Takes over the reference to `template` where there is room to be made.
    fn preempt_on_node(
        &mut self,
        (pending, template): (&Pending, TemplateId),
        priority: i32,
    ) -> Option<Preemption> {
        let claim = self.claim_of(&pending.pod, priority);
        let mut tried: BTreeSet<Row> = BTreeSet::new();
        while tried.len() < MAX_TRIES {
            let candidates = self.with_view(template, |cluster, view| {
                cheapest(cluster, (cluster.templates.get(template), view), claim, &tried)
            });
            if candidates.is_empty() {
                break;
            }
            for row in candidates {
                if let Some(made) = self.preempt_on((pending, template), row, claim) {
                    return Some(made);
                }
                tried.insert(row);
            }
        }
        None
    }

    /// Makes room on one node.
    fn preempt_on(
        &mut self,
        (pending, template): (&Pending, TemplateId),
        row: Row,
        claim: Claim,
    ) -> Option<Preemption> {
        let fewest = victims(self, self.templates.get(template), row, claim).unwrap_or_default();
        let loans = self.quotas.loans;
        let enough = self.enough((template, row), fewest, claim);
        // Whoever was taken away in thought is back.
        self.quotas.loans = loans;
        let victims = enough?;
        for victim in &victims {
            self.give_up(victim);
        }
        self.attach_beside_leaving(pending.id.clone(), template, row);
        Some(Preemption { node: self.hosts[row].name.clone(), victims })
    }

    /// Holds room for a pod whose room others are leaving: of GPUs and CPUs of one's own, those that will be free then.
    pub(crate) fn attach_beside_leaving(&mut self, id: PodId, template: TemplateId, row: Row) {
        let pod = &self.templates.get(template).pod;
        let is_choosy = pod.gpu.is_some() || pod.pinning.is_some();
        let leaving = self.lift_all(row, |_, placed, _| is_choosy && placed.is_leaving);
        self.attach(id, template, row);
        self.put_all(leaving);
    }

    /// The pods of a node that were told to go and have not gone yet.
    pub fn leaving_on(&self, node: &str) -> Vec<PodId> {
        let Some(row) = self.row(node) else { return Vec::new() };
        let is_leaving = |id: &&PodId| self.placed(id).is_some_and(|placed| placed.is_leaving);
        self.hosts[row].pods.iter().filter(is_leaving).cloned().collect()
    }

    fn give_up(&mut self, victim: &PodId) {
        self.set_leaving(victim, true);
        self.spend_budgets(victim);
    }

    pub(crate) fn spend_budgets(&mut self, victim: &PodId) {
        let Some(placed) = self.placed(victim) else { return };
        let pod = Arc::clone(&self.templates.get(placed.template).pod);
        self.budgets.spend(&pod);
    }

    /// The pods that really have to go from `row`: `fewest` if they are enough, or more of the lesser pods, when a rule
    /// about other pods asks for it. What other nodes' pods say about the pod is seen only now.
    fn enough(
        &mut self,
        (template, row): (TemplateId, Row),
        fewest: Vec<PodId>,
        claim: Claim,
    ) -> Option<Vec<PodId>> {
        let lifted = self.lift_all(row, |id, placed, _| placed.is_leaving || fewest.contains(id));
        let is_enough = self.takes(template, row);
        self.put_all(lifted);
        if is_enough {
            return Some(fewest);
        }
        self.spared((template, row), claim)
    }

    /// All lesser pods go in thought; then each is put back, as long as the pod finds its place all the same.
    fn spared(&mut self, (template, row): (TemplateId, Row), claim: Claim) -> Option<Vec<PodId>> {
        let asking = &self.templates.get(template).pod;
        let looks_at_pods = !asking.spread.is_empty()
            || !asking.forbidden_pods.is_empty()
            || asking.volumes.is_shared()
            || asking.pinning.is_some()
            || !self.interferences.binding(asking, &self.namespaces).is_empty();
        if !looks_at_pods {
            return None;
        }
        let lesser: BTreeSet<PodId> =
            self.lesser_on(row, claim).into_iter().map(|each| each.id.clone()).collect();
        let leaving = self.lift_all(row, |_, placed, _| placed.is_leaving);
        let lesser = self.lift_all(row, |id, _, _| lesser.contains(id));
        if !self.takes(template, row) {
            self.put_all(leaving);
            self.put_all(lesser);
            return None;
        }
        let pods: Vec<Arc<Pod>> =
            lesser.iter().map(|each| Arc::clone(&self.templates.get(each.placed.template).pod)).collect();
        let broken = self.budgets.broken_by(&pods.iter().map(|pod| &**pod).collect::<Vec<_>>());
        let ranks = pods.iter().zip(broken);
        let ranks = ranks
            .map(|(pod, is_broken)| Reverse((is_broken, !self.is_of_other_quota(claim, pod), pod.priority)));
        let mut ranked: Vec<_> = ranks.collect::<Vec<_>>().into_iter().zip(lesser).collect();
        ranked.sort_by_key(|(rank, each)| (*rank, each.placed.arrival));
        let mut victims = Vec::new();
        for (_, each) in ranked {
            let id = each.id.clone();
            self.put_all(vec![each]);
            if !self.takes(template, row) {
                victims.extend(self.lift_all(row, |other, _, _| *other == id));
            }
        }
        let ids = victims.iter().map(|each| each.id.clone()).collect();
        self.put_all(victims);
        self.put_all(leaving);
        Some(ids)
    }

    fn takes(&mut self, template: TemplateId, row: Row) -> bool {
        self.with_view(template, |cluster, view| {
            view.check(cluster, cluster.templates.get(template), row).is_ok()
        })
    }

    /// Takes the pods that are `meant` off the row, to be put back.
    pub(crate) fn lift_all(
        &mut self,
        row: Row,
        meant: impl Fn(&PodId, &Placed, &Pod) -> bool,
    ) -> Vec<Lifted> {
        let is_meant = |id: &&PodId| {
            let placed = self.placed(id);
            placed.is_some_and(|placed| meant(id, placed, &self.templates.get(placed.template).pod))
        };
        let going: Vec<PodId> = self.hosts[row].pods.iter().filter(is_meant).cloned().collect();
        let mut lifted = Vec::new();
        for id in going {
            let (gpus, cpus) = (self.gpus_of(&id), self.cpus_of(&id));
            lifted.extend(self.lift(&id).map(|placed| Lifted { id, placed, gpus, cpus }));
        }
        lifted
    }

    pub(crate) fn put_all(&mut self, lifted: Vec<Lifted>) {
        for Lifted { id, placed, gpus, cpus } in lifted {
            self.put(id.clone(), placed);
            self.hold_gpus(&id, &gpus);
            self.hold_cpus(&id, &cpus);
        }
    }
}

/// A pod that is off its row for a moment.
#[derive(Debug)]
pub(crate) struct Lifted {
    pub(crate) id: PodId,
    placed: Placed,
    gpus: GpuSet,
    cpus: CpuSet,
}

/// The cheapest rows that were not tried yet, cheapest first.
fn cheapest(
    cluster: &Cluster,
    (template, view): (&Template, &mut View),
    claim: Claim,
    tried: &BTreeSet<Row>,
) -> Vec<Row> {
    let mut costs = costs(cluster, (template, view), claim);
    let losses = cluster.losses_to(claim);
    // What the rules say depends on other rows too, so it is not part of what is kept.
    let is_open = |row: Row| !tried.contains(&row) && may_yield(cluster, view, row, claim);
    let rows = loop {
        let best = costs.best(cluster, is_open);
        let stale: Vec<Row> = best.iter().copied().filter(|&row| costs.losses[row] != losses).collect();
        if stale.is_empty() {
            break best;
        }
        for row in stale {
            costs.of_row[row] = cost(cluster, template, row, claim);
            costs.losses[row] = losses;
        }
    };
    view.costs = Some(costs);
    rows
}

/// Whether the rules about pods around a row would be kept without its lesser pods.
fn may_yield(cluster: &Cluster, view: &View, row: Row, claim: Claim) -> bool {
    if view.may_yield(row, |_| 0) {
        return true;
    }
    let leaving =
        cluster.hosts[row].pods.iter().filter_map(|id| cluster.placed(id)).filter(|placed| placed.is_leaving);
    let leaving = leaving.map(|placed| (true, cluster.templates.get(placed.template)));
    let lesser = cluster.lesser_on(row, claim).into_iter().map(|each| (false, each.template));
    let going: Vec<(bool, &Template)> = leaving.chain(lesser).collect();
    view.may_yield(row, |count| {
        // Who leaves already is not in every count.
        let is_part = |is_leaving: bool| !(is_leaving && cluster.counts.ignores_leaving(count));
        let counted = going
            .iter()
            .filter(|(is_leaving, each)| is_part(*is_leaving) && each.counted_by.contains(&count));
        counted.count() as u64
    })
}

/// The costs that are known, brought up to what has changed; reckoned anew where that is too much.
fn costs(cluster: &Cluster, (template, view): (&Template, &mut View), claim: Claim) -> Costs {
    let (structure, budgets) = (cluster.structure, cluster.budgets.version);
    let known = view
        .costs
        .take()
        .filter(|costs| (costs.claim, costs.structure, costs.budgets) == (claim, structure, budgets))
        // Who has such a claim elsewhere is not seen in the row.
        .filter(|_| template.pod.volumes.exclusive.is_empty());
    let losses = cluster.losses_to(claim);
    let changed = known.as_ref().and_then(|costs| cluster.changes.since(costs.seen));
    let mut costs = match (known, changed) {
        (Some(mut costs), Some(changed)) => {
            for row in changed {
                // A row beyond the end is a node of which only pods are known yet.
                if row < costs.of_row.len() {
                    costs.of_row[row] = cost(cluster, template, row, claim);
                    costs.losses[row] = losses;
                }
            }
            costs
        }
        _ => {
            let rows = 0..cluster.hosts.len();
            let of_row: Vec<Option<Cost>> = rows.map(|row| cost(cluster, template, row, claim)).collect();
            let losses = vec![losses; of_row.len()];
            Costs { claim, structure, budgets, seen: 0, of_row, losses }
        }
    };
    costs.seen = cluster.changes.end();
    costs
}

impl Costs {
    /// The rows of least cost, the least first.
    fn best(&self, cluster: &Cluster, is_open: impl Fn(Row) -> bool) -> Vec<Row> {
        let mut best: Vec<(&Cost, Row)> = Vec::new();
        for row in cluster.rows_in_order() {
            let Some(cost) = &self.of_row[row] else { continue };
            if best.len() == AT_A_TIME && best.last().is_some_and(|(worst, _)| *worst <= cost)
                || !is_open(row)
            {
                continue;
            }
            let place = best.partition_point(|(other, _)| *other <= cost);
            best.insert(place, (cost, row));
            best.truncate(AT_A_TIME);
        }
        best.into_iter().map(|(_, row)| row).collect()
    }
}

fn cost(cluster: &Cluster, template: &Template, row: Row, claim: Claim) -> Option<Cost> {
    if !cluster.hosts[row].is_present || is_closed(cluster, template, row) {
        return None;
    }
    let victims = victims(cluster, template, row, claim)?;
    let placed = victims.iter().filter_map(|id| cluster.placed(id));
    let lost: Vec<(&Pod, u64)> =
        placed.map(|placed| (&*cluster.templates.get(placed.template).pod, placed.arrival)).collect();
    let pods: Vec<&Pod> = lost.iter().map(|(pod, _)| *pod).collect();
    let highest = pods.iter().map(|pod| i64::from(pod.priority)).max();
    let arrivals = lost.iter().filter(|(pod, _)| Some(i64::from(pod.priority)) == highest);
    Some(Cost {
        n_broken_budgets: cluster.budgets.broken_by(&pods).into_iter().filter(|&is_broken| is_broken).count(),
        highest_priority: highest.unwrap_or(i64::MIN),
        // Shifted, so that two pods of negative priority cost more than one.
        priorities: pods.iter().map(|pod| i64::from(pod.priority) + i64::from(i32::MAX) + 1).sum(),
        n_victims: pods.len(),
        arrival: Reverse(arrivals.map(|(_, arrival)| *arrival).min().unwrap_or(u64::MAX)),
    })
}

/// The pods that have to go from `row`, as few as can be; `None` when all lesser pods together are not enough.
fn victims(cluster: &Cluster, template: &Template, row: Row, claim: Claim) -> Option<Vec<PodId>> {
    let mut room = Room::of(cluster, template, row)?;
    for id in &cluster.hosts[row].pods {
        let Some(placed) = cluster.placed(id).filter(|placed| placed.is_leaving) else { continue };
        room.free(id, cluster.templates.get(placed.template));
    }
    let mut lesser = cluster.lesser_on(row, claim);
    lesser.iter().for_each(|each| room.free(each.id, each.template));
    if !room.is_enough() {
        return None;
    }
    // Taken back first: who breaks a budget by going, then those beside whom there are borrowers, then the more important,
    // then who came earlier.
    lesser.sort_by_key(|each| (each.is_borrower, Reverse(each.template.pod.priority), each.arrival));
    let pods: Vec<&Pod> = lesser.iter().map(|each| &*each.template.pod).collect();
    let broken = cluster.budgets.broken_by(&pods);
    let mut order: Vec<usize> = (0..lesser.len()).collect();
    order.sort_by_key(|&place| Reverse(broken[place]));
    let mut victims = Vec::new();
    for place in order {
        let each = &lesser[place];
        if !room.take_back(each.id, each.template) {
            victims.push(each.id.clone());
        }
    }
    Some(victims)
}
