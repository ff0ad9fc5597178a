//! How many pods ended: each counts once, however often its end is looked at.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::job::tracking;

/// As many pods as one status lists, as in kube-controller-manager: the others wait for the next.
const MOST_LISTED: usize = 500;

/// Pods that ended in one way.
#[derive(Debug, Default)]
pub(crate) struct Count {
    /// Those that the status need not list any more.
    pub(crate) settled: i32,
    /// Those that the status lists until they are released.
    pub(crate) listed: BTreeSet<String>,
    /// Those that no status lists yet.
    waiting: BTreeSet<String>,
}

impl Count {
    /// `counted` and `listed` are what the status says; `ended` those that are there, `held` all that are held.
    pub(crate) fn of((counted, listed): (i32, &[String]), ended: &[Arc<Pod>], held: &HashSet<&str>) -> Self {
        let (listed, released): (BTreeSet<&str>, BTreeSet<&str>) =
            listed.iter().map(String::as_str).partition(|uid| held.contains(uid));
        let uid = |pod: &Arc<Pod>| pod.metadata.uid.clone().unwrap_or_default();
        let (held, free): (Vec<_>, Vec<_>) = ended.iter().partition(|pod| tracking::is_held(pod));
        // Those that are free were counted before, but for pods of an older version, which nobody has held.
        let n_free = free.iter().filter(|pod| !released.contains(uid(pod).as_str())).count();
        let settled = counted.max(number(n_free)).saturating_add(number(released.len()));
        let new = held.into_iter().map(uid).filter(|uid| !listed.contains(uid.as_str()));
        let mut new: BTreeSet<String> = new.collect();
        let mut listed: BTreeSet<String> = listed.into_iter().map(str::to_owned).collect();
        while listed.len() < MOST_LISTED
            && let Some(uid) = new.pop_first()
        {
            listed.insert(uid);
        }
        Self { settled, listed, waiting: new }
    }

    /// All of them.
    pub(crate) fn total(&self) -> i32 {
        self.settled.saturating_add(number(self.listed.len() + self.waiting.len()))
    }

    /// Whether the pod is none of those that the status counts or lists.
    pub(crate) fn waits(&self, pod: &Pod) -> bool {
        pod.metadata.uid.as_ref().is_some_and(|uid| self.waiting.contains(uid))
    }
}

pub(super) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
