//! Whoever was to go for a gang, and need not: each member has as few pods go as it can, but all of them together may
//! find room with fewer.
//!
//! ```text
//!   all victims gone in thought ──► each comes back, the dearest first ──► the gang still fits: it stays
//!                                        └── until nobody more can stay ◄──┘      └── no: it is to go
//! ```

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::place::{Outcome, Pending};
use crate::pod::{Pod, PodId};
use crate::preempt::{Lifted, Preemption};

use super::Gang;

/// Room for the members of a gang, by their places in the batch.
pub(super) type Held = BTreeMap<usize, Preemption>;

/// More attempts to place a pod than this are not made for the sake of victims, so that nobody waits for seconds.
const MOST_ATTEMPTS: usize = 4_096;

impl Cluster {
    /// As many as can be of those who were told to go for the gang stay; the budgets of the others are still to be spent.
    pub(super) fn reprieve(&mut self, (batch, gang): (&[Pending], &Gang), held: Held) -> Held {
        let mut going: Vec<PodId> = held.values().flat_map(|each| each.victims.iter().cloned()).collect();
        let mut attempts = going.len() * gang.members.len();
        if going.is_empty() || attempts > MOST_ATTEMPTS {
            return held;
        }
        held.keys().for_each(|&position| self.remove_pod(&batch[position].id));
        let before = self.lift_others_who_leave(&held, &going);
        self.rank(&mut going);
        let mut gone: Vec<Lifted> = going.iter().filter_map(|id| self.lift_one(id)).collect();
        let mut nodes: Option<BTreeMap<usize, String>> = None;
        loop {
            let n_before = gone.len();
            let mut tried = std::mem::take(&mut gone).into_iter();
            while let Some(each) = tried.next() {
                let found = self.fits_beside(each, (batch, gang));
                match found {
                    Ok(found) => nodes = Some(found),
                    Err(each) => gone.push(each),
                }
                debug_assert!(gone.len() + tried.len() <= n_before, "nobody else goes");
            }
            attempts += gone.len() * gang.members.len();
            // Who stays takes room that another way to place the gang would have needed: who had to go may stay now.
            if gone.len() == n_before || attempts > MOST_ATTEMPTS {
                break;
            }
        }
        let victims: Vec<PodId> = gone.iter().map(|each| each.id.clone()).collect();
        self.put_all(gone);
        self.put_all(before);
        let nodes =
            nodes.unwrap_or_else(|| held.into_iter().map(|(position, each)| (position, each.node)).collect());
        self.hold(batch, nodes, &victims)
    }

    /// Whether the gang finds room though the pod, which was to go, stays: where, or the pod, gone again. The members hold
    /// nothing then.
    fn fits_beside(
        &mut self,
        each: Lifted,
        (batch, gang): (&[Pending], &Gang),
    ) -> Result<BTreeMap<usize, String>, Lifted> {
        let id = each.id.clone();
        self.put_all(vec![each]);
        self.set_leaving(&id, false);
        let placed = |(position, outcome): (usize, Outcome)| match outcome {
            Outcome::Placed { node, .. } => Some((position, node)),
            Outcome::Unplaced(_) => None,
        };
        let nodes: BTreeMap<usize, String> =
            self.place_gang(batch, gang).into_iter().filter_map(placed).collect();
        nodes.keys().for_each(|&position| self.remove_pod(&batch[position].id));
        if gang.n_bound + nodes.len() >= gang.min_member {
            return Ok(nodes);
        }
        self.set_leaving(&id, true);
        Err(self.lift_one(&id).expect("the pod was put back just now"))
    }

    /// Those who were told to go before, on the nodes that the gang was to have: they count as gone.
    fn lift_others_who_leave(&mut self, held: &Held, going: &[PodId]) -> Vec<Lifted> {
        let rows = held.values().filter_map(|each| self.row(&each.node));
        let rows: std::collections::BTreeSet<usize> = rows.collect();
        let mut lifted = Vec::new();
        for row in rows {
            lifted.extend(self.lift_all(row, |id, placed, _| placed.is_leaving && !going.contains(id)));
        }
        lifted
    }

    fn lift_one(&mut self, id: &PodId) -> Option<Lifted> {
        let row = self.placed(id)?.row;
        self.lift_all(row, |other, _, _| other == id).pop()
    }

    /// Who breaks a budget by going is tried first, then the more important, then who came earlier.
    fn rank(&self, going: &mut [PodId]) {
        let pod_of = |id: &PodId| self.pod(id).cloned().unwrap_or_default();
        let pods: Vec<Arc<Pod>> = going.iter().map(pod_of).collect();
        let broken = self.budgets.broken_by(&pods.iter().map(|pod| &**pod).collect::<Vec<_>>());
        let arrival = |id: &PodId| self.placed(id).map(|placed| placed.arrival);
        let ranks = going.iter().zip(&pods).zip(broken);
        let ranks: BTreeMap<PodId, _> = ranks
            .map(|((id, pod), is_broken)| (id.clone(), (!is_broken, Reverse(pod.priority), arrival(id))))
            .collect();
        going.sort_by_key(|id| ranks[id]);
    }

    /// Holds room for the members on their nodes. Each is told of the victims there; of those elsewhere, the first.
    fn hold(&mut self, batch: &[Pending], nodes: BTreeMap<usize, String>, victims: &[PodId]) -> Held {
        let mut held: Held = BTreeMap::new();
        for (position, node) in nodes {
            let Pending { id, pod } = &batch[position];
            let template = self.intern(pod);
            let row = self.row_of(&node);
            self.attach_beside_leaving(id.clone(), template, row);
            held.insert(position, Preemption { node, victims: Vec::new() });
        }
        for victim in victims {
            let node = self.node_of(victim);
            let there = held.values().position(|each| Some(each.node.as_str()) == node).unwrap_or(0);
            if let Some(each) = held.values_mut().nth(there) {
                each.victims.push(victim.clone());
            }
        }
        held
    }
}
