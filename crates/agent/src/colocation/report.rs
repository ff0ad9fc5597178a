//! What is told of an arbiter.

use level0::mid;
use serde::{Deserialize, Serialize};

use super::{Explanation, OnlinePod, Zone};
use crate::policy::Told;

/// What the arbiter sees and does, for those who ask.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Milli-cores in use, by class, over the last second.
    pub online_milli: i64,
    pub batch_milli: i64,
    pub system_milli: i64,
    /// Share of the time in which online wanted to run but waited; `None` while batch is away.
    pub online_delay: Option<f64>,
    /// Latency or errors of the service that is worst off, as a share of its objective, when one told it last.
    pub latency: Option<f64>,
    /// Batch Pods that are held back, as services suffer when they work.
    pub offenders: usize,
    /// How often one was, and how often one had to go.
    pub offences: u64,
    pub moves: u64,
    /// `None` is no limit.
    pub quota_milli: Option<u64>,
    pub squeezes: u64,
    pub evictions: u64,
    pub cpu: Explanation,
    pub memory: Explanation,
    /// What the mid tier is offered.
    #[serde(default)]
    pub mid_cpu: mid::Explanation,
    #[serde(default)]
    pub mid_memory: mid::Explanation,
    /// The same by NUMA zone, where there are several.
    #[serde(default)]
    pub zones: Vec<Zone>,
    /// Who stands behind the terms of these.
    pub online: Vec<OnlinePod>,
    #[serde(default)]
    pub guests: Guests,
    /// By which values.
    #[serde(default)]
    pub rule: Told,
}

/// What services use that stand in the group of batch, as they do at a kubelet when they ask for nothing: what holds batch is so
/// much wider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Guests {
    pub milli_cpu: u64,
    pub memory: u64,
}

impl Guests {
    /// Room for what they use, and for as much again.
    pub(super) fn room(self) -> u64 {
        2 * self.milli_cpu
    }
}
