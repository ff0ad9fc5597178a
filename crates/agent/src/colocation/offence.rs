//! Holds back, and in the end sends away, the Pod of batch that makes services suffer.
//!
//! ```text
//!   use of each batch Pod ──► Offenders ──► quota of one Pod's group, back to what it asked for, or its end
//! ```
//! Once a tick; where services tell their latency, whenever they do, over the time that it is about.
//!
//! A Pod's quota is written once when it starts, as it asks for; from then on only here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use level0::offender::{Action, Look, Offenders, Policy};
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
    /// The worst since the last look.
    suffering: Option<f64>,
    /// What batch might use in the ticks since then, in milli-cores.
    allowances: Vec<f64>,
    /// When a service told its latency last.
    told: Option<Duration>,
}

/// For so long a service that told its latency is waited for.
const TOLD_AGAIN: Duration = Duration::from_secs(3);

/// What came of a look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub(super) capped: u64,
    pub(super) moved: u64,
}

impl Offence {
    pub(super) fn new(groups: Groups, registry: Registry, recorder: Recorder, policy: Policy) -> Self {
        Self {
            groups,
            registry,
            recorder,
            offenders: Offenders::new(policy),
            cpu_times: BTreeMap::new(),
            looked: None,
            suffering: None,
            allowances: Vec::new(),
            told: None,
        }
    }

    /// Puts right what an agent that was killed left behind.
    pub(super) fn start(&self) {
        self.registry.batch_at_work().iter().for_each(|pod| self.set(pod, None));
    }

    /// One tick, in which batch was allowed so many milli-cores and services suffered so much, and told their latency or
    /// did not.
    pub(super) fn tick(
        &mut self,
        batch: &[Arc<Pod>],
        allowance: f64,
        (suffering, is_told): (Option<f64>, bool),
        now: Duration,
    ) -> Outcome {
        self.allowances.push(allowance);
        self.suffering = self.suffering.into_iter().chain(suffering).reduce(f64::max);
        self.told = if is_told { Some(now) } else { self.told };
        let is_awaited = self.told.is_some_and(|told| now.saturating_sub(told) < TOLD_AGAIN);
        if is_awaited && !is_told {
            return Outcome::default();
        }
        self.look(batch, now)
    }

    fn look(&mut self, batch: &[Arc<Pod>], now: Duration) -> Outcome {
        let ticks = std::mem::take(&mut self.allowances);
        let look = Look {
            suffering: self.suffering.take(),
            used: self.used(batch, now),
            allowance: ticks.iter().sum::<f64>() / ticks.len().max(1) as f64,
        };
        let mut outcome = Outcome::default();
        for action in self.offenders.observe(look, now) {
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

#[cfg(test)]
mod tests;
