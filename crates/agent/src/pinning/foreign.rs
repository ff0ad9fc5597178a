//! Beside a kubelet: its CPU manager, if it has one (`cpuManagerPolicy: static`), gives CPUs of their own to containers of
//! Guaranteed Pods that ask for whole ones. What those leave idle is nobody's, and batch's pool leaves them out; their
//! cpusets are the kubelet's.

use k8s_openapi::api::core::v1::{Container, Pod};
use model::{CpuSet, QosClass};

use super::decide::Plan;
use crate::cgroup::{Groups, Place};
use crate::pods::Registry;
use crate::pods::status::qos_class;
use crate::resources;

/// Who has which of `all` CPUs alone, by what the groups of containers say.
pub(super) fn plan(groups: &Groups, registry: &Registry, all: &CpuSet) -> Plan {
    let mut plan = Plan::default();
    let mut left = all.clone();
    for entry in registry.entries() {
        let pod = entry.pod();
        let (Some(uid), Some(spec)) = (&pod.metadata.uid, &pod.spec) else { continue };
        if qos_class(spec) != "Guaranteed" {
            continue;
        }
        let group = groups.pod(QosClass::Online, uid);
        let live = entry.live.borrow();
        let mut own = CpuSet::default();
        for run in live.containers.iter().filter(|run| run.is_alive()) {
            let Some(asked) = whole_cpus(&pod, &run.name) else { continue };
            let cpus = groups.backend().usable_cpus(&groups.container(&group, &run.id));
            let cpus = cpus.ok().filter(|cpus| cpus.len() == asked && cpus.len() < all.len());
            cpus.iter().for_each(|cpus| own.add(cpus));
        }
        if !own.is_empty() {
            left.subtract(&own);
            plan.pinned.insert(uid.clone(), Place { cpus: Some(own), mems: None });
        }
    }
    plan.shared = (left != *all).then_some(left);
    plan
}

/// How many CPUs the container asks for, if they are whole ones.
fn whole_cpus(pod: &Pod, container: &str) -> Option<usize> {
    let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let container: &Container = containers.find(|one| one.name == container)?;
    let milli = resources::of_container(container, QosClass::Online).cpu.0;
    usize::try_from(milli / 1000).ok().filter(|cpus| *cpus > 0 && milli.is_multiple_of(1000))
}
