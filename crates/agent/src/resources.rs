//! What a Pod was promised and may use at most, in the engine's and the kernel's terms. Pure.

use std::iter::Sum;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use model::qos::is_mid;
use model::{Bytes, MilliCpu, QosClass, Quantity, names};
use pouch::cri;

use crate::cgroup::Knob;

/// The most processes and threads of a batch worker with its instance, so that one that forks without end takes no
/// process numbers from others.
const WORKER_TASKS: u32 = 1024;

/// Of the same request, a Pod of the mid tier weighs this part of what others do.
const MID_WEIGHT: u64 = 4;

/// The mid tier ends after batch, and before all services: those that ask for little, too, which have up to 1000 elsewhere.
const MID_OOM_SCORE: i64 = 990;

/// Requests and limits of one container or of a whole Pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub cpu: MilliCpu,
    pub memory: Bytes,
    /// `None` is no limit.
    pub cpu_limit: Option<MilliCpu>,
    pub memory_limit: Option<Bytes>,
}

/// The share of `container` in a Pod of `class`: batch is counted in its own resources, and so is the mid tier among services.
pub fn of_container(container: &Container, class: QosClass) -> Share {
    share(container, Some(lent_to(class)))
}

/// The names of the CPU and the memory that are lent to Pods of `class`.
fn lent_to(class: QosClass) -> (&'static str, &'static str) {
    match class {
        QosClass::Batch => (names::BATCH_CPU, names::BATCH_MEMORY),
        QosClass::Online => (names::MID_CPU, names::MID_MEMORY),
    }
}

fn share(container: &Container, lent: Option<(&'static str, &'static str)>) -> Share {
    let resources = container.resources.clone().unwrap_or_default();
    let lent_to = |name: Option<&'static str>| {
        name.filter(|name| [false, true].iter().any(|&limits| quantity(&resources, limits, name).is_some()))
    };
    let (lent_cpu, lent_memory) = (lent_to(lent.map(|lent| lent.0)), lent_to(lent.map(|lent| lent.1)));
    // What is lent counts, and not what defaults of a namespace may have added to it.
    let cpu = |limits| match lent_cpu {
        Some(name) => quantity(&resources, limits, name).map(whole_milli),
        None => quantity(&resources, limits, "cpu").map(MilliCpu::from),
    };
    let memory = |limits| quantity(&resources, limits, lent_memory.unwrap_or("memory")).map(Bytes::from);
    let (cpu_limit, memory_limit) = (cpu(true), memory(true));
    Share {
        cpu: cpu(false).or(cpu_limit).unwrap_or_default(),
        memory: memory(false).or(memory_limit).unwrap_or_default(),
        cpu_limit,
        memory_limit,
    }
}

/// `batch-cpu` and `mid-cpu` count whole milli-cores.
fn whole_milli(quantity: Quantity) -> MilliCpu {
    MilliCpu(u64::try_from(quantity.to_units().max(0)).unwrap_or(u64::MAX))
}

fn quantity(resources: &ResourceRequirements, limits: bool, name: &str) -> Option<Quantity> {
    let map = if limits { resources.limits.as_ref() } else { resources.requests.as_ref() };
    // What validation let through is a quantity; anything else asks for nothing.
    Quantity::parse(&map?.get(name)?.0).ok()
}

/// The share of all containers of `pod` together.
pub fn of_pod(pod: &Pod) -> Share {
    of_pod_with(pod, Some(lent_to(QosClass::of(pod))))
}

/// What a kubelet gives `pod`: it knows nothing that is lent.
pub fn by_kubelet(pod: &Pod) -> Share {
    of_pod_with(pod, None)
}

fn of_pod_with(pod: &Pod, lent: Option<(&'static str, &'static str)>) -> Share {
    let Some(spec) = &pod.spec else { return Share::default() };
    let moments = moments(spec, lent);
    let most = |of: fn(&Share) -> u64| moments.iter().map(|all| all.iter().map(of).sum()).max();
    let of_containers = Share {
        cpu: MilliCpu(most(|share| share.cpu.0).unwrap_or_default()),
        memory: Bytes(most(|share| share.memory.0).unwrap_or_default()),
        cpu_limit: widest(&moments, |share| share.cpu_limit),
        memory_limit: widest(&moments, |share| share.memory_limit),
    };
    with_overhead(as_a_whole(of_containers, spec), spec)
}

/// What is said of the Pod as a whole stands above what its containers say; its limit stands for a request only where they
/// ask for nothing.
fn as_a_whole(of_containers: Share, spec: &PodSpec) -> Share {
    let Some(whole) = &spec.resources else { return of_containers };
    let cpu = |limits| quantity(whole, limits, "cpu").map(MilliCpu::from);
    let memory = |limits| quantity(whole, limits, "memory").map(Bytes::from);
    let (cpu_limit, memory_limit) = (cpu(true), memory(true));
    let of_cpu = Some(of_containers.cpu).filter(|cpu| cpu.0 > 0).or(cpu_limit);
    let of_memory = Some(of_containers.memory).filter(|memory| memory.0 > 0).or(memory_limit);
    Share {
        cpu: cpu(false).or(of_cpu).unwrap_or_default(),
        memory: memory(false).or(of_memory).unwrap_or_default(),
        cpu_limit: cpu_limit.or(of_containers.cpu_limit),
        memory_limit: memory_limit.or(of_containers.memory_limit),
    }
}

/// What the sandbox takes beside the containers.
fn with_overhead(share: Share, spec: &PodSpec) -> Share {
    let of = |name: &str| spec.overhead.as_ref()?.get(name).and_then(|text| Quantity::parse(&text.0).ok());
    let cpu = of("cpu").map(MilliCpu::from).unwrap_or_default().0;
    let memory = of("memory").map(Bytes::from).unwrap_or_default().0;
    let more_cpu = |had: MilliCpu| MilliCpu(had.0.saturating_add(cpu));
    let more_memory = |had: Bytes| Bytes(had.0.saturating_add(memory));
    Share {
        cpu: more_cpu(share.cpu),
        memory: more_memory(share.memory),
        cpu_limit: share.cpu_limit.map(more_cpu),
        memory_limit: share.memory_limit.map(more_memory),
    }
}

/// Who runs together in the life of a Pod: each init container beside the sidecars that were started before it, and in the end
/// all sidecars beside the containers.
fn moments(spec: &PodSpec, lent: Option<(&'static str, &'static str)>) -> Vec<Vec<Share>> {
    let mut sidecars: Vec<Share> = Vec::new();
    let mut moments = Vec::new();
    for init in spec.init_containers.iter().flatten() {
        let share = share(init, lent);
        if init.restart_policy.as_deref() == Some("Always") {
            sidecars.push(share);
        } else {
            moments.push(sidecars.iter().copied().chain([share]).collect());
        }
    }
    let containers = spec.containers.iter().map(|container| share(container, lent));
    moments.push(sidecars.into_iter().chain(containers).collect());
    moments
}

/// What those who run together may use at most; `None` where one of them has no limit.
fn widest<T: Copy + Ord + Sum>(moments: &[Vec<Share>], limit: impl Fn(&Share) -> Option<T>) -> Option<T> {
    let together = |all: &Vec<Share>| all.iter().map(&limit).sum::<Option<T>>();
    moments.iter().map(together).collect::<Option<Vec<T>>>()?.into_iter().max()
}

/// Whether a limit of its own may hold the service `pod`, or a container of it.
pub(crate) fn has_cpu_limit(pod: &Pod) -> bool {
    let spec = pod.spec.iter();
    let sidecar = |init: &&Container| init.restart_policy.as_deref() == Some("Always");
    let containers = spec
        .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten().filter(sidecar)));
    let mut shares = containers.map(|container| of_container(container, QosClass::Online));
    shares.any(|share| share.cpu_limit.is_some()) || of_pod(pod).cpu_limit.is_some()
}

/// The memory that is kept for `pod`: the mid tier's is lent.
pub fn promised_memory(pod: &Pod) -> Bytes {
    if is_mid(pod) { Bytes(0) } else { of_pod(pod).memory }
}

/// What to set on the group of `pod`.
pub fn knobs(pod: &Pod) -> Vec<Knob> {
    let share = of_pod(pod);
    let weight = if is_mid(pod) { MilliCpu(share.cpu.0 / MID_WEIGHT) } else { share.cpu };
    let mut knobs =
        vec![Knob::Weight(weight), Knob::Quota(share.cpu_limit), Knob::Memory(share.memory_limit)];
    if is_worker(pod) {
        knobs.push(Knob::Tasks(WORKER_TASKS));
    }
    knobs
}

/// Whether it runs instances of a job.
fn is_worker(pod: &Pod) -> bool {
    pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(names::JOB_LABEL))
}

/// What the engine sets on a container's own group.
pub fn linux(
    pod: &Pod,
    container: &Container,
    memory_capacity: u64,
    lowest_oom_score: i64,
) -> cri::LinuxContainerResources {
    let class = QosClass::of(pod);
    let share = of_container(container, class);
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    cri::LinuxContainerResources {
        cpu_shares: signed((share.cpu.0.saturating_mul(1024) / 1000).clamp(2, 262_144)),
        cpu_period: 100_000,
        cpu_quota: share.cpu_limit.map_or(0, |limit| signed((limit.0.saturating_mul(100)).max(1000))),
        memory_limit_in_bytes: share.memory_limit.map_or(0, |limit| signed(limit.0)),
        oom_score_adj: oom_score(pod, share, memory_capacity).max(lowest_oom_score),
        ..cri::LinuxContainerResources::default()
    }
}

/// Whom the kernel ends first when memory runs out: batch, then what asked for little.
fn oom_score(pod: &Pod, share: Share, memory_capacity: u64) -> i64 {
    let spec = pod.spec.clone().unwrap_or_default();
    if QosClass::of(pod) == QosClass::Batch {
        // A worker is small, and raises the score of what it starts: of it and its instance, the instance goes.
        return if is_worker(pod) { 0 } else { 1000 };
    }
    if is_mid(pod) {
        return MID_OOM_SCORE;
    }
    match crate::pods::status::qos_class(&spec) {
        "Guaranteed" => -997,
        "BestEffort" => MID_OOM_SCORE - 1,
        _ => {
            let promised = share.memory.0.saturating_add(part_of_whole(&spec));
            let promised = promised.saturating_mul(1000) / memory_capacity.max(1);
            i64::try_from(1000_u64.saturating_sub(promised)).unwrap_or(0).clamp(3, MID_OOM_SCORE - 1)
        }
    }
}

/// What each container has of the memory that its Pod asks for as a whole and no container does.
fn part_of_whole(spec: &PodSpec) -> u64 {
    let whole = spec.resources.as_ref().and_then(|whole| quantity(whole, false, "memory")).map(Bytes::from);
    let containers =
        spec.containers.iter().map(|container| of_container(container, QosClass::Online).memory.0);
    let (each, count) = (containers.sum::<u64>(), spec.containers.len() as u64);
    whole.map_or(0, |whole| whole.0.saturating_sub(each) / count.max(1))
}

/// Whether the Pod shares a namespace of the host.
pub fn uses_host_network(spec: &PodSpec) -> bool {
    spec.host_network == Some(true)
}

#[cfg(test)]
mod tests;
