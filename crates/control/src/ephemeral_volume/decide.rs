//! Which claims a Pod's templates ask for that are not there.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use crate::owner;
use crate::pods;

/// What keeps a volume of a Pod from being there.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Missing {
    Claim(Box<PersistentVolumeClaim>),
    /// Another claim has its name.
    Name(String),
}

pub(super) fn has_templates(pod: &Pod) -> bool {
    volumes(pod).any(|volume| volume.ephemeral.is_some())
}

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten())
}

/// What the Pod lacks, where `known` are the claims of its namespace. One that is about to go, or has ended, lacks nothing.
pub(super) fn wanted(pod: &Pod, known: impl Fn(&str) -> Option<Arc<PersistentVolumeClaim>>) -> Vec<Missing> {
    if pods::is_terminating(pod) || pods::has_ended(pod) {
        return Vec::new();
    }
    let missing = |volume: &Volume| {
        let claim = made(pod, volume)?;
        match known(&claim.name_any()) {
            None => Some(Missing::Claim(Box::new(claim))),
            Some(there) => (owner::controller_uid(&there.metadata) != pod.metadata.uid.as_deref())
                .then(|| Missing::Name(claim.name_any())),
        }
    };
    volumes(pod).filter_map(missing).collect()
}

/// The claim of a volume that has a template.
fn made(pod: &Pod, volume: &Volume) -> Option<PersistentVolumeClaim> {
    let template = volume.ephemeral.as_ref()?.volume_claim_template.as_ref()?;
    let said = template.metadata.clone().unwrap_or_default();
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(format!("{}-{}", pod.name_any(), volume.name)),
            namespace: pod.namespace(),
            labels: said.labels,
            annotations: said.annotations,
            owner_references: Some(vec![owner::controller_reference(pod)]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec.clone()),
        status: None,
    })
}
