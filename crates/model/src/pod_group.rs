//! `PodGroup`: pods that are of use only together, and so are placed together or not at all.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a user asks for. Names and meanings are those of the coscheduling plugin's own kind.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crest.dev",
    version = "v1alpha1",
    kind = "PodGroup",
    plural = "podgroups",
    singular = "podgroup",
    shortname = "pg",
    namespaced,
    status = "PodGroupStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct PodGroupSpec {
    /// At least this many pods of the group are placed at once, or none.
    pub min_member: u32,
    /// After this long, room that is held for the group while others leave it is given back, and the group is told as
    /// timed out. It goes on waiting. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_timeout_seconds: Option<u32>,
}

/// How a group stands. Written by the scheduler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodGroupStatus {
    #[serde(default)]
    pub phase: PodGroupPhase,
    /// Pods of the group that are there.
    #[serde(default)]
    pub members: u32,
    /// Those of them that have a node.
    #[serde(default)]
    pub scheduled: u32,
    /// `Scheduled`, with why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Where a group is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PodGroupPhase {
    /// Too few of its pods are there.
    #[default]
    Pending,
    /// Its pods do not fit together yet.
    Waiting,
    /// Enough of its pods have a node.
    Scheduled,
}
