//! What pods and nodes use, by which nodes can be judged instead of by what pods ask for.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Pod;
use sigma::Usage;
use sigma::resources::{CPU, MEMORY};

use crate::key::ObjectKey;

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// By name.
    pub nodes: HashMap<String, Usage>,
    pub pods: HashMap<ObjectKey, Usage>,
}

/// What a pod asks for.
pub(super) fn asked_by(pod: &sigma::Pod) -> Usage {
    let amount = |name: &str| pod.requests.get(name).copied().unwrap_or(0);
    Usage { cpu: amount(CPU), memory: amount(MEMORY) }
}

impl Measured {
    /// What the pod uses; one that was not measured uses what it asks for.
    pub(super) fn of(&self, pod: &Pod, asked: Usage) -> Usage {
        self.pods.get(&ObjectKey::of(pod)).copied().unwrap_or(asked)
    }

    /// What is in use of the node beside its pods.
    pub(super) fn beside_pods(&self, node: &str, of_pods: impl Iterator<Item = Usage>) -> Usage {
        let used = self.nodes.get(node).copied().unwrap_or_default();
        used.minus(of_pods.fold(Usage::default(), Usage::plus))
    }
}
