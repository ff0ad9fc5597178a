//! Endpoints: the older form, one object per Service and one family of addresses.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::backend::{self, Family, Port};
use super::slices::set_trigger;
use super::{View, handed_down, trigger_time};
use crate::pods;

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
/// Says that not all addresses are listed.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// As many addresses as kube-controller-manager lists.
const CAPACITY: usize = 1000;

/// Whether this controller made the object.
pub(crate) fn is_ours(endpoints: &Endpoints) -> bool {
    endpoints.labels().get(MANAGED_BY).is_some_and(|manager| manager == MANAGER)
}

/// The Endpoints to write; `None` when they tell nothing new.
pub(super) fn plan(view: &View<'_>, selected: &[&Pod]) -> Option<Endpoints> {
    let family = Family::all_of(view.service).first().copied().unwrap_or(Family::V4);
    let publishes = view.service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses);
    let mut groups: BTreeMap<Vec<Port>, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    let standing =
        selected.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none() || publishes == Some(true));
    let mut n_addresses = 0;
    for pod in standing {
        let Some(address) = backend::address(pod, family) else { continue };
        n_addresses += 1;
        if n_addresses > CAPACITY {
            continue;
        }
        let (ready, not_ready) = groups.entry(backend::ports(view.service, pod)).or_default();
        let list = if backend::is_serving(view.service, pod) { ready } else { not_ready };
        list.push(EndpointAddress {
            ip: address,
            hostname: backend::hostname(view.service, pod),
            node_name: pods::node_name(pod).map(str::to_owned),
            target_ref: Some(backend::reference(pod)),
        });
    }
    let subsets: Vec<EndpointSubset> =
        groups.into_iter().map(|(ports, lists)| subset(&ports, lists)).collect();
    let subsets = (!subsets.is_empty()).then_some(subsets);
    let mut labels = handed_down(view.service);
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let is_same = view
        .endpoints
        .is_some_and(|known| known.subsets == subsets && known.metadata.labels.as_ref() == Some(&labels));
    if is_same {
        return None;
    }
    let mut metadata = view.endpoints.map_or_else(
        || ObjectMeta {
            name: view.service.metadata.name.clone(),
            namespace: view.service.namespace(),
            ..ObjectMeta::default()
        },
        |known| known.metadata.clone(),
    );
    metadata.labels = Some(labels);
    let changed = selected.iter().copied().filter(|pod| is_changed(view.endpoints, pod));
    set_trigger(&mut metadata, trigger_time(view.service, view.endpoints.is_none(), changed));
    if n_addresses > CAPACITY {
        metadata.annotations.get_or_insert_default().insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    }
    Some(Endpoints { metadata, subsets })
}

/// Whether the pod is ready now and was not told as such.
fn is_changed(known: Option<&Endpoints>, pod: &Pod) -> bool {
    let subsets = known.and_then(|known| known.subsets.as_ref()).into_iter().flatten();
    let mut told = subsets.flat_map(|subset| subset.addresses.iter().flatten());
    let is_told = told.any(|address| {
        address.target_ref.as_ref().and_then(|target| target.uid.as_ref()) == pod.metadata.uid.as_ref()
    });
    is_told != pods::ready_since(pod).is_some()
}

fn subset(
    ports: &[Port],
    (mut ready, mut not_ready): (Vec<EndpointAddress>, Vec<EndpointAddress>),
) -> EndpointSubset {
    let port = |port: &Port| EndpointPort {
        name: Some(port.name.clone()).filter(|name| !name.is_empty()),
        port: port.number,
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    };
    for list in [&mut ready, &mut not_ready] {
        list.sort_by(|one, other| one.ip.cmp(&other.ip));
    }
    let some = |list: Vec<EndpointAddress>| (!list.is_empty()).then_some(list);
    let ports: Vec<EndpointPort> = ports.iter().map(port).collect();
    EndpointSubset {
        addresses: some(ready),
        not_ready_addresses: some(not_ready),
        ports: (!ports.is_empty()).then_some(ports),
    }
}
