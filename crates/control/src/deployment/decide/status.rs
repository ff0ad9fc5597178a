//! The status of a Deployment: counts, and the conditions that `kubectl rollout status` and `kubectl wait` read.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentSpec, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Bounds, Sets, Step, View};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";

/// The status and, while a rollout is under way, the time that is left to it.
pub(super) fn status(
    view: &View<'_>,
    spec: &DeploymentSpec,
    sets: &Sets,
    (bounds, steps): (Bounds, &[Step]),
) -> (DeploymentStatus, Option<Duration>) {
    let before = view.deployment.status.clone().unwrap_or_default();
    let mut status = counts(view, sets);
    let mut conditions = before.conditions.clone().unwrap_or_default();
    let available = status.available_replicas.unwrap_or(0);
    set(&mut conditions, view, availability(available >= bounds.replicas - bounds.max_unavailable));
    if let Some(progress) = progress(view, spec, sets, (&before, &status), steps) {
        set(&mut conditions, view, progress);
    }
    let check_after = time_left(view, spec, &conditions);
    status.collision_count = before.collision_count;
    status.conditions = Some(conditions);
    (status, check_after)
}

fn counts(view: &View<'_>, sets: &Sets) -> DeploymentStatus {
    let sum = |count: &dyn Fn(&k8s_openapi::api::apps::v1::ReplicaSetStatus) -> Option<i32>| {
        let counts = sets.all().filter_map(|set| set.source.status.as_ref().and_then(count));
        Some(counts.sum()).filter(|&sum: &i32| sum > 0)
    };
    let new = sets.new.as_ref().and_then(|set| set.source.status.as_ref());
    let available = sum(&|status| status.available_replicas);
    DeploymentStatus {
        observed_generation: view.deployment.metadata.generation,
        replicas: sum(&|status| Some(status.replicas)),
        updated_replicas: new.map(|status| status.replicas).filter(|&count| count > 0),
        ready_replicas: sum(&|status| status.ready_replicas),
        available_replicas: available,
        unavailable_replicas: Some(sets.total() - available.unwrap_or(0)).filter(|&count| count > 0),
        terminating_replicas: Some(sum(&|status| status.terminating_replicas).unwrap_or(0)),
        collision_count: None,
        conditions: None,
    }
}

/// A condition before it has times.
struct Verdict {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
    /// Progress was made: the deadline starts anew.
    is_step_forward: bool,
}

fn availability(is_available: bool) -> Verdict {
    let (status, reason, message) = if is_available {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    Verdict { kind: AVAILABLE, status, reason, message: message.to_owned(), is_step_forward: false }
}

fn progress(
    view: &View<'_>,
    spec: &DeploymentSpec,
    sets: &Sets,
    (before, now): (&DeploymentStatus, &DeploymentStatus),
    steps: &[Step],
) -> Option<Verdict> {
    let current = before.conditions.iter().flatten().find(|condition| condition.type_ == PROGRESSING);
    let reason = current.and_then(|condition| condition.reason.as_deref());
    let verdict = |status, reason, message, is_step_forward| {
        Some(Verdict { kind: PROGRESSING, status, reason, message, is_step_forward })
    };
    if spec.paused == Some(true) {
        return verdict("Unknown", "DeploymentPaused", "Deployment is paused".to_owned(), false);
    }
    if reason == Some("DeploymentPaused") {
        return verdict("Unknown", "DeploymentResumed", "Deployment is resumed".to_owned(), true);
    }
    if let Some(name) = steps.iter().find_map(created_name) {
        return verdict("True", "NewReplicaSetCreated", format!("Created new replica set \"{name}\""), true);
    }
    let name = sets.new.as_ref().map(|set| set.name.as_str())?;
    if reason == Some("NewReplicaSetAvailable") && now.replicas == now.updated_replicas {
        return None; // Complete before; a mere change of size is no new rollout.
    }
    if is_complete(spec, now) {
        let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
        return verdict("True", "NewReplicaSetAvailable", message, true);
    }
    if current.is_none() || is_forward(before, now) {
        return verdict("True", "ReplicaSetUpdated", format!("ReplicaSet \"{name}\" is progressing."), true);
    }
    if reason == Some("NewReplicaSetAvailable") {
        // A known template again (undo): the rollout starts.
        return verdict("True", "FoundNewReplicaSet", format!("Found new replica set \"{name}\""), true);
    }
    let is_late = deadline(spec, current).is_some_and(|deadline| view.now.as_second() >= deadline);
    if is_late && reason != Some("ProgressDeadlineExceeded") {
        let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
        return verdict("False", "ProgressDeadlineExceeded", message, false);
    }
    None
}

fn created_name(step: &Step) -> Option<&str> {
    match step {
        Step::Create(set) => set.metadata.name.as_deref(),
        Step::Update { .. } | Step::Delete { .. } | Step::Revision(_) => None,
    }
}

fn is_complete(spec: &DeploymentSpec, status: &DeploymentStatus) -> bool {
    let wanted = spec.replicas.unwrap_or(1);
    let counts = [status.updated_replicas, status.replicas, status.available_replicas];
    counts.iter().all(|count| count.unwrap_or(0) == wanted)
}

/// More new pods, fewer old ones, or more that serve.
fn is_forward(before: &DeploymentStatus, now: &DeploymentStatus) -> bool {
    let old = |status: &DeploymentStatus| status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0);
    now.updated_replicas > before.updated_replicas
        || old(now) < old(before)
        || now.ready_replicas > before.ready_replicas
        || now.available_replicas > before.available_replicas
}

/// Sets the condition; its times change only when what it says does.
fn set(conditions: &mut Vec<DeploymentCondition>, view: &View<'_>, verdict: Verdict) {
    let now = Some(Time(view.now));
    let old = conditions.iter_mut().find(|condition| condition.type_ == verdict.kind);
    let turned = old.as_ref().is_none_or(|old| old.status != verdict.status);
    let told_anew = verdict.is_step_forward
        || old.as_ref().is_none_or(|old| old.reason.as_deref() != Some(verdict.reason));
    let condition = DeploymentCondition {
        type_: verdict.kind.to_owned(),
        status: verdict.status.to_owned(),
        reason: Some(verdict.reason.to_owned()),
        message: Some(verdict.message),
        last_transition_time: match &old {
            Some(old) if !turned => old.last_transition_time.clone(),
            _ => now.clone(),
        },
        last_update_time: match &old {
            Some(old) if !turned && !told_anew => old.last_update_time.clone(),
            _ => now,
        },
    };
    match old {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
}

/// When the rollout must have moved, in seconds of the epoch.
fn deadline(spec: &DeploymentSpec, progress: Option<&DeploymentCondition>) -> Option<i64> {
    let allowed = spec.progress_deadline_seconds.filter(|&seconds| seconds != i32::MAX)?;
    let since = progress?.last_update_time.as_ref()?.0.as_second();
    Some(since.saturating_add(i64::from(allowed)))
}

fn time_left(view: &View<'_>, spec: &DeploymentSpec, conditions: &[DeploymentCondition]) -> Option<Duration> {
    let progress = conditions.iter().find(|condition| condition.type_ == PROGRESSING)?;
    let settled = ["NewReplicaSetAvailable", "ProgressDeadlineExceeded", "DeploymentPaused"];
    if progress.reason.as_deref().is_some_and(|reason| settled.contains(&reason)) {
        return None;
    }
    let left = deadline(spec, Some(progress))? - view.now.as_second();
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0) + 1))
}
