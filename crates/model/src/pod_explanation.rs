//! `PodExplanation`: why a Pod is where it is, or why it waits. It has its Pod's name, is worked out when it is asked for
//! and never stored.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is to be said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodExplanationStatus {
    /// `namespace/name` of the Pod.
    pub pod: String,
    /// One of Placed, Waiting, HeldBack and Ended.
    pub state: String,
    /// In one sentence; of a Pod that waits, what its condition is to say.
    pub message: String,
    /// What else matters.
    #[serde(default)]
    pub notes: Vec<String>,
    /// How many nodes there are.
    #[serde(default)]
    pub n_nodes: u64,
    /// How many of them would take the Pod: now, or if it had none.
    #[serde(default)]
    pub n_feasible: u64,
    /// How many nodes each reason rules out, the most frequent first.
    #[serde(default)]
    pub reasons: Vec<ExplainedReason>,
    /// Of a Pod that waits: what would place it, the smallest change first.
    #[serde(default)]
    pub changes: Vec<ExplainedChange>,
    /// Of a Pod that waits: those that would go for it.
    pub preemption: Option<ExplainedPreemption>,
    /// The node that the Pod has.
    pub node: Option<String>,
    /// The place of its node among those that would take it; missing where that would not any more.
    pub rank: Option<u64>,
    /// Why its node would not take it again.
    #[serde(default)]
    pub refusals: Vec<String>,
    /// The best nodes and its own, as they would decide today if the Pod were not there.
    #[serde(default)]
    pub scores: Vec<ExplainedScore>,
}

/// How many nodes a reason rules out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainedReason {
    pub reason: String,
    pub nodes: u64,
}

/// Something that would give the Pod a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExplainedChange {
    /// All of these together.
    pub remedies: Vec<ExplainedRemedy>,
    /// How many nodes would take the Pod then.
    pub n_nodes: u64,
    /// One of them.
    pub node: String,
}

/// One thing to change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainedRemedy {
    /// What to do: lower, tolerate, uncordon, addNode, or what to drop.
    #[serde(rename = "do")]
    pub action: String,
    /// By how much to lower each request: milli-cores, bytes, pieces.
    pub by: Option<BTreeMap<String, u64>>,
    /// On which node that is enough.
    pub node: Option<String>,
    /// The taint to tolerate.
    pub key: Option<String>,
    pub value: Option<String>,
    pub effect: Option<String>,
    /// Which node a further one is to be like.
    pub like: Option<String>,
}

/// Lesser Pods that would go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainedPreemption {
    /// From where.
    pub node: String,
    /// By `namespace/name`.
    pub victims: Vec<String>,
}

/// What speaks for a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainedScore {
    pub node: String,
    /// From 1, which is where the Pod would go.
    pub rank: u64,
    /// The sum of all points.
    pub total: f64,
    pub parts: Vec<ExplainedPart>,
}

/// A part of a score.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainedPart {
    /// Such as fill, apart, taints.
    pub part: String,
    /// From 0 to 100; for GPUs below nothing, in thousandths of a GPU that would be lost.
    pub score: f64,
    pub weight: u64,
    /// Score times weight.
    pub points: f64,
}
