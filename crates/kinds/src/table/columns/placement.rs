//! Columns of our own kinds about placement.

use super::{AGE, Column, NAME, own};
use crate::Kind;

pub(super) fn columns(kind: &Kind) -> Option<&'static [Column]> {
    Some(match kind.kind {
        "BatchQuota" => BATCH_QUOTAS,
        "ElasticQuota" => ELASTIC_QUOTAS,
        "ColocationPolicy" => COLOCATION_POLICIES,
        "ColocationProfile" => COLOCATION_PROFILES,
        "InterferenceRule" => INTERFERENCE_RULES,
        "PodExplanation" => POD_EXPLANATIONS,
        "PodGroup" => POD_GROUPS,
        "RebalancePolicy" => REBALANCE_POLICIES,
        "Reservation" => RESERVATIONS,
        "SchedulingPolicy" => SCHEDULING_POLICIES,
        "Tide" => TIDES,
        _ => return None,
    })
}

const POD_EXPLANATIONS: &[Column] = &[
    NAME,
    own("State", "How the pod stands."),
    own("Node", "The node that the pod has."),
    own("Rank", "The place of its node among those that would take it today."),
    own("Feasible", "How many of all nodes would take it."),
    own("Message", "Why, in one sentence."),
];
const POD_GROUPS: &[Column] = &[
    NAME,
    own("Phase", "How the group stands."),
    own("Min", "How many pods of the group are placed at once, or none.").integer(),
    own("Members", "How many pods of the group are there.").integer(),
    own("Scheduled", "How many of them have a node.").integer(),
    AGE,
];
const BATCH_QUOTAS: &[Column] = &[
    NAME,
    own("Parent", "The quota that it is a part of."),
    own("Weight", "Its share beside its neighbours.").integer(),
    own("Min", "What its jobs are sure to get."),
    own("Max", "What its jobs never go beyond."),
    own("Used", "What its jobs' workers hold."),
    own("In Force", "Whether it counts as it stands."),
    AGE,
];
const ELASTIC_QUOTAS: &[Column] = &[
    NAME,
    own("Min", "What its pods are sure to get."),
    own("Max", "What its pods never go beyond."),
    own("Used", "What its pods with a node ask for."),
    own("Borrowed", "What of it may have to be given back."),
    AGE,
];
const COLOCATION_POLICIES: &[Column] = &[
    NAME,
    own("Nodes", "The nodes that it is for."),
    own("CPU Margin", "What of the processors is never offered to batch."),
    own("Memory Margin", "What of the memory is never offered to batch."),
    own("Wait", "How long services may wait for a processor before batch is held back."),
    AGE,
];
const COLOCATION_PROFILES: &[Column] = &[
    NAME,
    own("Class", "The class of the Pods."),
    own("Namespaces", "The namespaces whose Pods it is for."),
    own("Pods", "Which Pods of these."),
    own("Quota", "The BatchQuota of those that are batch."),
    AGE,
];
const INTERFERENCE_RULES: &[Column] = &[
    NAME,
    own("At Most", "How many of the pods may be there.").integer(),
    own("Of", "The pods that are limited."),
    own("Beside", "The pods beside which they are."),
    own("On", "The label whose values say what is beside each other."),
    AGE,
];
const REBALANCE_POLICIES: &[Column] = &[
    NAME,
    own("Goal", "What pods are moved for."),
    own("Phase", "What the policy is at."),
    own("Moving", "How many pods are being moved.").integer(),
    own("Moved", "How many pods were moved.").integer(),
    own("Failed", "How many moves have failed.").integer(),
    AGE,
];
const RESERVATIONS: &[Column] = &[
    NAME,
    own("Phase", "How the reservation stands."),
    own("Node", "Where the room is held."),
    own("Resources", "What is held."),
    own("Owners", "The pods that may use it."),
    AGE,
];
const SCHEDULING_POLICIES: &[Column] = &[
    NAME,
    own("Scheduler", "The scheduler name of the pods."),
    own("Placement", "Whether the emptier node is better, or the fuller one."),
    own("Min Priority", "The least priority of the pods."),
    own("Max Priority", "The greatest priority of the pods."),
    AGE,
];
const TIDES: &[Column] = &[
    NAME,
    own("Phase", "What the tide is at."),
    own("Free", "How many hosts are handed over, of those that are to be."),
    own("From", "When the hosts are to be free."),
    own("To", "When batch has them back."),
    own("At-Risk", "Whether they will not be free in time."),
    AGE,
];
