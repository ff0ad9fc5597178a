//! Holds back, and in the end sends away, the Pod of batch that makes services suffer.
//!
//! ```text
//!   use of each batch Pod ──► Offenders ──► quota of one Pod's group, back to what it asked for, or its end
//! ```
//! Once a tick; where services tell their latency, whenever they do, over the time that it is about.
//!
//! A Pod's quota is written when it starts, as it asks for; from then on only here. What is seen for the first time, as after a
//! kill of the agent, is given what it asks for once more. Where no group may have more than its parent (cgroup v1), it is
//! written only here, and no more than all of batch has: a limit of a Pod would forbid to squeeze its class.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use level0::offender::{Action, Look, Offenders, Policy};
use model::{MilliCpu, QosClass};

use crate::cgroup::{GroupError, Groups, Knob};
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
    /// What no Pod is capped above: all of batch keeps so much, and on cgroup v1 no group may have more than its parent.
    most: MilliCpu,
    /// The quotas of Pods as they were written.
    written: BTreeMap<String, Option<MilliCpu>>,
    /// What Pods that are held back may use.
    caps: BTreeMap<String, MilliCpu>,
    /// What all of batch has, where that bounds what a Pod's group may have.
    bound: Option<MilliCpu>,
    cpu_times: BTreeMap<String, Duration>,
    looked: Option<Duration>,
    /// After so long without a look, as while there is no batch, what was seen before says nothing.
    stale_after: Duration,
    /// The worst since the last look.
    suffering: Option<f64>,
    /// What batch might use in the ticks since then, in milli-cores.
    allowances: Vec<f64>,
}

/// What came of a look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub(super) capped: u64,
    pub(super) moved: u64,
}

impl Offence {
    pub(super) fn new(
        groups: Groups,
        (registry, recorder): (Registry, Recorder),
        policy: Policy,
        most: MilliCpu,
    ) -> Self {
        Self {
            groups,
            registry,
            recorder,
            stale_after: policy.stale_after,
            offenders: Offenders::new(policy),
            most,
            written: BTreeMap::new(),
            caps: BTreeMap::new(),
            bound: None,
            cpu_times: BTreeMap::new(),
            looked: None,
            suffering: None,
            allowances: Vec::new(),
        }
    }

    /// All of batch keeps so much from here on.
    pub(super) fn follow(&mut self, most: MilliCpu) {
        self.most = most;
    }

    /// One tick, in which batch was allowed so many milli-cores and services suffered so much; and whether the time since
    /// the last look is judged by that as a whole, or more is still to be heard of it.
    pub(super) fn tick(
        &mut self,
        batch: &[Arc<Pod>],
        allowance: f64,
        (suffering, is_whole): (Option<f64>, bool),
        now: Duration,
    ) -> Outcome {
        if self.looked.is_some_and(|looked| now.saturating_sub(looked) > self.stale_after) {
            self.forget();
        }
        self.settle(batch);
        self.allowances.push(allowance);
        self.suffering = self.suffering.into_iter().chain(suffering).reduce(f64::max);
        if is_whole { self.look(batch, now) } else { Outcome::default() }
    }

    fn forget(&mut self) {
        self.cpu_times.clear();
        self.allowances.clear();
        (self.looked, self.suffering) = (None, None);
    }

    /// Keeps what each Pod may have within what all of batch has from now on, where the kernel asks for that.
    pub(super) fn keep_within(&mut self, bound: Option<MilliCpu>, batch: &[Arc<Pod>]) {
        if !self.groups.backend().may_exceed_parents() {
            self.bound = bound;
            self.settle(batch);
        }
    }

    /// Every Pod gets what it asks for, less what it is held to.
    fn settle(&mut self, batch: &[Arc<Pod>]) {
        let here: BTreeSet<&str> = batch.iter().filter_map(|pod| pod.metadata.uid.as_deref()).collect();
        self.written.retain(|uid, _| here.contains(uid.as_str()));
        self.caps.retain(|uid, _| here.contains(uid.as_str()));
        for pod in batch {
            if let Err(error) = self.write(pod) {
                tracing::debug!(error = %kit::Chain(&error), "A batch Pod's quota cannot be set yet");
            }
        }
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

    /// Gives all of them back what they asked for; at a kubelet, what that has given them.
    pub(super) fn end(&mut self, batch: &[Arc<Pod>]) {
        self.caps.clear();
        if !self.groups.are_foreign() {
            return self.settle(batch);
        }
        for pod in batch {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            let quota = Knob::Quota(resources::by_kubelet(pod).cpu_limit);
            if let Err(error) = self.groups.backend().set(&self.groups.pod(QosClass::Batch, uid), quota) {
                tracing::debug!(error = %kit::Chain(&error), "A batch Pod's quota is not given back");
            }
        }
    }

    /// Milli-cores of each since the last look.
    fn used(&mut self, batch: &[Arc<Pod>], now: Duration) -> BTreeMap<String, f64> {
        let elapsed = self.looked.replace(now).map_or(Duration::ZERO, |looked| now.saturating_sub(looked));
        let uids = batch.iter().filter_map(|pod| pod.metadata.uid.clone());
        let mut used = BTreeMap::new();
        let mut cpu_times = BTreeMap::new();
        for uid in uids {
            let time = self.groups.backend().cpu_time(&self.groups.pod(QosClass::Batch, &uid)).ok();
            let before = self.cpu_times.get(&uid);
            let since =
                before.zip(time).and_then(|(before, time)| super::online::rate(*before, time, elapsed));
            used.insert(uid.clone(), since.unwrap_or(0.0));
            cpu_times.extend(time.map(|time| (uid, time)));
        }
        self.cpu_times = cpu_times;
        used
    }

    fn act(&mut self, action: &Action<String>, batch: &[Arc<Pod>], now: Duration, outcome: &mut Outcome) {
        match action {
            // Given back by the next tick, and again until it is.
            Action::Uncap { id } => _ = self.caps.remove(id),
            Action::Cap { id, quota, correlation, until } => {
                let Some(pod) = find(batch, id) else { return };
                let quota = (*quota).min(self.most);
                self.caps.insert(id.clone(), quota);
                if let Err(error) = self.write(pod) {
                    self.caps.remove(id);
                    tracing::warn!(pod = id, error = %kit::Chain(&error), "An offender cannot be held back");
                    self.offenders.acquit(id);
                    return;
                }
                outcome.capped += 1;
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

    /// Holds a Pod to the least of its own limit, what it is held to, and what bounds both.
    fn write(&mut self, pod: &Pod) -> Result<(), GroupError> {
        let Some(uid) = &pod.metadata.uid else { return Ok(()) };
        let quota = resources::of_pod(pod).cpu_limit.into_iter().chain(self.caps.get(uid).copied()).min();
        // Who stands among a kubelet's services is not bound with batch.
        let is_stray = self.groups.are_foreign() && resources::by_kubelet(pod).cpu.0 > 0;
        // Who has no limit has what batch has.
        let quota =
            quota.map(|quota| self.bound.filter(|_| !is_stray).map_or(quota, |bound| quota.min(bound)));
        if self.written.get(uid) != Some(&quota) {
            self.groups.backend().set(&self.groups.pod(QosClass::Batch, uid), Knob::Quota(quota))?;
            self.written.insert(uid.clone(), quota);
        }
        Ok(())
    }
}

fn find<'a>(batch: &'a [Arc<Pod>], uid: &str) -> Option<&'a Arc<Pod>> {
    batch.iter().find(|pod| pod.metadata.uid.as_deref() == Some(uid))
}

#[cfg(test)]
mod tests;
