//! Which slices and Endpoints a Service owes, from the pods that it selects.

mod backend;
mod slices;
mod subsets;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;

use crate::pods;

pub(crate) use subsets::is_ours;

/// Says in a slice or Endpoints when what it tells came about: from this, network programs reckon their delay.
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Marks what belongs to a Service without an address of its own.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// A Service, the pods of its namespace, and what is told of it so far.
pub(crate) struct View<'a> {
    pub(crate) service: &'a Service,
    pub(crate) pods: &'a [Arc<Pod>],
    pub(crate) slices: &'a [Arc<EndpointSlice>],
    pub(crate) endpoints: Option<&'a Endpoints>,
    /// The zone of a node.
    pub(crate) zone: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

/// What is owed to the world.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) create: Vec<EndpointSlice>,
    pub(crate) update: Vec<EndpointSlice>,
    pub(crate) delete: Vec<Arc<EndpointSlice>>,
    /// With a version: to be replaced; without: to be made.
    pub(crate) endpoints: Option<Endpoints>,
}

/// Whether the Service has endpoints from pods, and this pod is one of its.
pub(crate) fn selects(service: &Service, pod: &Pod) -> bool {
    let Some(selector) = selector(service) else { return false };
    let labels = pod.metadata.labels.as_ref();
    selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

fn selector(service: &Service) -> Option<&std::collections::BTreeMap<String, String>> {
    let spec = service.spec.as_ref().filter(|spec| spec.type_.as_deref() != Some("ExternalName"))?;
    spec.selector.as_ref().filter(|selector| !selector.is_empty())
}

/// What of a pod its Services tell: when none of it changes, there is no work.
pub(crate) fn facts(pod: &Pod) -> impl PartialEq + use<> {
    let ips = pod.status.as_ref().map(|status| (status.pod_ip.clone(), status.pod_ips.clone()));
    let is_going = pod.metadata.deletion_timestamp.is_some();
    let state = (pods::has_ended(pod), is_going, pods::ready_since(pod).is_some());
    (
        pod.metadata.uid.clone(),
        pod.metadata.labels.clone(),
        ips,
        state,
        pods::node_name(pod).map(str::to_owned),
    )
}

pub(crate) fn decide(view: &View<'_>) -> Plan {
    if selector(view.service).is_none() || view.service.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let selected: Vec<&Pod> =
        view.pods.iter().map(|pod| &**pod).filter(|pod| selects(view.service, pod)).collect();
    let mut plan = slices::plan(view, &selected);
    plan.endpoints = subsets::plan(view, &selected);
    plan
}

fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// The Service's labels as its slices and Endpoints carry them.
fn handed_down(service: &Service) -> std::collections::BTreeMap<String, String> {
    let mut labels = service.labels().clone();
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

/// When the oldest of these changes came about: the creation of the Service when it is `new`, else when the readiness
/// of the `changed` pods turned.
fn trigger_time<'a>(
    service: &Service,
    is_new: bool,
    changed: impl Iterator<Item = &'a Pod>,
) -> Option<String> {
    let created = service.metadata.creation_timestamp.as_ref().map(|time| time.0).filter(|_| is_new);
    let turned = changed.filter_map(|pod| {
        let conditions = pod.status.as_ref()?.conditions.as_ref()?;
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
        ready.last_transition_time.as_ref().map(|time| time.0)
    });
    created.into_iter().chain(turned).min().map(|time| time.to_string())
}
