//! Room in the place of lesser pods: who goes, who waits for them, who gives way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1 as k8s;
use sigma::{Gang, Pending, PodId};

use super::gangs::is_half;
use super::queue::Whom;
use super::{Decision, Place, Scheduler, Victim, Waiting, pause};
use crate::sigma::bind::Bind;

/// How long nominated pods wait before they look again whether there is room elsewhere: whenever one of many victims goes,
/// all who are nominated would look.
pub(super) const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// The nominated pods, which look for room elsewhere now and then.
#[derive(Debug, Default)]
pub(super) struct Looking {
    /// Who is nominated without a gang, and some who were.
    pods: BTreeSet<PodId>,
    /// Whether any of them looks at others too.
    has_sociable: bool,
    looked_at: Option<Instant>,
    /// When the next look is due, and for whom.
    next: Option<(Instant, Whom)>,
}

impl Looking {
    pub(super) fn add(&mut self, id: &PodId, waiting: &Waiting) {
        self.pods.insert(id.clone());
        self.has_sociable |= waiting.looks_at_others();
    }

    /// Something changed that may help these.
    pub(super) fn rouse(&mut self, whom: Whom, now: Instant) {
        let is_meant = match whom {
            Whom::All => !self.pods.is_empty(),
            Whom::LookingAtOthers => self.has_sociable,
        };
        if !is_meant {
            return;
        }
        let soonest = self.looked_at.map_or(now, |looked_at| now.max(looked_at + LOOK_PAUSE));
        let (due, before) = self.next.unwrap_or((soonest, whom));
        self.next = Some((due, before.max(whom)));
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.next.map(|(due, _)| due)
    }

    fn take(&mut self, now: Instant) -> Option<Whom> {
        let (_, whom) = self.next.take_if(|(due, _)| *due <= now)?;
        self.looked_at = Some(now);
        Some(whom)
    }
}

impl Scheduler {
    /// Binds those who wait for others to go, and need not any more: there is room for them somewhere now.
    pub(super) fn look_elsewhere(&mut self, now: Instant) -> Vec<Decision> {
        let Some(whom) = self.looking.take(now) else { return Vec::new() };
        let waiting = &self.waiting;
        let still_waits = |id: &PodId| waiting.get(id).filter(|waiting| is_nominated(waiting));
        self.looking.pods.retain(|id| still_waits(id).is_some());
        self.looking.has_sociable = self.looking.pods.iter().any(|id| waiting[id].looks_at_others());
        let mut looking: Vec<(u64, &PodId)> = Vec::new();
        for id in &self.looking.pods {
            let waiting = waiting.get(id).filter(|waiting| whom.is_meant(waiting));
            looking.extend(waiting.map(|waiting| (waiting.arrival, id)));
        }
        looking.sort_unstable();
        let mut pending: Vec<Pending> = looking.into_iter().filter_map(|(_, id)| self.pending(id)).collect();
        pending.sort_by_key(|pending| std::cmp::Reverse(pending.pod.priority));
        let mut decisions = Vec::new();
        for pending in pending {
            if let Some(outcome) = self.cluster.place_elsewhere(&pending) {
                decisions.extend(self.decided(pending.id, outcome, now));
            }
        }
        decisions
    }

    /// Whether what was decided is still to be done: who was to take the place of others may have found another, and who
    /// was to be told why it waits may wait no more.
    pub(crate) fn still_means(&self, decision: &Decision) -> bool {
        let (pod, node) = match decision {
            Decision::Preempt { pod, node, .. } => (pod, node),
            Decision::Report { pod, .. } => return self.is_waiting(pod),
            _ => return true,
        };
        let waiting = super::id_of(pod).and_then(|id| self.waiting.get(&id));
        waiting.is_some_and(|waiting| is_nominated(waiting) && waiting.nominated.as_ref() == Some(node))
    }

    /// Looks for lesser pods in whose place the pod could run, and has it wait for them to go.
    pub(super) fn make_room(
        &mut self,
        pending: &Pending,
        decisions: &mut Vec<Decision>,
        now: Instant,
    ) -> Option<Decision> {
        if !may_preempt(&self.waiting.get(&pending.id)?.pod) || self.would_be_half(&pending.id) {
            return None;
        }
        let sigma::Preemption { node, victims } = self.cluster.preempt(pending)?;
        let mates = self.gangs.mates(&pending.id);
        if victims.iter().any(|victim| mates.contains(victim) && self.waiting.contains_key(victim)) {
            // Who gives way does so with its whole gang, which would leave this pod alone. Once they are bound it may.
            victims.iter().for_each(|victim| self.cluster.set_leaving(victim, false));
            self.pause(&pending.id, now);
            return None;
        }
        let victims: Vec<PodId> =
            victims.into_iter().filter(|id| !self.gives_way(id, decisions, now)).collect();
        let leaving = self.cluster.awaited_by(&pending.id);
        if leaving.is_empty() {
            // Only room that was held for lesser pods was in the way; of the others nobody need go.
            victims.iter().for_each(|victim| self.cluster.set_leaving(victim, false));
            let outcome = self.cluster.place(std::slice::from_ref(pending)).pop()?;
            return self.decided(pending.id.clone(), outcome, now);
        }
        self.nominate(&pending.id, node, victims, &leaving)
    }

    /// Has lesser pods go for the gang, if it fits as a whole then.
    pub(super) fn make_room_for_gang(
        &mut self,
        (batch, gang): (&[Pending], &Gang),
        decisions: &mut Vec<Decision>,
        now: Instant,
    ) -> Vec<Decision> {
        let waiting = &self.waiting;
        let may_preempt = |pending: &Pending| {
            let waiting = waiting.get(&pending.id);
            waiting.is_some_and(|waiting| may_preempt(&waiting.pod))
        };
        let Some(held) = self.cluster.preempt_gang(batch, gang, may_preempt) else { return Vec::new() };
        let mut victims: BTreeMap<usize, Vec<PodId>> = BTreeMap::new();
        for (&place, preemption) in &held {
            let told = preemption.victims.iter().filter(|id| !self.gives_way(id, decisions, now)).cloned();
            victims.insert(place, told.collect());
        }
        let awaited = held.keys().flat_map(|&place| self.cluster.awaited_by(&batch[place].id));
        let leaving: BTreeSet<PodId> = awaited.collect();
        let leaving: Vec<PodId> = leaving.into_iter().collect();
        if leaving.is_empty() {
            // Only room that was held for lesser pods was in the way; of the others nobody need go.
            victims.values().flatten().for_each(|victim| self.cluster.set_leaving(victim, false));
            return self.place_gang_again(batch, gang, now);
        }
        let mut made = Vec::new();
        for (place, preemption) in held {
            let id = &batch[place].id;
            let victims = victims.remove(&place).unwrap_or_default();
            made.extend(self.nominate(id, preemption.node, victims, &leaving));
        }
        made
    }

    fn place_gang_again(&mut self, batch: &[Pending], gang: &Gang, now: Instant) -> Vec<Decision> {
        let pods: Vec<Pending> = gang.members.iter().map(|&place| batch[place].clone()).collect();
        let gang = Gang { members: (0..pods.len()).collect(), ..gang.clone() };
        let outcomes = self.cluster.place_together(&pods, std::slice::from_ref(&gang));
        if !outcomes.iter().any(is_half) {
            pods.iter().take(1).for_each(|pending| self.gangs.waits_no_more(&pending.id));
        }
        let decided = pods.into_iter().zip(outcomes);
        decided.filter_map(|(pending, outcome)| self.decided(pending.id, outcome, now)).collect()
    }

    /// Whether a pod is bound for which others were to go.
    pub(super) fn took_the_place_of_others(&self, decision: &Decision) -> bool {
        let Decision::Bind(bind) = decision else { return false };
        self.waiting.get(&bind.id).is_some_and(|waiting| waiting.nominated.is_some())
    }

    /// Those for whom others were to go on a node that is gone itself are tried elsewhere.
    pub(super) fn look_beyond(&mut self, node: &str) {
        let is_meant =
            |waiting: &Waiting| is_nominated(waiting) && waiting.nominated.as_deref() == Some(node);
        let meant = self.waiting.iter().filter(|(_, waiting)| is_meant(waiting));
        for id in meant.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.activate(&id);
        }
    }

    /// One of the pods that the waiting one waits for has gone; the last one lets it be placed.
    pub(super) fn awaited_one_less(&mut self, id: &PodId) {
        let Some(waiting) = self.waiting.get_mut(id) else { return };
        let Place::Nominated { n_awaited } = &mut waiting.place else { return };
        *n_awaited = n_awaited.saturating_sub(1);
        if *n_awaited == 0 {
            self.activate(id);
        }
    }

    /// A pod could not be told to go: whoever counted on it looks again after a pause.
    pub(crate) fn stays(&mut self, victim: &PodId, now: Instant) {
        self.cluster.set_leaving(victim, false);
        for id in self.awaited.remove(victim).into_iter().flatten() {
            if self.waiting.get(&id).is_some_and(is_nominated) {
                self.pause(&id, now);
            }
        }
        // The room that was held for them is free.
        self.wake(now, Whom::All);
    }

    /// The pod waits for all who are leaving, in the room that it is given then.
    fn nominate(
        &mut self,
        id: &PodId,
        node: String,
        victims: Vec<PodId>,
        leaving: &[PodId],
    ) -> Option<Decision> {
        self.sleep(id, Place::Nominated { n_awaited: leaving.len() });
        let waiting = self.waiting.get_mut(id)?;
        let pod = Arc::clone(&waiting.pod);
        for gone in leaving {
            self.awaited.entry(gone.clone()).or_default().insert(id.clone());
        }
        let was_nominated = waiting.nominated.replace(node.clone());
        if victims.is_empty() && was_nominated.as_ref() == Some(&node) {
            return None; // All of it was said before.
        }
        let victim = |victim: PodId| {
            let (key, borrower) = (self.names.get(&victim)?.clone(), self.borrower(id, &victim));
            Some(Victim { id: victim, key, borrower })
        };
        let victims = victims.into_iter().filter_map(victim).collect();
        Some(Decision::Preempt { pod, node, victims, report: None })
    }

    /// Takes back the room that is held for a pod and for all of its gang; false when the pod is bound, or being bound,
    /// and must go itself. One that was only decided on is not bound at all.
    fn gives_way(&mut self, id: &PodId, decisions: &mut Vec<Decision>, now: Instant) -> bool {
        if !self.may_give_way(id, decisions) {
            return false;
        }
        let mates = self.gangs.mates(id).into_iter().filter(|mate| mate != id);
        let giving: BTreeSet<PodId> =
            mates.filter(|mate| self.may_give_way(mate, decisions)).chain([id.clone()]).collect();
        decisions
            .retain(|decision| !matches!(decision, Decision::Bind(Bind { id, .. }) if giving.contains(id)));
        for each in giving {
            self.binding.remove(&each);
            self.gangs.note_change(&each);
            // It may take another node from even lesser pods: nothing else need change for that.
            self.pause(&each, now);
        }
        // Who is guaranteed its room may take it from a greater one, and must give way to others in turn.
        self.look_again(now);
        true
    }

    /// Takes back the room that a waiting pod holds; it is tried again after a pause.
    fn pause(&mut self, id: &PodId, now: Instant) {
        self.cluster.remove_pod(id);
        self.stock.release(id);
        self.try_again(id, false, now);
    }

    fn may_give_way(&self, id: &PodId, decisions: &[Decision]) -> bool {
        let is_decided =
            |decision: &Decision| matches!(decision, Decision::Bind(Bind { id: bound, .. }) if bound == id);
        let Some(waiting) = self.waiting.get(id) else { return false };
        is_nominated(waiting) || decisions.iter().any(is_decided)
    }

    /// Takes back the room that is held for a pod, which waits for a change.
    pub(super) fn give_back(&mut self, id: &PodId, now: Instant) {
        let Some(waiting) = self.waiting.get(id) else { return };
        if is_nominated(waiting) {
            let not_before = now + pause(waiting.n_failures);
            self.sleep(id, Place::Parked { not_before });
            self.cluster.remove_pod(id);
        }
    }
}

fn is_nominated(waiting: &Waiting) -> bool {
    matches!(waiting.place, Place::Nominated { .. })
}

/// Whether lesser pods may be made to go for it.
pub(super) fn may_preempt(pod: &k8s::Pod) -> bool {
    let policy = pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref());
    policy != Some("Never")
}

/// One write says why the pod waits and where others go for it.
pub(super) fn told_together(
    report: Option<Decision>,
    made: Option<Decision>,
) -> impl Iterator<Item = Decision> {
    let (before, after) = match (report, made) {
        (Some(Decision::Report { report, .. }), Some(Decision::Preempt { pod, node, victims, .. })) => {
            (None, Some(Decision::Preempt { pod, node, victims, report: Some(report) }))
        }
        both => both,
    };
    before.into_iter().chain(after)
}
