//! Elastic quotas over the pods of the cluster.

use std::collections::BTreeMap;

use crate::pod::{Pod, PodId, PodTerm};
use crate::quota::{Entry, OverQuota, Quota, Usage};

use super::{Cluster, Placed};

impl Cluster {
    /// A quota came or changed; true when that is news.
    pub fn set_quota(&mut self, name: &str, quota: Quota) -> bool {
        self.quotas.set(name, Some(quota))
    }

    /// True when there was one.
    pub fn remove_quota(&mut self, name: &str) -> bool {
        self.quotas.set(name, None)
    }

    /// The pods that `successors` names, whose namespaces it names too, take the place of this one: beside it, one of them
    /// counts for nothing that both ask for. `None`: nobody takes its place.
    pub fn set_replaced(&mut self, id: &PodId, successors: Option<PodTerm>) -> bool {
        self.quotas.set_replaced(id, successors)
    }

    /// A quota as it was set.
    pub(crate) fn quota(&self, name: &str) -> Option<&Quota> {
        self.quotas.get(name)
    }

    /// How those quotas stand that may stand otherwise than when this was asked last, by name.
    pub fn take_changed_quota_usages(&mut self) -> BTreeMap<String, Usage> {
        self.settle_quotas();
        self.quotas.take_changed()
    }

    /// How each quota stands, by name.
    pub fn quota_usages(&mut self) -> BTreeMap<String, Usage> {
        self.settle_quotas();
        self.quotas.usages().map(|(name, usage)| (name.to_owned(), usage)).collect()
    }

    /// The quota that the pod, which has room, is counted in.
    pub fn quota_of(&self, id: &PodId) -> Option<&str> {
        let placed = self.placed(id)?;
        let account = self.quotas.of(&self.templates.get(placed.template).pod.namespace)?;
        Some(self.quotas.name(account))
    }

    /// The pods that were told to go and that a pod that is held on a node waits for: those of that node, and those of its
    /// quota where that has no room for it yet.
    pub fn awaited_by(&self, id: &PodId) -> Vec<PodId> {
        let Some(placed) = self.placed(id) else { return Vec::new() };
        let mut awaited = self.leaving_on(&self.hosts[placed.row].name);
        let pod = &self.templates.get(placed.template).pod;
        if let Some(account) = self.quotas.of(&pod.namespace)
            && self.quotas.refusal(pod, &self.quotas.taken_by(account, pod)).is_some()
        {
            let elsewhere = |id: &&PodId| self.is_leaving(id) && !awaited.contains(id);
            let elsewhere: Vec<PodId> = self.quotas.pods(account).filter(elsewhere).cloned().collect();
            awaited.extend(elsewhere);
        }
        awaited
    }

    /// Why the quota of the pod, which has no room yet, does not let it be placed now.
    pub(crate) fn over_quota(&mut self, pod: &Pod) -> Option<OverQuota> {
        self.settle_quotas();
        self.quotas.refusal(pod, &self.quotas.spared(pod))
    }

    /// As [`Cluster::over_quota`] for a pod that may be held on a node already.
    pub(crate) fn is_over_quota(&mut self, id: &PodId, pod: &Pod) -> bool {
        self.settle_quotas();
        let Some(account) = self.quotas.of(&pod.namespace) else { return false };
        let own = self.pod(id).map(|held| self.quotas.taken_by(account, held));
        self.quotas.refusal(pod, &own.unwrap_or_else(|| self.quotas.spared(pod))).is_some()
    }

    /// Draws up the accounts where who is whose may have changed.
    pub(crate) fn settle_quotas(&mut self) {
        if !self.quotas.is_stale() {
            return;
        }
        self.quotas.open(&self.namespaces);
        for (id, placed) in &self.pods {
            let pod = &self.templates.get(placed.template).pod;
            self.quotas.add(entry(id, pod, placed));
        }
    }
}

/// What the accounts look at of a pod.
pub(super) fn entry<'a>(id: &'a PodId, pod: &'a Pod, placed: &Placed) -> Entry<'a> {
    Entry { id, pod, arrival: placed.arrival, is_leaving: placed.is_leaving }
}
