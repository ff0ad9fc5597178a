//! Where the outputs of a task's instances are collected.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Each instance writes a file or a folder to `CREST_OUTPUT`, which nobody else sees. When it ends well, that is moved into
/// the folder, whole, under the instance's index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// A folder on a volume that the task mounts, as its containers see it. It is made if it is not there.
    pub path: String,
}
