//! Holds back, and in the end sends away, the Pod of batch that makes services suffer.
//!
//! ```text
//!   use of each batch Pod ──► Offenders ──► quota of one Pod's group, back to what it asked for, or its end
//! ```
//! Once a tick; where services tell their latency, whenever they do, over the time that it is about. Quotas are compared with
//! what they should be when something of that changed, and once a second.
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

/// How often Pods and their containers are looked for without a cause: a container that began anew has its Pod's quota around
/// it meanwhile.
const SETTLE: Duration = Duration::from_secs(1);

/// A batch Pod, and what was read of it: amounts are text, and a tick is short.
#[derive(Clone, Debug)]
struct Member {
    pod: Arc<Pod>,
    group: String,
    /// What it may use as it asks for.
    limit: Option<MilliCpu>,
    /// Who stands among a kubelet's services is not bound with batch.
    is_stray: bool,
    /// What those of its containers that have run by now may use, by name.
    containers: BTreeMap<String, Option<MilliCpu>>,
}

impl Member {
    fn of(pod: Arc<Pod>, groups: &Groups, uid: &str) -> Self {
        let group = groups.pod(QosClass::Batch, uid);
        let limit = resources::of_pod(&pod).cpu_limit;
        let is_stray = groups.are_foreign() && resources::by_kubelet(&pod).cpu.0 > 0;
        Self { pod, group, limit, is_stray, containers: BTreeMap::new() }
    }

    fn limit_of(&mut self, container: &str) -> Option<MilliCpu> {
        if let Some(known) = self.containers.get(container) {
            return *known;
        }
        let own = hooks::find(&self.pod, container);
        let limit = own.and_then(|own| resources::of_container(&own, QosClass::Batch).cpu_limit);
        self.containers.insert(container.to_owned(), limit);
        limit
    }
}

/// Pods by uid.
type Batch = BTreeMap<String, Member>;

/// The batch Pods of the host, and what is known against them.
#[derive(Debug)]
pub(super) struct Offence {
    groups: Groups,
    registry: Registry,
    recorder: Recorder,
    offenders: Offenders<String>,
    /// As they were found last.
    batch: Batch,
    /// When quotas were settled last; `None` where something changed since.
    settled: Option<Duration>,
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
            batch: Batch::new(),
            settled: None,
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
            self.settled = None;
        }
        let is_due = self.settled.is_none_or(|settled| now.saturating_sub(settled) >= SETTLE);
        if is_due || self.has_news(batch) {
            self.find(batch);
            // What was refused is tried again at the next tick; a group that is not there yet is waited for.
            self.settled = self.settle().then_some(now);
        }
        self.allowances.push(allowance);
        self.suffering = self.suffering.into_iter().chain(suffering).reduce(f64::max);
        if is_whole { self.look(now) } else { Outcome::default() }
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
            self.find(batch);
            if !self.settle() {
                self.settled = None;
            }
        }
    }

    /// Every Pod gets what it asks for, less what it is held to. Tells whether nothing was refused.
    fn settle(&mut self) -> bool {
        let mut batch = std::mem::take(&mut self.batch);
        self.caps.retain(|uid, _| batch.contains_key(uid));
        let mut groups = BTreeSet::new();
        let mut is_settled = true;
        for (uid, member) in &mut batch {
            if let Err(error) = self.write(uid, member, &mut groups) {
                tracing::debug!(error = %kit::Chain(&error), "A batch Pod's quota cannot be set yet");
                is_settled &= error.is_gone();
            }
        }
        self.written.retain(|group, _| groups.contains(group));
        self.batch = batch;
        is_settled
    }

    /// Whether some of `batch` is new or was changed.
    fn has_news(&self, batch: &[Arc<Pod>]) -> bool {
        let is_known = |pod: &Arc<Pod>| {
            let member = pod.metadata.uid.as_deref().and_then(|uid| self.batch.get(uid));
            member.is_some_and(|member| Arc::ptr_eq(&member.pod, pod))
        };
        !batch.iter().all(is_known)
    }

    /// Looks for those that work, also such as were forgotten since, and for those whose containers are away for a moment,
    /// whose groups are there all the same.
    fn find(&mut self, batch: &[Arc<Pod>]) {
        let known = self.registry.batch();
        let all = batch.iter().chain(&known);
        let all: BTreeMap<String, Arc<Pod>> =
            all.filter_map(|pod| Some((pod.metadata.uid.clone()?, pod.clone()))).collect();
        let mut before = std::mem::take(&mut self.batch);
        for (uid, pod) in all {
            let known = before.remove(&uid).filter(|member| Arc::ptr_eq(&member.pod, &pod));
            let member = match known {
                // A kubelet may have made its group meanwhile.
                Some(known) => Member { group: self.groups.pod(QosClass::Batch, &uid), ..known },
                None => Member::of(pod, &self.groups, &uid),
            };
            self.batch.insert(uid, member);
        }
    }

    fn look(&mut self, now: Duration) -> Outcome {
        let ticks = std::mem::take(&mut self.allowances);
        let look = Look {
            suffering: self.suffering.take(),
            used: self.used(now),
            allowance: ticks.iter().sum::<f64>() / ticks.len().max(1) as f64,
        };
        let mut outcome = Outcome::default();
        for action in self.offenders.observe(look, now) {
            self.act(&action, now, &mut outcome);
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
        self.find(batch);
        if !self.groups.are_foreign() {
            self.settle();
            return;
        }
        for Member { pod, group, .. } in self.batch.values() {
            let quota = Knob::Quota(resources::by_kubelet(pod).cpu_limit);
            if let Err(error) = self.groups.backend().set(group, quota) {
                tracing::debug!(error = %kit::Chain(&error), "A batch Pod's quota is not given back");
            }
        }
    }

    /// Milli-cores of each since the last look.
    fn used(&mut self, now: Duration) -> BTreeMap<String, f64> {
        let elapsed = self.looked.replace(now).map_or(Duration::ZERO, |looked| now.saturating_sub(looked));
        let mut used = BTreeMap::new();
        let mut cpu_times = BTreeMap::new();
        for (uid, Member { group, .. }) in &self.batch {
            let time = self.groups.backend().cpu_time(group).ok();
            let before = self.cpu_times.get(uid);
            let since =
                before.zip(time).and_then(|(before, time)| super::online::rate(*before, time, elapsed));
            used.insert(uid.clone(), since.unwrap_or(0.0));
            cpu_times.extend(time.map(|time| (uid.clone(), time)));
        }
        self.cpu_times = cpu_times;
        used
    }

    fn act(&mut self, action: &Action<String>, now: Duration, outcome: &mut Outcome) {
        match action {
            // Given back by the next tick, and again until it is.
            Action::Uncap { id } => {
                self.caps.remove(id);
                self.settled = None;
            }
            Action::Cap { id, quota, correlation, until } => {
                let Some(mut member) = self.batch.get(id).cloned() else { return };
                let quota = (*quota).min(self.most);
                self.caps.insert(id.clone(), quota);
                if let Err(error) = self.write(id, &mut member, &mut BTreeSet::new()) {
                    self.caps.remove(id);
                    // Some of its groups may be held back already.
                    self.settled = None;
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
                self.recorder.warning(&member.pod, None, "Throttled", message);
            }
            Action::Move { id, quota, correlation, caps } => {
                let Some(member) = self.batch.get(id) else { return };
                outcome.moved += 1;
                // Written by the next tick.
                self.caps.insert(id.clone(), (*quota).min(self.most));
                self.settled = None;
                let message = format!(
                    "Services suffer when this Pod works (correlation {correlation:.2}), also after it was held back {caps} times"
                );
                super::condemn(&self.groups, (&self.registry, &self.recorder), &member.pod, message);
            }
        }
    }

    /// Holds a Pod, and where that falls to us its containers, to the least of their own limits, what it is held to, and
    /// what bounds both. Adds their groups to `groups`.
    fn write(
        &mut self,
        uid: &str,
        member: &mut Member,
        groups: &mut BTreeSet<String>,
    ) -> Result<(), GroupError> {
        let wishes = self.wishes(uid, member);
        groups.extend(wishes.iter().map(|(group, _)| group.clone()));
        if !self.written.contains_key(&member.group) && self.bounds_containers() {
            self.free_others_below(&member.group, &wishes);
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
    fn wishes(&self, uid: &str, member: &mut Member) -> Vec<(String, Option<MilliCpu>)> {
        let quota = member.limit.into_iter().chain(self.caps.get(uid).copied()).min();
        let bound = self.bound.filter(|_| !member.is_stray);
        // Who has no limit has what is above it.
        let within = |quota: MilliCpu, bound: Option<MilliCpu>| bound.map_or(quota, |bound| quota.min(bound));
        let quota = quota.map(|quota| within(quota, bound));
        let mut wishes = vec![(member.group.clone(), quota)];
        if let Some(entry) = self.registry.get(uid).filter(|_| self.bounds_containers()) {
            let live = entry.live.borrow();
            for instance in live.containers.iter().filter(|instance| instance.is_alive()) {
                let own = member.limit_of(&instance.name);
                let own = own.map(|own| within(within(own, quota), bound));
                wishes.push((self.groups.container(&member.group, &instance.id), own));
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
