//! How lists and maps merge, as one table: the merge keys and strategies of strategic merge patches, and what of a field
//! can have an owner of its own under server-side apply.
//!
//! A field that is not in the table merges in the default way: objects field by field, lists as a whole. The two kinds of
//! merge differ here and there, because clients have relied on the older one since before there was the other.

use serde_json::{Map, Value, json};

/// How a field is merged by a strategic merge patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Merge {
    pub(crate) list: List,
    /// Whether `$retainKeys` is part of the field's patches: unions, where a new member must displace the old one.
    pub(crate) retain_keys: bool,
    /// Whether a patch's object takes the place of the whole object.
    pub(crate) replaces_object: bool,
}

impl Merge {
    /// Objects field by field, lists as a whole.
    pub(crate) const USUAL: Self = Self { list: List::Replaced, retain_keys: false, replaces_object: false };
}

/// How a list is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    /// The patch's list takes the place of the whole list.
    Replaced,
    /// Items with the same value of this field are one item.
    ByKey(&'static str),
    /// A set of plain values.
    Set,
}

/// Which parts of a field can have different owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// The fields of an object, the entries of a map.
    Granular,
    /// None: who writes a part of it owns all of it.
    Atomic,
    /// The values of a list, each of which stands once.
    Set,
    /// The items of a list, told apart by these fields.
    Keyed(&'static [&'static str]),
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) definition: &'static str,
    pub(crate) field: &'static str,
    pub(crate) merge: Merge,
    pub(crate) topology: Topology,
    /// Whether the field is an object or map, not a list.
    is_map: bool,
}

impl Row {
    /// The extensions of the field in OpenAPI documents, from which clients compute their patches.
    pub(crate) fn extensions(&self) -> Map<String, Value> {
        let mut extensions = Map::new();
        let (name, value) = match self.topology {
            Topology::Keyed(keys) => {
                extensions.insert("x-kubernetes-list-map-keys".into(), json!(keys));
                ("list-type", "map")
            }
            Topology::Set => ("list-type", "set"),
            Topology::Atomic if self.is_map => ("map-type", "atomic"),
            Topology::Atomic => ("list-type", "atomic"),
            Topology::Granular => ("map-type", "granular"),
        };
        if self.topology != Topology::Granular || !self.merge.retain_keys {
            extensions.insert(format!("x-kubernetes-{name}"), json!(value));
        }
        if let List::ByKey(key) = self.merge.list {
            extensions.insert("x-kubernetes-patch-merge-key".into(), json!(key));
        }
        let strategy = match (self.merge.list, self.merge.retain_keys) {
            (List::Replaced, false) if self.merge.replaces_object => "replace",
            (List::Replaced, false) => return extensions,
            (List::Replaced, true) => "retainKeys",
            (_, true) => "merge,retainKeys",
            (_, false) => "merge",
        };
        extensions.insert("x-kubernetes-patch-strategy".into(), json!(strategy));
        extensions
    }
}

/// The row of `field` of `definition`, if it merges in another way than the default.
pub(crate) fn of(definition: &str, field: &str) -> Option<&'static Row> {
    MERGED.iter().find(|row| row.definition == definition && row.field == field)
}

/// Whether objects of this definition have one owner as a whole, wherever they stand.
pub(crate) fn is_atomic(definition: &str) -> bool {
    ATOMIC.contains(&definition)
}

const fn row(definition: &'static str, field: &'static str, list: List, topology: Topology) -> Row {
    Row { definition, field, merge: Merge { list, ..Merge::USUAL }, topology, is_map: false }
}

/// Items are the same by one field, in patches and for their owners.
const fn by_key(
    definition: &'static str,
    field: &'static str,
    key: &'static str,
    keys: &'static [&'static str],
) -> Row {
    row(definition, field, List::ByKey(key), Topology::Keyed(keys))
}

/// Patched by key, owned as a whole.
const fn patched_by_key(definition: &'static str, field: &'static str, key: &'static str) -> Row {
    row(definition, field, List::ByKey(key), Topology::Atomic)
}

/// Patched as a whole, owned by item.
const fn owned_by_key(definition: &'static str, field: &'static str, keys: &'static [&'static str]) -> Row {
    row(definition, field, List::Replaced, Topology::Keyed(keys))
}

const fn set(definition: &'static str, field: &'static str) -> Row {
    row(definition, field, List::Set, Topology::Set)
}

/// Patched as a whole, owned by value.
const fn owned_by_value(definition: &'static str, field: &'static str) -> Row {
    row(definition, field, List::Replaced, Topology::Set)
}

const fn map(definition: &'static str, field: &'static str, topology: Topology) -> Row {
    let mut row = row(definition, field, List::Replaced, topology);
    row.is_map = true;
    row
}

const fn retaining(mut row: Row) -> Row {
    row.merge.retain_keys = true;
    row
}

/// An object that patches and owners know as a whole.
const fn replaced(definition: &'static str, field: &'static str) -> Row {
    let mut row = map(definition, field, Topology::Atomic);
    row.merge.replaces_object = true;
    row
}

const DAG_JOB_SPEC: &str = "dev.crest.v1alpha1.DagJobSpec";
const MUTATING_ADMISSION_POLICY_SPEC: &str =
    "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicySpec";
const MUTATING_WEBHOOK: &str = "io.k8s.api.admissionregistration.v1.MutatingWebhook";
const MUTATING_WEBHOOK_CONFIGURATION: &str =
    "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration";
const VALIDATING_ADMISSION_POLICY_BINDING_SPEC: &str =
    "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec";
const VALIDATING_ADMISSION_POLICY_SPEC: &str =
    "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicySpec";
const VALIDATING_ADMISSION_POLICY_STATUS: &str =
    "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyStatus";
const VALIDATING_WEBHOOK: &str = "io.k8s.api.admissionregistration.v1.ValidatingWebhook";
const VALIDATING_WEBHOOK_CONFIGURATION: &str =
    "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration";
const DAEMON_SET_STATUS: &str = "io.k8s.api.apps.v1.DaemonSetStatus";
const DEPLOYMENT_SPEC: &str = "io.k8s.api.apps.v1.DeploymentSpec";
const DEPLOYMENT_STATUS: &str = "io.k8s.api.apps.v1.DeploymentStatus";
const REPLICA_SET_STATUS: &str = "io.k8s.api.apps.v1.ReplicaSetStatus";
const STATEFUL_SET_STATUS: &str = "io.k8s.api.apps.v1.StatefulSetStatus";
const HORIZONTAL_POD_AUTOSCALER_STATUS: &str = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus";
const JOB_STATUS: &str = "io.k8s.api.batch.v1.JobStatus";
const POD_FAILURE_POLICY_ON_EXIT_CODES_REQUIREMENT: &str =
    "io.k8s.api.batch.v1.PodFailurePolicyOnExitCodesRequirement";
const UNCOUNTED_TERMINATED_PODS: &str = "io.k8s.api.batch.v1.UncountedTerminatedPods";
const CERTIFICATE_SIGNING_REQUEST_STATUS: &str = "io.k8s.api.certificates.v1.CertificateSigningRequestStatus";
const COMPONENT_STATUS: &str = "io.k8s.api.core.v1.ComponentStatus";
const CONTAINER: &str = "io.k8s.api.core.v1.Container";
const CONTAINER_RESTART_RULE_ON_EXIT_CODES: &str = "io.k8s.api.core.v1.ContainerRestartRuleOnExitCodes";
const CONTAINER_STATUS: &str = "io.k8s.api.core.v1.ContainerStatus";
const EPHEMERAL_CONTAINER: &str = "io.k8s.api.core.v1.EphemeralContainer";
const NAMESPACE_STATUS: &str = "io.k8s.api.core.v1.NamespaceStatus";
const NODE_ALLOCATABLE_RESOURCE_CLAIM_STATUS: &str = "io.k8s.api.core.v1.NodeAllocatableResourceClaimStatus";
const NODE_SPEC: &str = "io.k8s.api.core.v1.NodeSpec";
const NODE_STATUS: &str = "io.k8s.api.core.v1.NodeStatus";
const PERSISTENT_VOLUME_CLAIM_STATUS: &str = "io.k8s.api.core.v1.PersistentVolumeClaimStatus";
const PERSISTENT_VOLUME_SPEC: &str = "io.k8s.api.core.v1.PersistentVolumeSpec";
const POD_SPEC: &str = "io.k8s.api.core.v1.PodSpec";
const POD_STATUS: &str = "io.k8s.api.core.v1.PodStatus";
const REPLICATION_CONTROLLER_SPEC: &str = "io.k8s.api.core.v1.ReplicationControllerSpec";
const REPLICATION_CONTROLLER_STATUS: &str = "io.k8s.api.core.v1.ReplicationControllerStatus";
const RESOURCE_REQUIREMENTS: &str = "io.k8s.api.core.v1.ResourceRequirements";
const RESOURCE_STATUS: &str = "io.k8s.api.core.v1.ResourceStatus";
const SERVICE_ACCOUNT: &str = "io.k8s.api.core.v1.ServiceAccount";
const SERVICE_SPEC: &str = "io.k8s.api.core.v1.ServiceSpec";
const SERVICE_STATUS: &str = "io.k8s.api.core.v1.ServiceStatus";
const ENDPOINT: &str = "io.k8s.api.discovery.v1.Endpoint";
const FLOW_SCHEMA_STATUS: &str = "io.k8s.api.flowcontrol.v1.FlowSchemaStatus";
const NON_RESOURCE_POLICY_RULE: &str = "io.k8s.api.flowcontrol.v1.NonResourcePolicyRule";
const PRIORITY_LEVEL_CONFIGURATION_STATUS: &str =
    "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationStatus";
const RESOURCE_POLICY_RULE: &str = "io.k8s.api.flowcontrol.v1.ResourcePolicyRule";
const SERVICE_CIDR_STATUS: &str = "io.k8s.api.networking.v1.ServiceCIDRStatus";
const SCHEDULING: &str = "io.k8s.api.node.v1.Scheduling";
const POD_DISRUPTION_BUDGET_STATUS: &str = "io.k8s.api.policy.v1.PodDisruptionBudgetStatus";
const POD_DISRUPTION_BUDGET_SPEC: &str = "io.k8s.api.policy.v1.PodDisruptionBudgetSpec";
const ALLOCATED_DEVICE_STATUS: &str = "io.k8s.api.resource.v1.AllocatedDeviceStatus";
const RESOURCE_CLAIM_STATUS: &str = "io.k8s.api.resource.v1.ResourceClaimStatus";
const CSI_DRIVER_SPEC: &str = "io.k8s.api.storage.v1.CSIDriverSpec";
const CSI_NODE_SPEC: &str = "io.k8s.api.storage.v1.CSINodeSpec";
const CUSTOM_RESOURCE_DEFINITION_STATUS: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionStatus";
const JSON_SCHEMA_PROPS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const API_SERVICE_STATUS: &str = "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceStatus";

pub(crate) static MERGED: &[Row] = &[
    owned_by_key(DAG_JOB_SPEC, "tasks", &["name"]),
    by_key(MUTATING_ADMISSION_POLICY_SPEC, "matchConditions", "name", &["name"]),
    by_key(MUTATING_WEBHOOK, "matchConditions", "name", &["name"]),
    by_key(MUTATING_WEBHOOK_CONFIGURATION, "webhooks", "name", &["name"]),
    owned_by_value(VALIDATING_ADMISSION_POLICY_BINDING_SPEC, "validationActions"),
    by_key(VALIDATING_ADMISSION_POLICY_SPEC, "matchConditions", "name", &["name"]),
    by_key(VALIDATING_ADMISSION_POLICY_SPEC, "variables", "name", &["name"]),
    owned_by_key(VALIDATING_ADMISSION_POLICY_STATUS, "conditions", &["type"]),
    by_key(VALIDATING_WEBHOOK, "matchConditions", "name", &["name"]),
    by_key(VALIDATING_WEBHOOK_CONFIGURATION, "webhooks", "name", &["name"]),
    by_key(DAEMON_SET_STATUS, "conditions", "type", &["type"]),
    retaining(map(DEPLOYMENT_SPEC, "strategy", Topology::Granular)),
    by_key(DEPLOYMENT_STATUS, "conditions", "type", &["type"]),
    by_key(REPLICA_SET_STATUS, "conditions", "type", &["type"]),
    by_key(STATEFUL_SET_STATUS, "conditions", "type", &["type"]),
    by_key(HORIZONTAL_POD_AUTOSCALER_STATUS, "conditions", "type", &["type"]),
    patched_by_key(JOB_STATUS, "conditions", "type"),
    owned_by_value(POD_FAILURE_POLICY_ON_EXIT_CODES_REQUIREMENT, "values"),
    owned_by_value(UNCOUNTED_TERMINATED_PODS, "failed"),
    owned_by_value(UNCOUNTED_TERMINATED_PODS, "succeeded"),
    owned_by_key(CERTIFICATE_SIGNING_REQUEST_STATUS, "conditions", &["type"]),
    by_key(COMPONENT_STATUS, "conditions", "type", &["type"]),
    by_key(CONTAINER, "env", "name", &["name"]),
    by_key(CONTAINER, "ports", "containerPort", &["containerPort", "protocol"]),
    by_key(CONTAINER, "volumeDevices", "devicePath", &["devicePath"]),
    by_key(CONTAINER, "volumeMounts", "mountPath", &["mountPath"]),
    owned_by_value(CONTAINER_RESTART_RULE_ON_EXIT_CODES, "values"),
    by_key(CONTAINER_STATUS, "allocatedResourcesStatus", "name", &["name"]),
    by_key(CONTAINER_STATUS, "volumeMounts", "mountPath", &["mountPath"]),
    by_key(EPHEMERAL_CONTAINER, "env", "name", &["name"]),
    by_key(EPHEMERAL_CONTAINER, "ports", "containerPort", &["containerPort", "protocol"]),
    by_key(EPHEMERAL_CONTAINER, "volumeDevices", "devicePath", &["devicePath"]),
    by_key(EPHEMERAL_CONTAINER, "volumeMounts", "mountPath", &["mountPath"]),
    by_key(NAMESPACE_STATUS, "conditions", "type", &["type"]),
    owned_by_value(NODE_ALLOCATABLE_RESOURCE_CLAIM_STATUS, "containers"),
    set(NODE_SPEC, "podCIDRs"),
    by_key(NODE_STATUS, "addresses", "type", &["type"]),
    by_key(NODE_STATUS, "conditions", "type", &["type"]),
    map(PERSISTENT_VOLUME_CLAIM_STATUS, "allocatedResourceStatuses", Topology::Granular),
    by_key(PERSISTENT_VOLUME_CLAIM_STATUS, "conditions", "type", &["type"]),
    map(PERSISTENT_VOLUME_SPEC, "claimRef", Topology::Granular),
    by_key(POD_SPEC, "containers", "name", &["name"]),
    by_key(POD_SPEC, "ephemeralContainers", "name", &["name"]),
    by_key(POD_SPEC, "hostAliases", "ip", &["ip"]),
    by_key(POD_SPEC, "imagePullSecrets", "name", &["name"]),
    by_key(POD_SPEC, "initContainers", "name", &["name"]),
    map(POD_SPEC, "nodeSelector", Topology::Atomic),
    retaining(by_key(POD_SPEC, "resourceClaims", "name", &["name"])),
    by_key(POD_SPEC, "schedulingGates", "name", &["name"]),
    by_key(POD_SPEC, "topologySpreadConstraints", "topologyKey", &["topologyKey", "whenUnsatisfiable"]),
    retaining(by_key(POD_SPEC, "volumes", "name", &["name"])),
    by_key(POD_STATUS, "conditions", "type", &["type"]),
    patched_by_key(POD_STATUS, "hostIPs", "ip"),
    by_key(POD_STATUS, "podIPs", "ip", &["ip"]),
    retaining(by_key(POD_STATUS, "resourceClaimStatuses", "name", &["name"])),
    map(REPLICATION_CONTROLLER_SPEC, "selector", Topology::Atomic),
    by_key(REPLICATION_CONTROLLER_STATUS, "conditions", "type", &["type"]),
    owned_by_key(RESOURCE_REQUIREMENTS, "claims", &["name"]),
    owned_by_key(RESOURCE_STATUS, "resources", &["resourceID"]),
    by_key(SERVICE_ACCOUNT, "secrets", "name", &["name"]),
    by_key(SERVICE_SPEC, "ports", "port", &["port", "protocol"]),
    map(SERVICE_SPEC, "selector", Topology::Atomic),
    by_key(SERVICE_STATUS, "conditions", "type", &["type"]),
    owned_by_value(ENDPOINT, "addresses"),
    by_key(FLOW_SCHEMA_STATUS, "conditions", "type", &["type"]),
    owned_by_value(NON_RESOURCE_POLICY_RULE, "nonResourceURLs"),
    owned_by_value(NON_RESOURCE_POLICY_RULE, "verbs"),
    by_key(PRIORITY_LEVEL_CONFIGURATION_STATUS, "conditions", "type", &["type"]),
    owned_by_value(RESOURCE_POLICY_RULE, "apiGroups"),
    owned_by_value(RESOURCE_POLICY_RULE, "namespaces"),
    owned_by_value(RESOURCE_POLICY_RULE, "resources"),
    owned_by_value(RESOURCE_POLICY_RULE, "verbs"),
    by_key(SERVICE_CIDR_STATUS, "conditions", "type", &["type"]),
    map(SCHEDULING, "nodeSelector", Topology::Atomic),
    replaced(POD_DISRUPTION_BUDGET_SPEC, "selector"),
    by_key(POD_DISRUPTION_BUDGET_STATUS, "conditions", "type", &["type"]),
    owned_by_key(ALLOCATED_DEVICE_STATUS, "conditions", &["type"]),
    owned_by_key(RESOURCE_CLAIM_STATUS, "devices", &["driver", "device", "pool", "shareID"]),
    by_key(RESOURCE_CLAIM_STATUS, "reservedFor", "uid", &["uid"]),
    owned_by_value(CSI_DRIVER_SPEC, "volumeLifecycleModes"),
    by_key(CSI_NODE_SPEC, "drivers", "name", &["name"]),
    owned_by_key(CUSTOM_RESOURCE_DEFINITION_STATUS, "conditions", &["type"]),
    by_key(JSON_SCHEMA_PROPS, "x-kubernetes-validations", "rule", &["rule"]),
    set(OBJECT_META, "finalizers"),
    by_key(OBJECT_META, "ownerReferences", "uid", &["uid"]),
    by_key(API_SERVICE_STATUS, "conditions", "type", &["type"]),
];

/// Definitions whose objects are written as a whole: references, selectors, roles.
pub(crate) static ATOMIC: &[&str] = &[
    "io.k8s.api.admissionregistration.v1.MatchResources",
    "io.k8s.api.admissionregistration.v1.NamedRuleWithOperations",
    "io.k8s.api.admissionregistration.v1.ParamKind",
    "io.k8s.api.admissionregistration.v1.ParamRef",
    "io.k8s.api.admissionregistration.v1.Variable",
    "io.k8s.api.autoscaling.v1.CrossVersionObjectReference",
    "io.k8s.api.core.v1.ConfigMapKeySelector",
    "io.k8s.api.core.v1.EndpointAddress",
    "io.k8s.api.core.v1.EndpointPort",
    "io.k8s.api.core.v1.FileKeySelector",
    "io.k8s.api.core.v1.LocalObjectReference",
    "io.k8s.api.core.v1.NodeSelector",
    "io.k8s.api.core.v1.NodeSelectorTerm",
    "io.k8s.api.core.v1.ObjectFieldSelector",
    "io.k8s.api.core.v1.ObjectReference",
    "io.k8s.api.core.v1.ResourceFieldSelector",
    "io.k8s.api.core.v1.ScopeSelector",
    "io.k8s.api.core.v1.SecretKeySelector",
    "io.k8s.api.core.v1.SecretReference",
    "io.k8s.api.core.v1.TopologySelectorTerm",
    "io.k8s.api.core.v1.TypedLocalObjectReference",
    "io.k8s.api.discovery.v1.EndpointPort",
    "io.k8s.api.networking.v1.ServiceBackendPort",
    "io.k8s.api.rbac.v1.RoleRef",
    "io.k8s.api.rbac.v1.Subject",
    "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
    "io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference",
];
