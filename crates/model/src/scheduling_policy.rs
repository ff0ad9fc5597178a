//! `SchedulingPolicy`: what counts how much when several nodes can take a pod, by scheduler name and by priority.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// For which pods, and what counts.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crest.dev",
    version = "v1alpha1",
    kind = "SchedulingPolicy",
    plural = "schedulingpolicies",
    singular = "schedulingpolicy",
    shortname = "spol",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct SchedulingPolicySpec {
    /// Pods with this `spec.schedulerName`, which Sigma places from then on. Default: those that it places anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_name: Option<String>,
    /// Only pods of these priorities. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priorities: Option<PriorityBand>,
    /// Whether the emptier node is better, or the fuller one. Default: Spread.
    #[serde(default)]
    pub placement: Placement,
    /// Whether pods of one owner without constraints of their own keep apart, by host and by zone. Default: true, and
    /// false where nodes are packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread_siblings: Option<bool>,
    /// How much each score counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<ScoreWeights>,
}

/// Pods of these priorities, both ends among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PriorityBand {
    /// Default: the least there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i32>,
    /// Default: the most there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i32>,
}

/// Which node is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Placement {
    /// The emptier one.
    #[default]
    Spread,
    /// The fuller one.
    Pack,
}

/// Weights from 0 to 100.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScoreWeights {
    /// How empty or, with Pack, how full the node is. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<u32>,
    /// How evenly processors and memory are used. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<u32>,
    /// Soft spread constraints, and siblings that keep apart. Default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apart: Option<u32>,
    /// Preferred pod affinity and anti-affinity. Default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<u32>,
    /// Preferred node affinity. Default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_affinity: Option<u32>,
    /// Taints of the effect PreferNoSchedule. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taints: Option<u32>,
    /// Images of the pod that are on the node already. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<u32>,
}
