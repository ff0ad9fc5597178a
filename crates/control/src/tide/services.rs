//! Services that a tide makes bigger on hosts that are handed over: which Pods these are, and how it goes with them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use level0::tide::{Amounts, Factor, Marked, Resize, Service, Size, resize};
use model::QosClass;
use model::tide::{RESIZE_MARK, ResizeMark, ResizeStatus, Tide, TideResize};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::view::View;
use crate::{owner, pods, sigma};

/// What becomes of a Pod.
#[derive(Clone, Debug)]
pub(super) struct Resized<'a> {
    pub(super) pod: &'a Pod,
    pub(super) resize: Resize,
    pub(super) mark: Option<ResizeMark>,
}

/// A Pod, what it says of this tide, and what it is to have.
type Meant<'a> = (&'a Pod, Option<ResizeMark>, Option<Factor>);

/// What a plan says of a Pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResizePlan {
    pub pod: String,
    pub host: String,
    /// `CONTAINER/requests/cpu` and the like: what it is to be.
    pub to: BTreeMap<String, String>,
    /// Why it stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// The Pods of which the tide owes something, or has seen to it, with these hosts handed over.
pub(super) fn resized<'a>(tide: &Tide, view: &View<'a>, open: &BTreeSet<&str>) -> Vec<Resized<'a>> {
    let own = tide.metadata.name.as_deref().unwrap_or_default();
    let mut by_host: BTreeMap<&str, Vec<Meant<'a>>> = BTreeMap::new();
    for &pod in &view.pods {
        let Some(host) = pods::node_name(pod).filter(|_| pods::is_active(pod)) else { continue };
        let mark = ResizeMark::of(pod.metadata.annotations.as_ref());
        // Another tide has not put it back yet, or nobody knows what it was.
        let is_others =
            pods::annotation(pod, RESIZE_MARK).is_some() && mark.as_ref().is_none_or(|mark| mark.tide != own);
        let factor = if open.contains(host) && !is_others { factor(tide, pod) } else { None };
        let mark = mark.filter(|_| !is_others);
        if mark.is_some() || factor.is_some() {
            by_host.entry(host).or_default().push((pod, mark, factor));
        }
    }
    by_host.into_iter().flat_map(|(host, meant)| on_host(view, host, meant)).collect()
}

fn on_host<'a>(view: &View<'a>, host: &str, meant: Vec<Meant<'a>>) -> Vec<Resized<'a>> {
    let node = view.nodes.iter().find(|node| node.metadata.name.as_deref() == Some(host));
    let allocatable = node.map(|node| size(&sigma::node(node).allocatable)).unwrap_or_default();
    let is_meant = |pod: &Pod| meant.iter().any(|(other, ..)| other.metadata.uid == pod.metadata.uid);
    let others = view.pods.iter().filter(|pod| pods::node_name(pod) == Some(host) && !pods::has_ended(pod));
    let others = others.filter(|pod| !is_meant(pod)).map(|pod| size(&sigma::pod(pod).requests));
    let others = others.fold(Size::default(), |sum, size| Size {
        milli_cpu: sum.milli_cpu.saturating_add(size.milli_cpu),
        memory: sum.memory.saturating_add(size.memory),
    });
    let services: Vec<Service> =
        meant.iter().map(|(pod, mark, factor)| service(pod, mark.as_ref(), *factor)).collect();
    let mut told = resize(allocatable, others, &services);
    let told = meant.into_iter().filter_map(|(pod, mark, _)| {
        let resize = told.remove(pod.metadata.uid.as_deref().unwrap_or_default())?;
        Some(Resized { pod, resize, mark })
    });
    told.collect()
}

fn size(amounts: &Amounts) -> Size {
    let amount = |name: &str| amounts.get(name).copied().unwrap_or(0);
    Size { milli_cpu: amount("cpu"), memory: amount("memory") }
}

fn service(pod: &Pod, mark: Option<&ResizeMark>, factor: Option<Factor>) -> Service {
    let made = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    Service {
        id: pod.metadata.uid.clone().unwrap_or_default(),
        priority: pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0),
        made: made.unwrap_or_default(),
        amounts: amounts(&texts(pod)),
        takes: size(&sigma::pod(pod).requests),
        factor,
        mark: mark.map(|mark| Marked {
            from: amounts(&mark.from),
            to: amounts(&mark.to),
            is_refused: mark.refused.is_some(),
        }),
    }
}

/// What the first rule that names the Pod makes of it.
fn factor(tide: &Tide, pod: &Pod) -> Option<Factor> {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_ref()?;
    let is_named = |rule: &&TideResize| {
        (rule.namespaces.is_empty() || rule.namespaces.contains(namespace))
            && owner::selector(&rule.selector).matches(&labels)
    };
    let rule = tide.spec.resize.iter().find(is_named).filter(|_| QosClass::of(pod) != QosClass::Batch)?;
    Some(Factor { cpu: rule.cpu_percent.unwrap_or(100), memory: rule.memory_percent.unwrap_or(100) })
}

/// What the containers of a Pod ask for, as their owner wrote it.
pub(super) fn texts(pod: &Pod) -> BTreeMap<String, String> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let asked = |container: &Container| places(&container.name, container.resources.as_ref());
    containers.flat_map(asked).collect()
}

fn places(container: &str, resources: Option<&ResourceRequirements>) -> Vec<(String, String)> {
    let Some(resources) = resources else { return Vec::new() };
    let fields = [("requests", &resources.requests), ("limits", &resources.limits)];
    let all = fields.into_iter().flat_map(|(field, amounts)| {
        let known = amounts.iter().flatten().filter(|(name, _)| ["cpu", "memory"].contains(&name.as_str()));
        known.map(move |(name, amount)| (format!("{container}/{field}/{name}"), amount.0.clone()))
    });
    all.collect()
}

fn amounts(texts: &BTreeMap<String, String>) -> Amounts {
    let amount = |place: &str, text: &str| {
        let resource = place.rsplit('/').next().unwrap_or_default();
        sigma::amount(resource, &Quantity(text.to_owned()))
    };
    texts.iter().filter_map(|(place, text)| Some((place.clone(), amount(place, text)?))).collect()
}

/// As the API has them.
pub(super) fn quantities(amounts: &Amounts) -> BTreeMap<String, String> {
    let unit = |place: &str| if place.ends_with("/cpu") { "m" } else { "" };
    amounts.iter().map(|(place, amount)| (place.clone(), format!("{amount}{}", unit(place)))).collect()
}

/// The strategic merge patch that gives containers these amounts, to exactly this version of the Pod.
pub(super) fn change(texts: &BTreeMap<String, String>, version: Option<&str>) -> Value {
    let mut containers: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for (place, text) in texts {
        let Some((rest, resource)) = place.rsplit_once('/') else { continue };
        let Some((container, field)) = rest.rsplit_once('/') else { continue };
        let fields = containers.entry(container).or_default();
        fields.entry(field).or_insert_with(|| json!({}))[resource] = text.as_str().into();
    }
    let containers =
        containers.into_iter().map(|(name, fields)| json!({ "name": name, "resources": fields }));
    json!({ "metadata": { "resourceVersion": version }, "spec": { "containers": containers.collect::<Vec<_>>() } })
}

/// How it stands; none where nobody asked for it and nothing is left to put back.
pub(super) fn status(tide: &Tide, resized: &[Resized<'_>]) -> Option<ResizeStatus> {
    if tide.spec.resize.is_empty() && resized.is_empty() {
        return None;
    }
    let mut status = ResizeStatus::default();
    for each in resized {
        let (count, why) = match standing(each) {
            Standing::Resized => (&mut status.resized, None),
            Standing::UnderWay => (&mut status.under_way, None),
            Standing::Deferred(why) => (&mut status.deferred, Some(why)),
            Standing::Infeasible(why) => (&mut status.infeasible, Some(why)),
        };
        *count += 1;
        if let Some(why) = why.filter(|_| status.message.is_empty()) {
            status.message = format!("Pod `{}`: {why}", name(each.pod));
        }
    }
    Some(status)
}

/// How it stands with a Pod.
enum Standing {
    Resized,
    UnderWay,
    Deferred(String),
    Infeasible(String),
}

fn standing(each: &Resized<'_>) -> Standing {
    match &each.resize {
        Resize::Grow(_) | Resize::Return(_) => Standing::UnderWay,
        Resize::Grown => as_its_node_says(each.pod),
        Resize::Deferred => Standing::Deferred("its host has no room for it now".to_owned()),
        Resize::Infeasible => Standing::Infeasible("its host is too small for it".to_owned()),
        Resize::Refused => {
            let why = each.mark.as_ref().and_then(|mark| mark.refused.clone());
            Standing::Infeasible(why.unwrap_or_default())
        }
    }
}

fn as_its_node_says(pod: &Pod) -> Standing {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    for condition in conditions.filter(|condition| condition.status == "True") {
        let why = || condition.message.clone().unwrap_or_default();
        match (condition.type_.as_str(), condition.reason.as_deref()) {
            ("PodResizePending", Some("Infeasible")) => return Standing::Infeasible(why()),
            ("PodResizePending", _) => return Standing::Deferred(why()),
            ("PodResizeInProgress", _) => return Standing::UnderWay,
            _ => {}
        }
    }
    let wanted = amounts(&texts(pod));
    let told = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let has = told.flat_map(|told| places(&told.name, told.resources.as_ref())).collect();
    let is_behind =
        amounts(&has).iter().any(|(place, amount)| wanted.get(place).is_some_and(|wanted| wanted != amount));
    if is_behind { Standing::UnderWay } else { Standing::Resized }
}

/// What is told of them before anything is done.
pub(super) fn planned(resized: &[Resized<'_>]) -> Vec<ResizePlan> {
    let told = resized.iter().map(|each| {
        let (to, why_not) = match (&each.resize, standing(each)) {
            (Resize::Grow(to), _) => (quantities(to), None),
            (_, Standing::Deferred(why) | Standing::Infeasible(why)) => (BTreeMap::new(), Some(why)),
            _ => (each.mark.clone().unwrap_or_default().to, None),
        };
        let host = pods::node_name(each.pod).unwrap_or_default().to_owned();
        ResizePlan { pod: name(each.pod), host, to, why_not }
    });
    told.collect()
}

fn name(pod: &Pod) -> String {
    crate::key::ObjectKey::of(pod).to_string()
}

/// Whether two versions of a Pod are the same to the tide that resizes it.
pub(super) fn is_alike(before: &Pod, after: &Pod) -> bool {
    fn seen(pod: &Pod) -> impl PartialEq {
        let status = pod.status.as_ref();
        let told = status.into_iter().flat_map(|status| status.container_statuses.iter().flatten());
        let has: Vec<_> = told.map(|told| told.resources.clone()).collect();
        let conditions = status.and_then(|status| status.conditions.clone());
        (pods::annotation(pod, RESIZE_MARK).map(str::to_owned), texts(pod), has, conditions)
    }
    seen(before) == seen(after)
}
