//! The kinds about nodes, networks, storage, devices and what happens in a cluster.

use super::{Kind, group, part};

// The same objects as the core group serves.
const EVENTS: Kind = Kind { storage_group: "", ..group("events.k8s.io", "v1") };
const NETWORKING: Kind = group("networking.k8s.io", "v1");
const STORAGE: Kind = group("storage.k8s.io", "v1");
const SCHEDULING: Kind = group("scheduling.k8s.io", "v1");
const COORDINATION: Kind = group("coordination.k8s.io", "v1");
const NODE: Kind = group("node.k8s.io", "v1");
const DISCOVERY: Kind = group("discovery.k8s.io", "v1");
const RESOURCE: Kind = group("resource.k8s.io", "v1");

pub(super) const EVENTS_KINDS: &[Kind] =
    &[EVENTS.namespaced(["Event", "event", "events", "io.k8s.api.events.v1.Event"]).short(&["ev"])];

pub(super) const NETWORKING_KINDS: &[Kind] = &[
    NETWORKING.cluster([
        "IngressClass",
        "ingressclass",
        "ingressclasses",
        "io.k8s.api.networking.v1.IngressClass",
    ]),
    NETWORKING
        .namespaced(["Ingress", "ingress", "ingresses", "io.k8s.api.networking.v1.Ingress"])
        .short(&["ing"])
        .with(&[part("status", "networking.k8s.io", "Ingress")]),
    NETWORKING
        .cluster(["IPAddress", "ipaddress", "ipaddresses", "io.k8s.api.networking.v1.IPAddress"])
        .short(&["ip"]),
    NETWORKING
        .namespaced([
            "NetworkPolicy",
            "networkpolicy",
            "networkpolicies",
            "io.k8s.api.networking.v1.NetworkPolicy",
        ])
        .short(&["netpol"]),
    NETWORKING
        .cluster(["ServiceCIDR", "servicecidr", "servicecidrs", "io.k8s.api.networking.v1.ServiceCIDR"])
        .with(&[part("status", "networking.k8s.io", "ServiceCIDR")]),
];

pub(super) const STORAGE_KINDS: &[Kind] = &[
    STORAGE.cluster(["CSIDriver", "csidriver", "csidrivers", "io.k8s.api.storage.v1.CSIDriver"]),
    STORAGE.cluster(["CSINode", "csinode", "csinodes", "io.k8s.api.storage.v1.CSINode"]),
    STORAGE.namespaced([
        "CSIStorageCapacity",
        "csistoragecapacity",
        "csistoragecapacities",
        "io.k8s.api.storage.v1.CSIStorageCapacity",
    ]),
    STORAGE
        .cluster(["StorageClass", "storageclass", "storageclasses", "io.k8s.api.storage.v1.StorageClass"])
        .short(&["sc"]),
    STORAGE
        .cluster([
            "VolumeAttachment",
            "volumeattachment",
            "volumeattachments",
            "io.k8s.api.storage.v1.VolumeAttachment",
        ])
        .with(&[part("status", "storage.k8s.io", "VolumeAttachment")]),
    STORAGE
        .cluster([
            "VolumeAttributesClass",
            "volumeattributesclass",
            "volumeattributesclasses",
            "io.k8s.api.storage.v1.VolumeAttributesClass",
        ])
        .short(&["vac"]),
];

pub(super) const SCHEDULING_KINDS: &[Kind] = &[SCHEDULING
    .cluster(["PriorityClass", "priorityclass", "priorityclasses", "io.k8s.api.scheduling.v1.PriorityClass"])
    .short(&["pc"])];

pub(super) const COORDINATION_KINDS: &[Kind] =
    &[COORDINATION.namespaced(["Lease", "lease", "leases", "io.k8s.api.coordination.v1.Lease"])];

pub(super) const NODE_KINDS: &[Kind] =
    &[NODE.cluster(["RuntimeClass", "runtimeclass", "runtimeclasses", "io.k8s.api.node.v1.RuntimeClass"])];

pub(super) const DISCOVERY_KINDS: &[Kind] = &[DISCOVERY.namespaced([
    "EndpointSlice",
    "endpointslice",
    "endpointslices",
    "io.k8s.api.discovery.v1.EndpointSlice",
])];

pub(super) const RESOURCE_KINDS: &[Kind] = &[
    RESOURCE.cluster(["DeviceClass", "deviceclass", "deviceclasses", "io.k8s.api.resource.v1.DeviceClass"]),
    RESOURCE
        .namespaced([
            "ResourceClaim",
            "resourceclaim",
            "resourceclaims",
            "io.k8s.api.resource.v1.ResourceClaim",
        ])
        .with(&[part("status", "resource.k8s.io", "ResourceClaim")]),
    RESOURCE.namespaced([
        "ResourceClaimTemplate",
        "resourceclaimtemplate",
        "resourceclaimtemplates",
        "io.k8s.api.resource.v1.ResourceClaimTemplate",
    ]),
    RESOURCE.cluster([
        "ResourceSlice",
        "resourceslice",
        "resourceslices",
        "io.k8s.api.resource.v1.ResourceSlice",
    ]),
];
