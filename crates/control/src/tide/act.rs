//! What a tide does: Nodes say how far they are, taints that keep services away go and come back, Pods are told to go.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::api::{DeleteParams, Patch};
use kube::{Api, ResourceExt};
use level0::tide::mark_state;
use model::tide::{MarkState, TIDE_MARK, TideMark, TidePhase, TideSpec};
use serde_json::{Value, json};

use super::TideController;
use crate::act::{ActError, failed, only, patch, unless_gone};
use crate::key::ObjectKey;

/// What a Node is to say while its host is in this phase.
pub(super) fn wanted_mark(tide: &str, spec: &TideSpec, phase: TidePhase) -> Option<TideMark> {
    let percent = spec.share_percent.unwrap_or(100).min(100);
    mark_state(phase).map(|state| TideMark::new(tide, state, percent))
}

/// What is to change at a Node, mark and taints in one; none where it says so already.
pub(super) fn owed(node: &Node, wanted: Option<TideMark>, keeps_away: Option<&Taint>) -> Option<Value> {
    let present = TideMark::of(node.metadata.annotations.as_ref());
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    // A value that is missing is the empty one.
    fn parts(taint: &Taint) -> (&str, &str, &str) {
        (&taint.key, taint.value.as_deref().unwrap_or_default(), &taint.effect)
    }
    let is_same = |one: &Taint, other: &Taint| parts(one) == parts(other);
    let mut left = taints.clone();
    let taken = present.as_ref().and_then(|mark| mark.taint.clone());
    let mark = wanted.map(|mut mark| {
        mark.taint = taken.clone();
        if let (MarkState::HandedOver, Some(keeps_away)) = (mark.state, keeps_away) {
            let position = left.iter().position(|taint| is_same(taint, keeps_away));
            mark.taint = position.map(|at| left.remove(at)).or(mark.taint);
        }
        mark
    });
    if let (None, Some(taken)) = (&mark, taken)
        && !left.iter().any(|taint| is_same(taint, &taken))
    {
        left.push(taken);
    }
    if present == mark && left == taints {
        return None;
    }
    let annotation = mark.map(|mark| mark.to_annotation());
    let mut change = json!({ "metadata": {
        "annotations": { TIDE_MARK: annotation },
        // Nobody else may have written meanwhile: another tide, or who sets taints.
        "resourceVersion": node.metadata.resource_version,
    } });
    if left != taints {
        change["spec"] = json!({ "taints": left });
    }
    Some(change)
}

/// A grace as the API has it. It is a second at least: of a Pod that is deleted with none the object is gone before its
/// processes are, and its host would pass for free.
pub(super) fn seconds(grace: SignedDuration) -> u32 {
    u32::try_from(grace.as_secs()).unwrap_or(u32::MAX).max(1)
}

impl TideController {
    pub(super) async fn change(&self, node: &Node, change: &Value) -> Result<(), ActError> {
        let api: Api<Node> = Api::all(self.world.act.client().clone());
        let patched = api.patch(&node.name_any(), &patch(), &Patch::Merge(change)).await.map(drop);
        unless_gone(patched.map_err(failed::<Node>("mark", &ObjectKey::of(node))))
    }

    /// Tells a Pod to go, within `grace`.
    pub(super) async fn revoke(&self, pod: &Pod, grace: SignedDuration) -> Result<(), ActError> {
        let how =
            DeleteParams { grace_period_seconds: Some(seconds(grace)), ..only(pod.metadata.uid.as_deref()) };
        match self.world.act.delete::<Pod>(&ObjectKey::of(pod), &how).await {
            // Another Pod has the name by now.
            Err(error) if error.code() == Some(409) => Ok(()),
            other => other,
        }
    }
}
