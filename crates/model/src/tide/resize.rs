//! Services that are made bigger on hosts that a tide handed over, and what their Pods say of it meanwhile.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Annotation of a Pod that a tide resizes: a [`ResizeMark`] as JSON. It is there before the Pod is resized, and goes after
/// the Pod has its size back, so that whoever finds it knows what to do.
pub const RESIZE_MARK: &str = "crest.dev/tide-resize";

/// Which services, and by how much.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TideResize {
    /// The namespaces of the Pods. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// The labels of the Pods; the empty selector means all of these namespaces.
    pub selector: LabelSelector,
    /// The processor time of each container, requests and limits, in percent of what it was: 100 or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u32>,
    /// The memory likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_percent: Option<u32>,
}

/// What a Pod says of the tide that resizes it. Keys are as `CONTAINER/requests/cpu`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResizeMark {
    pub tide: String,
    /// As its owner wrote it.
    pub from: BTreeMap<String, String>,
    pub to: BTreeMap<String, String>,
    /// Why the server refused it: it is not tried again in this window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl ResizeMark {
    /// The mark among a Pod's annotations. One that cannot be read is nobody's: the size that it had is not known.
    pub fn of(annotations: Option<&BTreeMap<String, String>>) -> Option<Self> {
        serde_json::from_str(annotations?.get(RESIZE_MARK)?).ok()
    }

    /// As the annotation has it.
    pub fn to_annotation(&self) -> String {
        serde_json::to_string(self).expect("texts are JSON")
    }
}

/// How the resizing of services stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResizeStatus {
    /// Pods that have their size for the window.
    #[serde(default)]
    pub resized: u32,
    /// Pods whose node is at it.
    #[serde(default)]
    pub under_way: u32,
    /// Pods for which their host has no room at present.
    #[serde(default)]
    pub deferred: u32,
    /// Pods that their host could never hold, or that the server refused to resize.
    #[serde(default)]
    pub infeasible: u32,
    /// Why some are not resized: the first of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}
