//! Pods that were told to go: they hold their room until they have, but spread with nobody any more.

use crate::pod::PodId;

use super::Cluster;
use super::quotas::entry;

impl Cluster {
    /// A pod that is bound or assumed was told to go, or (`false`) stays after all.
    pub fn set_leaving(&mut self, id: &PodId, is_leaving: bool) {
        let Some(placed) = self.pods.get_mut(id).filter(|placed| placed.is_leaving != is_leaving) else {
            return;
        };
        let (row, template) = (placed.row, self.templates.get(placed.template));
        self.quotas.set_leaving(entry(id, &template.pod, placed));
        placed.is_leaving = is_leaving;
        for &count in &template.counted_by {
            match (self.counts.ignores_leaving(count), is_leaving) {
                (false, _) => {}
                (true, true) => self.counts.subtract(count, row),
                (true, false) => self.counts.add(count, row),
            }
        }
        self.changes.touch(row, self.hosts.len());
    }

    /// Whether the pod was told to go.
    pub fn is_leaving(&self, id: &PodId) -> bool {
        self.pods.get(id).is_some_and(|placed| placed.is_leaving)
    }
}
