//! A Pod's status, from what it asks for, what the engine says and what its probes say. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::ephemeral;
use super::observed::{Exit, Instance, Observed, State};
use super::plan::{Memory, is_finished, is_sidecar, policy};

/// Why a Pod failed by the agent's own decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub reason: String,
    pub message: String,
}

/// The conditions that this agent tells; all others are others'.
pub const OWN_CONDITIONS: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// What the status is made from, besides the Pod.
#[derive(Debug)]
pub struct Facts<'a> {
    pub observed: &'a Observed,
    pub memory: &'a Memory,
    pub verdict: Option<&'a Verdict>,
    pub host_ip: &'a str,
    pub now: Timestamp,
}

/// The status of `pod` as `facts` have it. Conditions of others are kept.
pub fn status(pod: &Pod, facts: &Facts<'_>) -> PodStatus {
    let spec = pod.spec.clone().unwrap_or_default();
    let before = pod.status.clone().unwrap_or_default();
    let inits: Vec<&Container> = spec.init_containers.iter().flatten().collect();
    let initialized = is_initialized(&spec, facts);
    let init_statuses: Vec<_> =
        inits.iter().map(|container| container_status(pod, container, facts)).collect();
    let statuses: Vec<_> =
        spec.containers.iter().map(|container| container_status(pod, container, facts)).collect();
    let ephemeral_statuses: Vec<_> =
        ephemeral::containers(&spec).map(|container| container_status(pod, &container, facts)).collect();
    let phase = phase(&spec, &statuses, initialized, facts);
    let ips = pod_ips(&spec, facts);
    let conditions = conditions(pod, &statuses, &phase, initialized, facts);
    PodStatus {
        phase: Some(phase),
        reason: facts.verdict.map(|verdict| verdict.reason.clone()),
        message: facts.verdict.map(|verdict| verdict.message.clone()),
        conditions: Some(conditions),
        init_container_statuses: (!init_statuses.is_empty()).then_some(init_statuses),
        container_statuses: Some(statuses),
        ephemeral_container_statuses: (!ephemeral_statuses.is_empty()).then_some(ephemeral_statuses),
        pod_ip: ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect()),
        host_ip: Some(facts.host_ip.to_owned()),
        host_ips: Some(vec![HostIP { ip: facts.host_ip.to_owned() }]),
        qos_class: before.qos_class.or_else(|| Some(qos_class(&spec).to_owned())),
        start_time: before.start_time.or(Some(Time(whole_second(facts.now)))),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

fn pod_ips(spec: &PodSpec, facts: &Facts<'_>) -> Vec<String> {
    if spec.host_network == Some(true) {
        return if facts.observed.sandbox().is_some() { vec![facts.host_ip.to_owned()] } else { Vec::new() };
    }
    facts.observed.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default()
}

/// All init containers ended well, and all sidecars have started.
fn is_initialized(spec: &PodSpec, facts: &Facts<'_>) -> bool {
    let begun = spec.containers.iter().any(|container| facts.observed.newest(&container.name).is_some());
    begun
        || spec.init_containers.iter().flatten().all(|container| {
            let newest = facts.observed.newest(&container.name);
            newest.is_some_and(|newest| match newest.exit() {
                Some(exit) => !is_sidecar(container) && exit.code == 0,
                None => is_sidecar(container) && facts.memory.started.contains(&newest.id),
            })
        })
}

fn container_status(pod: &Pod, container: &Container, facts: &Facts<'_>) -> ContainerStatus {
    let name = &container.name;
    let newest = facts.observed.newest(name);
    let (state, last_state) = states(pod, container, newest, facts);
    let running = newest.filter(|instance| matches!(instance.state, State::Running { .. }));
    let sized = running.and_then(|running| facts.memory.sized.get(&running.id));
    let shown_image = newest.map(|newest| newest.image.clone()).filter(|image| !image.is_empty());
    let done_init = !is_sidecar(container)
        && is_init(pod, name)
        && newest.and_then(Instance::exit).is_some_and(|exit| exit.code == 0);
    ContainerStatus {
        name: name.clone(),
        image: shown_image.or_else(|| container.image.clone()).unwrap_or_default(),
        image_id: newest.map(|newest| newest.image_ref.clone()).unwrap_or_default(),
        container_id: newest.map(|newest| container_id(&newest.id)),
        ready: done_init || running.is_some_and(|running| facts.memory.ready.contains(&running.id)),
        started: Some(running.is_some_and(|running| facts.memory.started.contains(&running.id))),
        restart_count: newest.map_or(0, |newest| i32::try_from(newest.attempt).unwrap_or(i32::MAX)),
        allocated_resources: sized.and_then(|sized| sized.requests.clone()),
        resources: sized.cloned(),
        state: Some(state),
        last_state,
        ..ContainerStatus::default()
    }
}

fn is_init(pod: &Pod, name: &str) -> bool {
    let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    inits.into_iter().any(|container| container.name == name)
}

/// The id as clients expect it: with the engine's scheme.
pub fn container_id(id: &str) -> String {
    format!("pouch://{id}")
}

fn states(
    pod: &Pod,
    container: &Container,
    newest: Option<&Instance>,
    facts: &Facts<'_>,
) -> (ContainerState, Option<ContainerState>) {
    let name = &container.name;
    let last = facts.observed.previous(name).and_then(terminated);
    if let Some(retry) = facts.memory.retries.get(name).filter(|_| newest.is_none_or(|run| !run.is_alive())) {
        let waiting = waiting(retry.shown_reason(), Some(retry.message.clone()));
        return (waiting, newest.and_then(terminated).or(last));
    }
    let Some(newest) = newest else {
        let begins =
            if !is_init(pod, name) && has_inits(pod) { "PodInitializing" } else { "ContainerCreating" };
        return (waiting(begins, None), None);
    };
    match &newest.state {
        State::Running { since } => {
            let running = ContainerStateRunning { started_at: Some(Time(whole_second(*since))) };
            (ContainerState { running: Some(running), ..ContainerState::default() }, last)
        }
        State::Created | State::Unknown => (waiting("ContainerCreating", None), last),
        State::Exited(exit) => match crash_loop(pod, container, exit, facts) {
            Some(message) => (waiting("CrashLoopBackOff", Some(message)), terminated(newest)),
            None => (terminated(newest).unwrap_or_default(), last),
        },
    }
}

fn has_inits(pod: &Pod) -> bool {
    pod.spec.iter().any(|spec| spec.init_containers.iter().flatten().next().is_some())
}

/// Why an ended container waits to be restarted, if it does.
fn crash_loop(pod: &Pod, container: &Container, exit: &Exit, facts: &Facts<'_>) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let ended_for_good = match policy(spec) {
        _ if is_sidecar(container) => false,
        _ if container.restart_policy.as_deref() == Some("Never") => true,
        "Never" => true,
        "OnFailure" => exit.code == 0,
        _ => is_init(pod, &container.name) && exit.code == 0,
    };
    let delay = facts.memory.crashes.get(&container.name)?.delay();
    if ended_for_good || delay.is_zero() || facts.verdict.is_some() {
        return None;
    }
    let metadata = &pod.metadata;
    let (namespace, pod_name) = (metadata.namespace.as_deref()?, metadata.name.as_deref()?);
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let (seconds, name) = (delay.as_secs(), &container.name);
    Some(format!("back-off {seconds}s restarting failed container={name} pod={pod_name}_{namespace}({uid})"))
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn terminated(instance: &Instance) -> Option<ContainerState> {
    let exit = instance.exit()?;
    let fallback = if exit.code == 0 { "Completed" } else { "Error" };
    let terminated = ContainerStateTerminated {
        container_id: Some(container_id(&instance.id)),
        exit_code: exit.code,
        reason: Some(if exit.reason.is_empty() { fallback.to_owned() } else { exit.reason.clone() }),
        message: (!exit.message.is_empty()).then(|| exit.message.clone()),
        started_at: Some(Time(whole_second(exit.started))),
        finished_at: Some(Time(whole_second(exit.finished))),
        signal: None,
    };
    Some(ContainerState { terminated: Some(terminated), ..ContainerState::default() })
}

fn phase(spec: &PodSpec, statuses: &[ContainerStatus], initialized: bool, facts: &Facts<'_>) -> String {
    let exits: Vec<Option<&Exit>> = spec
        .containers
        .iter()
        .map(|container| facts.observed.newest(&container.name).and_then(Instance::exit))
        .collect();
    let waits_first = statuses.iter().any(|status| {
        let state = status.state.as_ref();
        state.is_some_and(|state| state.waiting.is_some()) && status.last_state.is_none()
    });
    let finished = is_finished(spec, facts.observed);
    let well = exits.iter().all(|exit| exit.is_some_and(|exit| exit.code == 0));
    match () {
        () if facts.verdict.is_some() => "Failed",
        () if finished && well => "Succeeded",
        () if finished => "Failed",
        () if !initialized || waits_first => "Pending",
        () => "Running",
    }
    .to_owned()
}

fn conditions(
    pod: &Pod,
    statuses: &[ContainerStatus],
    phase: &str,
    initialized: bool,
    facts: &Facts<'_>,
) -> Vec<PodCondition> {
    let before = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let before: Vec<PodCondition> = before.cloned().collect();
    let ended =
        (phase == "Succeeded").then_some("PodCompleted").or((phase == "Failed").then_some("PodFailed"));
    let unready: Vec<&str> =
        statuses.iter().filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    let all_ready = match (ended, unready.is_empty()) {
        (Some(reason), _) => Err((reason, None)),
        (None, true) => Ok(()),
        (None, false) => {
            let message = format!("containers with unready status: [{}]", unready.join(" "));
            Err(("ContainersNotReady", Some(message)))
        }
    };
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let gates_met = gates.into_iter().all(|gate| {
        before.iter().any(|condition| condition.type_ == gate.condition_type && condition.status == "True")
    });
    let ready = match &all_ready {
        Ok(()) if !gates_met => Err(("ReadinessGatesNotReady", None)),
        verdict => verdict.clone(),
    };
    let init = if initialized { Ok(()) } else { Err(("ContainersNotInitialized", None)) };
    let network = if facts.observed.sandbox().is_some() { Ok(()) } else { Err(("SandboxNotReady", None)) };
    let ours = [
        ("PodReadyToStartContainers", network.map_err(|(_, message)| ("", message))),
        ("Initialized", init),
        ("Ready", ready),
        ("ContainersReady", all_ready),
        ("PodScheduled", Ok(())),
    ];
    let others = before.iter().filter(|condition| ours.iter().all(|(type_, _)| *type_ != condition.type_));
    let made = ours.iter().map(|(type_, verdict)| condition(&before, type_, verdict.clone(), facts.now));
    made.chain(others.cloned()).collect()
}

fn condition(
    before: &[PodCondition],
    type_: &str,
    verdict: Result<(), (&str, Option<String>)>,
    now: Timestamp,
) -> PodCondition {
    let (status, reason, message) = match verdict {
        Ok(()) => ("True", None, None),
        Err((reason, message)) => ("False", Some(reason.to_owned()).filter(|text| !text.is_empty()), message),
    };
    let same = before.iter().find(|condition| condition.type_ == type_ && condition.status == status);
    let since = same.and_then(|same| same.last_transition_time.clone());
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason,
        message,
        last_transition_time: since.or(Some(Time(whole_second(now)))),
        ..PodCondition::default()
    }
}

/// Kubernetes tells time in whole seconds; keeping more would make equal statuses look different.
pub fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Kubernetes' own class, by requests and limits of CPU and memory.
pub fn qos_class(spec: &PodSpec) -> &'static str {
    let quantity = |resources: Option<&ResourceRequirements>, limits: bool, resource: &str| {
        let resources = resources?;
        let map = if limits { resources.limits.as_ref() } else { resources.requests.as_ref() };
        map?.get(resource).filter(|quantity| quantity.0 != "0").map(|quantity| quantity.0.clone())
    };
    let names = ["cpu", "memory"];
    let says = |resources: Option<&ResourceRequirements>| {
        names
            .iter()
            .any(|name| [false, true].iter().any(|limits| quantity(resources, *limits, name).is_some()))
    };
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    // What is said of the Pod as a whole decides, if anything is.
    let all: Vec<Option<&ResourceRequirements>> = match spec.resources.as_ref() {
        Some(whole) if says(Some(whole)) => vec![Some(whole)],
        _ => containers().map(|container| container.resources.as_ref()).collect(),
    };
    let any = all.iter().any(|resources| says(*resources));
    let all_equal = all.iter().all(|resources| {
        names.iter().all(|name| {
            let limit = quantity(*resources, true, name);
            limit.is_some() && quantity(*resources, false, name).is_none_or(|request| Some(request) == limit)
        })
    });
    match (any, all_equal) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests;
