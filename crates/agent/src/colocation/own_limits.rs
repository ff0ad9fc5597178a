//! Services that run into their own CPU limits: their threads wait then, and batch has no part in it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use model::QosClass;

use crate::cgroup::Groups;
use crate::resources;

/// For so long after a quota was used up, waiting is put down to it: the kernel counts at the end of a period of 100 ms.
const LASTS: Duration = Duration::from_millis(300);

/// Remembers how often quotas were used up.
#[derive(Debug, Default)]
pub(super) struct OwnLimits {
    /// By the group of the Pod.
    pods: HashMap<String, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// `None` before the first look.
    throttled: Option<u64>,
    grew_at: Option<Duration>,
}

impl OwnLimits {
    /// Looks at these Pods from here on.
    pub(super) fn follow(&mut self, limited: &[String]) {
        self.pods.retain(|group, _| limited.contains(group));
        for group in limited {
            self.pods.entry(group.clone()).or_insert(Seen { throttled: None, grew_at: None });
        }
    }

    /// The threads of those Pods that are held by their own limits.
    pub(super) fn threads(&mut self, groups: &Groups, now: Duration) -> HashSet<u32> {
        let backend = groups.backend();
        let mut threads = HashSet::new();
        for (group, seen) in &mut self.pods {
            let throttled = backend.throttled(group);
            if seen.throttled.replace(throttled).is_some_and(|before| throttled > before) {
                seen.grew_at = Some(now);
            }
            if seen.grew_at.is_some_and(|at| now.saturating_sub(at) < LASTS) {
                threads.extend(backend.threads(group));
            }
        }
        threads
    }
}

/// The groups of services with CPU limits among `pods`, each of which is given with whether it has processes.
pub(super) fn limited(groups: &Groups, pods: &[(Arc<Pod>, bool)]) -> Vec<String> {
    let services = pods.iter().filter(|(pod, is_alive)| *is_alive && QosClass::of(pod) == QosClass::Online);
    let limited = services.filter(|(pod, _)| resources::has_cpu_limit(pod));
    limited.filter_map(|(pod, _)| Some(groups.pod(QosClass::Online, pod.metadata.uid.as_deref()?))).collect()
}
