//! Kubernetes' Pods and Nodes in the engine's words.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use model::Quantity;
use sigma::label::{NodeTerm, Operator, PreferredTerm, Requirement};
use sigma::node::{Effect, Node, Taint};
use sigma::pod::{
    HostPort, InclusionPolicy, Pod, PodTerm, SpreadConstraint, Toleration, TolerationMatch, WeightedPodTerm,
    WhenUnsatisfiable,
};
use sigma::resources::{Amounts, CPU, InitContainer, MEMORY, effective_requests, while_resized};

/// The node as the engine sees it.
pub(crate) fn node(node: &k8s::Node) -> Node {
    let spec = node.spec.clone().unwrap_or_default();
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let allocatable = allocatable.map(amounts).unwrap_or_default();
    Node {
        name: node.metadata.name.clone().unwrap_or_default(),
        gpus: super::gpus::of_node(node, &allocatable),
        cpu_topology: super::cpus::of_node(node),
        images: images(node),
        allocatable,
        labels: node.metadata.labels.clone().unwrap_or_default(),
        taints: spec.taints.iter().flatten().filter_map(taint).collect(),
        unschedulable: spec.unschedulable == Some(true),
    }
}

/// The images that the node has told of, by all their names.
fn images(node: &k8s::Node) -> BTreeMap<String, u64> {
    let images = node.status.iter().flat_map(|status| status.images.iter().flatten());
    let named = images.flat_map(|image| {
        let size = image.size_bytes.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
        image.names.iter().flatten().map(move |name| (name.clone(), size))
    });
    named.collect()
}

/// The image as nodes tell of it: with its tag.
fn image(name: &str) -> String {
    let tag = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if tag { name.to_owned() } else { format!("{name}:latest") }
}

pub(crate) fn taint(taint: &k8s::Taint) -> Option<Taint> {
    let value = taint.value.clone().unwrap_or_default();
    Some(Taint { key: taint.key.clone(), value, effect: effect(&taint.effect)? })
}

/// The budget as the engine sees it; one that selects nothing is none.
pub(crate) fn budget(budget: &PodDisruptionBudget) -> Option<sigma::Budget> {
    let selector = budget.spec.as_ref()?.selector.as_ref()?;
    let allowed = budget.status.as_ref().and_then(|status| status.disruptions_allowed);
    Some(sigma::Budget {
        namespace: budget.metadata.namespace.clone().unwrap_or_default(),
        selector: crate::owner::selector(selector),
        allowed: allowed.and_then(|allowed| u64::try_from(allowed).ok()).unwrap_or(0),
    })
}

/// The pod as the engine sees it.
pub(crate) fn pod(pod: &k8s::Pod) -> Pod {
    let spec = pod.spec.clone().unwrap_or_default();
    let node_affinity =
        spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone()).unwrap_or_default();
    let required = node_affinity.required_during_scheduling_ignored_during_execution;
    let preferred = node_affinity.preferred_during_scheduling_ignored_during_execution;
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let (near, apart) = neighbours(pod, spec.affinity.as_ref());
    let mut requests = requests(pod, &spec);
    Pod {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        owner: crate::owner::controller_uid(&pod.metadata).map(str::to_owned),
        gpu: super::gpus::request(pod, &mut requests),
        pinning: super::cpus::request(pod, &requests),
        requests,
        node_selector: spec.node_selector.clone().unwrap_or_default(),
        required_nodes: required.map(|selector| selector.node_selector_terms.iter().map(node_term).collect()),
        preferred_nodes: preferred.iter().flatten().map(preferred_term).collect(),
        tolerations: spec.tolerations.iter().flatten().map(toleration).collect(),
        spread: spec
            .topology_spread_constraints
            .iter()
            .flatten()
            .map(|each| spread_constraint(each, &labels))
            .collect(),
        required_pods: near.required,
        forbidden_pods: apart.required,
        preferred_pods: near.preferred.into_iter().chain(apart.preferred.into_iter().map(reversed)).collect(),
        volumes: sigma::volume::Volumes::default(),
        images: containers(&spec).filter_map(|each| each.image.as_deref()).map(image).collect(),
        host_ports: spec.containers.iter().chain(sidecars(&spec)).flat_map(host_ports).collect(),
        ignores_load: crate::owner::controller(&pod.metadata).is_some_and(|owner| owner.kind == "DaemonSet"),
        priority: spec.priority.unwrap_or(0),
        policy: sigma::Policy::default(),
        labels,
    }
}

/// What one side of a pod's affinity to other pods says.
#[derive(Debug, Default)]
struct Terms {
    required: Vec<PodTerm>,
    preferred: Vec<WeightedPodTerm>,
}

/// The terms of pod affinity, and those of anti-affinity.
fn neighbours(pod: &k8s::Pod, affinity: Option<&k8s::Affinity>) -> (Terms, Terms) {
    let terms = |required: &Option<Vec<k8s::PodAffinityTerm>>,
                 preferred: &Option<Vec<k8s::WeightedPodAffinityTerm>>| {
        let weighted = |each: &k8s::WeightedPodAffinityTerm| WeightedPodTerm {
            weight: each.weight,
            term: pod_term(pod, &each.pod_affinity_term),
        };
        Terms {
            required: required.iter().flatten().map(|term| pod_term(pod, term)).collect(),
            preferred: preferred.iter().flatten().map(weighted).collect(),
        }
    };
    let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref()).map(|near| {
        terms(
            &near.required_during_scheduling_ignored_during_execution,
            &near.preferred_during_scheduling_ignored_during_execution,
        )
    });
    let apart = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref()).map(|apart| {
        terms(
            &apart.required_during_scheduling_ignored_during_execution,
            &apart.preferred_during_scheduling_ignored_during_execution,
        )
    });
    (near.unwrap_or_default(), apart.unwrap_or_default())
}

fn reversed(wish: WeightedPodTerm) -> WeightedPodTerm {
    WeightedPodTerm { weight: wish.weight.saturating_neg(), ..wish }
}

/// A term that names no namespace means those of the pod's own.
fn pod_term(pod: &k8s::Pod, term: &k8s::PodAffinityTerm) -> PodTerm {
    let mut selector = term.label_selector.as_ref().map(crate::owner::selector);
    let labels = pod.metadata.labels.iter().flatten();
    for (key, value) in labels {
        let is_in = |keys: &Option<Vec<String>>| keys.iter().flatten().any(|each| each == key);
        let Some(selector) = &mut selector else { break };
        if is_in(&term.match_label_keys) {
            selector.requirements.push(Requirement::equals(key, value));
        }
        if is_in(&term.mismatch_label_keys) {
            let (operator, values) = (Operator::NotIn, vec![value.clone()]);
            selector.requirements.push(Requirement { key: key.clone(), operator, values });
        }
    }
    let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
    if namespaces.is_empty() && term.namespace_selector.is_none() {
        namespaces.insert(pod.metadata.namespace.clone().unwrap_or_default());
    }
    PodTerm {
        selector,
        namespaces,
        namespace_selector: term.namespace_selector.as_ref().map(crate::owner::selector),
        topology_key: term.topology_key.clone(),
    }
}

/// Init containers that stay.
fn sidecars(spec: &k8s::PodSpec) -> impl Iterator<Item = &k8s::Container> {
    spec.init_containers.iter().flatten().filter(|each| is_sidecar(each))
}

fn is_sidecar(container: &k8s::Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn containers(spec: &k8s::PodSpec) -> impl Iterator<Item = &k8s::Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// What the pod asks of a node in all.
fn requests(pod: &k8s::Pod, spec: &k8s::PodSpec) -> Amounts {
    let current = |container: &k8s::Container| current_requests(pod, container);
    let main: Vec<Amounts> = spec.containers.iter().map(current).collect();
    let init = spec
        .init_containers
        .iter()
        .flatten()
        .map(|container| InitContainer { requests: current(container), is_sidecar: is_sidecar(container) });
    let mut total = effective_requests(&main, &init.collect::<Vec<_>>(), &Amounts::new());
    let is_shared = |name: &str| name == CPU || name == MEMORY || name.starts_with("hugepages-");
    let of_pod = |asked: Option<&BTreeMap<String, Text>>| {
        let asked = asked.map(amounts).unwrap_or_default();
        asked.into_iter().filter(|(name, _)| is_shared(name))
    };
    let whole = spec.resources.as_ref();
    // What is asked for the pod as a whole stands above what its containers ask for; its limit only where they ask for
    // nothing.
    total.extend(of_pod(whole.and_then(|whole| whole.requests.as_ref())));
    for (name, limit) in of_pod(whole.and_then(|whole| whole.limits.as_ref())) {
        total.entry(name).or_insert(limit);
    }
    let overhead = spec.overhead.as_ref().map(amounts).unwrap_or_default();
    effective_requests(&[total], &[], &overhead)
}

/// What a container has to be reckoned with: while it is resized, the most of what it wants, was promised and has.
fn current_requests(pod: &k8s::Pod, container: &k8s::Container) -> Amounts {
    let wanted = container.resources.as_ref().map(asked).unwrap_or_default();
    let status = pod.status.as_ref();
    let told = status.into_iter().flat_map(|status| {
        let main = status.container_statuses.iter().flatten();
        main.chain(status.init_container_statuses.iter().flatten())
    });
    let Some(told) = told.into_iter().find(|told| told.name == container.name) else { return wanted };
    let Some(has) = &told.resources else { return wanted };
    let pending = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let mut pending = pending.filter(|condition| condition.type_ == "PodResizePending");
    let is_refused = pending.any(|condition| condition.reason.as_deref() == Some("Infeasible"));
    let has = has.requests.as_ref().map(amounts).unwrap_or_default();
    let promised = told.allocated_resources.as_ref().map(amounts).unwrap_or_default();
    while_resized((!is_refused).then_some(&wanted), &promised, &has)
}

/// A limit without a request stands for both.
fn asked(resources: &k8s::ResourceRequirements) -> Amounts {
    let mut asked = resources.limits.as_ref().map(amounts).unwrap_or_default();
    asked.extend(resources.requests.iter().flat_map(amounts));
    asked
}

fn amounts(quantities: &BTreeMap<String, Text>) -> Amounts {
    quantities.iter().filter_map(|(name, text)| Some((name.clone(), amount(name, text)?))).collect()
}

/// A quantity that does not parse was refused by the API; one from elsewhere is left out.
pub(crate) fn amount(name: &str, text: &Text) -> Option<u64> {
    let quantity = Quantity::parse(&text.0).ok()?;
    let units = if name == CPU { quantity.to_milli() } else { quantity.to_units() };
    Some(u64::try_from(units.max(0)).unwrap_or(u64::MAX))
}

pub(crate) fn node_term(term: &k8s::NodeSelectorTerm) -> NodeTerm {
    let requirements = |list: &Option<Vec<k8s::NodeSelectorRequirement>>| {
        let requirement = |each: &k8s::NodeSelectorRequirement| Requirement {
            key: each.key.clone(),
            operator: crate::owner::operator(&each.operator),
            values: each.values.clone().unwrap_or_default(),
        };
        list.iter().flatten().map(requirement).collect()
    };
    NodeTerm { labels: requirements(&term.match_expressions), fields: requirements(&term.match_fields) }
}

fn preferred_term(preferred: &k8s::PreferredSchedulingTerm) -> PreferredTerm {
    PreferredTerm {
        weight: u32::try_from(preferred.weight).unwrap_or(0),
        term: node_term(&preferred.preference),
    }
}

pub(crate) fn toleration(toleration: &k8s::Toleration) -> Toleration {
    let bound = || toleration.value.as_deref().and_then(|value| value.parse::<i64>().ok());
    let matches = match toleration.operator.as_deref() {
        Some("Exists") => TolerationMatch::Exists,
        Some("Gt") => bound().map_or(TolerationMatch::Nothing, TolerationMatch::Above),
        Some("Lt") => bound().map_or(TolerationMatch::Nothing, TolerationMatch::Below),
        _ => TolerationMatch::Equal(toleration.value.clone().unwrap_or_default()),
    };
    let effect = toleration.effect.as_deref().and_then(effect);
    Toleration { key: toleration.key.clone().unwrap_or_default(), matches, effect }
}

fn effect(name: &str) -> Option<Effect> {
    match name {
        "NoSchedule" => Some(Effect::NoSchedule),
        "PreferNoSchedule" => Some(Effect::PreferNoSchedule),
        "NoExecute" => Some(Effect::NoExecute),
        _ => None,
    }
}

fn spread_constraint(
    constraint: &k8s::TopologySpreadConstraint,
    labels: &sigma::label::Labels,
) -> SpreadConstraint {
    let mut selector = constraint.label_selector.as_ref().map(crate::owner::selector);
    // Only pods with the same values under these keys count: in practice, those of one revision.
    for key in constraint.match_label_keys.iter().flatten() {
        if let (Some(selector), Some(value)) = (&mut selector, labels.get(key)) {
            selector.requirements.push(Requirement::equals(key, value));
        }
    }
    let unsatisfiable = match constraint.when_unsatisfiable.as_str() {
        "ScheduleAnyway" => WhenUnsatisfiable::ScheduleAnyway,
        _ => WhenUnsatisfiable::DoNotSchedule,
    };
    SpreadConstraint {
        topology_key: constraint.topology_key.clone(),
        max_skew: u32::try_from(constraint.max_skew).unwrap_or(1),
        unsatisfiable,
        selector,
        min_domains: constraint.min_domains.and_then(|least| u32::try_from(least).ok()),
        affinity_policy: policy(constraint.node_affinity_policy.as_deref(), InclusionPolicy::Honor),
        taints_policy: policy(constraint.node_taints_policy.as_deref(), InclusionPolicy::Ignore),
    }
}

fn policy(name: Option<&str>, default: InclusionPolicy) -> InclusionPolicy {
    match name {
        Some("Honor") => InclusionPolicy::Honor,
        Some("Ignore") => InclusionPolicy::Ignore,
        _ => default,
    }
}

fn host_ports(container: &k8s::Container) -> Vec<HostPort> {
    let ports = container.ports.iter().flatten();
    let taken = ports.filter_map(|port| {
        let number =
            port.host_port.and_then(|number| u16::try_from(number).ok()).filter(|&number| number > 0)?;
        Some(HostPort {
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            address: port.host_ip.clone().unwrap_or_default(),
            port: number,
        })
    });
    taken.collect()
}
