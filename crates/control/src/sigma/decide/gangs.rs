//! Gangs in the queue: who belongs to which, and whether it can be tried.
//!
//! ```text
//!   a pod of it is due ──► its object is there, and enough pods? ──no──► all gather, and say what is missing
//!                                      │ yes
//!                                      └──► all that wait are tried together ──► bound, or parked, all of them
//! ```
//!
//! Whatever wakes one pod of a gang wakes all, so that they are always tried together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use k8s_openapi::api::core::v1 as k8s;
use model::pod_group::PodGroupPhase;
use sigma::{Gang, HalfGang, Outcome, Pending, PodId, Unplaced};

use super::{Decision, Place, Scheduler};
use crate::key::ObjectKey;
use crate::pods;
use crate::sigma::group::{Group, Membership, Origin, Standing};

/// All gangs that some pod or object names.
#[derive(Debug, Default)]
pub(super) struct Gangs {
    objects: BTreeMap<(ObjectKey, Origin), Group>,
    crews: BTreeMap<ObjectKey, Crew>,
    of: HashMap<PodId, ObjectKey>,
    /// Those that may stand otherwise than was told.
    changed: BTreeSet<ObjectKey>,
    /// When gangs that wait are told that it takes too long.
    deadlines: BTreeSet<(Instant, ObjectKey)>,
}

/// The pods of one gang.
#[derive(Debug, Default)]
struct Crew {
    pods: BTreeSet<PodId>,
    /// Pods that had their node and ended well.
    done: BTreeSet<PodId>,
    /// What its pods ask for, where no object does.
    declared: Option<Group>,
    deadline: Option<Instant>,
    /// Why it waits: in a word, and in many.
    why: Option<(&'static str, String)>,
    told: Option<Standing>,
}

/// What is to be said of a gang.
pub(super) enum GangAccount {
    /// Why it waits.
    Waits(String),
    Fits(String),
}

/// Whether a gang can be tried.
enum Readiness {
    /// Each of its pods is for itself.
    Loose,
    Whole(Gang),
    /// Something is missing.
    Lacking(String),
}

impl Gangs {
    /// Takes in which gang the pod names.
    pub(super) fn join(&mut self, id: &PodId, pod: &k8s::Pod) {
        let Some(Membership { key, declared }) = Membership::of(pod) else { return self.leave(id) };
        if self.of.get(id).is_some_and(|of| *of != key) {
            self.leave(id);
        }
        let crew = self.crews.entry(key.clone()).or_default();
        crew.declared = declared.or(crew.declared.take());
        if crew.pods.insert(id.clone()) {
            self.of.insert(id.clone(), key.clone());
            self.changed.insert(key);
        }
    }

    /// The pod is gone.
    pub(super) fn leave(&mut self, id: &PodId) {
        let Some(key) = self.of.remove(id) else { return };
        if let Some(crew) = self.crews.get_mut(&key) {
            crew.pods.remove(id);
            crew.done.remove(id);
        }
        self.changed.insert(key);
    }

    /// The pod, which had left, was bound and has ended well: the gang is not short of it.
    pub(super) fn finish(&mut self, id: &PodId, pod: &k8s::Pod) {
        if pods::phase(pod) != "Succeeded" || pods::node_name(pod).is_none() {
            return;
        }
        let Some(Membership { key, .. }) = Membership::of(pod) else { return };
        self.of.insert(id.clone(), key.clone());
        self.crews.entry(key.clone()).or_default().done.insert(id.clone());
        self.changed.insert(key);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Whether the pod is of a gang.
    pub(super) fn has(&self, id: &PodId) -> bool {
        self.of.contains_key(id)
    }

    /// The pods of the gang that `id` is of, itself among them.
    pub(super) fn mates(&self, id: &PodId) -> Vec<PodId> {
        let crew = self.of.get(id).and_then(|key| self.crews.get(key));
        crew.map(|crew| crew.pods.iter().cloned().collect()).unwrap_or_default()
    }

    /// One of its pods was bound, or its binding failed.
    pub(super) fn note_change(&mut self, id: &PodId) {
        self.changed.extend(self.of.get(id).cloned());
    }

    fn group(&self, key: &ObjectKey) -> Option<&Group> {
        let object = [Origin::Kubernetes, Origin::Ours]
            .into_iter()
            .find_map(|origin| self.objects.get(&(key.clone(), origin)));
        object.or_else(|| self.crews.get(key)?.declared.as_ref())
    }

    /// From now on the gang waits, which is not to last forever.
    fn waits(&mut self, key: &ObjectKey, why: (&'static str, String), now: Instant) {
        let timeout = self.group(key).and_then(|group| group.timeout);
        let Some(crew) = self.crews.get_mut(key) else { return };
        crew.why = Some(why);
        if let (None, Some(timeout)) = (crew.deadline, timeout) {
            let deadline = now + timeout;
            crew.deadline = Some(deadline);
            self.deadlines.insert((deadline, key.clone()));
        }
        self.changed.insert(key.clone());
    }

    /// The gang of the pod has found room.
    pub(super) fn waits_no_more(&mut self, id: &PodId) {
        let Some(key) = self.of.get(id).cloned() else { return };
        self.forget_wait(&key);
        self.changed.insert(key);
    }

    fn forget_wait(&mut self, key: &ObjectKey) {
        let Some(crew) = self.crews.get_mut(key) else { return };
        crew.why = None;
        if let Some(deadline) = crew.deadline.take() {
            self.deadlines.remove(&(deadline, key.clone()));
        }
    }
}

impl Scheduler {
    /// The object of a gang came, changed, or went (`None`).
    pub(crate) fn group_changed(&mut self, key: &ObjectKey, origin: Origin, group: Option<Group>) {
        let entry = (key.clone(), origin);
        if self.gangs.objects.get(&entry) == group.as_ref() {
            return;
        }
        match group {
            Some(group) => {
                self.gangs.objects.insert(entry, group);
                self.gangs.crews.entry(key.clone()).or_default();
            }
            None => drop(self.gangs.objects.remove(&entry)),
        }
        self.gangs.changed.insert(key.clone());
        if let Some(first) = self.idle_mates(key).into_iter().next() {
            self.take_out(&first);
            self.activate(&first);
        }
    }

    /// A pod of the gang has its node, by whomever, and fewer others are needed; or it went.
    pub(super) fn call_mates(&mut self, id: &PodId, now: Instant) {
        let Some(key) = self.gangs.of.get(id).cloned() else { return };
        self.gangs.changed.insert(key.clone());
        let Some(mate) = self.idle_mates(&key).into_iter().next() else { return };
        match self.waiting.get(&mate).map(|waiting| waiting.place) {
            Some(Place::Gathering) => self.activate(&mate),
            // With one come all.
            Some(Place::Parked { .. }) => self.wake_one(&mate, now),
            _ => {}
        }
    }

    /// What of the pods that are due is placed now, and the gangs among it: with one pod of a gang come all that wait.
    pub(super) fn gather(&mut self, due: Vec<PodId>, now: Instant) -> (Vec<PodId>, Vec<Gang>, Vec<Decision>) {
        let (mut batch, mut gangs, mut decisions) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for id in due {
            let Some(key) = self.gangs.of.get(&id).cloned() else {
                batch.push(id);
                continue;
            };
            match self.readiness(&key) {
                Readiness::Loose => batch.push(id),
                _ if !seen.insert(key.clone()) => {}
                Readiness::Whole(gang) => {
                    let mut mates = self.idle_mates(&key);
                    mates.retain(|mate| !self.is_hindered(mate));
                    mates.iter().for_each(|mate| self.take_out(mate));
                    let members = (batch.len()..batch.len() + mates.len()).collect();
                    batch.extend(mates);
                    gangs.push(Gang { members, ..gang });
                }
                Readiness::Lacking(message) => {
                    self.gangs.waits(&key, ("Incomplete", message.clone()), now);
                    decisions.extend(self.let_gather(&key, &message));
                }
            }
        }
        (batch, gangs, decisions)
    }

    /// Promises the claims of gangs that have found room their volumes. Where that leaves a gang too small, all of it is
    /// put off: it is tried again at once with what was promised to some, so that the others look elsewhere. Tells who
    /// was put off, by their places in the batch.
    pub(super) fn promise_to_gangs(
        &mut self,
        batch: &[Pending],
        gangs: &[Gang],
        outcomes: &[Outcome],
        now: Instant,
    ) -> BTreeSet<usize> {
        let mut put_off = BTreeSet::new();
        for gang in gangs.iter().filter(|gang| !gang.members.iter().any(|&place| is_half(&outcomes[place]))) {
            let before = self.stock.version;
            let lacks = |scheduler: &mut Self, place: usize| match &outcomes[place] {
                Outcome::Placed { node, .. } => scheduler.choose_volumes(&batch[place].id, node).is_none(),
                Outcome::Unplaced(_) => true,
            };
            let mut n_promised = 0;
            for &place in &gang.members {
                n_promised += usize::from(!lacks(self, place));
            }
            if gang.n_bound + n_promised >= gang.min_member {
                continue;
            }
            let is_new = self.stock.version != before;
            put_off.extend(&gang.members);
            gang.members.iter().for_each(|&place| self.put_off(&batch[place].id, is_new, now));
        }
        put_off
    }

    /// One of a gang that did not find its volumes: at once again where something new is promised, else after a pause, and
    /// what was promised to it may be another's.
    fn put_off(&mut self, id: &PodId, is_new: bool, now: Instant) {
        self.cluster.remove_pod(id);
        if !is_new {
            self.stock.release(id);
        }
        self.try_again(id, is_new, now);
    }

    /// Takes in what has become of a gang that was tried, and makes room for it if that helps.
    pub(super) fn gang_decided(
        &mut self,
        (batch, gang): (&[Pending], &Gang),
        half: Option<&HalfGang>,
        decisions: &mut Vec<Decision>,
        now: Instant,
    ) -> Vec<Decision> {
        let first = gang.members.first().map(|&first| batch[first].id.clone());
        let Some(half) = half else {
            first.into_iter().for_each(|first| self.gangs.waits_no_more(&first));
            return Vec::new();
        };
        gang.members.iter().for_each(|&place| self.stock.release(&batch[place].id));
        if let Some(key) = first.and_then(|first| self.gangs.of.get(&first)).cloned() {
            self.gangs.waits(&key, ("Unschedulable", half.to_string()), now);
        }
        self.make_room_for_gang((batch, gang), decisions, now)
    }

    /// Gangs for which room was held too long give it back.
    pub(super) fn end_waits(&mut self, now: Instant) {
        while let Some((deadline, key)) = self.gangs.deadlines.first().cloned()
            && deadline <= now
        {
            self.gangs.deadlines.remove(&(deadline, key.clone()));
            let timeout = self.gangs.group(&key).and_then(|group| group.timeout).unwrap_or_default();
            let Some(crew) = self.gangs.crews.get_mut(&key) else { continue };
            crew.deadline = None;
            let before = crew.why.take().map(|(_, message)| message).unwrap_or_default();
            crew.why = Some(("Timeout", format!("waited {} s: {before}", timeout.as_secs())));
            self.gangs.changed.insert(key.clone());
            for id in self.idle_mates(&key) {
                self.give_back(&id, now);
            }
        }
    }

    /// What objects of gangs must tell now.
    pub(super) fn tell_groups(&mut self) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for key in std::mem::take(&mut self.gangs.changed) {
            let standing = self.standing(&key);
            let is_there = |origin: &Origin| self.gangs.objects.contains_key(&(key.clone(), *origin));
            let origin = [Origin::Kubernetes, Origin::Ours].into_iter().find(is_there);
            let is_empty = standing.members == 0;
            match (origin, self.gangs.crews.get_mut(&key)) {
                (Some(origin), Some(crew)) => {
                    if crew.told.as_ref() != Some(&standing) {
                        crew.told = Some(standing.clone());
                        decisions.push(Decision::Tell { key: key.clone(), origin, standing });
                    }
                }
                (None, Some(crew)) => crew.told = None,
                (_, None) => {}
            }
            if is_empty && origin.is_none() {
                self.gangs.forget_wait(&key);
                self.gangs.crews.remove(&key);
            }
        }
        decisions
    }

    fn standing(&self, key: &ObjectKey) -> Standing {
        let (members, scheduled) = (self.n_members(key), self.n_bound(key));
        let least = self.gangs.group(key).and_then(|group| group.min_member).unwrap_or(0);
        let why = self.gangs.crews.get(key).and_then(|crew| crew.why.clone());
        let (phase, reason, message) = if members > 0 && scheduled >= least {
            (PodGroupPhase::Scheduled, "Scheduled", format!("{scheduled} pods have a node"))
        } else if members < least {
            (PodGroupPhase::Pending, "Incomplete", format!("{members} of {least} pods are there"))
        } else {
            let (reason, message) = why.unwrap_or(("Unschedulable", String::new()));
            (PodGroupPhase::Waiting, reason, message)
        };
        Standing { phase, members, scheduled, reason, message }
    }

    fn readiness(&self, key: &ObjectKey) -> Readiness {
        let Some(group) = self.gangs.group(key) else {
            return Readiness::Lacking(format!("gang {}: there is no PodGroup of this name", key.name));
        };
        let Some(min_member) = group.min_member else { return Readiness::Loose };
        let n_members = self.n_members(key);
        if n_members < min_member {
            let message = format!("gang {}: {n_members} of {min_member} pods are there", key.name);
            return Readiness::Lacking(message);
        }
        let (name, n_bound) = (key.name.clone(), self.n_bound(key));
        Readiness::Whole(Gang { name, min_member, n_bound, members: Vec::new() })
    }

    /// Whether the pod alone would be half a gang: mates that were to be bound may have given way meanwhile.
    pub(super) fn would_be_half(&self, id: &PodId) -> bool {
        let Some(key) = self.gangs.of.get(id) else { return false };
        let least = self.gangs.group(key).and_then(|group| group.min_member).unwrap_or(0);
        self.n_bound(key) + 1 < least
    }

    fn n_members(&self, key: &ObjectKey) -> usize {
        self.gangs.crews.get(key).map_or(0, |crew| crew.pods.len() + crew.done.len())
    }

    /// Pods of the gang that are bound, or about to be, or have ended well.
    fn n_bound(&self, key: &ObjectKey) -> usize {
        let Some(crew) = self.gangs.crews.get(key) else { return 0 };
        let is_bound = |id: &&PodId| {
            let place = self.waiting.get(id).map(|waiting| waiting.place);
            self.cluster.node_of(id).is_some() && place.is_none_or(|place| place == Place::Binding)
        };
        crew.pods.iter().filter(is_bound).count() + crew.done.len()
    }

    /// The pods of the gang that wait, in the order of arrival.
    fn idle_mates(&self, key: &ObjectKey) -> Vec<PodId> {
        let pods = self.gangs.crews.get(key).into_iter().flat_map(|crew| &crew.pods);
        let waiting = pods.filter_map(|id| Some((id, self.waiting.get(id)?)));
        let idle = waiting.filter(|(_, waiting)| waiting.place != Place::Binding);
        let mut idle: Vec<(u64, PodId)> = idle.map(|(id, waiting)| (waiting.arrival, id.clone())).collect();
        idle.sort_unstable();
        idle.into_iter().map(|(_, id)| id).collect()
    }

    /// What is to be said of the gang of a pod that waits: what it lacks, or whether it fits as a whole. Nothing is
    /// changed.
    pub(super) fn foretell_gang(&mut self, id: &PodId) -> Option<GangAccount> {
        let key = self.gangs.of.get(id).cloned()?;
        let gang = match self.readiness(&key) {
            Readiness::Loose => return None,
            Readiness::Lacking(message) => return Some(GangAccount::Waits(message)),
            Readiness::Whole(gang) => gang,
        };
        let mut mates = self.idle_mates(&key);
        mates.retain(|mate| !self.is_hindered(mate));
        let batch: Vec<Pending> = mates.iter().filter_map(|id| self.pending(id)).collect();
        let gang = Gang { members: (0..batch.len()).collect(), ..gang };
        let outcomes = self.cluster.place_together(&batch, std::slice::from_ref(&gang));
        batch.iter().for_each(|pending| self.cluster.remove_pod(&pending.id));
        let n_placed = outcomes.iter().filter(|each| matches!(each, Outcome::Placed { .. })).count();
        Some(match outcomes.iter().find_map(half) {
            Some(half) => GangAccount::Waits(half.to_string()),
            None => {
                GangAccount::Fits(format!("gang {}: {n_placed} pods of it find room together", gang.name))
            }
        })
    }

    /// Takes a pod that waits out of the queues, to be tried at once.
    fn take_out(&mut self, id: &PodId) {
        let Some(waiting) = self.waiting.get_mut(id) else { return };
        match waiting.place {
            Place::Active => drop(self.active.remove(&(waiting.arrival, id.clone()))),
            Place::Paused { until } => drop(self.paused.remove(&(until, id.clone()))),
            Place::Gathering | Place::Parked { .. } | Place::Nominated { .. } | Place::Binding => {}
        }
        waiting.place = Place::Active;
    }

    /// Has the pods of a gang wait until it changes.
    fn let_gather(&mut self, key: &ObjectKey, message: &str) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for id in self.idle_mates(key) {
            // Pods of it may have gone: room is held for a whole gang or for none.
            self.cluster.remove_pod(&id);
            self.take_out(&id);
            let Some(waiting) = self.waiting.get_mut(&id) else { continue };
            waiting.place = Place::Gathering;
            decisions.extend(waiting.report("Unschedulable", message.to_owned(), None));
        }
        decisions
    }
}

/// Whether the pod was not placed because its gang does not fit.
pub(super) fn is_half(outcome: &Outcome) -> bool {
    half(outcome).is_some()
}

/// The gang that does not fit.
pub(super) fn half(outcome: &Outcome) -> Option<&HalfGang> {
    match outcome {
        Outcome::Unplaced(Unplaced::HalfGang(half)) => Some(half),
        Outcome::Unplaced(_) | Outcome::Placed { .. } => None,
    }
}
