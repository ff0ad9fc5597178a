//! A pod of a Job stays until it is counted: a finalizer holds it, whoever takes it away and whoever counts it.
//!
//! ```text
//!   made, held ──► ended ──► listed in the status as uncounted ──► released ──► counted in the status, no longer listed
//!        └──► deleted before it did anything that counts ──► released
//! ```
//! Each arrow is taken from what the API holds, so that a controller that starts anew goes on where its predecessor
//! was. Pods of an older version, which nothing holds, are held as soon as they are seen.

mod orphans;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::act::{Act, ActError, unless_gone};
use crate::key::ObjectKey;
use crate::pods;

pub(super) use orphans::start;

/// Kubernetes' own: its tools and other controllers know it.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

/// Whether the pod waits to be counted.
pub(super) fn is_held(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|name| name == FINALIZER)
}

/// Only finalizers keep it from being gone: it was never placed, its node has finished it, or it was taken by force.
pub(super) fn is_over(pod: &Pod) -> bool {
    pods::has_ended(pod)
        || pod.metadata.deletion_timestamp.is_some() && pod.metadata.deletion_grace_period_seconds == Some(0)
}

/// Lets the pods go.
pub(super) async fn release(act: &Act, pods: &[Arc<Pod>]) -> Result<(), ActError> {
    merge(act, pods, |_| json!({ "$deleteFromPrimitiveList/finalizers": [FINALIZER] })).await
}

/// Holds pods that nothing holds yet, if they are as they were seen: one that has ended meanwhile was perhaps counted.
pub(super) async fn hold(act: &Act, pods: &[Arc<Pod>]) -> Result<(), ActError> {
    let held =
        |pod: &Pod| json!({ "finalizers": [FINALIZER], "resourceVersion": pod.metadata.resource_version });
    merge(act, pods, held).await
}

async fn merge(act: &Act, pods: &[Arc<Pod>], metadata: impl Fn(&Pod) -> Value) -> Result<(), ActError> {
    let changes = pods.iter().map(|pod| {
        let mut metadata = metadata(pod);
        metadata["uid"] = json!(pod.metadata.uid);
        let patch = json!({ "metadata": metadata });
        async move { unless_gone(act.merge::<Pod>(&ObjectKey::of(&**pod), &patch).await) }
    });
    futures::future::join_all(changes).await.into_iter().collect()
}
