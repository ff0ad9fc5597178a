//! Why a pod is where it is, or why it waits: asked of the very state that decides, so that all is looked at that the
//! scheduler looks at. Asking changes nothing.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as k8s;
use serde::Serialize;
use sigma::explain::{self, Comparison, Explanation};
use sigma::{Outcome, Pending, PodId};

use super::gangs::GangAccount;
use super::needs::hindrance;
use super::room::may_preempt;
use super::{Place, Scheduler};
use crate::key::ObjectKey;
use crate::pods;

/// Of all nodes, the best so many are shown.
const N_SHOWN: usize = 5;

/// What is to be said of one pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodExplanation {
    /// `namespace/name`.
    pub pod: String,
    pub state: PodState,
    /// In one sentence; of a pod that waits, what its condition is to say.
    pub message: String,
    /// What else matters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Of a pod that waits.
    #[serde(flatten)]
    pub waiting: Option<Explanation>,
    /// Pods that would have to go for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption: Option<InWhosePlace>,
    /// Of a pod that has a node.
    #[serde(flatten)]
    pub placed: Option<Comparison>,
}

/// How the pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum PodState {
    Placed,
    Waiting,
    /// It is not to be placed at present.
    HeldBack,
    Ended,
}

/// Lesser pods that would go for one that fits nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InWhosePlace {
    pub node: String,
    pub victims: Vec<String>,
}

impl PodExplanation {
    fn of(pod: &k8s::Pod, state: PodState, message: String) -> Self {
        let pod = ObjectKey::of(pod).to_string();
        Self { pod, state, message, notes: Vec::new(), waiting: None, preemption: None, placed: None }
    }

    /// The same, with a word on kinds that could not be read.
    #[must_use]
    pub fn without(mut self, unread: &[String]) -> Self {
        if !unread.is_empty() {
            self.notes
                .push(format!("not looked at, for want of the right to list them: {}", unread.join(", ")));
        }
        self
    }
}

impl Scheduler {
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &sigma::node::Node> {
        self.nodes.values()
    }

    pub(crate) fn cluster(&self) -> &sigma::Cluster {
        &self.cluster
    }

    /// How many pods have a node, or hold room without being one.
    pub(crate) fn n_placed(&self) -> usize {
        self.cluster.n_pods()
    }

    /// What is to be said of a pod that the scheduler was told of.
    pub(crate) fn explain(&mut self, id: &PodId, pod: &Arc<k8s::Pod>) -> PodExplanation {
        if pods::has_ended(pod) {
            let message = format!("it has ended ({})", pods::phase(pod));
            return PodExplanation::of(pod, PodState::Ended, message);
        }
        match pods::node_name(pod) {
            Some(node) => self.explain_placed(id, pod, node),
            None => self.explain_waiting(id, pod),
        }
    }

    fn explain_placed(&mut self, id: &PodId, pod: &k8s::Pod, node: &str) -> PodExplanation {
        let mut told = PodExplanation::of(pod, PodState::Placed, format!("it has node {node}"));
        let others = self.other_scheduler(pod);
        told.notes.extend(others.map(|name| format!("scheduler {name} placed it, for reasons of its own")));
        if !self.nodes.contains_key(node) {
            told.notes.push(format!("there is no node {node} any more"));
        }
        told.placed = explain::placed(&mut self.cluster, id, N_SHOWN);
        told
    }

    fn explain_waiting(&mut self, id: &PodId, pod: &Arc<k8s::Pod>) -> PodExplanation {
        let pending = Pending { id: id.clone(), pod: Arc::new(self.converted(id, pod)) };
        let mut told = PodExplanation::of(pod, PodState::Waiting, String::new());
        if let Some(Waited { node, n_awaited }) = self.waited_for(id) {
            // It holds its room already: whether it would find some else is of no use to know.
            told.message = format!("it is to have node {node} once {n_awaited} pods have gone");
            return told;
        }
        let nodes: Vec<sigma::node::Node> = self.nodes.values().cloned().collect();
        let explanation = explain::pending(&mut self.cluster, &nodes, &pending.pod);
        let outcome = self.foretell(&pending);
        let fits = matches!(outcome, Outcome::Placed { .. });
        told.message = match outcome {
            Outcome::Placed { node, .. } => {
                format!(
                    "{} of {} nodes would take it: node {node}",
                    explanation.n_feasible, explanation.n_nodes
                )
            }
            Outcome::Unplaced(unplaced) => unplaced.to_string(),
        };
        if !fits && may_preempt(pod) && !self.would_be_half(id) {
            told.preemption = self.in_whose_place(&pending);
        }
        told.waiting = Some(explanation);
        self.add_what_holds_back(&mut told, id, pod);
        told
    }

    /// What keeps the pod from being tried, or its gang from being placed, outranks what nodes say.
    fn add_what_holds_back(&mut self, told: &mut PodExplanation, id: &PodId, pod: &k8s::Pod) {
        if let Some(name) = self.other_scheduler(pod) {
            told.notes.push(format!("it waits for scheduler {name}, which is not this one"));
        }
        match self.foretell_gang(id) {
            Some(GangAccount::Waits(message)) => told.message = message,
            Some(GangAccount::Fits(message)) => told.notes.push(message),
            None => {}
        }
        if let Some(obstacle) = self.obstacle(id) {
            told.message = hindrance(self.nodes.len(), obstacle);
        }
        let gates = pod.spec.iter().filter(|spec| pods::is_gated(spec));
        let gates = gates.flat_map(|spec| spec.scheduling_gates.iter().flatten());
        let gates: Vec<&str> = gates.map(|gate| gate.name.as_str()).collect();
        if pod.metadata.deletion_timestamp.is_some() {
            (told.state, told.message) = (PodState::HeldBack, "it is being deleted".to_owned());
        } else if !gates.is_empty() {
            told.state = PodState::HeldBack;
            told.message = format!("it is held back by scheduling gates: {}", gates.join(", "));
        }
    }

    /// What would become of the pod by itself, now.
    fn foretell(&mut self, pending: &Pending) -> Outcome {
        let outcome = self.cluster.place(std::slice::from_ref(pending)).remove(0);
        self.cluster.remove_pod(&pending.id);
        outcome
    }

    fn in_whose_place(&mut self, pending: &Pending) -> Option<InWhosePlace> {
        let sigma::Preemption { node, victims } = self.cluster.foretell_preemption(pending)?;
        let name =
            |id: &PodId| self.names.get(id).map_or_else(|| id.as_str().to_owned(), ToString::to_string);
        Some(InWhosePlace { node, victims: victims.iter().map(name).collect() })
    }

    /// The name of the scheduler that the pod names, where it is not this one.
    fn other_scheduler(&self, pod: &k8s::Pod) -> Option<String> {
        let named = pod.spec.as_ref()?.scheduler_name.as_deref()?;
        (!self.goes_by(named)).then(|| named.to_owned())
    }

    /// The room that is held for the pod until others have gone.
    fn waited_for(&self, id: &PodId) -> Option<Waited> {
        match self.waiting.get(id)?.place {
            Place::Nominated { n_awaited } => {
                Some(Waited { node: self.cluster.node_of(id)?.to_owned(), n_awaited })
            }
            _ => None,
        }
    }
}

struct Waited {
    node: String,
    n_awaited: usize,
}
