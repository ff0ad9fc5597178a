//! What a controller has begun and not yet seen in its copy of the world, so that it does not begin it twice.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use parking_lot::Mutex;

use crate::informer::Change;
use crate::key::ObjectKey;
use crate::owner;
use crate::queue::Queue;

/// An event that did not come within this time will not come: a watch was interrupted.
const FORGET_AFTER: Duration = Duration::from_secs(300);

/// Outstanding creations and deletions per owner.
#[derive(Debug, Default)]
pub struct Expectations {
    owners: Mutex<HashMap<ObjectKey, Outstanding>>,
}

#[derive(Debug)]
struct Outstanding {
    n_creations: usize,
    deletions: HashSet<String>,
    since: Instant,
}

impl Expectations {
    /// Whether all that was begun for `owner` has been seen.
    pub fn are_met(&self, owner: &ObjectKey, now: Instant) -> bool {
        let mut owners = self.owners.lock();
        let Some(outstanding) = owners.get(owner) else { return true };
        let is_stale = now.saturating_duration_since(outstanding.since) > FORGET_AFTER;
        let is_met = outstanding.n_creations == 0 && outstanding.deletions.is_empty();
        if is_met || is_stale {
            owners.remove(owner);
        }
        is_met || is_stale
    }

    /// Call before creating.
    pub fn will_create(&self, owner: &ObjectKey, count: usize, now: Instant) {
        self.change(owner, now, |outstanding| outstanding.n_creations += count);
    }

    /// Call before deleting.
    pub fn will_delete(&self, owner: &ObjectKey, uid: &str, now: Instant) {
        self.change(owner, now, |outstanding| {
            outstanding.deletions.insert(uid.to_owned());
        });
    }

    /// A creation was seen, or failed.
    pub fn created(&self, owner: &ObjectKey) {
        if let Some(outstanding) = self.owners.lock().get_mut(owner) {
            outstanding.n_creations = outstanding.n_creations.saturating_sub(1);
        }
    }

    /// A deletion was seen, or failed.
    pub fn deleted(&self, owner: &ObjectKey, uid: &str) {
        if let Some(outstanding) = self.owners.lock().get_mut(owner) {
            outstanding.deletions.remove(uid);
        }
    }

    /// The owner is gone.
    pub fn forget(&self, owner: &ObjectKey) {
        self.owners.lock().remove(owner);
    }

    fn change(&self, owner: &ObjectKey, now: Instant, change: impl FnOnce(&mut Outstanding)) {
        let mut owners = self.owners.lock();
        let fresh = || Outstanding { n_creations: 0, deletions: HashSet::new(), since: now };
        let outstanding = owners.entry(owner.clone()).or_insert_with(fresh);
        outstanding.since = now;
        change(outstanding);
    }
}

/// Pods of a Job go in crowds, and nobody waits for the count of those that are going: one look a second is enough.
pub(crate) const CROWD: Duration = Duration::from_secs(1);

/// A pod changed: its controller of this kind may have work, and may have waited for just this.
pub fn note_pod(kind: &str, change: &Change<'_, Pod>, expectations: &Expectations, keys: &Queue<ObjectKey>) {
    // When the controller changes, the old and the new one both have work.
    for pod in [change.before, change.after].into_iter().flatten() {
        let Some(reference) = owner::controller(&pod.metadata).filter(|owner| owner.kind == kind) else {
            continue;
        };
        let key = ObjectKey::new(&pod.namespace().unwrap_or_default(), &reference.name);
        if change.before.is_none() {
            expectations.created(&key);
        }
        if change.after.is_none() || pod.metadata.deletion_timestamp.is_some() {
            expectations.deleted(&key, &pod.uid().unwrap_or_default());
        }
        let is_late_news = kind == "Job" && change.after.is_none() && !crate::pods::has_ended(pod);
        if is_late_news { keys.add_after(key, CROWD) } else { keys.add(key) }
    }
}
