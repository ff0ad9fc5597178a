//! What a Deployment owes: a ReplicaSet for its template, old ones scaled down within the bounds of the strategy,
//! revisions, and the status that `kubectl rollout` reads.

mod history;
mod rolling;
mod scaling;
mod status;
mod template;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet};

pub(crate) use template::is_same_template;

pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(crate) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(crate) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(crate) const MAX: &str = "deployment.kubernetes.io/max-replicas";
pub(crate) const HASH_LABEL: &str = "pod-template-hash";

/// A Deployment and its ReplicaSets.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) deployment: &'a Deployment,
    /// Those that it controls.
    pub(crate) replica_sets: &'a [Arc<ReplicaSet>],
    /// Whether pods of old ReplicaSets still run, or are still going.
    pub(crate) has_old_pods: bool,
    pub(crate) now: Timestamp,
}

/// One change owed to the API, in the order in which it is to be made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Create(Box<ReplicaSet>),
    /// Change the size, the annotations, or both.
    Update {
        name: String,
        replicas: i32,
        annotations: Vec<(String, String)>,
        was: i32,
    },
    Delete {
        name: String,
    },
    /// Set the revision on the Deployment itself.
    Revision(String),
}

/// The decision on one Deployment.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) status: DeploymentStatus,
    /// When the rollout runs out of time.
    pub(crate) check_after: Option<Duration>,
}

/// A ReplicaSet as the decision sees it.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) replicas: i32,
    pub(crate) available: i32,
    pub(crate) source: Arc<ReplicaSet>,
}

impl Set {
    fn of(source: &Arc<ReplicaSet>) -> Self {
        Self {
            name: source.metadata.name.clone().unwrap_or_default(),
            replicas: source.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
            available: source.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0),
            source: Arc::clone(source),
        }
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.source.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    fn number(&self, key: &str) -> Option<i32> {
        self.annotation(key)?.parse().ok()
    }

    fn revision(&self) -> i64 {
        self.annotation(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// The sets of a Deployment, told apart.
#[derive(Debug)]
pub(crate) struct Sets {
    /// The one with the Deployment's template.
    pub(crate) new: Option<Set>,
    /// Oldest first.
    pub(crate) old: Vec<Set>,
}

impl Sets {
    fn of(view: &View<'_>, spec: &DeploymentSpec) -> Self {
        let mut all: Vec<Set> = view.replica_sets.iter().map(Set::of).collect();
        all.sort_by_key(|set| (set.source.metadata.creation_timestamp.clone(), set.name.clone()));
        let is_new = |set: &Set| {
            let template = set.source.spec.as_ref().and_then(|spec| spec.template.as_ref());
            template.is_some_and(|template| is_same_template(template, &spec.template))
        };
        let new = all.iter().position(is_new).map(|position| all.remove(position));
        Self { new, old: all }
    }

    fn all(&self) -> impl Iterator<Item = &Set> {
        self.new.iter().chain(&self.old)
    }

    fn total(&self) -> i32 {
        self.all().map(|set| set.replicas).sum()
    }
}

/// What the strategy allows, in pods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) replicas: i32,
    pub(crate) max_surge: i32,
    pub(crate) max_unavailable: i32,
}

/// Decides on one Deployment.
pub(crate) fn decide(view: &View<'_>) -> Plan {
    let spec = view.deployment.spec.clone().unwrap_or_default();
    let bounds = rolling::bounds(&spec);
    let sets = Sets::of(view, &spec);
    let steps = if view.deployment.metadata.deletion_timestamp.is_some() {
        Vec::new()
    } else {
        steps(view, &spec, &sets, bounds)
    };
    let (status, check_after) = status::status(view, &spec, &sets, (bounds, &steps));
    Plan { steps, status, check_after }
}

fn steps(view: &View<'_>, spec: &DeploymentSpec, sets: &Sets, bounds: Bounds) -> Vec<Step> {
    let mut steps = history::revision_steps(view.deployment, sets, bounds);
    if spec.paused == Some(true) || is_resized(sets, bounds) {
        steps.extend(scaling::scale(sets, bounds, is_rolling(spec)));
    } else if is_rolling(spec) {
        steps.extend(rolling::roll(view, sets, bounds));
    } else {
        steps.extend(recreate(view, sets, bounds));
    }
    steps.extend(history::cleanup(view.deployment, spec, sets));
    // A set is annotated and resized in one request.
    merge_updates(steps)
}

/// Whether the user changed the size since the sets were last told.
fn is_resized(sets: &Sets, bounds: Bounds) -> bool {
    let mut active = sets.all().filter(|set| set.replicas > 0);
    active.any(|set| set.number(DESIRED).is_some_and(|desired| desired != bounds.replicas))
}

fn is_rolling(spec: &DeploymentSpec) -> bool {
    spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate")
}

/// All old pods go before the first new one comes.
fn recreate(view: &View<'_>, sets: &Sets, bounds: Bounds) -> Vec<Step> {
    let down: Vec<Step> =
        sets.old.iter().filter(|set| set.replicas > 0).map(|set| resize(set, 0, bounds)).collect();
    if !down.is_empty() {
        return down;
    }
    match &sets.new {
        _ if view.has_old_pods => Vec::new(),
        None => vec![create(view, sets, bounds.replicas, bounds)],
        Some(new) if new.replicas != bounds.replicas => vec![resize(new, bounds.replicas, bounds)],
        Some(_) => Vec::new(),
    }
}

fn create(view: &View<'_>, sets: &Sets, replicas: i32, bounds: Bounds) -> Step {
    Step::Create(Box::new(template::new_replica_set(view.deployment, sets, replicas, bounds)))
}

fn resize(set: &Set, replicas: i32, bounds: Bounds) -> Step {
    let annotations = template::size_annotations(bounds);
    Step::Update { name: set.name.clone(), replicas, annotations, was: set.replicas }
}

fn merge_updates(steps: Vec<Step>) -> Vec<Step> {
    let mut merged: Vec<Step> = Vec::new();
    for step in steps {
        let Step::Update { name, replicas, annotations, was } = step else {
            merged.push(step);
            continue;
        };
        let earlier = merged.iter_mut().find_map(|each| match each {
            Step::Update { name: other, replicas, annotations, .. } if *other == name => {
                Some((replicas, annotations))
            }
            _ => None,
        });
        match earlier {
            Some((size, notes)) => {
                *size = replicas;
                notes.extend(annotations);
            }
            None => merged.push(Step::Update { name, replicas, annotations, was }),
        }
    }
    merged
}
