//! What a tide does: Nodes say how far they are, taints that keep services away go and come back, Pods are told to go, and
//! services are resized.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::api::{DeleteParams, Patch};
use kube::{Api, ResourceExt};
use level0::tide::{Resize, mark_state};
use model::tide::{MarkState, RESIZE_MARK, ResizeMark, TIDE_MARK, Tide, TideMark, TidePhase, TideSpec};
use serde_json::{Value, json};

use super::services::{self, Resized};
use super::{TideController, first_error};
use crate::act::{ActError, failed, only, patch, unless_gone};
use crate::key::ObjectKey;
use crate::record::Note;

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
        // What another taint was before `spec.taint` was changed has to come back first.
        let may_take = |wanted: &Taint| taken.as_ref().is_none_or(|taken| is_same(taken, wanted));
        if let (MarkState::HandedOver, Some(keeps_away)) =
            (mark.state, keeps_away.filter(|taint| may_take(taint)))
        {
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

    /// Sees to the size of services.
    pub(super) async fn resize(&self, tide: &Tide, resized: Vec<Resized<'_>>) -> Result<(), ActError> {
        let told = resized.into_iter().map(|each| async move {
            match each.resize {
                Resize::Grow(to) => {
                    let to = services::quantities(&to);
                    unless_gone(self.grow(tide, each.pod, each.mark, to).await)
                }
                Resize::Return(places) => {
                    let mark = each.mark.unwrap_or_default();
                    let from = mark.from.into_iter().filter(|(place, _)| places.contains(place)).collect();
                    unless_gone(self.put_back(each.pod, &from).await)
                }
                Resize::Grown | Resize::Deferred | Resize::Infeasible | Resize::Refused => Ok(()),
            }
        });
        first_error(told.collect()).await
    }

    /// What the Pod was stands at it before it is another: whoever goes on after a restart puts it back.
    async fn grow(
        &self,
        tide: &Tide,
        pod: &Pod,
        mark: Option<ResizeMark>,
        to: BTreeMap<String, String>,
    ) -> Result<(), ActError> {
        let is_marked = mark.is_some();
        let mark = mark.unwrap_or_else(|| ResizeMark {
            tide: tide.name_any(),
            from: services::texts(pod),
            to,
            refused: None,
        });
        let version = if is_marked {
            pod.metadata.resource_version.clone()
        } else {
            self.note_size(pod, Some(&mark), pod.metadata.resource_version.as_deref()).await?
        };
        let Err(error) = self.give_size(pod, &mark.to, version.as_deref()).await else { return Ok(()) };
        // What is not allowed is not allowed in a moment either; all else is tried again.
        if !matches!(error.code(), Some(400 | 403 | 422)) {
            return Err(error);
        }
        let why = kit::Chain(&error).to_string();
        let message = format!("Pod `{}` is not resized: {why}", ObjectKey::of(pod));
        self.recorder.note(tide, Note::warning("ResizeRefused", message));
        let refused = ResizeMark { refused: Some(why), ..mark };
        self.note_size(pod, Some(&refused), version.as_deref()).await.map(drop)
    }

    async fn put_back(&self, pod: &Pod, from: &BTreeMap<String, String>) -> Result<(), ActError> {
        let mut version = pod.metadata.resource_version.clone();
        if !from.is_empty() {
            version = self.give_size(pod, from, version.as_deref()).await?;
        }
        self.note_size(pod, None, version.as_deref()).await.map(drop)
    }

    /// Gives the version of the Pod after it, as [`Self::give_size`] does.
    async fn note_size(
        &self,
        pod: &Pod,
        mark: Option<&ResizeMark>,
        version: Option<&str>,
    ) -> Result<Option<String>, ActError> {
        let annotations = json!({ RESIZE_MARK: mark.map(ResizeMark::to_annotation) });
        let change = json!({ "metadata": { "annotations": annotations, "resourceVersion": version } });
        let patched: Pod = self.world.act.patch(&ObjectKey::of(pod), &change).await?;
        Ok(patched.metadata.resource_version)
    }

    async fn give_size(
        &self,
        pod: &Pod,
        texts: &BTreeMap<String, String>,
        version: Option<&str>,
    ) -> Result<Option<String>, ActError> {
        let key = ObjectKey::of(pod);
        let api: Api<Pod> = Api::namespaced(self.world.act.client().clone(), &key.namespace);
        let change = Patch::Strategic(services::change(texts, version));
        let resized = api.patch_subresource("resize", &key.name, &patch(), &change).await;
        Ok(resized.map_err(failed::<Pod>("resize", &key))?.metadata.resource_version)
    }
}
