//! Policies of scoring and rules against interference: their objects in the engine's words, and who is whose.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as k8s;
use model::interference_rule::{InterferenceRule, PodSet};
use model::scheduling_policy::{Placement, SchedulingPolicy, SchedulingPolicySpec, ScoreWeights};
use sigma::Interference;
use tokio::sync::mpsc;

use super::News;
use crate::world::World;
use sigma::label::Selector;
use sigma::pod::PodTerm;
use sigma::policy::{Fill, Policy, Weights};

/// All policies, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies {
    by_name: BTreeMap<String, SchedulingPolicySpec>,
}

impl Policies {
    /// True when it is news.
    pub(crate) fn set(&mut self, name: &str, policy: Option<&SchedulingPolicy>) -> bool {
        if self.by_name.get(name) == policy.map(|policy| &policy.spec) {
            return false;
        }
        match policy {
            Some(policy) => drop(self.by_name.insert(name.to_owned(), policy.spec.clone())),
            None => drop(self.by_name.remove(name)),
        }
        true
    }

    /// Whether pods of this scheduler name are placed by some policy.
    pub(crate) fn name(&self, scheduler_name: &str) -> bool {
        self.by_name.values().any(|policy| policy.scheduler_name.as_deref() == Some(scheduler_name))
    }

    /// What counts for a pod: of the policies for its scheduler name and its priority the one whose band begins
    /// highest, then the first by name. `own` is what Sigma's pods call it anyway.
    pub(crate) fn of(&self, spec: &k8s::PodSpec, own: &str) -> Policy {
        let named = spec.scheduler_name.as_deref().unwrap_or(own);
        let priority = spec.priority.unwrap_or(0);
        let least = |policy: &SchedulingPolicySpec| {
            policy.priorities.as_ref().and_then(|band| band.min).unwrap_or(i32::MIN)
        };
        let most = |policy: &SchedulingPolicySpec| {
            policy.priorities.as_ref().and_then(|band| band.max).unwrap_or(i32::MAX)
        };
        let is_meant = |policy: &&SchedulingPolicySpec| {
            policy.scheduler_name.as_deref().unwrap_or(own) == named
                && (least(policy)..=most(policy)).contains(&priority)
        };
        // The last of equals is the greatest: backwards, that is the first by name.
        let found = self.by_name.values().rev().filter(is_meant).max_by_key(|policy| least(policy));
        found.map(policy).unwrap_or_default()
    }
}

fn policy(spec: &SchedulingPolicySpec) -> Policy {
    let fill = match spec.placement {
        Placement::Spread => Fill::Spread,
        Placement::Pack => Fill::Pack,
    };
    let usual = Policy::of(fill);
    Policy {
        weights: spec.weights.as_ref().map(weights).unwrap_or_default(),
        spreads_siblings: spec.spread_siblings.unwrap_or(usual.spreads_siblings),
        ..usual
    }
}

fn weights(said: &ScoreWeights) -> Weights {
    let or = |weight: Option<u32>, usual: u32| weight.unwrap_or(usual).min(Weights::MOST);
    let usual = Weights::default();
    Weights {
        fill: or(said.fill, usual.fill),
        balance: or(said.balance, usual.balance),
        apart: or(said.apart, usual.apart),
        company: or(said.company, usual.company),
        node_affinity: or(said.node_affinity, usual.node_affinity),
        taints: or(said.taints, usual.taints),
        images: or(said.images, usual.images),
    }
}

/// The rule as the engine sees it.
pub(crate) fn interference(rule: &InterferenceRule) -> Interference {
    let spec = &rule.spec;
    let term = |set: &PodSet| PodTerm {
        selector: Some(crate::owner::selector(&set.selector)),
        namespaces: set.namespaces.iter().cloned().collect(),
        // None named: all.
        namespace_selector: set.namespaces.is_empty().then(Selector::default),
        topology_key: spec.topology_key.clone(),
    };
    Interference { pods: term(&spec.pods), beside: term(&spec.beside), at_most: spec.at_most }
}

/// Has `news` tell of every change of policies and rules.
pub(super) fn follow(world: &World, news: &mpsc::UnboundedSender<News>) {
    let policies = news.clone();
    world.scheduling_policies.on_change(move |change| {
        let name = change.object().metadata.name.clone().unwrap_or_default();
        // Nobody listens any more: the process is going down.
        let _stopped = policies.send(News::Policy(name, change.after.cloned()));
    });
    let rules = news.clone();
    world.interference_rules.on_change(move |change| {
        let name = change.object().metadata.name.clone().unwrap_or_default();
        let rule = change.after.map(|rule| interference(rule));
        let _stopped = rules.send(News::Interference(name, rule));
    });
}
