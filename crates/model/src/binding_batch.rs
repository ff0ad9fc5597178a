//! `BindingBatch`: many Pods of a namespace given to their nodes by one request. It is answered and never stored.

use k8s_openapi::api::core::v1::Binding;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// As many bindings as one batch may hold.
pub const MAX_BINDINGS: usize = 1024;

/// What is asked: each binding stands for itself, as if it had been posted to its Pod alone.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crest.dev",
    version = "v1alpha1",
    kind = "BindingBatch",
    plural = "bindingbatches",
    singular = "bindingbatch",
    namespaced,
    status = "BindingBatchStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct BindingBatchSpec {
    /// Each names its Pod in `metadata.name`. The answer leaves them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<Binding>,
}

/// What became of the bindings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BindingBatchStatus {
    /// So many Pods were bound.
    #[serde(default)]
    pub bound: u32,
    /// The others, and why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refusal>,
}

/// One of a batch that was refused, in the words that it would have been answered with alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Its place in the batch, from 0.
    pub index: u32,
    /// The code that HTTP would have had.
    pub code: u16,
    pub reason: String,
    pub message: String,
}
