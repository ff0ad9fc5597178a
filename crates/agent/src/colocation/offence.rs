//! Holds back, and in the end sends away, the Pod of batch that makes services suffer.
//!
//! ```text
//!   every tick: use of each batch Pod ──► Offenders ──► quota of one Pod's group, back to what it asked for, or its end
//! ```
//! A Pod's quota is written once when it starts, as it asks for; from then on only here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use level0::offender::{Action, Offenders, Policy};
use model::{MilliCpu, QosClass};

use crate::cgroup::{Groups, Knob};
use crate::events::Recorder;
use crate::pods::Registry;
use crate::pods::status::Verdict;
use crate::resources;

/// The batch Pods of the host, and what is known against them.
#[derive(Debug)]
pub(super) struct Offence {
    groups: Groups,
    registry: Registry,
    recorder: Recorder,
    offenders: Offenders<String>,
    cpu_times: BTreeMap<String, Duration>,
    looked: Option<Duration>,
}

/// What came of a look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub(super) capped: u64,
    pub(super) moved: u64,
}

impl Offence {
    pub(super) fn new(groups: Groups, registry: Registry, recorder: Recorder, policy: Policy) -> Self {
        let (cpu_times, looked) = (BTreeMap::new(), None);
        Self { groups, registry, recorder, offenders: Offenders::new(policy), cpu_times, looked }
    }

    /// Puts right what an agent that was killed left behind.
    pub(super) fn start(&self) {
        self.registry.batch_at_work().iter().for_each(|pod| self.set(pod, None));
    }

    /// One look, a tick after the last.
    pub(super) fn look(&mut self, batch: &[Arc<Pod>], suffering: Option<f64>, now: Duration) -> Outcome {
        let used = self.used(batch, now);
        let mut outcome = Outcome::default();
        for action in self.offenders.observe(suffering, used, now) {
            self.act(&action, batch, now, &mut outcome);
        }
        outcome
    }

    /// How many are held back now.
    pub(super) fn n_capped(&self) -> usize {
        self.offenders.capped().count()
    }

    /// Gives all of them back what they asked for.
    pub(super) fn end(&self, batch: &[Arc<Pod>]) {
        for uid in self.offenders.capped() {
            find(batch, uid).into_iter().for_each(|pod| self.set(pod, None));
        }
    }

    /// Milli-cores of each since the last look.
    fn used(&mut self, batch: &[Arc<Pod>], now: Duration) -> BTreeMap<String, f64> {
        let elapsed = self.looked.replace(now).map_or(Duration::ZERO, |looked| now.saturating_sub(looked));
        let uids = batch.iter().filter_map(|pod| pod.metadata.uid.clone());
        let mut used = BTreeMap::new();
        let mut cpu_times = BTreeMap::new();
        for uid in uids {
            // A Pod that is just going has no group any more.
            let Ok(time) = self.groups.backend().cpu_time(&self.groups.pod(QosClass::Batch, &uid)) else {
                continue;
            };
            let since =
                self.cpu_times.get(&uid).and_then(|before| super::online::rate(*before, time, elapsed));
            used.insert(uid.clone(), since.unwrap_or(0.0));
            cpu_times.insert(uid, time);
        }
        self.cpu_times = cpu_times;
        used
    }

    fn act(&self, action: &Action<String>, batch: &[Arc<Pod>], now: Duration, outcome: &mut Outcome) {
        match action {
            Action::Uncap { id } => find(batch, id).into_iter().for_each(|pod| self.set(pod, None)),
            Action::Cap { id, quota, correlation, until } => {
                let Some(pod) = find(batch, id) else { return };
                outcome.capped += 1;
                self.set(pod, Some(*quota));
                let seconds = until.saturating_sub(now).as_secs();
                let message = format!(
                    "Services suffer when this Pod works (correlation {correlation:.2}): it is held to {} milli-cores for {seconds} s",
                    quota.0
                );
                self.recorder.warning(pod, None, "Throttled", message);
            }
            Action::Move { id, correlation, caps } => {
                let Some(pod) = find(batch, id) else { return };
                outcome.moved += 1;
                let message = format!(
                    "Services suffer when this Pod works (correlation {correlation:.2}), also after it was held back {caps} times"
                );
                self.recorder.warning(pod, None, "Evicted", message.clone());
                self.registry.condemn(id, &Verdict { reason: "Evicted".to_owned(), message });
            }
        }
    }

    /// Holds a Pod to a quota, never above its own limit; or to that alone.
    fn set(&self, pod: &Pod, cap: Option<MilliCpu>) {
        let Some(uid) = pod.metadata.uid.as_deref() else { return };
        let own = resources::of_pod(pod).cpu_limit;
        let quota = cap.into_iter().chain(own).min();
        let group = self.groups.pod(QosClass::Batch, uid);
        if let Err(error) = self.groups.backend().set(&group, Knob::Quota(quota)) {
            // Its group may just be going.
            tracing::debug!(pod = uid, error = %kit::Chain(&error), "A batch Pod's quota is not set");
        }
    }
}

fn find<'a>(batch: &'a [Arc<Pod>], uid: &str) -> Option<&'a Arc<Pod>> {
    batch.iter().find(|pod| pod.metadata.uid.as_deref() == Some(uid))
}
