//! When a task has ended well although some of its instances have not.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;

/// The most failed instances that any policy puts up with: all of them stand in the job's status.
pub const MAX_TOLERATED: u32 = 10_000;

/// How many instances may fail, and what happens when more do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuccessPolicy {
    /// This share of the task's instances may fail, rounded down; at most 10,000 instances. Default 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_failed_percent: u32,
    /// Whether the job fails with the first instance beyond that, or only when all instances of the task have ended.
    /// Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_fast: Option<bool>,
}

impl SuccessPolicy {
    /// How many of `count` instances may fail.
    pub fn tolerated(&self, count: u32) -> u32 {
        let share = u64::from(count) * u64::from(self.max_failed_percent.min(100)) / 100;
        u32::try_from(share).unwrap_or(u32::MAX).min(MAX_TOLERATED)
    }

    pub fn fails_fast(&self) -> bool {
        self.fail_fast.unwrap_or(true)
    }
}

/// An instance that failed for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceFailure {
    pub index: u32,
    /// What its last attempt said.
    pub message: String,
}
