//! Where the outputs of a task's instances are collected.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Objects;

/// Each instance writes a file or a folder to `CREST_OUTPUT`, which nobody else sees. When it ends well, that is moved to a
/// folder or a store of objects, whole, under the instance's index. Just one of `path` and `url`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// A folder on a volume that the task mounts, as its containers see it. It is made if it is not there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    #[serde(flatten)]
    pub objects: Objects,
}
