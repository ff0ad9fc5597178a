//! Which fields stand in an object even where nobody set them, because the types behind Kubernetes hold them by value.
//!
//! Who sets such a field changes it; who sets another one adds it. Ownership tells the two apart: the owner of an added
//! object owns the object itself too, not only what is in it.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{Format, Shape};

/// Optional fields that are there nevertheless. Required fields need no entry.
static BY_VALUE: &[(&str, &[&str])] = &[
    ("io.k8s.api.apps.v1.DaemonSetCondition", &["lastTransitionTime"]),
    ("io.k8s.api.apps.v1.DaemonSetSpec", &["updateStrategy"]),
    ("io.k8s.api.apps.v1.DeploymentCondition", &["lastTransitionTime", "lastUpdateTime"]),
    ("io.k8s.api.apps.v1.DeploymentSpec", &["strategy"]),
    ("io.k8s.api.apps.v1.ReplicaSetCondition", &["lastTransitionTime"]),
    ("io.k8s.api.apps.v1.ReplicaSetSpec", &["template"]),
    ("io.k8s.api.apps.v1.StatefulSetCondition", &["lastTransitionTime"]),
    ("io.k8s.api.apps.v1.StatefulSetSpec", &["serviceName", "updateStrategy"]),
    ("io.k8s.api.apps.v1.StatefulSetStatus", &["availableReplicas"]),
    ("io.k8s.api.authentication.v1.TokenRequestSpec", &["audiences"]),
    ("io.k8s.api.authentication.v1.TokenReviewStatus", &["user"]),
    ("io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerCondition", &["lastTransitionTime"]),
    ("io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus", &["currentMetrics"]),
    ("io.k8s.api.batch.v1.JobCondition", &["lastProbeTime", "lastTransitionTime"]),
    ("io.k8s.api.batch.v1.JobTemplateSpec", &["metadata", "spec"]),
    (
        "io.k8s.api.certificates.v1.CertificateSigningRequestCondition",
        &["lastTransitionTime", "lastUpdateTime"],
    ),
    ("io.k8s.api.core.v1.Container", &["resources"]),
    ("io.k8s.api.core.v1.ContainerStateRunning", &["startedAt"]),
    ("io.k8s.api.core.v1.ContainerStateTerminated", &["finishedAt", "startedAt"]),
    ("io.k8s.api.core.v1.ContainerStatus", &["lastState", "state"]),
    ("io.k8s.api.core.v1.EphemeralContainer", &["resources"]),
    (
        "io.k8s.api.core.v1.Event",
        &[
            "eventTime",
            "firstTimestamp",
            "lastTimestamp",
            "reportingComponent",
            "reportingInstance",
            "source",
        ],
    ),
    ("io.k8s.api.core.v1.EventSeries", &["lastObservedTime"]),
    ("io.k8s.api.core.v1.NamespaceCondition", &["lastTransitionTime"]),
    ("io.k8s.api.core.v1.NodeCondition", &["lastHeartbeatTime", "lastTransitionTime"]),
    ("io.k8s.api.core.v1.NodeDaemonEndpoints", &["kubeletEndpoint"]),
    ("io.k8s.api.core.v1.NodeStatus", &["daemonEndpoints", "nodeInfo"]),
    ("io.k8s.api.core.v1.PersistentVolumeClaimCondition", &["lastProbeTime", "lastTransitionTime"]),
    ("io.k8s.api.core.v1.PersistentVolumeClaimSpec", &["resources"]),
    ("io.k8s.api.core.v1.PersistentVolumeClaimTemplate", &["metadata"]),
    ("io.k8s.api.core.v1.PodCondition", &["lastProbeTime", "lastTransitionTime"]),
    ("io.k8s.api.core.v1.PodTemplate", &["template"]),
    ("io.k8s.api.core.v1.PodTemplateSpec", &["metadata", "spec"]),
    ("io.k8s.api.core.v1.ReplicationControllerCondition", &["lastTransitionTime"]),
    ("io.k8s.api.core.v1.ResourceFieldSelector", &["divisor"]),
    ("io.k8s.api.core.v1.ServiceStatus", &["loadBalancer"]),
    ("io.k8s.api.discovery.v1.Endpoint", &["conditions"]),
    ("io.k8s.api.discovery.v1.EndpointSlice", &["endpoints", "ports"]),
    (
        "io.k8s.api.events.v1.Event",
        &["deprecatedFirstTimestamp", "deprecatedLastTimestamp", "deprecatedSource", "regarding"],
    ),
    ("io.k8s.api.flowcontrol.v1.FlowSchemaCondition", &["lastTransitionTime"]),
    ("io.k8s.api.flowcontrol.v1.LimitedPriorityLevelConfiguration", &["limitResponse"]),
    ("io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationCondition", &["lastTransitionTime"]),
    ("io.k8s.api.networking.v1.IngressServiceBackend", &["port"]),
    ("io.k8s.api.networking.v1.IngressStatus", &["loadBalancer"]),
    ("io.k8s.api.networking.v1.NetworkPolicySpec", &["podSelector"]),
    (
        "io.k8s.api.policy.v1.PodDisruptionBudgetStatus",
        &["currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"],
    ),
    ("io.k8s.api.rbac.v1.ClusterRole", &["rules"]),
    ("io.k8s.api.rbac.v1.Role", &["rules"]),
    ("io.k8s.api.resource.v1.AllocationResult", &["devices"]),
    ("io.k8s.api.resource.v1.ResourceClaimSpec", &["devices"]),
    ("io.k8s.api.scheduling.v1.PriorityClass", &["value"]),
    ("io.k8s.api.storage.v1.CSINodeDriver", &["topologyKeys"]),
    ("io.k8s.api.storage.v1.VolumeError", &["time"]),
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionCondition",
        &["lastTransitionTime"],
    ),
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionStatus",
        &["acceptedNames", "conditions", "storedVersions"],
    ),
    ("io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceCondition", &["lastTransitionTime"]),
    // An empty list of managers asks to forget them.
    ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", &["managedFields"]),
];

/// There nevertheless, as null: the types refer to the value.
static REFERRED: &[(&str, &[&str])] = &[
    ("io.k8s.api.admissionregistration.v1.MutatingWebhook", &["sideEffects"]),
    ("io.k8s.api.admissionregistration.v1.ValidatingWebhook", &["sideEffects"]),
    ("io.k8s.api.apps.v1.DaemonSetSpec", &["selector"]),
    ("io.k8s.api.apps.v1.DeploymentSpec", &["selector"]),
    ("io.k8s.api.apps.v1.ReplicaSetSpec", &["selector"]),
    ("io.k8s.api.apps.v1.StatefulSetSpec", &["selector"]),
    ("io.k8s.api.authentication.v1.TokenRequestSpec", &["boundObjectRef", "expirationSeconds"]),
    ("io.k8s.api.core.v1.ScaleIOPersistentVolumeSource", &["secretRef"]),
    ("io.k8s.api.core.v1.ScaleIOVolumeSource", &["secretRef"]),
    ("io.k8s.api.networking.v1.HTTPIngressPath", &["pathType"]),
];

/// Required, but not written where it is empty.
static OMITTED: &[(&str, &[&str])] = &[
    ("io.k8s.api.admissionregistration.v1.Mutation", &["patchType"]),
    (
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec",
        &["policyName", "validationActions"],
    ),
    ("io.k8s.api.authentication.v1.TokenReviewSpec", &["token"]),
    ("io.k8s.api.core.v1.ContainerRestartRule", &["action"]),
    ("io.k8s.api.core.v1.ContainerRestartRuleOnExitCodes", &["operator"]),
    ("io.k8s.api.core.v1.PodCertificateProjection", &["keyType", "signerName"]),
    ("io.k8s.api.networking.v1.IPAddressSpec", &["parentRef"]),
    ("io.k8s.api.resource.v1.CapacityRequestPolicyRange", &["min"]),
];

fn names(table: &[(&str, &'static [&'static str])], definition: &str, field: &str) -> bool {
    let fields = table.iter().find(|(name, _)| *name == definition).map(|(_, fields)| *fields);
    fields.is_some_and(|fields| fields.contains(&field))
}

/// Whether `field` of `definition`, which is required, can be missing all the same.
pub(super) fn is_omitted(definition: &str, field: &str) -> bool {
    names(OMITTED, definition, field)
}

/// Whether `field` of `definition`, which is not required, is there all the same.
pub(super) fn is_by_value(definition: &str, field: &str, is_root: bool) -> bool {
    let of_root = is_root && matches!(field, "metadata" | "spec" | "status");
    of_root || names(BY_VALUE, definition, field)
}

/// Whether `field` of `definition` is there as null where nobody set it.
pub(super) fn is_referred(definition: &str, field: &str) -> bool {
    names(REFERRED, definition, field)
}

/// The value of a field that is there and that nobody set.
pub(super) fn zero(shape: &Shape) -> &'static Value {
    static ZEROS: LazyLock<[Value; 6]> =
        LazyLock::new(|| [Value::Null, json!({}), json!(""), json!(0), json!(false), json!("0")]);
    let index = match shape {
        Shape::Any | Shape::List(_) | Shape::Map(_) | Shape::Text(Format::Time | Format::MicroTime) => 0,
        Shape::Object(_) => 1,
        Shape::Text(Format::Plain | Format::Base64) => 2,
        Shape::Integer(_) | Shape::Number | Shape::Text(Format::IntOrString) => 3,
        Shape::Boolean => 4,
        Shape::Text(Format::Quantity) => 5,
    };
    &ZEROS[index]
}
