//! The ReplicaSet of a template: its name, its hash, its annotations.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Bounds, DESIRED, HASH_LABEL, MAX, REVISION, REVISION_HISTORY, Sets};
use crate::owner;
use crate::revisions::hash;

/// Whether the two make the same pods. The label with the hash is the controller's own.
pub(crate) fn is_same_template(one: &PodTemplateSpec, other: &PodTemplateSpec) -> bool {
    without_hash(one) == without_hash(other)
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let meta = template.metadata.get_or_insert_default();
    // The server may fill in or leave out what says nothing.
    meta.creation_timestamp = None;
    let labels = meta.labels.get_or_insert_default();
    labels.remove(HASH_LABEL);
    template
}

/// The ReplicaSet for the Deployment's template.
pub(super) fn new_replica_set(
    deployment: &Deployment,
    sets: &Sets,
    replicas: i32,
    bounds: Bounds,
) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = hash(&spec.template, collisions);
    let mut template = spec.template;
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    let mut annotations = handed_down(deployment);
    annotations.extend(size_annotations(bounds));
    annotations.insert(REVISION.to_owned(), (latest_revision(sets) + 1).to_string());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.metadata.name.as_deref().unwrap_or_default())),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![owner::controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// The highest revision of the old sets.
pub(super) fn latest_revision(sets: &Sets) -> i64 {
    sets.old.iter().map(super::Set::revision).max().unwrap_or(0)
}

/// The Deployment's annotations that its sets carry too, such as the change cause.
pub(super) fn handed_down(deployment: &Deployment) -> BTreeMap<String, String> {
    let own = ["kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED, MAX];
    let mut annotations = deployment.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !own.contains(&key.as_str()) && key != "deprecated.deployment.rollback.to");
    annotations
}

/// What a set must know to be scaled in proportion later.
pub(super) fn size_annotations(bounds: Bounds) -> Vec<(String, String)> {
    let max = bounds.replicas.saturating_add(bounds.max_surge);
    vec![(DESIRED.to_owned(), bounds.replicas.to_string()), (MAX.to_owned(), max.to_string())]
}
