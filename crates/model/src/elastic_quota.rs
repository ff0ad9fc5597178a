//! `ElasticQuota`: what the pods of some namespaces are sure to get together, and how far they may go beyond.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The condition that says whether the quota counts for all namespaces that it names.
pub const EFFECTIVE: &str = "Effective";

/// For whom, how much, and how much at most.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crest.dev",
    version = "v1alpha1",
    kind = "ElasticQuota",
    plural = "elasticquotas",
    singular = "elasticquota",
    shortname = "eq",
    status = "ElasticQuotaStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ElasticQuotaSpec {
    /// The namespaces whose pods count together. One that several quotas name is that one's whose name comes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Namespaces with these labels as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// What they are sure to get: others may borrow what is not in use, and give it back when it is asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub min: BTreeMap<String, Quantity>,
    /// What they never go beyond. Default: whatever others leave of what all quotas are guaranteed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub max: BTreeMap<String, Quantity>,
}

/// How it stands. Written by the scheduler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ElasticQuotaStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What pods with a node ask for, of each resource that the quota names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub used: BTreeMap<String, Quantity>,
    /// What of it is beyond `min`, and so may have to be given back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub borrowed: BTreeMap<String, Quantity>,
    /// `Effective`: whether it counts for all namespaces that it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
