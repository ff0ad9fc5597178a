//! `BatchQuota`: what a group of batch jobs is sure to get, how far it may go, and its share of the rest.
//!
//! ```text
//!   research (min 40 CPUs)            a job names one without parts: spec.quota: training
//!    ├── training (weight 3)          what nobody is sure of is shared 3 to 1 while both have work
//!    └── reports  (weight 1)
//! ```

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The condition that says whether the quota is in force as it stands.
pub const IN_FORCE: &str = "InForce";
/// The condition that says whether machines offer as much as all quotas are guaranteed.
pub const COVERED: &str = "Covered";

/// What can be counted.
pub const RESOURCES: [&str; 3] = ["cpu", "memory", "workers"];

/// Where it stands in the tree, how much, and for whom.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crest.dev",
    version = "v1alpha1",
    kind = "BatchQuota",
    plural = "batchquotas",
    singular = "batchquota",
    shortname = "bq",
    status = "BatchQuotaStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct BatchQuotaSpec {
    /// The quota that it is a part of; without one it stands at the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// What its jobs are sure to get while they ask for it: `cpu`, `memory` and `workers`. Others may borrow what is not
    /// in use, and give it back when it is asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub min: BTreeMap<String, Quantity>,
    /// What its jobs never go beyond. Default: as much as there is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub max: BTreeMap<String, Quantity>,
    /// Its share of what nobody is sure of, beside those of its neighbours. Default 1.
    #[serde(default = "one")]
    pub weight: u32,
    /// The namespaces whose jobs may name it. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

fn one() -> u32 {
    1
}

/// How it stands. Written by the batch engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchQuotaStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The spec that is in force: the newest with which all quotas fit together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<BatchQuotaSpec>,
    /// What its jobs' workers hold, those of its parts included.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub used: BTreeMap<String, Quantity>,
    /// `InForce`: whether it counts as it stands. `Covered`: whether there is as much as all quotas are guaranteed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
