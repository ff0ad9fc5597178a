//! What waiting pods are told: why they wait, once, and only while it is so.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1 as k8s;
use sigma::{PodId, Unplaced};

use super::{Decision, Place, Scheduler, Waiting, id_of};

/// Why a pod waits.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// What the engine said.
    pub(crate) cause: Option<Unplaced>,
    /// Room was being made for it on a node, and is not any more.
    pub(crate) ends_nomination: bool,
}

impl Scheduler {
    /// Whether the pod has no node yet, and none was decided on.
    pub(crate) fn is_waiting(&self, pod: &k8s::Pod) -> bool {
        let waiting = id_of(pod).and_then(|id| self.waiting.get(&id));
        waiting.is_some_and(|waiting| waiting.place != Place::Binding)
    }

    /// Takes out what was to be told of pods that found their place after all, by the same decision.
    pub(super) fn drop_overtaken(&mut self, decisions: &mut Vec<Decision>) {
        if !decisions.iter().any(|decision| matches!(decision, Decision::Report { .. })) {
            return;
        }
        let bound = |decision: &Decision| match decision {
            Decision::Bind(bind) => Some(bind.id.clone()),
            _ => None,
        };
        let bound: HashSet<PodId> = decisions.iter().filter_map(bound).collect();
        decisions.retain(|decision| {
            let Decision::Report { pod, .. } = decision else { return true };
            let Some(id) = id_of(pod).filter(|id| bound.contains(id)) else { return true };
            if let Some(waiting) = self.waiting.get_mut(&id) {
                waiting.last_report = None;
            }
            false
        });
    }

    /// What to tell of a pod that found no room, and for which none is made either: if there was to be some, that its status
    /// names a node no more.
    pub(super) fn without_nomination(&mut self, id: &PodId, report: Option<Decision>) -> Option<Decision> {
        let parked = |waiting: &&mut Waiting| matches!(waiting.place, Place::Parked { .. });
        let Some(waiting) = self.waiting.get_mut(id).filter(parked) else { return report };
        if waiting.nominated.take().is_none() {
            return report;
        }
        let report = report.or_else(|| {
            let message = waiting.last_report.take()?;
            waiting.report("Unschedulable", message, None)
        });
        match report? {
            Decision::Report { pod, report } => {
                Some(Decision::Report { pod, report: Report { ends_nomination: true, ..report } })
            }
            other => Some(other),
        }
    }

    /// What a pod was to be told could not be written: it is tried again after a pause, and told then.
    pub(crate) fn untold(&mut self, id: &PodId, now: Instant) {
        let Some(waiting) = self.waiting.get_mut(id) else { return };
        waiting.last_report = None;
        if matches!(waiting.place, Place::Parked { .. } | Place::Gathering) {
            self.try_again(id, false, now);
        }
    }
}

impl Waiting {
    /// Says so once per message: nobody gains from reading it again.
    pub(super) fn report(
        &mut self,
        reason: &'static str,
        message: String,
        cause: Option<Unplaced>,
    ) -> Option<Decision> {
        if self.last_report.as_ref() == Some(&message) {
            return None;
        }
        self.last_report = Some(message.clone());
        let report = Report { reason, message, cause, ends_nomination: false };
        Some(Decision::Report { pod: Arc::clone(&self.pod), report })
    }
}
