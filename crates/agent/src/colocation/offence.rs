//! Holds back, and in the end sends away, the Pod of batch that makes services suffer.
//!
//! ```text
//!   use of each batch Pod ──► Offenders ──► quota of one Pod's group, back to what it asked for, or its end
//! ```
//! Once a tick; where services tell their latency, whenever they do, over the time that it is about.
//!
//! A Pod's quota is written when it starts, as it asks for; from then on only here. What is seen for the first time, as after a
//! kill of the agent, is given what it asks for once more. Where no group may have more than its parent (cgroup v1), it is
//! written only here, for its containers, too, and no more than all of batch has: a limit of a Pod would forbid to squeeze
//! its class, and be it of one whose container is just away. What others have written meanwhile is found in seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use level0::offender::{Action, Look, Offenders, Policy};
use model::{MilliCpu, QosClass};

use crate::cgroup::{GroupError, Groups, Knob};
use crate::events::Recorder;
use crate::pods::{Registry, hooks};
use crate::resources;

/// How often quotas are written that say already what they should, as far as is known here.
const CHECK: Duration = Duration::from_secs(10);

/// Pods by uid.
type Batch = BTreeMap<String, Arc<Pod>>;

/// The batch Pods of the host, and what is known against them.
#[derive(Debug)]
pub(super) struct Offence {
    groups: Groups,
    registry: Registry,
    recorder: Recorder,
    offenders: Offenders<String>,
    /// What no Pod is capped above: all of batch keeps so much, and on cgroup v1 no group may have more than its parent.
    most: MilliCpu,
    /// The quotas of groups as they were written.
    written: BTreeMap<String, Option<MilliCpu>>,
    /// When all were written, whatever they said.
    checked: Option<Duration>,
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
            checked: None,
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
        if self.checked.is_none_or(|checked| now.saturating_sub(checked) >= CHECK) {
            self.checked = Some(now);
            self.written.clear();
        }
        let all = self.all(batch);
        self.settle(&all);
        self.allowances.push(allowance);
        self.suffering = self.suffering.into_iter().chain(suffering).reduce(f64::max);
        if is_whole { self.look(&all, now) } else { Outcome::default() }
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
            self.settle(&self.all(batch));
        }
    }

    /// Every Pod gets what it asks for, less what it is held to.
    fn settle(&mut self, all: &Batch) {
        self.caps.retain(|uid, _| all.contains_key(uid));
        let mut groups = BTreeSet::new();
        for pod in all.values() {
            if let Err(error) = self.write(pod, &mut groups) {
                tracing::debug!(error = %kit::Chain(&error), "A batch Pod's quota cannot be set yet");
            }
        }
        self.written.retain(|group, _| groups.contains(group));
    }

    /// By uid: those that work, also such as were forgotten since, and those whose containers are away for a moment, whose
    /// groups are there all the same.
    fn all(&self, batch: &[Arc<Pod>]) -> Batch {
        let known = self.registry.batch();
        let all = batch.iter().chain(&known);
        all.filter_map(|pod| Some((pod.metadata.uid.clone()?, pod.clone()))).collect()
    }

    fn look(&mut self, batch: &Batch, now: Duration) -> Outcome {
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
            return self.settle(&self.all(batch));
        }
        for (uid, pod) in self.all(batch) {
            let quota = Knob::Quota(resources::by_kubelet(&pod).cpu_limit);
            if let Err(error) = self.groups.backend().set(&self.groups.pod(QosClass::Batch, &uid), quota) {
                tracing::debug!(error = %kit::Chain(&error), "A batch Pod's quota is not given back");
            }
        }
    }

    /// Milli-cores of each since the last look.
    fn used(&mut self, batch: &Batch, now: Duration) -> BTreeMap<String, f64> {
        let elapsed = self.looked.replace(now).map_or(Duration::ZERO, |looked| now.saturating_sub(looked));
        let mut used = BTreeMap::new();
        let mut cpu_times = BTreeMap::new();
        for uid in batch.keys() {
            let time = self.groups.backend().cpu_time(&self.groups.pod(QosClass::Batch, uid)).ok();
            let before = self.cpu_times.get(uid);
            let since =
                before.zip(time).and_then(|(before, time)| super::online::rate(*before, time, elapsed));
            used.insert(uid.clone(), since.unwrap_or(0.0));
            cpu_times.extend(time.map(|time| (uid.clone(), time)));
        }
        self.cpu_times = cpu_times;
        used
    }

    fn act(&mut self, action: &Action<String>, batch: &Batch, now: Duration, outcome: &mut Outcome) {
        match action {
            // Given back by the next tick, and again until it is.
            Action::Uncap { id } => _ = self.caps.remove(id),
            Action::Cap { id, quota, correlation, until } => {
                let Some(pod) = batch.get(id) else { return };
                let quota = (*quota).min(self.most);
                self.caps.insert(id.clone(), quota);
                if let Err(error) = self.write(pod, &mut BTreeSet::new()) {
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
            Action::Move { id, quota, correlation, caps } => {
                let Some(pod) = batch.get(id) else { return };
                outcome.moved += 1;
                // Written by the next tick.
                self.caps.insert(id.clone(), (*quota).min(self.most));
                let message = format!(
                    "Services suffer when this Pod works (correlation {correlation:.2}), also after it was held back {caps} times"
                );
                super::condemn(&self.groups, (&self.registry, &self.recorder), pod, message);
            }
        }
    }

    /// Holds a Pod, and where that falls to us its containers, to the least of their own limits, what it is held to, and
    /// what bounds both. Adds their groups to `groups`.
    fn write(&mut self, pod: &Pod, groups: &mut BTreeSet<String>) -> Result<(), GroupError> {
        let wishes = self.wishes(pod);
        groups.extend(wishes.iter().map(|(group, _)| group.clone()));
        let Some((top, _)) = wishes.first() else { return Ok(()) };
        if !self.written.contains_key(top) && self.bounds_containers() {
            self.free_others_below(top, &wishes);
        }
        let differs = |(group, quota): &(String, Option<MilliCpu>)| self.written.get(group) != Some(quota);
        let (less, more): (Vec<_>, Vec<_>) =
            wishes.into_iter().filter(differs).partition(|(group, quota)| {
                let before = self.written.get(group).copied().flatten();
                quota.is_some_and(|quota| before.is_none_or(|before| quota < before))
            });
        // From below where there is less, from above where there is more.
        for (group, quota) in less.into_iter().rev().chain(more) {
            self.groups.backend().set(&group, Knob::Quota(quota))?;
            self.written.insert(group, quota);
        }
        Ok(())
    }

    /// What the groups of a Pod may have, from the top.
    fn wishes(&self, pod: &Pod) -> Vec<(String, Option<MilliCpu>)> {
        let Some(uid) = &pod.metadata.uid else { return Vec::new() };
        let quota = resources::of_pod(pod).cpu_limit.into_iter().chain(self.caps.get(uid).copied()).min();
        // Who stands among a kubelet's services is not bound with batch.
        let is_stray = self.groups.are_foreign() && resources::by_kubelet(pod).cpu.0 > 0;
        let bound = self.bound.filter(|_| !is_stray);
        // Who has no limit has what is above it.
        let within = |quota: MilliCpu, bound: Option<MilliCpu>| bound.map_or(quota, |bound| quota.min(bound));
        let quota = quota.map(|quota| within(quota, bound));
        let group = self.groups.pod(QosClass::Batch, uid);
        let mut wishes = vec![(group.clone(), quota)];
        if let Some(entry) = self.registry.get(uid).filter(|_| self.bounds_containers()) {
            let live = entry.live.borrow();
            for instance in live.containers.iter().filter(|instance| instance.is_alive()) {
                let own = hooks::find(pod, &instance.name);
                let own = own.and_then(|own| resources::of_container(&own, QosClass::Batch).cpu_limit);
                let own = own.map(|own| within(within(own, quota), bound));
                wishes.push((self.groups.container(&group, &instance.id), own));
            }
        }
        wishes
    }

    /// Whether containers have no quota but what is written here.
    fn bounds_containers(&self) -> bool {
        !self.groups.backend().may_exceed_parents() && !self.groups.are_foreign()
    }

    /// Takes off what an older agent had its engine set.
    fn free_others_below(&self, top: &str, wishes: &[(String, Option<MilliCpu>)]) {
        let backend = self.groups.backend();
        for group in backend.children(top) {
            if wishes.iter().all(|(wished, _)| *wished != group) {
                // One that is gone meanwhile has no quota.
                let _gone = backend.set(&group, Knob::Quota(None));
            }
        }
    }
}
#[cfg(test)]
mod tests;
