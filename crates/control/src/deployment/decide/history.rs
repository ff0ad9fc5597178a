//! Revisions: which number each set carries, and how many old sets are kept for `kubectl rollout undo`.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};

use super::template::{handed_down, latest_revision};
use super::{Bounds, REVISION, REVISION_HISTORY, Set, Sets, Step};

/// The new set has the highest revision and the Deployment carries it. A set that is used again (undo) gets a new
/// number and remembers its old ones.
pub(super) fn revision_steps(deployment: &Deployment, sets: &Sets, _bounds: Bounds) -> Vec<Step> {
    let Some(new) = &sets.new else { return Vec::new() };
    let revision = new.revision().max(latest_revision(sets) + 1);
    let mut annotations = Vec::new();
    if revision != new.revision() {
        annotations.push((REVISION.to_owned(), revision.to_string()));
        if new.revision() > 0 {
            let former = new.annotation(REVISION_HISTORY).map(|past| format!("{past},")).unwrap_or_default();
            annotations.push((REVISION_HISTORY.to_owned(), format!("{former}{}", new.revision())));
        }
    }
    let stale = handed_down(deployment).into_iter().filter(|(key, value)| new.annotation(key) != Some(value));
    annotations.extend(stale);
    let mut steps = Vec::new();
    if !annotations.is_empty() {
        let (name, replicas, was) = (new.name.clone(), new.replicas, new.replicas);
        steps.push(Step::Update { name, replicas, annotations, was });
    }
    let own = deployment.metadata.annotations.as_ref().and_then(|all| all.get(REVISION));
    if own != Some(&revision.to_string()) {
        steps.push(Step::Revision(revision.to_string()));
    }
    steps
}

/// Empty old sets beyond the history limit, oldest revision first.
pub(super) fn cleanup(deployment: &Deployment, spec: &DeploymentSpec, sets: &Sets) -> Vec<Step> {
    let limit = spec.revision_history_limit.unwrap_or(10);
    let is_complete = deployment.status.as_ref().is_some_and(|status| {
        let replicas = spec.replicas.unwrap_or(1);
        status.updated_replicas.unwrap_or(0) == replicas && status.available_replicas.unwrap_or(0) == replicas
    });
    let excess = sets.old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    if !is_complete || excess == 0 {
        return Vec::new();
    }
    let mut empty: Vec<&Set> = sets.old.iter().filter(|set| is_empty(set)).collect();
    empty.sort_by_key(|set| set.revision());
    empty.into_iter().take(excess).map(|set| Step::Delete { name: set.name.clone() }).collect()
}

fn is_empty(set: &Set) -> bool {
    let status = set.source.status.as_ref();
    let meta = &set.source.metadata;
    set.replicas == 0
        && status.is_none_or(|status| status.replicas == 0)
        && status.and_then(|status| status.observed_generation) >= meta.generation
        && meta.deletion_timestamp.is_none()
}
