//! What pods' volumes ask for, beside their own wording: told apart from the pods, since claims and volumes change by
//! themselves.

use std::collections::BTreeMap;
use std::time::Instant;

use k8s_openapi::api::core::v1 as k8s;
use sigma::PodId;

use crate::key::ObjectKey;
use crate::volumes::Needs;

use super::queue::Whom;
use super::{Decision, Place, Promised, Scheduler, convert};

/// Why a pod waits whose claims could each have a volume, but not all of them one.
const NOT_FOR_ALL: &str = "node(s) didn't find available persistent volumes to bind for all claims at once";

impl Scheduler {
    /// What the volumes of a pod ask for, told before the pod itself.
    pub(crate) fn needs_changed(&mut self, id: &PodId, needs: Needs) {
        let before = if needs == Needs::default() {
            self.needs.remove(id)
        } else {
            self.needs.insert(id.clone(), needs)
        };
        self.stock.settle(id, self.needs.get(id));
        let is_news = before.as_ref() != self.needs.get(id);
        // One that is nominated might be bound elsewhere, and must not be while no node would do.
        let rests = |waiting: &super::Waiting| {
            matches!(waiting.place, Place::Parked { .. } | Place::Gathering | Place::Nominated { .. })
        };
        if is_news && self.waiting.get(id).is_some_and(rests) {
            self.activate(id);
        }
    }

    /// How many volumes of each driver a node can attach.
    pub(crate) fn volume_limits_changed(&mut self, node: &str, limits: BTreeMap<String, u64>, now: Instant) {
        if self.cluster.set_volume_limits(node, limits) {
            self.wake(now, Whom::All);
        }
    }

    /// For which claim a volume is, if for any.
    pub(crate) fn volume_changed(&mut self, volume: &str, claim: Option<ObjectKey>, now: Instant) {
        // What pods ask for does not change by it, where one of the same name comes back.
        if self.stock.set_taken(volume, claim) {
            self.wake(now, Whom::All);
        }
    }

    /// The pod as the engine sees it.
    pub(super) fn converted(&self, id: &PodId, pod: &k8s::Pod) -> sigma::Pod {
        let needs = self.needs.get(id);
        let mut volumes = needs.map(|needs| needs.volumes.clone()).unwrap_or_default();
        volumes.places.extend(needs.iter().flat_map(|needs| self.stock.places(needs)));
        let policy = self.policy_of(pod);
        sigma::Pod { volumes, policy, ..convert::pod(pod) }
    }

    /// Promises the claims of a pod that was placed on `node` their volumes; `None` where one can have none after all.
    pub(super) fn choose_volumes(&mut self, id: &PodId, node: &str) -> Option<Vec<Promised>> {
        let Some(needs) = self.needs.get(id) else { return Some(Vec::new()) };
        self.stock.choose(id, needs, self.nodes.get(node)?)
    }

    /// The pod gives the room back that it found beside volumes that it cannot have.
    pub(super) fn lacks_volumes(&mut self, id: &PodId, now: Instant) -> Option<Decision> {
        self.cluster.remove_pod(id);
        // Another of the same batch was quicker: what is left is known now.
        let was_late = self.stock.version != self.stock_seen;
        self.try_again(id, was_late, now);
        // Else its own claims are too many for what there is.
        let message = hindrance(self.nodes.len(), NOT_FOR_ALL);
        if was_late { None } else { self.waiting.get_mut(id)?.report("Unschedulable", message, None) }
    }

    /// Whether no node would do for the pod at the moment.
    pub(super) fn is_hindered(&self, id: &PodId) -> bool {
        self.obstacle(id).is_some()
    }

    /// Why no node would do for the pod at the moment.
    pub(super) fn obstacle(&self, id: &PodId) -> Option<&str> {
        self.needs.get(id)?.obstacle.as_deref()
    }

    /// Takes those out of `due` for whom no node would do at the moment, and tells why.
    pub(super) fn hold_back(&mut self, due: &mut Vec<PodId>, now: Instant) -> Vec<Decision> {
        let mut decisions = Vec::new();
        self.stock_seen = self.stock.version;
        due.retain(|id| {
            let Some(obstacle) = self.needs.get(id).and_then(|needs| needs.obstacle.as_ref()) else {
                return true;
            };
            // It may have held room on a node.
            self.cluster.remove_pod(id);
            let message = hindrance(self.nodes.len(), obstacle);
            self.sleep(id, Place::Parked { not_before: now });
            if let Some(waiting) = self.waiting.get_mut(id) {
                decisions.extend(waiting.report("Unschedulable", message, None));
            }
            false
        });
        decisions
    }
}

/// How it is told that no node would do.
pub(super) fn hindrance(n_nodes: usize, obstacle: &str) -> String {
    format!("0/{n_nodes} nodes are available: {obstacle}.")
}
