//! Whose pods these are, and what counts for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1 as k8s;
use model::names::SIGMA_SCHEDULER;
use model::scheduling_policy::SchedulingPolicy;
use sigma::{Interference, PodId, Policy};

use super::Scheduler;
use super::queue::Whom;
use crate::pods;
use crate::sigma::policies::Policies;

/// Policies, and pods that wait for whoever has their scheduler's name.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    policies: Policies,
    strangers: BTreeMap<PodId, Arc<k8s::Pod>>,
}

impl Scheduler {
    /// A policy came, changed, or went (`None`): pods that nobody placed may be Sigma's now, or others' again.
    pub(crate) fn policy_changed(&mut self, name: &str, policy: Option<&SchedulingPolicy>, now: Instant) {
        if !self.profiles.policies.set(name, policy) {
            return;
        }
        let strangers = std::mem::take(&mut self.profiles.strangers).into_values();
        let waiting = self.waiting.values().map(|waiting| Arc::clone(&waiting.pod));
        let is_other = |pod: &Arc<k8s::Pod>| !self.is_ours(pod);
        let others: Vec<Arc<k8s::Pod>> = waiting.filter(is_other).collect();
        strangers.chain(others).collect::<Vec<_>>().iter().for_each(|pod| self.pod_changed(pod, now));
    }

    /// A rule against interference came, changed, or went (`None`).
    pub(crate) fn interference_changed(&mut self, name: &str, rule: Option<Interference>, now: Instant) {
        match rule {
            Some(rule) => self.cluster.set_interference(name, rule),
            None => self.cluster.remove_interference(name),
        }
        self.wake(now, Whom::All);
    }

    /// A pod without a node that is not Sigma's at present.
    pub(super) fn pass_by(&mut self, id: &PodId, pod: &Arc<k8s::Pod>) {
        let waits = pod.metadata.deletion_timestamp.is_none()
            && pod.spec.as_ref().is_some_and(|spec| !pods::is_gated(spec));
        if waits {
            self.profiles.strangers.insert(id.clone(), Arc::clone(pod));
        } else {
            self.profiles.strangers.remove(id);
        }
    }

    pub(super) fn forget_stranger(&mut self, id: &PodId) {
        self.profiles.strangers.remove(id);
    }

    pub(crate) fn is_ours(&self, pod: &k8s::Pod) -> bool {
        let Some(spec) = &pod.spec else { return false };
        let named = spec.scheduler_name.as_deref().unwrap_or(SIGMA_SCHEDULER);
        self.goes_by(named) && !pods::is_gated(spec) && pod.metadata.deletion_timestamp.is_none()
    }

    /// Whether pods call this scheduler so.
    pub(super) fn goes_by(&self, name: &str) -> bool {
        name == self.name || self.profiles.policies.name(name)
    }

    /// What counts for the pod.
    pub(super) fn policy_of(&self, pod: &k8s::Pod) -> Policy {
        let policy = pod.spec.as_ref().map(|spec| self.profiles.policies.of(spec, &self.name));
        policy.unwrap_or_default()
    }
}
