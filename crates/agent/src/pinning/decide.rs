//! Who gets which CPUs, from what the Pods of the host say. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use model::cpu_set::CpuListError;
use model::names::{CPU_POLICY, CPU_SET};
use model::pinning::{NumaPolicy, Wish};
use model::{CpuSet, CpuTopology, QosClass};

use crate::cgroup::Place;
use crate::pods::has_ended;
use crate::resources;

/// Who runs where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// By uid.
    pub pinned: BTreeMap<String, Place>,
    /// Those who asked to be pinned and are not.
    pub refused: BTreeMap<String, Refusal>,
    /// The CPUs of all others; `None` where nobody is pinned: as many as there are.
    pub shared: Option<CpuSet>,
}

/// Why a Pod is not pinned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this host cannot pin: its cgroups lack the cpuset controller, or it was not handed down")]
    NoCpuset,
    #[error("no scheduler chose CPUs for it: the annotation {CPU_SET} is missing")]
    NotChosen,
    #[error("its annotation {CPU_SET} cannot be read")]
    Unreadable(#[from] CpuListError),
    #[error("CPUs {0} are not online on this host")]
    Gone(CpuSet),
    #[error("it asks for {asked}m of CPU, but its annotation {CPU_SET} names {n_cpus} CPUs")]
    OtherNumber { asked: u64, n_cpus: usize },
    #[error("CPUs {0} belong to a Pod that came before")]
    Taken(CpuSet),
    #[error("nothing would be left for all others")]
    NothingLeft,
}

/// Where somebody gave CPUs out twice, who has them `before` keeps them; else the older Pod has the older right.
pub fn plan(topology: Option<&CpuTopology>, pods: &[Arc<Pod>], before: &Plan) -> Plan {
    let mut asking: Vec<&Pod> = pods.iter().map(|pod| &**pod).filter(|pod| asks(pod)).collect();
    let mut plan = Plan::default();
    if asking.is_empty() {
        return plan;
    }
    asking.sort_by_key(|pod| {
        let metadata = &pod.metadata;
        let is_new = !metadata.uid.as_ref().is_some_and(|uid| before.pinned.contains_key(uid));
        (is_new, metadata.creation_timestamp.clone(), metadata.uid.clone())
    });
    let all = topology.map(CpuTopology::cpus).unwrap_or_default();
    let mut left = all.clone();
    for pod in asking {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        match topology.ok_or(Refusal::NoCpuset).and_then(|topology| place(pod, topology, &left)) {
            Ok(place) => {
                place.cpus.iter().for_each(|cpus| left.subtract(cpus));
                plan.pinned.insert(uid, place);
            }
            Err(refusal) => drop(plan.refused.insert(uid, refusal)),
        }
    }
    plan.shared = (left != all).then_some(left);
    plan
}

/// Whether the Pod wants CPUs of its own, and has processes that could use them.
fn asks(pod: &Pod) -> bool {
    !has_ended(pod) && QosClass::of(pod) == QosClass::Online && annotation(pod, CPU_POLICY).is_some()
}

fn place(pod: &Pod, topology: &CpuTopology, left: &CpuSet) -> Result<Place, Refusal> {
    let cpus: CpuSet = annotation(pod, CPU_SET).ok_or(Refusal::NotChosen)?.parse()?;
    let (asked, n_cpus) = (resources::of_pod(pod).cpu.0, cpus.len());
    if n_cpus == 0 || asked != 1000 * n_cpus as u64 {
        return Err(Refusal::OtherNumber { asked, n_cpus });
    }
    let gone = cpus.without(&topology.cpus());
    if !gone.is_empty() {
        return Err(Refusal::Gone(gone));
    }
    let taken = cpus.without(left);
    if !taken.is_empty() {
        return Err(Refusal::Taken(taken));
    }
    if left.without(&cpus).is_empty() {
        return Err(Refusal::NothingLeft);
    }
    let mems = is_kept_to_one(pod).then(|| topology.numa_of(&cpus).into_iter().map(usize::from).collect());
    Ok(Place { cpus: Some(cpus), mems })
}

fn is_kept_to_one(pod: &Pod) -> bool {
    let wish = pod.metadata.annotations.as_ref().and_then(|annotations| Wish::of(annotations).ok()?);
    wish.is_some_and(|wish| wish.numa() == NumaPolicy::Single)
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}
