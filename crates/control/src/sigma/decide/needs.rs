//! What pods' volumes ask for, beside their own wording: told apart from the pods, since claims and volumes change by
//! themselves.

use std::collections::BTreeMap;
use std::time::Instant;

use k8s_openapi::api::core::v1 as k8s;
use sigma::PodId;

use crate::volumes::Needs;

use super::queue::Whom;
use super::{Decision, Place, Scheduler, convert};

impl Scheduler {
    /// What the volumes of a pod ask for, told before the pod itself.
    pub(crate) fn needs_changed(&mut self, id: &PodId, needs: Needs) {
        let before = if needs == Needs::default() {
            self.needs.remove(id)
        } else {
            self.needs.insert(id.clone(), needs)
        };
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

    /// The pod as the engine sees it.
    pub(super) fn converted(&self, id: &PodId, pod: &k8s::Pod) -> sigma::Pod {
        let volumes = self.needs.get(id).map(|needs| needs.volumes.clone());
        let policy = self.policy_of(pod);
        sigma::Pod { volumes: volumes.unwrap_or_default(), policy, ..convert::pod(pod) }
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
