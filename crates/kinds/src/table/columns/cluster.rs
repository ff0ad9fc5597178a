//! Columns of everything that runs no Pods.

use super::{AGE, Column, META, NAME, field, own};
use crate::Kind;

pub(super) fn columns(kind: &Kind) -> Option<&'static [Column]> {
    Some(match kind.kind {
        "ComponentStatus" => COMPONENTS,
        "ConfigMap" => CONFIG_MAPS,
        "Endpoints" => ENDPOINTS,
        "Event" => EVENTS,
        "Namespace" => NAMESPACES,
        "Node" => NODES,
        "PersistentVolume" => PERSISTENT_VOLUMES,
        "PersistentVolumeClaim" => CLAIMS,
        "Secret" => SECRETS,
        "Service" => SERVICES,
        "ServiceAccount" => SERVICE_ACCOUNTS,
        "EndpointSlice" => ENDPOINT_SLICES,
        "Ingress" => INGRESSES,
        "IngressClass" => INGRESS_CLASSES,
        "IPAddress" => IP_ADDRESSES,
        "NetworkPolicy" => NETWORK_POLICIES,
        "ServiceCIDR" => SERVICE_CIDRS,
        "Lease" => LEASES,
        "PriorityClass" => PRIORITY_CLASSES,
        "RuntimeClass" => RUNTIME_CLASSES,
        "DeviceClass" | "ResourceClaimTemplate" => &[NAME, AGE],
        "ResourceClaim" => RESOURCE_CLAIMS,
        "ResourceSlice" => RESOURCE_SLICES,
        _ => return guards(kind),
    })
}

/// Columns of storage, access and what guards the API.
fn guards(kind: &Kind) -> Option<&'static [Column]> {
    Some(match kind.kind {
        "CSIDriver" => CSI_DRIVERS,
        "CSINode" => CSI_NODES,
        "StorageClass" => STORAGE_CLASSES,
        "VolumeAttachment" => VOLUME_ATTACHMENTS,
        "VolumeAttributesClass" => ATTRIBUTES_CLASSES,
        "CertificateSigningRequest" => SIGNING_REQUESTS,
        "ClusterRoleBinding" => CLUSTER_ROLE_BINDINGS,
        "RoleBinding" => ROLE_BINDINGS,
        "APIService" => API_SERVICES,
        "FlowSchema" => FLOW_SCHEMAS,
        "PriorityLevelConfiguration" => PRIORITY_LEVELS,
        "MutatingAdmissionPolicy" => MUTATING_POLICIES,
        "MutatingAdmissionPolicyBinding" | "ValidatingAdmissionPolicyBinding" => POLICY_BINDINGS,
        "ValidatingAdmissionPolicy" => VALIDATING_POLICIES,
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => WEBHOOKS,
        _ => return None,
    })
}

const COMPONENTS: &[Column] = &[
    NAME,
    own("Status", "Status of the component conditions"),
    own("Message", "Message of the component conditions"),
    own("Error", "Error of the component conditions"),
];
const CONFIG_MAPS: &[Column] = &[NAME, field("Data", "core.v1.ConfigMap", "data"), AGE];
const ENDPOINTS: &[Column] = &[NAME, field("Endpoints", "core.v1.Endpoints", "subsets"), AGE];
const EVENTS: &[Column] = &[
    field("Last Seen", "core.v1.Event", "lastTimestamp"),
    field("Type", "core.v1.Event", "type"),
    field("Reason", "core.v1.Event", "reason"),
    field("Object", "core.v1.Event", "involvedObject"),
    field("Subobject", "core.v1.ObjectReference", "fieldPath").wide(),
    field("Source", "core.v1.Event", "source").wide(),
    field("Message", "core.v1.Event", "message"),
    field("First Seen", "core.v1.Event", "firstTimestamp").wide(),
    field("Count", "core.v1.Event", "count").wide(),
    field("Name", META, "name").identifying().wide(),
];
const NAMESPACES: &[Column] = &[NAME, own("Status", "The status of the namespace"), AGE];
const NODES: &[Column] = &[
    NAME,
    own("Status", "The status of the node"),
    own("Roles", "The roles of the node"),
    AGE,
    field("Version", "core.v1.NodeSystemInfo", "kubeletVersion"),
    field("Internal-IP", "core.v1.NodeStatus", "addresses").wide(),
    field("External-IP", "core.v1.NodeStatus", "addresses").wide(),
    field("OS-Image", "core.v1.NodeSystemInfo", "osImage").wide(),
    field("Kernel-Version", "core.v1.NodeSystemInfo", "kernelVersion").wide(),
    field("Container-Runtime", "core.v1.NodeSystemInfo", "containerRuntimeVersion").wide(),
];
const PERSISTENT_VOLUMES: &[Column] = &[
    NAME,
    field("Capacity", "core.v1.PersistentVolumeSpec", "capacity"),
    field("Access Modes", "core.v1.PersistentVolumeSpec", "accessModes"),
    field("Reclaim Policy", "core.v1.PersistentVolumeSpec", "persistentVolumeReclaimPolicy"),
    field("Status", "core.v1.PersistentVolumeStatus", "phase"),
    field("Claim", "core.v1.PersistentVolumeSpec", "claimRef"),
    own("StorageClass", "StorageClass of the pv"),
    own("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
    field("Reason", "core.v1.PersistentVolumeStatus", "reason"),
    AGE,
    field("VolumeMode", "core.v1.PersistentVolumeSpec", "volumeMode").wide(),
];
const CLAIMS: &[Column] = &[
    NAME,
    field("Status", "core.v1.PersistentVolumeClaimStatus", "phase"),
    field("Volume", "core.v1.PersistentVolumeClaimSpec", "volumeName"),
    field("Capacity", "core.v1.PersistentVolumeClaimStatus", "capacity"),
    field("Access Modes", "core.v1.PersistentVolumeClaimStatus", "accessModes"),
    own("StorageClass", "StorageClass of the pvc"),
    own("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
    AGE,
    field("VolumeMode", "core.v1.PersistentVolumeClaimSpec", "volumeMode").wide(),
];
const SECRETS: &[Column] =
    &[NAME, field("Type", "core.v1.Secret", "type"), field("Data", "core.v1.Secret", "data"), AGE];
const SERVICES: &[Column] = &[
    NAME,
    field("Type", "core.v1.ServiceSpec", "type"),
    field("Cluster-IP", "core.v1.ServiceSpec", "clusterIP"),
    field("External-IP", "core.v1.ServiceSpec", "externalIPs"),
    field("Port(s)", "core.v1.ServiceSpec", "ports"),
    AGE,
    field("Selector", "core.v1.ServiceSpec", "selector").wide(),
];
const SERVICE_ACCOUNTS: &[Column] = &[NAME, field("Secrets", "core.v1.ServiceAccount", "secrets"), AGE];
const ENDPOINT_SLICES: &[Column] = &[
    NAME,
    field("AddressType", "discovery.v1.EndpointSlice", "addressType"),
    field("Ports", "discovery.v1.EndpointSlice", "ports"),
    field("Endpoints", "discovery.v1.EndpointSlice", "endpoints"),
    AGE,
];
const INGRESSES: &[Column] = &[
    NAME,
    own("Class", "The name of the IngressClass resource that should be used for additional configuration"),
    own("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
    own("Address", "Address is a list containing ingress points for the load-balancer"),
    own("Ports", "Ports of TLS configurations that open"),
    AGE,
];
const INGRESS_CLASSES: &[Column] = &[
    NAME,
    own("Controller", "Controller that is responsible for handling this class"),
    own("Parameters", "A reference to a resource with additional parameters"),
    AGE,
];
const PRIORITY_CLASSES: &[Column] = &[
    NAME,
    field("Value", "scheduling.v1.PriorityClass", "value").integer(),
    field("Global-Default", "scheduling.v1.PriorityClass", "globalDefault").boolean(),
    AGE,
    field("PreemptionPolicy", "scheduling.v1.PriorityClass", "preemptionPolicy"),
];
const RESOURCE_CLAIMS: &[Column] =
    &[NAME, own("State", "A summary of the current state (allocated, pending, reserved, etc.)."), AGE];
const RESOURCE_SLICES: &[Column] = &[
    NAME,
    field("Node", "resource.v1.ResourceSliceSpec", "nodeName"),
    field("Driver", "resource.v1.ResourceSliceSpec", "driver"),
    field("Pool", "resource.v1.ResourcePool", "name"),
    AGE,
];
const CSI_DRIVERS: &[Column] = &[
    NAME,
    field("AttachRequired", "storage.v1.CSIDriverSpec", "attachRequired").boolean(),
    field("PodInfoOnMount", "storage.v1.CSIDriverSpec", "podInfoOnMount").boolean(),
    field("StorageCapacity", "storage.v1.CSIDriverSpec", "storageCapacity").boolean(),
    field("TokenRequests", "storage.v1.CSIDriverSpec", "tokenRequests"),
    field("RequiresRepublish", "storage.v1.CSIDriverSpec", "requiresRepublish").boolean(),
    field("Modes", "storage.v1.CSIDriverSpec", "volumeLifecycleModes"),
    AGE,
];
const CSI_NODES: &[Column] = &[
    NAME,
    own("Drivers", "Drivers indicates the number of CSI drivers registered on the node").integer(),
    AGE,
];
const STORAGE_CLASSES: &[Column] = &[
    NAME,
    field("Provisioner", "storage.v1.StorageClass", "provisioner"),
    field("ReclaimPolicy", "storage.v1.StorageClass", "reclaimPolicy"),
    field("VolumeBindingMode", "storage.v1.StorageClass", "volumeBindingMode"),
    field("AllowVolumeExpansion", "storage.v1.StorageClass", "allowVolumeExpansion"),
    AGE,
];
const VOLUME_ATTACHMENTS: &[Column] = &[
    NAME,
    field("Attacher", "storage.v1.VolumeAttachmentSpec", "attacher"),
    field("PV", "storage.v1.VolumeAttachmentSource", "persistentVolumeName"),
    field("Node", "storage.v1.VolumeAttachmentSpec", "nodeName"),
    field("Attached", "storage.v1.VolumeAttachmentStatus", "attached").boolean(),
    AGE,
];
const SIGNING_REQUESTS: &[Column] = &[
    NAME,
    AGE,
    field("SignerName", "certificates.v1.CertificateSigningRequestSpec", "signerName"),
    own("Requestor", "Base64-encoded PKCS#10 CSR data"),
    field("RequestedDuration", "certificates.v1.CertificateSigningRequestSpec", "expirationSeconds"),
    own("Condition", "Conditions applied to the request, such as approval or denial."),
];
const CLUSTER_ROLE_BINDINGS: &[Column] = &[
    NAME,
    field("Role", "rbac.v1.ClusterRoleBinding", "roleRef"),
    AGE,
    own("Users", "Users in the clusterRoleBinding").wide(),
    own("Groups", "Groups in the clusterRoleBinding").wide(),
    own("ServiceAccounts", "ServiceAccounts in the clusterRoleBinding").wide(),
];
const ROLE_BINDINGS: &[Column] = &[
    NAME,
    field("Role", "rbac.v1.RoleBinding", "roleRef"),
    AGE,
    own("Users", "Users in the roleBinding").wide(),
    own("Groups", "Groups in the roleBinding").wide(),
    own("ServiceAccounts", "ServiceAccounts in the roleBinding").wide(),
];
const API_SERVICES: &[Column] = &[
    NAME,
    own("Service", "The reference to the service that hosts this API endpoint."),
    own("Available", "Whether this service is available."),
    AGE,
];
const FLOW_SCHEMAS: &[Column] = &[
    NAME,
    field("PriorityLevel", "flowcontrol.v1.FlowSchemaSpec", "priorityLevelConfiguration"),
    field("MatchingPrecedence", "flowcontrol.v1.FlowSchemaSpec", "matchingPrecedence"),
    field("DistinguisherMethod", "flowcontrol.v1.FlowSchemaSpec", "distinguisherMethod"),
    AGE,
    own("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
];
const PRIORITY_LEVELS: &[Column] = &[
    NAME,
    field("Type", "flowcontrol.v1.PriorityLevelConfigurationSpec", "type"),
    field(
        "NominalConcurrencyShares",
        "flowcontrol.v1.LimitedPriorityLevelConfiguration",
        "nominalConcurrencyShares",
    ),
    field("Queues", "flowcontrol.v1.QueuingConfiguration", "queues"),
    field("HandSize", "flowcontrol.v1.QueuingConfiguration", "handSize"),
    field("QueueLengthLimit", "flowcontrol.v1.QueuingConfiguration", "queueLengthLimit"),
    AGE,
];
const PARAM_KIND: Column =
    own("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy");
const MUTATING_POLICIES: &[Column] = &[
    NAME,
    own("Mutations", "Mutations indicates the number of mutation rules defined in this configuration")
        .integer(),
    PARAM_KIND,
    AGE,
];
const VALIDATING_POLICIES: &[Column] = &[
    NAME,
    own("Validations", "Validations indicates the number of validation rules defined in this configuration")
        .integer(),
    PARAM_KIND,
    AGE,
];
const POLICY_BINDINGS: &[Column] = &[
    NAME,
    own("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
    own("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
    AGE,
];
const WEBHOOKS: &[Column] = &[
    NAME,
    own("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration").integer(),
    AGE,
];
const IP_ADDRESSES: &[Column] = &[NAME, field("ParentRef", "networking.v1.IPAddressSpec", "parentRef"), AGE];
const NETWORK_POLICIES: &[Column] =
    &[NAME, field("Pod-Selector", "networking.v1.NetworkPolicySpec", "podSelector"), AGE];
const SERVICE_CIDRS: &[Column] = &[NAME, field("CIDRs", "networking.v1.ServiceCIDRSpec", "cidrs"), AGE];
const LEASES: &[Column] = &[NAME, field("Holder", "coordination.v1.LeaseSpec", "holderIdentity"), AGE];
const RUNTIME_CLASSES: &[Column] = &[NAME, own("Handler", ""), AGE];
const ATTRIBUTES_CLASSES: &[Column] =
    &[NAME, field("DriverName", "storage.v1.VolumeAttributesClass", "driverName"), AGE];
