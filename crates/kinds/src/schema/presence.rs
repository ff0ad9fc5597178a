//! Which fields stand in an object even where nobody set them, because the types behind Kubernetes hold them by value.
//!
//! Who sets such a field changes it; who sets another one adds it. Ownership tells the two apart: the owner of an added
//! object owns the object itself too, not only what is in it.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{Format, Shape};

/// Optional objects and lists that are there nevertheless. Required fields need no entry.
static BY_VALUE: &[(&str, &[&str])] = &[
    ("io.k8s.api.apps.v1.DaemonSetSpec", &["updateStrategy"]),
    ("io.k8s.api.apps.v1.DeploymentSpec", &["strategy"]),
    ("io.k8s.api.apps.v1.ReplicaSetSpec", &["template"]),
    ("io.k8s.api.apps.v1.StatefulSetSpec", &["updateStrategy"]),
    ("io.k8s.api.apps.v1.StatefulSetStatus", &["availableReplicas"]),
    ("io.k8s.api.batch.v1.JobTemplateSpec", &["metadata", "spec"]),
    ("io.k8s.api.core.v1.Container", &["resources"]),
    ("io.k8s.api.core.v1.ContainerStatus", &["lastState", "state"]),
    ("io.k8s.api.core.v1.EphemeralContainer", &["resources"]),
    ("io.k8s.api.core.v1.Event", &["reportingComponent", "reportingInstance", "source"]),
    ("io.k8s.api.core.v1.NodeDaemonEndpoints", &["kubeletEndpoint"]),
    ("io.k8s.api.core.v1.NodeStatus", &["daemonEndpoints", "nodeInfo"]),
    ("io.k8s.api.core.v1.PersistentVolumeClaimSpec", &["resources"]),
    ("io.k8s.api.core.v1.PersistentVolumeClaimTemplate", &["metadata"]),
    ("io.k8s.api.core.v1.PodTemplate", &["template"]),
    ("io.k8s.api.core.v1.PodTemplateSpec", &["metadata", "spec"]),
    ("io.k8s.api.core.v1.ServiceStatus", &["loadBalancer"]),
    ("io.k8s.api.discovery.v1.EndpointSlice", &["ports"]),
    ("io.k8s.api.events.v1.Event", &["deprecatedSource"]),
    ("io.k8s.api.networking.v1.IngressServiceBackend", &["port"]),
    ("io.k8s.api.networking.v1.IngressStatus", &["loadBalancer"]),
    ("io.k8s.api.networking.v1.NetworkPolicySpec", &["podSelector"]),
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionStatus",
        &["acceptedNames", "conditions", "storedVersions"],
    ),
    ("io.k8s.api.resource.v1.ResourceClaimSpec", &["devices"]),
    ("io.k8s.api.rbac.v1.ClusterRole", &["rules"]),
    // An empty list of managers asks to forget them.
    ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", &["managedFields"]),
];

/// Required, but not written where it is empty.
static OMITTED: &[(&str, &str)] =
    &[("io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec", "validationActions")];

/// Whether `field` of `definition`, which is required, can be missing all the same.
pub(super) fn is_omitted(definition: &str, field: &str) -> bool {
    OMITTED.contains(&(definition, field))
}

/// Whether `field` of `definition`, which is not required, is there all the same.
pub(super) fn is_by_value(definition: &str, field: &str, is_root: bool) -> bool {
    let of_root = is_root && matches!(field, "metadata" | "spec" | "status");
    let fields = BY_VALUE.iter().find(|(name, _)| *name == definition).map(|(_, fields)| *fields);
    of_root || fields.is_some_and(|fields| fields.contains(&field))
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
