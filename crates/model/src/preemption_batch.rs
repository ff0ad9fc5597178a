//! `PreemptionBatch`: Pods of a namespace that make room for others, by one request. It is answered and never stored.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::binding_batch::Refusal;

/// As many Pods as one batch may hold.
pub const MAX_VICTIMS: usize = 1024;

/// Who is to go. Each stands for itself, as if its condition had been written and it had been deleted alone.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crest.dev",
    version = "v1alpha1",
    kind = "PreemptionBatch",
    plural = "preemptionbatches",
    singular = "preemptionbatch",
    namespaced,
    status = "PreemptionBatchStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct PreemptionBatchSpec {
    /// The Pods. The answer leaves them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub victims: Vec<Victim>,
}

/// A Pod that is to go, with its own grace period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Victim {
    pub name: String,
    /// Only the Pod of this identity goes; one that has come in its place stays.
    pub uid: String,
    /// What its condition `DisruptionTarget` says, for reason `PreemptionByScheduler`.
    #[serde(default)]
    pub message: String,
}

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreemptionBatchStatus {
    /// So many go, or are gone.
    #[serde(default)]
    pub preempted: u32,
    /// The others, and why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refusal>,
}
