//! `InterferenceRule`: at most so many pods of one kind beside each pod of another.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// At most `atMost` of `pods` beside each of `beside`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crest.dev",
    version = "v1alpha1",
    kind = "InterferenceRule",
    plural = "interferencerules",
    singular = "interferencerule",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct InterferenceRuleSpec {
    /// The pods that are limited.
    pub pods: PodSet,
    /// The pods beside which they are. Where a pod is of both sets, it is not beside itself.
    pub beside: PodSet,
    /// How many may be there.
    pub at_most: u32,
    /// Pods are beside each other on nodes with the same value of this label. Default: on the same host.
    #[serde(default = "default_topology")]
    pub topology_key: String,
}

fn default_topology() -> String {
    crate::names::HOSTNAME_LABEL.to_owned()
}

/// Pods of the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSet {
    /// By their labels. An empty selector means every pod.
    pub selector: LabelSelector,
    /// Only pods of these namespaces. Default: of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}
