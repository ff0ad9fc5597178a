//! The pods of a StatefulSet and their claims: names that outlive them.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;

use super::decide::{New, first_ordinal, ordinal_of, size};
use crate::owner;
use crate::pods;
use crate::revisions::REVISION_HASH;

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The pod with this ordinal.
pub(super) fn pod(set: &StatefulSet, template: &PodTemplateSpec, new: &New) -> Pod {
    let (set_name, namespace) = (set.name_any(), set.namespace().unwrap_or_default());
    let mut pod = pods::from_template(template, &namespace, &set_name, owner::controller_reference(set));
    let name = format!("{set_name}-{}", new.ordinal);
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    let labels = pod.labels_mut();
    labels.insert(POD_NAME.to_owned(), name.clone());
    labels.insert(POD_INDEX.to_owned(), new.ordinal.to_string());
    labels.insert(REVISION_HASH.to_owned(), new.revision.clone());
    let service = set.spec.as_ref().and_then(|spec| spec.service_name.clone());
    if let Some(spec) = &mut pod.spec {
        spec.hostname = Some(name);
        spec.subdomain = service.filter(|name| !name.is_empty());
        let claimed: Vec<Volume> = templates(set).map(|each| volume(set, each, new.ordinal)).collect();
        let volumes = spec.volumes.get_or_insert_default();
        // The set's claim wins over a volume of the same name in the template.
        volumes.retain(|volume| claimed.iter().all(|own| own.name != volume.name));
        volumes.extend(claimed);
        if volumes.is_empty() {
            spec.volumes = None;
        }
    }
    pod
}

fn templates(set: &StatefulSet) -> impl Iterator<Item = &PersistentVolumeClaim> {
    set.spec.iter().filter_map(|spec| spec.volume_claim_templates.as_ref()).flatten()
}

fn claim_name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", template.name_any(), set.name_any())
}

fn volume(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> Volume {
    let claim_name = claim_name(set, template, ordinal);
    let source = PersistentVolumeClaimVolumeSource { claim_name, read_only: None };
    Volume { name: template.name_any(), persistent_volume_claim: Some(source), ..Volume::default() }
}

/// The claims of the pod with this ordinal.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let selector = set.spec.as_ref().and_then(|spec| spec.selector.match_labels.clone()).unwrap_or_default();
    let claim = |template: &PersistentVolumeClaim| {
        let mut labels = template.metadata.labels.clone().unwrap_or_default();
        labels.extend(selector.clone());
        let metadata = ObjectMeta {
            name: Some(claim_name(set, template, ordinal)),
            namespace: set.namespace(),
            labels: Some(labels),
            annotations: template.metadata.annotations.clone(),
            owner_references: goes_with_the_set(set).then(|| vec![plain_reference(set)]),
            ..ObjectMeta::default()
        };
        PersistentVolumeClaim { metadata, spec: template.spec.clone(), status: None }
    };
    templates(set).map(claim).collect()
}

fn goes_with_the_set(set: &StatefulSet) -> bool {
    let policy = set.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    policy.and_then(|policy| policy.when_deleted.as_deref()) == Some("Delete")
}

/// The names of claims that go with a pod that the set gives up for good.
pub(super) fn claims_to_go(set: &StatefulSet, pod: &Pod) -> Vec<String> {
    let policy = set.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    let is_delete = policy.and_then(|policy| policy.when_scaled.as_deref()) == Some("Delete");
    let beyond = ordinal_of(set, pod).filter(|ordinal| {
        let first = first_ordinal(set);
        !(first..first.saturating_add(size(set))).contains(ordinal)
    });
    match beyond.filter(|_| is_delete) {
        Some(ordinal) => templates(set).map(|template| claim_name(set, template, ordinal)).collect(),
        None => Vec::new(),
    }
}

/// A reference that lets the collector take the dependent along.
pub(super) fn reference(pod: &Pod) -> OwnerReference {
    OwnerReference { controller: None, block_owner_deletion: None, ..owner::controller_reference(pod) }
}

fn plain_reference(set: &StatefulSet) -> OwnerReference {
    OwnerReference { controller: None, block_owner_deletion: None, ..owner::controller_reference(set) }
}
