//! One pod as a Service sees it: its address, its ports, and whether to send it anything.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use crate::pods;

/// A port of a backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) protocol: String,
    pub(super) number: i32,
    pub(super) app_protocol: Option<String>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The families of a Service, its first one first.
    pub(super) fn all_of(service: &Service) -> Vec<Self> {
        let spec = service.spec.as_ref();
        let named = spec.and_then(|spec| spec.ip_families.as_ref()).into_iter().flatten();
        let families: Vec<Self> =
            named.map(|name| if name == "IPv6" { Self::V6 } else { Self::V4 }).collect();
        if families.is_empty() { vec![Self::V4] } else { families }
    }

    fn has(self, address: &str) -> bool {
        matches!(
            (self, address.parse::<IpAddr>()),
            (Self::V4, Ok(IpAddr::V4(_))) | (Self::V6, Ok(IpAddr::V6(_)))
        )
    }
}

/// The pod's address of the family. A pod that ended has none: it answers no more.
pub(super) fn address(pod: &Pod, family: Family) -> Option<String> {
    let status = pod.status.as_ref().filter(|_| !pods::has_ended(pod))?;
    let all = status.pod_ips.iter().flatten().map(|each| &each.ip);
    let first = status.pod_ip.iter();
    all.chain(first).find(|address| family.has(address)).cloned()
}

/// Whether the pod answers as it should, on its way out or not.
pub(super) fn is_serving(service: &Service, pod: &Pod) -> bool {
    let publishes = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses);
    publishes == Some(true) || pods::ready_since(pod).is_some()
}

/// Where the pod listens for the Service's ports; a named port that the pod does not have is left out.
pub(super) fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let ports = service.spec.iter().filter_map(|spec| spec.ports.as_ref()).flatten();
    let found = ports.filter_map(|port| {
        Some(Port {
            name: port.name.clone().unwrap_or_default(),
            protocol: protocol(port).to_owned(),
            number: number(port, pod)?,
            app_protocol: port.app_protocol.clone(),
        })
    });
    found.collect()
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

fn number(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let name = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = |container: &'_ Container| container.ports.clone().unwrap_or_default();
    let mut all = spec.containers.iter().chain(sidecars).flat_map(ports);
    let is_it = |candidate: &k8s_openapi::api::core::v1::ContainerPort| {
        candidate.name.as_deref() == Some(name)
            && candidate.protocol.as_deref().unwrap_or("TCP") == protocol(port)
    };
    all.find(is_it).map(|found| found.container_port)
}

/// The pod's name below the Service's, for pods that ask for one.
pub(super) fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let is_below = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    spec.hostname.clone().filter(|hostname| is_below && !hostname.is_empty())
}

pub(super) fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.namespace(),
        name: pod.metadata.name.clone(),
        uid: pod.uid(),
        ..ObjectReference::default()
    }
}
