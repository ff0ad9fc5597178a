//! Pods of Jobs that ended, and were taken away: what they did still counts while their Job goes on.
//!
//! Kept in memory. A controller that starts anew knows the numbers that the Job's status holds, and no longer which pods
//! these were: it then rather runs a pod too many than one too few.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use parking_lot::Mutex;

use crate::informer::Change;
use crate::owner;
use crate::pods;
use crate::world::World;

/// By the uid of their Job.
#[derive(Clone, Debug, Default)]
pub(super) struct Gone(Arc<Mutex<HashMap<String, Vec<Arc<Pod>>>>>);

impl Gone {
    /// Takes note of pods that go from now on, and of Jobs.
    pub(super) fn follow(world: &World) -> Self {
        let gone = Self::default();
        let (noting, forgetting) = (gone.clone(), gone.clone());
        world.pods.on_change(move |change| noting.note(change));
        world.jobs.on_change(move |change| {
            if let (None, Some(uid)) = (change.after, &change.object().metadata.uid) {
                forgetting.forget(uid);
            }
        });
        gone
    }

    fn note(&self, change: &Change<'_, Pod>) {
        let (Some(pod), None) = (change.before, change.after) else { return };
        let controller = owner::controller(&pod.metadata).filter(|owner| owner.kind == "Job");
        if let Some(controller) = controller.filter(|_| counts(pod)) {
            self.0.lock().entry(controller.uid.clone()).or_default().push(Arc::new(trimmed(pod)));
        }
    }

    /// The Job has ended, or is gone.
    pub(super) fn forget(&self, job: &str) {
        self.0.lock().remove(job);
    }

    /// Those of a Job.
    pub(super) fn of(&self, job: &str) -> Vec<Arc<Pod>> {
        self.0.lock().get(job).cloned().unwrap_or_default()
    }
}

/// Who failed because it was told to go has not failed of itself.
fn counts(pod: &Pod) -> bool {
    match pods::phase(pod) {
        "Succeeded" => true,
        "Failed" => pod.metadata.deletion_timestamp.is_none(),
        _ => false,
    }
}

/// What of a pod is still asked for.
fn trimmed(pod: &Pod) -> Pod {
    let status = pod.status.as_ref().map(|status| PodStatus {
        phase: status.phase.clone(),
        conditions: status.conditions.clone(),
        container_statuses: status.container_statuses.clone(),
        init_container_statuses: status.init_container_statuses.clone(),
        ..PodStatus::default()
    });
    Pod { metadata: pod.metadata.clone(), status, ..Pod::default() }
}
