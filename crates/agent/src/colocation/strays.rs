//! Who stands on the other side's ground in the tree of a kubelet, which sorts by requests and not by who gives way.
//!
//! ```text
//!   kubepods ──┬── burstable ──── services, and batch that asks for `cpu` all the same
//!              └── besteffort ─── batch, and services that ask for nothing
//! ```
//! In a tree of our own there are none.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use model::QosClass;

use crate::cgroup::Groups;

/// Groups of Pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Strays {
    /// Services in the group of batch: what holds it holds them.
    pub(super) services: Vec<String>,
    /// Batch in the groups of services: they are idle, and have to go when others do, but have what they asked for.
    pub(super) batch: Vec<String>,
}

impl Strays {
    /// Those among `pods`, each of which is given with whether it has processes.
    pub(super) fn find(groups: &Groups, pods: &[(Arc<Pod>, bool)]) -> Self {
        let mut strays = Self::default();
        if !groups.are_foreign() {
            return strays;
        }
        let of_batch = format!("{}/", groups.class(QosClass::Batch));
        for (pod, _) in pods.iter().filter(|(_, is_alive)| *is_alive) {
            let Some(uid) = pod.metadata.uid.as_deref() else { continue };
            let class = QosClass::of(pod);
            let group = groups.pod(class, uid);
            match (class, group.starts_with(&of_batch)) {
                (QosClass::Online, true) => strays.services.push(group),
                (QosClass::Batch, false) => strays.batch.push(group),
                (QosClass::Online, false) | (QosClass::Batch, true) => {}
            }
        }
        strays
    }

    /// Threads of services, wherever they stand.
    pub(super) fn threads_of_services(&self, groups: &Groups) -> HashSet<u32> {
        let backend = groups.backend();
        let mut threads: HashSet<u32> =
            backend.threads(&groups.class(QosClass::Online)).into_iter().collect();
        if groups.are_foreign() {
            let batch = groups.class(QosClass::Batch);
            for group in std::iter::once(&batch).chain(&self.batch) {
                let of_batch: HashSet<u32> = backend.threads(group).into_iter().collect();
                threads.retain(|thread| !of_batch.contains(thread));
            }
            threads.extend(self.services.iter().flat_map(|group| backend.threads(group)));
        }
        threads
    }

    /// Memory of batch that is in use to the host, wherever it stands; what the kernel does not tell is nothing.
    pub(super) fn memory_of_batch(&self, groups: &Groups) -> u64 {
        let memory = |group: &String| {
            let in_use = groups.backend().memory_in_use(group);
            in_use.map_or(0, |memory| memory.without_files().0)
        };
        let own = memory(&groups.class(QosClass::Batch));
        let guests: u64 = self.services.iter().map(memory).sum();
        own.saturating_sub(guests) + self.batch.iter().map(memory).sum::<u64>()
    }

    /// Memory of services in the group of batch.
    pub(super) fn memory_of_guests(&self, groups: &Groups) -> u64 {
        let memory = |group: &String| groups.backend().memory(group).map_or(0, |bytes| bytes.0);
        self.services.iter().map(memory).sum()
    }
}
