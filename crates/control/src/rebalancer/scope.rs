//! Which pods a policy leaves where they are, for reasons that the pods do not know of themselves. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use model::rebalance_policy::{BEING_REPLACED, RebalancePolicySpec};
use sigma::label::Selector;

use crate::owner;
use crate::pods;
use crate::rebalance::Hold;

/// What a policy is about.
pub(crate) struct Scope<'a> {
    spec: &'a RebalancePolicySpec,
    selector: Option<Selector>,
    leave_alone: SignedDuration,
    /// Pods that some policy is moving, or is about to.
    on_the_move: &'a BTreeSet<String>,
    now: Timestamp,
}

impl<'a> Scope<'a> {
    pub(crate) fn of(
        spec: &'a RebalancePolicySpec,
        leave_alone: SignedDuration,
        on_the_move: &'a BTreeSet<String>,
        now: Timestamp,
    ) -> Self {
        let selector = spec.selector.as_ref().map(owner::selector);
        Self { spec, selector, leave_alone, on_the_move, now }
    }

    /// The pods that stay, by uid.
    pub(crate) fn holds<'p>(&self, pods: impl Iterator<Item = &'p Pod>) -> BTreeMap<&'p str, Hold> {
        pods.filter_map(|pod| Some((pod.metadata.uid.as_deref()?, self.hold(pod)?))).collect()
    }

    fn hold(&self, pod: &Pod) -> Option<Hold> {
        let meta = &pod.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let is_marked = meta.annotations.as_ref().is_some_and(|all| all.contains_key(BEING_REPLACED));
        let is_known = meta.uid.as_ref().is_some_and(|uid| self.on_the_move.contains(uid));
        let labels = meta.labels.clone().unwrap_or_default();
        let is_young = meta.creation_timestamp.as_ref().is_some_and(|made| {
            // Timestamps of objects are whole seconds.
            self.now.duration_since(made.0) < self.leave_alone
        });
        let is_meant = (self.spec.namespaces.is_empty()
            || self.spec.namespaces.iter().any(|name| name == namespace))
            && self.selector.as_ref().is_none_or(|selector| selector.matches(&labels));
        let holds = [
            (Hold::OnTheMove, is_marked || is_known),
            (Hold::NotSelected, !is_meant),
            (Hold::NotReady, pods::ready_since(pod).is_none()),
            (Hold::Young, is_young),
        ];
        holds.into_iter().find_map(|(hold, applies)| applies.then_some(hold))
    }
}
