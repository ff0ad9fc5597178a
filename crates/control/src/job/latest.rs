//! The newest version of each Job: that of the watch, or the answer to our own last write if the watch has not told it
//! yet. A pod is released when a status lists it, and is gone the moment after: who then still knew only the status
//! before would miss it.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use parking_lot::Mutex;

use crate::world::World;

/// What was written and may not have been heard of, by the Job's uid.
#[derive(Clone, Debug, Default)]
pub(super) struct Latest(Arc<Mutex<HashMap<String, Arc<Job>>>>);

impl Latest {
    /// Forgets what is heard of from now on.
    pub(super) fn follow(world: &World) -> Self {
        let latest = Self::default();
        let hearing = latest.clone();
        world.jobs.on_change(move |change| {
            let mut written = hearing.0.lock();
            let uid = change.object().metadata.uid.as_deref().unwrap_or_default();
            let is_behind = |heard: &Arc<Job>| written.get(uid).is_some_and(|own| is_newer(own, heard));
            if !change.after.is_some_and(is_behind) {
                written.remove(uid);
            }
        });
        latest
    }

    pub(super) fn wrote(&self, job: Job) {
        self.0.lock().insert(job.metadata.uid.clone().unwrap_or_default(), Arc::new(job));
    }

    /// The newer of what was heard and what was written.
    pub(super) fn of(&self, heard: Arc<Job>) -> Arc<Job> {
        let written = self.0.lock().get(heard.metadata.uid.as_deref().unwrap_or_default()).cloned();
        written.filter(|own| is_newer(own, &heard)).unwrap_or(heard)
    }
}

/// Versions are numbers that grow.
fn is_newer(one: &Job, other: &Job) -> bool {
    let version = |job: &Job| job.metadata.resource_version.as_deref()?.parse::<u64>().ok();
    version(one) > version(other)
}
