//! `RebalancePolicy`: what the optimiser may move on its own, to what end, and how much of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Annotation of a pod that the optimiser must not move: `"true"`.
pub const DO_NOT_MOVE: &str = "crest.dev/do-not-move";
/// Annotation of a pod that is replaced before it goes: the policy that moves it. Its ReplicaSet makes one more.
pub const BEING_REPLACED: &str = "crest.dev/being-replaced";
/// Label of the pod that takes the place of one that is moved: the uid of that one.
pub const SUCCESSOR_OF: &str = "crest.dev/successor-of";

/// What a user asks for.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crest.dev",
    version = "v1alpha1",
    kind = "RebalancePolicy",
    plural = "rebalancepolicies",
    singular = "rebalancepolicy",
    shortname = "rbp",
    status = "RebalancePolicyStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct RebalancePolicySpec {
    /// What the moves are for.
    pub goal: RebalanceGoal,
    /// By what nodes are judged. Default: Requests.
    #[serde(default)]
    pub by: RebalanceBasis,
    /// Only pods of these namespaces move. Default: of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Only these pods move. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Share of a node's processors above which it is too full, in percent. Default: 80.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_threshold_percent: Option<u32>,
    /// Share of a node's memory above which it is too full, in percent. Default: 90.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_threshold_percent: Option<u32>,
    /// What each move must gain on average, in hundredths of a freed node. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_gain_percent: Option<u32>,
    /// So many moves at once. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_moves_at_once: Option<u32>,
    /// So many moves in any hour. Default: 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_moves_per_hour: Option<u32>,
    /// How long after a plan the next is made. Default: 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<u32>,
    /// Pods that are younger than this are not moved, and so none moves twice in this time. After moves that failed or
    /// gained too little nothing is moved for as long. Default: 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave_alone_seconds: Option<u32>,
    /// A move that takes longer has failed. Default: 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub move_timeout_seconds: Option<u32>,
    /// Moves begin only in this part of each day. Default: at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<RebalanceWindow>,
    /// Nothing new is planned or moved.
    #[serde(default)]
    pub suspend: bool,
    /// Plans are made and told, nothing is moved.
    #[serde(default)]
    pub dry_run: bool,
}

/// What the moves are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RebalanceGoal {
    /// Whole nodes come free.
    #[default]
    FreeMachines,
    /// No node is above the thresholds.
    RemoveHotSpots,
}

/// By what nodes are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RebalanceBasis {
    /// By what pods ask for.
    #[default]
    Requests,
    /// By what `metrics.k8s.io` says that they use. What they ask for must fit all the same.
    MeasuredUse,
}

/// A part of each day, in UTC. It may go over midnight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RebalanceWindow {
    /// As in `22:00`.
    pub start: String,
    /// As in `06:00`.
    pub end: String,
}

impl RebalanceWindow {
    /// Minutes of the day of a time as `22:00`; `None` where it is none.
    pub fn minutes(text: &str) -> Option<u16> {
        let (hours, minutes) = text.split_once(':')?;
        let number = |text: &str, below: u16| {
            let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|&number| is_plain && number < below)
        };
        Some(number(hours, 24)? * 60 + number(minutes, 60)?)
    }
}

/// How it stands. Written by the controller, which also goes on from here after a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RebalancePolicyStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default)]
    pub phase: RebalancePhase,
    /// The last plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<RebalancePlan>,
    /// The moves that are under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub round: Vec<RebalanceMove>,
    /// The moves of the plan that come after those, round by round.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_rounds: Vec<Vec<RebalanceMove>>,
    /// The last moves that have ended, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<RebalanceMove>,
    /// When moves of the last hour began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub begun: Vec<Time>,
    /// Moves that have succeeded, ever.
    #[serde(default)]
    pub moved: u32,
    /// Moves that have failed, ever.
    #[serde(default)]
    pub failed: u32,
    /// Nothing is moved before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resting_until: Option<Time>,
    /// `Progressing`, with why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What a policy is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RebalancePhase {
    /// Nothing is to be moved now.
    #[default]
    Idle,
    /// Moves are under way.
    Moving,
    /// Moves failed or gained too little: nothing is moved for a while.
    Resting,
    /// Its owner has it stand still.
    Suspended,
}

/// What was planned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RebalancePlan {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<Time>,
    pub moves: u32,
    pub rounds: u32,
    /// Nodes that come free.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freed_nodes: Vec<String>,
    /// Nodes that are above a threshold now and will not be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cooled_nodes: Vec<String>,
    /// Nodes with pods that do not belong to the node itself, before.
    pub used_nodes: u32,
    /// Nodes above a threshold, before.
    pub hot_nodes: u32,
    /// Of its moves, those that have been made.
    #[serde(default)]
    pub made: u32,
    /// What a dry run would move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proposed: Vec<RebalanceMove>,
    /// How many pods stay whatever it would gain, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held_pods: BTreeMap<String, u32>,
}

/// One pod that goes from node to node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RebalanceMove {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    /// The uid of its controller.
    #[serde(default)]
    pub owner: String,
    pub from: String,
    pub to: String,
    #[serde(default)]
    pub how: MoveKind,
    #[serde(default)]
    pub step: MoveStep,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<Time>,
    /// The pod that took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
    /// Why it waits or has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a pod is moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MoveKind {
    /// Another is up before it goes.
    #[default]
    Replace,
    /// It goes, and its owner makes another.
    Evict,
    /// It goes, and its owner makes another of the same name.
    Return,
}

/// How far a move is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MoveStep {
    /// Room is being held for the successor.
    #[default]
    Holding,
    /// The successor is awaited.
    Replacing,
    /// The pod is told to go.
    Evicting,
    /// The successor of a pod that was told to go is awaited.
    Returning,
    Done,
    Failed,
}
