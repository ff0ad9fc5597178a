//! Which pods nobody will ever take away.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::pods;

/// kube-controller-manager's bound.
pub(crate) const MAX_ENDED: usize = 12_500;

/// Pods to remove at once, without asking a node.
pub(crate) fn decide(all: &[Arc<Pod>], nodes: &HashSet<String>, max_ended: usize) -> Vec<Arc<Pod>> {
    let is_stranded = |pod: &&Arc<Pod>| match pods::node_name(pod) {
        // Its node is gone, and nobody is there to end it.
        Some(node) => !nodes.contains(node),
        // Deleted before it was placed.
        None => pods::is_terminating(pod),
    };
    let mut doomed: Vec<Arc<Pod>> = all.iter().filter(is_stranded).cloned().collect();
    let mut ended: Vec<&Arc<Pod>> =
        all.iter().filter(|pod| pods::has_ended(pod) && !is_stranded(pod)).collect();
    if ended.len() > max_ended {
        ended.sort_by_key(|pod| (pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone()));
        doomed.extend(ended[..ended.len() - max_ended].iter().map(|pod| Arc::clone(pod)));
    }
    doomed
}
