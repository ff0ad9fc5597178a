//! A cluster as it was listed, once, in the engine's words: what a placement without a watch starts from.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as k8s;
use model::interference_rule::InterferenceRule;
use model::names::SIGMA_SCHEDULER;
use model::reservation::{Reservation, ReservationPhase};
use model::scheduling_policy::SchedulingPolicy;
use sigma::label::Labels;
use sigma::node::Node;
use sigma::pod::PodTerm;
use sigma::{Bound, Interference, Pending, PodId};

use crate::key::ObjectKey;
use crate::pods;

use super::policies::{self, Policies};
use super::{convert, decide, gpus, reservations};

/// What the engine needs to know of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    pub nodes: Vec<Node>,
    pub namespaces: BTreeMap<String, Labels>,
    /// Rules against interference, by name.
    pub interferences: BTreeMap<String, Interference>,
    /// Of the bound, those that only reserve their room, and for whom.
    pub reservations: BTreeMap<PodId, PodTerm>,
    pub bound: Vec<Bound>,
    /// Pods without a node that are neither gated nor going, whichever scheduler they name.
    pub pending: Vec<Pending>,
    policies: Policies,
}

impl Listed {
    pub fn add_node(&mut self, node: &k8s::Node) {
        self.nodes.push(convert::node(node));
    }

    pub fn add_namespace(&mut self, namespace: &k8s::Namespace) {
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        self.namespaces.insert(namespace.metadata.name.clone().unwrap_or_default(), labels);
    }

    pub fn add_interference_rule(&mut self, rule: &InterferenceRule) {
        let name = rule.metadata.name.clone().unwrap_or_default();
        self.interferences.insert(name, policies::interference(rule));
    }

    /// One that is not held yet, or no more, holds nothing.
    pub fn add_reservation(&mut self, reservation: &Reservation) {
        let status = reservation.status.as_ref().filter(|status| status.phase == ReservationPhase::Held);
        let Some(node) = status.and_then(|status| status.node_name.clone()) else { return };
        let Some(id) = reservations::id(reservation) else { return };
        let pod = Arc::new(convert::pod(&reservations::stand_in(reservation, SIGMA_SCHEDULER)));
        self.reservations.insert(id.clone(), reservations::owners(reservation));
        self.bound.push(Bound { id, pod, node, gpus: None });
    }

    /// Counts for the pods that are added after it.
    pub fn add_policy(&mut self, policy: &SchedulingPolicy) {
        self.policies.set(policy.metadata.name.as_deref().unwrap_or_default(), Some(policy));
    }

    /// A pod that has ended, or must not be placed yet, is left out.
    pub fn add_pod(&mut self, pod: &k8s::Pod) {
        let Some(spec) = pod.spec.as_ref().filter(|_| !pods::has_ended(pod)) else { return };
        let id = pod_id(pod);
        let policy = self.policies.of(spec, SIGMA_SCHEDULER);
        let converted = Arc::new(sigma::Pod { policy, ..convert::pod(pod) });
        let is_held_back = decide::is_gated(spec) || pod.metadata.deletion_timestamp.is_some();
        match spec.node_name.clone().filter(|node| !node.is_empty()) {
            Some(node) => {
                self.bound.push(Bound { id, pod: converted, node, gpus: gpus::held(pod) });
            }
            None if is_held_back => {}
            None => self.pending.push(Pending { id, pod: converted }),
        }
    }
}

/// `namespace/name`: what people call the pod.
fn pod_id(pod: &k8s::Pod) -> PodId {
    PodId::new(&ObjectKey::of(pod).to_string())
}
