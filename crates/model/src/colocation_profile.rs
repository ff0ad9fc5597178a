//! `ColocationProfile`: of which class the Pods of some namespaces are, and what else they get, without a word in their
//! own manifests.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::class::Class;

/// Whose Pods, and what they get when they are made. What a Pod says itself stays.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crest.dev",
    version = "v1alpha1",
    kind = "ColocationProfile",
    plural = "colocationprofiles",
    singular = "colocationprofile",
    shortname = "cp",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ColocationProfileSpec {
    /// The namespaces whose Pods it is for. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Which Pods of these. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// The class of those that say nothing of theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// The priority class of those that name none. Default: that of the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// The `BatchQuota` of those that are batch and name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<String>,
    /// Labels of those that do not have them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of those that do not have them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}
