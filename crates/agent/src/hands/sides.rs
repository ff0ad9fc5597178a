//! Pods that run on a host, sorted by the side on which they are, with their groups in whatever tree they have.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use model::QosClass;

use super::wish::{Idle, Online};
use crate::cgroup::Groups;
use crate::resources;

/// A Pod that runs, and the ids of its containers.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) pod: Arc<Pod>,
    pub(super) containers: Vec<String>,
}

/// Services; and batch, where it is to be idle Pod by Pod.
pub(super) fn sides(groups: &Groups, running: impl Iterator<Item = Running>) -> (Vec<Online>, Vec<Idle>) {
    let (mut online, mut idle) = (Vec::new(), Vec::new());
    for Running { pod, containers } in running {
        let Some(uid) = pod.metadata.uid.as_deref() else { continue };
        let (class, share) = (QosClass::of(&pod), resources::of_pod(&pod));
        match class {
            QosClass::Online => {
                let group = groups.pod(class, uid);
                let below = containers.iter().map(|id| groups.container(&group, id)).collect();
                let has_limit = has_cpu_limit(&pod);
                online.push(Online { group, below, request: share.memory.0, has_limit });
            }
            QosClass::Batch if groups.idles_pods() => {
                // What the kubelet has given it.
                let weight = resources::promised_cpu(&pod);
                idle.push(Idle { group: groups.pod(class, uid), weight });
            }
            QosClass::Batch => {}
        }
    }
    // So that requests beyond what can be kept are cut the same way each time.
    online.sort_by(|one, other| one.group.cmp(&other.group));
    (online, idle)
}

fn has_cpu_limit(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut shares = containers.map(|container| resources::of_container(container, QosClass::Online));
    shares.any(|share| share.cpu_limit.is_some())
}
