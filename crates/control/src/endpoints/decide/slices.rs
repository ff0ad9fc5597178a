//! EndpointSlices: endpoints stay in the slice that they are in, so that a change is small however large the Service.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::super::{MANAGED_BY, MANAGER, SERVICE};
use super::backend::{self, Family, Port};
use super::{Plan, TRIGGER_TIME, View, handed_down, trigger_time};
use crate::owner;
use crate::pods;

/// As many endpoints as kube-controller-manager puts into a slice.
const CAPACITY: usize = 100;

/// The uid of the pod behind an endpoint.
fn uid(endpoint: &Endpoint) -> Option<&str> {
    endpoint.target_ref.as_ref()?.uid.as_deref()
}

pub(super) fn plan(view: &View<'_>, selected: &[&Pod]) -> Plan {
    let mut plan = Plan::default();
    let families = Family::all_of(view.service);
    let mut stale: Vec<&Arc<EndpointSlice>> = Vec::new();
    for family in &families {
        let (mine, _) = split(view.slices, |slice| slice.address_type == family.name());
        let mut groups = groups(view, selected, *family);
        if groups.is_empty() {
            // Somebody who watches must be able to tell "none" from "not yet known".
            groups.insert(Vec::new(), Vec::new());
        }
        let mut unused = mine;
        for (ports, endpoints) in groups {
            let ports = slice_ports(&ports);
            let (same, others) = split_refs(unused, |slice| is_same_ports(slice, &ports));
            unused = others;
            fill(view, selected, (*family, &ports, endpoints), (&same, &mut plan));
        }
        stale.extend(unused);
    }
    let is_known = |slice: &EndpointSlice| families.iter().any(|family| slice.address_type == family.name());
    stale.extend(view.slices.iter().filter(|slice| !is_known(slice)));
    reuse(&mut plan, stale);
    plan
}

fn split(
    slices: &[Arc<EndpointSlice>],
    keep: impl Fn(&EndpointSlice) -> bool,
) -> (Vec<&Arc<EndpointSlice>>, Vec<&Arc<EndpointSlice>>) {
    slices.iter().partition(|slice| keep(slice))
}

fn split_refs(
    slices: Vec<&Arc<EndpointSlice>>,
    keep: impl Fn(&EndpointSlice) -> bool,
) -> (Vec<&Arc<EndpointSlice>>, Vec<&Arc<EndpointSlice>>) {
    slices.into_iter().partition(|slice| keep(slice))
}

/// The endpoints by the ports that they have: named ports may mean another number in each pod.
fn groups(view: &View<'_>, selected: &[&Pod], family: Family) -> BTreeMap<Vec<Port>, Vec<Endpoint>> {
    let mut groups: BTreeMap<Vec<Port>, Vec<Endpoint>> = BTreeMap::new();
    for pod in selected {
        let Some(address) = backend::address(pod, family) else { continue };
        let ports = backend::ports(view.service, pod);
        groups.entry(ports).or_default().push(endpoint(view, pod, address));
    }
    groups
}

fn endpoint(view: &View<'_>, pod: &Pod, address: String) -> Endpoint {
    let is_serving = backend::is_serving(view.service, pod);
    let is_going = pod.metadata.deletion_timestamp.is_some();
    let publishes = view.service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses);
    Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(publishes == Some(true) || is_serving && !is_going),
            serving: Some(pods::ready_since(pod).is_some() || is_serving && !is_going),
            terminating: Some(is_going),
        }),
        hostname: backend::hostname(view.service, pod),
        node_name: pods::node_name(pod).map(str::to_owned),
        target_ref: Some(backend::reference(pod)),
        zone: pods::node_name(pod).and_then(view.zone),
        ..Endpoint::default()
    }
}

fn slice_ports(ports: &[Port]) -> Vec<EndpointPort> {
    let port = |port: &Port| EndpointPort {
        name: Some(port.name.clone()),
        protocol: Some(port.protocol.clone()),
        port: Some(port.number),
        app_protocol: port.app_protocol.clone(),
    };
    ports.iter().map(port).collect()
}

fn is_same_ports(slice: &EndpointSlice, ports: &[EndpointPort]) -> bool {
    slice.ports.as_deref().unwrap_or_default() == ports
}

/// Puts the endpoints of one family and set of ports into slices: first where they are, then where there is room.
fn fill(
    view: &View<'_>,
    selected: &[&Pod],
    (family, ports, endpoints): (Family, &[EndpointPort], Vec<Endpoint>),
    (slices, plan): (&[&Arc<EndpointSlice>], &mut Plan),
) {
    let mut wanted: HashMap<String, Endpoint> = HashMap::new();
    let mut order = Vec::new();
    for endpoint in endpoints {
        let Some(uid) = uid(&endpoint).map(str::to_owned) else { continue };
        order.push(uid.clone());
        wanted.insert(uid, endpoint);
    }
    let kept: Vec<Vec<Endpoint>> = slices
        .iter()
        .map(|slice| {
            let known = slice.endpoints.iter().flatten();
            known.filter_map(|endpoint| wanted.remove(uid(endpoint)?)).collect()
        })
        .collect();
    let mut new = order.into_iter().filter_map(|uid| wanted.remove(&uid)).peekable();
    let mut filled = Vec::new();
    for (slice, mut endpoints) in slices.iter().zip(kept) {
        let room = CAPACITY.saturating_sub(endpoints.len());
        endpoints.extend(new.by_ref().take(room));
        filled.push((slice, endpoints));
    }
    let is_all_empty = filled.iter().all(|(_, endpoints)| endpoints.is_empty());
    for (position, (slice, endpoints)) in filled.into_iter().enumerate() {
        // One empty slice stays: it says that there are none.
        if endpoints.is_empty() && !(is_all_empty && position == 0) {
            plan.delete.push(Arc::clone(slice));
            continue;
        }
        let updated = updated(view, selected, slice, endpoints);
        if updated != ***slice {
            plan.update.push(updated);
        }
    }
    while new.peek().is_some()
        || slices.is_empty() && plan.create.iter().all(|each| !is_like(each, family, ports))
    {
        let endpoints: Vec<Endpoint> = new.by_ref().take(CAPACITY).collect();
        plan.create.push(fresh(view, selected, (family, ports), endpoints));
    }
}

fn is_like(slice: &EndpointSlice, family: Family, ports: &[EndpointPort]) -> bool {
    slice.address_type == family.name() && is_same_ports(slice, ports)
}

/// The slice with these endpoints. When it tells nothing new, it is the slice as it was.
fn updated(
    view: &View<'_>,
    selected: &[&Pod],
    slice: &EndpointSlice,
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let labels = labels(view);
    let is_same = slice.endpoints.as_deref().unwrap_or_default() == endpoints;
    if is_same && slice.metadata.labels.as_ref() == Some(&labels) {
        return slice.clone();
    }
    let before: HashSet<(&str, Option<bool>)> = readiness(slice.endpoints.iter().flatten());
    let after = readiness(endpoints.iter());
    let changed: HashSet<&str> = after.difference(&before).map(|(uid, _)| *uid).collect();
    let is_changed = |pod: &&&Pod| pod.metadata.uid.as_deref().is_some_and(|uid| changed.contains(uid));
    let trigger = trigger_time(view.service, false, selected.iter().filter(is_changed).copied());
    let mut updated = slice.clone();
    set_trigger(&mut updated.metadata, trigger);
    updated.metadata.labels = Some(labels);
    updated.endpoints = Some(endpoints);
    updated
}

fn readiness<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> HashSet<(&'a str, Option<bool>)> {
    let ready = |endpoint: &Endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
    endpoints.filter_map(|endpoint| Some((uid(endpoint)?, ready(endpoint)))).collect()
}

pub(super) fn set_trigger(metadata: &mut ObjectMeta, trigger: Option<String>) {
    let mut annotations = metadata.annotations.take().unwrap_or_default();
    match trigger {
        Some(time) => annotations.insert(TRIGGER_TIME.to_owned(), time),
        None => annotations.remove(TRIGGER_TIME),
    };
    metadata.annotations = (!annotations.is_empty()).then_some(annotations);
}

fn labels(view: &View<'_>) -> BTreeMap<String, String> {
    let mut labels = handed_down(view.service);
    labels.insert(SERVICE.to_owned(), view.service.name_any());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

fn fresh(
    view: &View<'_>,
    selected: &[&Pod],
    (family, ports): (Family, &[EndpointPort]),
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let is_new = view.slices.is_empty();
    let mut metadata = ObjectMeta {
        generate_name: Some(format!("{}-", view.service.name_any())),
        namespace: view.service.namespace(),
        labels: Some(labels(view)),
        owner_references: Some(vec![owner::controller_reference(view.service)]),
        ..ObjectMeta::default()
    };
    let within: HashSet<&str> = endpoints.iter().filter_map(uid).collect();
    let is_within = |pod: &&&Pod| pod.metadata.uid.as_deref().is_some_and(|uid| within.contains(uid));
    set_trigger(
        &mut metadata,
        trigger_time(view.service, is_new, selected.iter().filter(is_within).copied()),
    );
    let ports = (!ports.is_empty()).then(|| ports.to_vec());
    EndpointSlice { address_type: family.name().to_owned(), endpoints: Some(endpoints), metadata, ports }
}

/// A slice that is to go takes over from one that is to come: one request instead of two.
fn reuse(plan: &mut Plan, stale: Vec<&Arc<EndpointSlice>>) {
    for old in stale {
        let heir = plan.create.iter().position(|new| new.address_type == old.address_type);
        let Some(heir) = heir else {
            plan.delete.push(Arc::clone(old));
            continue;
        };
        let new = plan.create.remove(heir);
        let mut metadata = old.metadata.clone();
        metadata.labels = new.metadata.labels;
        set_trigger(&mut metadata, new.metadata.annotations.and_then(|mut all| all.remove(TRIGGER_TIME)));
        plan.update.push(EndpointSlice { metadata, ..new });
    }
}
