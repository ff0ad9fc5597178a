//! `ColocationPolicy`: how much of some nodes batch may have, how it is taken back, and by what services are judged.
//!
//! ```text
//!   policies by name ──the first that selects the node──► each value that it names ──► in force there within seconds
//!                                                      └► each that it does not ────► as the agent was started
//! ```

mod check;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use check::{Fault, faults};

/// Which nodes, and what is otherwise there. What is left out stays as it is.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crest.dev",
    version = "v1alpha1",
    kind = "ColocationPolicy",
    plural = "colocationpolicies",
    singular = "colocationpolicy",
    shortname = "cpol",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ColocationPolicySpec {
    /// The nodes that it is for. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// What batch is offered of the processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<OfferTerms>,
    /// What batch is offered of the memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<OfferTerms>,
    /// What services may want at a peak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<PredictionTerms>,
    /// When a change is worth telling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication: Option<PublicationTerms>,
    /// When batch is held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub squeeze: Option<SqueezeTerms>,
    /// When batch has to go, as memory runs short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eviction: Option<EvictionTerms>,
    /// What is done to groups of processes beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hands: Option<HandsTerms>,
    /// What is offered of that which services requested and will not use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mid: Option<MidTerms>,
}

/// How the offer of a resource is reckoned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfferTerms {
    /// Share of the capacity that is never offered. Below zero, more is offered than is there. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin_percent: Option<i32>,
    /// An amount that is never offered, such as 500m or 2Gi; where the share is more, that counts. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<Quantity>,
    /// The most that is offered, as a share of the capacity. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling_percent: Option<i32>,
    /// The least that is offered however busy services are, as a share of the capacity; of processors only. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor_percent: Option<i32>,
    /// By what services count. Default: Use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services_by: Option<ServicesBy>,
}

/// By what services count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServicesBy {
    /// By what they use, or may want at a peak.
    #[default]
    Use,
    /// By what they request.
    Request,
    /// By whatever is more.
    Larger,
}

/// How peaks are read from what apps used before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PredictionTerms {
    /// Share of its time in which an app wants no more processors than is predicted. Default: 95.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percentile: Option<i32>,
    /// The same of memory. Default: 98.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_percentile: Option<i32>,
    /// What is added on top. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety_percent: Option<i32>,
    /// What is so much older counts half. Default: 43200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_half_life_seconds: Option<i32>,
    /// The same of memory. Default: 86400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_half_life_seconds: Option<i32>,
    /// For so long an app is watched before anything is predicted of it. Default: 86400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_start_seconds: Option<i32>,
    /// How fast the highest use of the last moments is forgotten. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent_half_life_seconds: Option<i32>,
}

/// When the offer is told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicationTerms {
    /// When it shrank by so much of what was told, at once; when it grew and stayed so, after 5 s. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_percent: Option<i32>,
    /// After so long if it changed at all. Default: 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<i32>,
}

/// When batch is held back, and how far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SqueezeTerms {
    /// Share of the time that services may wait for a processor when they want one. Default: 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_percent: Option<i32>,
    /// Share of the latency that services may have at which batch is held back. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_percent: Option<i32>,
    /// What batch keeps of the processors whatever services suffer. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor_percent: Option<i32>,
}

/// When batch has to go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvictionTerms {
    /// When less than this share of the memory is available. Default: 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_percent: Option<i32>,
    /// Until this share is. Default: 12.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enough_percent: Option<i32>,
}

/// What is done beside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandsTerms {
    /// Whether batch is kept to some processors. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<bool>,
    /// Whether services may use what their CPU limit left over in the period before. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bursts: Option<bool>,
}

/// What the mid tier is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MidTerms {
    /// Share of what no service requested that counts, too. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unallocated_percent: Option<i32>,
    /// The most that is offered, as a share of the capacity; 0 is none. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling_percent: Option<i32>,
}
