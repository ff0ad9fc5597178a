//! Failed pods: which of them count, which end the Job, and which end only their index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;

use super::indexes;
use crate::pods;

/// What the failures of a Job come to.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// Pods whose failure counts.
    pub(crate) counted: Vec<Arc<Pod>>,
    /// A failure that ends the Job at once, in words.
    pub(crate) fatal: Option<String>,
    /// Indexes that are given up, earlier ones included.
    pub(crate) given_up: BTreeSet<u32>,
    /// How often each index failed.
    pub(crate) per_index: BTreeMap<u32, i32>,
}

/// Who failed because it was told to go has not failed of itself.
pub(super) fn is_failure(pod: &Pod) -> bool {
    let deletion = &pod.metadata;
    let told = deletion.deletion_timestamp.as_ref().map(|time| {
        // The time is when the pod has to be gone.
        time.0.as_second().saturating_sub(deletion.deletion_grace_period_seconds.unwrap_or(0))
    });
    pods::phase(pod) == "Failed" && told.is_none_or(|told| super::ended_second(pod) < told)
}

/// What a rule says of a failed pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Count,
    Ignore,
    FailIndex,
    FailJob,
}

impl Failures {
    pub(crate) fn of(spec: &JobSpec, failed: Vec<Arc<Pod>>, earlier: BTreeSet<u32>) -> Self {
        let mut failures = Self { given_up: earlier, ..Self::default() };
        let mut noted: BTreeMap<u32, i32> = BTreeMap::new();
        for pod in failed {
            let (action, rule) = judge(spec, &pod);
            let index = indexes::of(&pod);
            match action {
                Action::Ignore => continue,
                Action::FailJob => {
                    let name = pod.name_any();
                    failures.fatal = failures.fatal.or_else(|| {
                        Some(format!(
                            "Pod {name} failed and matches FailJob rule at index {}",
                            rule.unwrap_or(0)
                        ))
                    });
                }
                Action::FailIndex => failures.given_up.extend(index),
                Action::Count => {}
            }
            if let Some(index) = index {
                *failures.per_index.entry(index).or_default() += 1;
                // Those before it may be gone, and forgotten.
                let with_earlier = indexes::failures_before(&pod).saturating_add(1);
                let noted = noted.entry(index).or_default();
                *noted = with_earlier.max(*noted);
            }
            failures.counted.push(pod);
        }
        for (index, noted) in noted {
            let known = failures.per_index.entry(index).or_default();
            *known = noted.max(*known);
        }
        if let Some(limit) = spec.backoff_limit_per_index {
            let over = failures.per_index.iter().filter(|(_, count)| **count > limit);
            failures.given_up.extend(over.map(|(index, _)| *index));
        }
        failures
    }
}

/// The action of the first rule that matches, and its position.
fn judge(spec: &JobSpec, pod: &Pod) -> (Action, Option<usize>) {
    let rules = spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    for (position, rule) in rules.enumerate() {
        if !matches(rule, pod) {
            continue;
        }
        let action = match rule.action.as_str() {
            "FailJob" => Action::FailJob,
            "Ignore" => Action::Ignore,
            "FailIndex" if spec.backoff_limit_per_index.is_some() => Action::FailIndex,
            _ => Action::Count,
        };
        return (action, Some(position));
    }
    (Action::Count, None)
}

fn matches(rule: &PodFailurePolicyRule, pod: &Pod) -> bool {
    let by_code = rule
        .on_exit_codes
        .as_ref()
        .is_some_and(|requirement| containers(pod).any(|container| has_code(requirement, container)));
    by_code || rule.on_pod_conditions.iter().flatten().any(|pattern| has_condition(pattern, pod))
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref()).into_iter().flatten();
    let main = status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
    main.chain(init)
}

fn has_code(requirement: &PodFailurePolicyOnExitCodesRequirement, container: &ContainerStatus) -> bool {
    let is_it = requirement.container_name.as_ref().is_none_or(|name| *name == container.name);
    let terminated = container.state.as_ref().and_then(|state| state.terminated.as_ref());
    // A container that ended well is no cause of a failure.
    let code = terminated.map(|terminated| terminated.exit_code).filter(|&code| is_it && code != 0);
    code.is_some_and(|code| requirement.values.contains(&code) == (requirement.operator == "In"))
}

fn has_condition(pattern: &PodFailurePolicyOnPodConditionsPattern, pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let status = pattern.status.as_deref().unwrap_or("True");
    conditions.into_iter().flatten().any(|each| each.type_ == pattern.type_ && each.status == status)
}
