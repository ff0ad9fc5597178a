//! A `DagJob` as it stands in the store, whatever it says: one that cannot be read must not stop the watch of all.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use model::dagjob::{DagJob, DagJobSpec, DagJobStatus, DesiredState, JobPhase};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A `DagJob` of which only the metadata is understood.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawJob {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<Value>,
}

/// Why a stored job cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("the job cannot be read: its {part} is malformed")]
pub(super) struct ReadError {
    part: &'static str,
    source: serde_json::Error,
}

impl RawJob {
    pub(super) fn read(&self) -> Result<(DagJobSpec, DagJobStatus), ReadError> {
        let spec =
            DagJobSpec::deserialize(&self.spec).map_err(|source| ReadError { part: "spec", source })?;
        let status = self.status.as_ref().map(DagJobStatus::deserialize).transpose();
        let status = status.map_err(|source| ReadError { part: "status", source })?;
        Ok((spec, status.unwrap_or_default()))
    }

    pub(super) fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Whether the job has ended, as far as its status can be read.
    pub(super) fn has_ended(&self) -> bool {
        let phase = self.status.as_ref().and_then(|status| JobPhase::deserialize(status.get("phase")?).ok());
        phase.is_some_and(JobPhase::is_ended)
    }

    /// As [`is_to_begin_again`]; not, if the job cannot be read.
    pub(super) fn is_to_begin_again(&self, begun: Option<u32>) -> bool {
        self.read().is_ok_and(|(spec, status)| is_to_begin_again(&spec, &status, begun))
    }

    pub(super) fn desired_state(&self) -> DesiredState {
        let desired = self.spec.get("desiredState").map(DesiredState::deserialize);
        desired.and_then(Result::ok).unwrap_or_default()
    }

    pub(super) fn keep_workers_seconds(&self) -> u64 {
        self.spec.get("keepWorkersSeconds").and_then(Value::as_u64).unwrap_or(0)
    }

    /// The same object with another status.
    pub(super) fn with_status(&self, status: &DagJobStatus) -> serde_json::Result<Self> {
        Ok(Self { status: Some(serde_json::to_value(status)?), ..self.clone() })
    }
}

/// Whether a job that has ended without all of its instances is to go on. `begun` is how often it was begun again, if that
/// is known from elsewhere: the status may be an older one.
pub(super) fn is_to_begin_again(spec: &DagJobSpec, status: &DagJobStatus, begun: Option<u32>) -> bool {
    matches!(status.phase, JobPhase::Failed | JobPhase::Cancelled)
        && spec.retry > begun.unwrap_or(status.retry)
}

impl Resource for RawJob {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        DagJob::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        DagJob::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        DagJob::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        DagJob::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
