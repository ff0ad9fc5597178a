//! The kinds about nodes, networks, storage, devices and what happens in a cluster.

use super::{Entry, group, part};

// The same objects as the core group serves.
const EVENTS: Entry = Entry { storage_group: "", ..group("events.k8s.io", "v1") };
const NETWORKING: Entry = group("networking.k8s.io", "v1");
const STORAGE: Entry = group("storage.k8s.io", "v1");
const SCHEDULING: Entry = group("scheduling.k8s.io", "v1");
const COORDINATION: Entry = group("coordination.k8s.io", "v1");
const NODE: Entry = group("node.k8s.io", "v1");
const DISCOVERY: Entry = group("discovery.k8s.io", "v1");
const RESOURCE: Entry = group("resource.k8s.io", "v1");

pub(super) const EVENTS_KINDS: &[Entry] =
    &[EVENTS.namespaced(["Event", "event", "events", "io.k8s.api.events.v1.Event"]).short(&["ev"])];

pub(super) const NETWORKING_KINDS: &[Entry] = &[
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

pub(super) const STORAGE_KINDS: &[Entry] = &[
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

pub(super) const SCHEDULING_KINDS: &[Entry] = &[SCHEDULING
    .cluster(["PriorityClass", "priorityclass", "priorityclasses", "io.k8s.api.scheduling.v1.PriorityClass"])
    .short(&["pc"])];

pub(super) const COORDINATION_KINDS: &[Entry] =
    &[COORDINATION.namespaced(["Lease", "lease", "leases", "io.k8s.api.coordination.v1.Lease"])];

pub(super) const NODE_KINDS: &[Entry] =
    &[NODE.cluster(["RuntimeClass", "runtimeclass", "runtimeclasses", "io.k8s.api.node.v1.RuntimeClass"])];

pub(super) const DISCOVERY_KINDS: &[Entry] = &[DISCOVERY.namespaced([
    "EndpointSlice",
    "endpointslice",
    "endpointslices",
    "io.k8s.api.discovery.v1.EndpointSlice",
])];

pub(super) const RESOURCE_KINDS: &[Entry] = &[
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
