//! Pods that run on a host, sorted by the side on which they are, with their groups in whatever tree they have.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use model::qos::is_mid;
use model::{MilliCpu, QosClass};

use super::wish::{BatchPod, Foreign, Lent, Online};
use crate::cgroup::Groups;
use crate::pods::hooks;
use crate::resources;

/// A Pod that runs, and the names and ids of its containers.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) pod: Arc<Pod>,
    pub(super) containers: Vec<(String, String)>,
}

impl PartialEq for Running {
    /// A Pod that was changed is another object.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pod, &other.pod) && self.containers == other.containers
    }
}

/// Services, and batch.
pub(super) fn sides(groups: &Groups, running: impl Iterator<Item = Running>) -> (Vec<Online>, Vec<BatchPod>) {
    let (mut online, mut batch) = (Vec::new(), Vec::new());
    for Running { pod, containers } in running {
        let Some(uid) = pod.metadata.uid.as_deref() else { continue };
        let class = QosClass::of(&pod);
        let group = groups.pod(class, uid);
        let below: Vec<String> = containers.iter().map(|(_, id)| groups.container(&group, id)).collect();
        match class {
            QosClass::Online => {
                let request = resources::promised_memory(&pod).0;
                let limits = limits(&pod, &group, containers.iter().map(|(name, _)| name).zip(&below));
                let lent = (groups.are_foreign() && is_mid(&pod)).then(|| lent(groups, &pod));
                online.push(Online { group, below, request, limits, lent, in_use: None });
            }
            QosClass::Batch => {
                let foreign = groups.are_foreign().then(|| {
                    let theirs = resources::by_kubelet(&pod);
                    let ours = resources::of_pod(&pod).memory_limit;
                    Foreign {
                        weight: theirs.cpu,
                        quota_without_us: theirs.cpu_limit,
                        memory: ours,
                        memory_without_us: theirs.memory_limit,
                    }
                });
                batch.push(BatchPod { group, below, foreign });
            }
        }
    }
    // So that requests beyond what can be kept are cut the same way each time.
    online.sort_by(|one, other| one.group.cmp(&other.group));
    (online, batch)
}

/// Batch Pods in a tree that is not ours, by their groups, for as long as those are there.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<String, BatchPod>);

impl Held {
    /// Takes in who is there now. Returns those that were batch and are services by now, as when a label was taken off.
    pub(super) fn follow(
        &mut self,
        online: &[Online],
        batch: &[BatchPod],
        exists: impl Fn(&str) -> bool,
    ) -> Vec<BatchPod> {
        let converted = online.iter().filter_map(|pod| self.0.remove(&pod.group)).collect();
        self.0.retain(|group, _| exists(group));
        let foreign = batch.iter().filter(|pod| pod.foreign.is_some());
        self.0.extend(foreign.map(|pod| (pod.group.clone(), pod.clone())));
        converted
    }
}

/// The groups of a service that have CPU limits: its own, and those of containers, each of which is given with its name.
fn limits<'a>(
    pod: &Pod,
    group: &str,
    containers: impl Iterator<Item = (&'a String, &'a String)>,
) -> Vec<(String, MilliCpu)> {
    let whole = resources::of_pod(pod).cpu_limit.map(|limit| (group.to_owned(), limit));
    let below = containers.filter_map(|(name, group)| {
        let container = hooks::find(pod, name)?;
        Some((group.clone(), resources::of_container(&container, QosClass::Online).cpu_limit?))
    });
    whole.into_iter().chain(below).collect()
}

fn lent(groups: &Groups, pod: &Pod) -> Lent {
    let (ours, theirs) = (resources::of_pod(pod), resources::by_kubelet(pod));
    // A kubelet has it among batch: where no group may have more than its parent, a limit of its own would forbid to squeeze.
    let quota = if groups.backend().may_exceed_parents() { ours.cpu_limit } else { theirs.cpu_limit };
    Lent {
        quota,
        quota_without_us: theirs.cpu_limit,
        memory: ours.memory_limit,
        memory_without_us: theirs.memory_limit,
    }
}
