//! The scheduler between the watch and the API: which pods wait, which are tried now, which only after a change.
//!
//! ```text
//!              node or pod change that may help          pause over
//!   Parked ◄──────────────────────────────────► Active ◄──────────── Paused
//!      ▲                                          │ place               ▲
//!      │ does not fit                             ▼                     │ bind failed
//!      └──────────────────────────────────── decision ──► Binding ──────┘
//!                                                 │ fits once lesser pods have gone
//!                                                 └──► Nominated ──► Active, when the last of them has
//! ```
//!
//! Pods of a gang pass through all this together, see [`gangs`]; those of one that is not complete are Gathering.

mod explain;
mod gangs;
mod needs;
mod profiles;
mod queue;
mod quotas;
mod reports;
mod reservations;
mod room;
mod stock;
mod usage;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1 as k8s;
use model::reservation::ReservationStatus;
use sigma::label::Labels;
use sigma::{Cluster, Outcome, Pending, PodId, Unplaced};

pub use explain::{PodExplanation, PodState};
pub(crate) use reports::Report;
pub(crate) use stock::Promised;

use queue::Whom;

use super::bind::Bind;
use super::group::{Origin, Standing};
use super::quotas::Account;
use super::{Config, convert, cpus, gpus};
use crate::key::ObjectKey;
use crate::pods;
use crate::volumes::Needs;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is owed to the API.
#[derive(Clone, Debug)]
pub(crate) enum Decision {
    Bind(Bind),
    /// These pods must go, so that `pod` finds room on the node.
    Preempt {
        pod: Arc<k8s::Pod>,
        node: String,
        victims: Vec<Victim>,
        /// What its condition must say beside, by the same write.
        report: Option<Report>,
    },
    /// The object of a gang must tell how the gang stands.
    Tell {
        key: ObjectKey,
        origin: Origin,
        standing: Standing,
    },
    /// A quota must tell how it stands.
    Account(Account),
    /// A reservation must tell how it stands.
    Reserve {
        key: ObjectKey,
        status: ReservationStatus,
    },
    /// The pod waits, and its condition must say why.
    Report {
        pod: Arc<k8s::Pod>,
        report: Report,
    },
}

/// A pod that must go.
#[derive(Clone, Debug)]
pub(crate) struct Victim {
    pub(crate) id: PodId,
    pub(crate) key: ObjectKey,
    /// The quota that gives back by it what it has borrowed.
    pub(crate) borrower: Option<String>,
}

/// All that the scheduler knows.
#[derive(Debug)]
pub(crate) struct Scheduler {
    /// What its Pods call it.
    name: String,
    cluster: Cluster,
    nodes: BTreeMap<String, sigma::node::Node>,
    waiting: HashMap<PodId, Waiting>,
    /// What the volumes of pods ask for.
    needs: HashMap<PodId, Needs>,
    stock: stock::Stock,
    /// Its version when the pods that are tried were looked at last.
    stock_seen: u64,
    /// In the order of arrival.
    active: BTreeSet<(u64, PodId)>,
    paused: BTreeSet<(Instant, PodId)>,
    /// Those who are parked, or nominated with their gang, and some who were: whom a change wakes.
    asleep: BTreeSet<PodId>,
    /// Whom of these a change may help that no decision was made on yet, and since when.
    roused: Option<(Instant, Whom)>,
    /// When all look again, since room changed hands or came free though nobody left.
    review: Option<Instant>,
    looking: room::Looking,
    /// Assumed on a node; the API does not say so yet.
    binding: BTreeSet<PodId>,
    /// The names of bound pods, to tell them to go.
    names: HashMap<PodId, ObjectKey>,
    /// Who waits for a pod to go, by the pod that goes.
    awaited: HashMap<PodId, BTreeSet<PodId>>,
    gangs: gangs::Gangs,
    measured: usage::Measured,
    profiles: profiles::Profiles,
    reserved: reservations::Reserved,
    ledger: quotas::Ledger,
    n_arrivals: u64,
}

#[derive(Debug)]
struct Waiting {
    pod: Arc<k8s::Pod>,
    arrival: u64,
    n_failures: u32,
    place: Place,
    /// The node that its status names, where others go for it.
    nominated: Option<String>,
    last_report: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    /// Does not fit; a change may help, but not before this time.
    Parked {
        not_before: Instant,
    },
    Paused {
        until: Instant,
    },
    /// Assumed on a node where others must go first.
    Nominated {
        n_awaited: usize,
    },
    Binding,
    /// Of a gang that is not complete.
    Gathering,
}

impl Scheduler {
    pub(crate) fn new(config: &Config) -> Self {
        let mut cluster = Cluster::new(config.seed);
        cluster.set_load_policy(config.load);
        Self {
            name: config.scheduler_name.clone(),
            cluster,
            nodes: BTreeMap::new(),
            waiting: HashMap::new(),
            needs: HashMap::new(),
            stock: stock::Stock::default(),
            stock_seen: 0,
            active: BTreeSet::new(),
            paused: BTreeSet::new(),
            asleep: BTreeSet::new(),
            roused: None,
            review: None,
            looking: room::Looking::default(),
            binding: BTreeSet::new(),
            names: HashMap::new(),
            awaited: HashMap::new(),
            gangs: gangs::Gangs::default(),
            measured: usage::Measured::default(),
            profiles: profiles::Profiles::default(),
            reserved: reservations::Reserved::default(),
            ledger: quotas::Ledger::default(),
            n_arrivals: 0,
        }
    }

    /// A node came, changed, or went (`None`).
    pub(crate) fn node_changed(&mut self, name: &str, node: Option<&k8s::Node>, now: Instant) {
        let Some(node) = node.map(convert::node) else {
            self.nodes.remove(name);
            self.cluster.remove_node(name);
            self.look_beyond(name);
            // With a domain less, others may be even enough.
            return self.wake(now, Whom::LookingAtOthers);
        };
        self.cluster.set_node(&node);
        // Heartbeats change nothing that placement depends on, and must not wake the parked. Nor does another image let
        // anybody in who did not fit.
        let node = sigma::node::Node { images: BTreeMap::new(), ..node };
        if self.nodes.get(name) != Some(&node) {
            self.nodes.insert(name.to_owned(), node);
            self.wake(now, Whom::All);
        }
    }

    /// A namespace came, changed, or went (`None`).
    pub(crate) fn namespace_changed(&mut self, name: &str, labels: Option<&Labels>, now: Instant) {
        match labels {
            Some(labels) => self.cluster.set_namespace(name, labels),
            None => self.cluster.remove_namespace(name),
        }
        // Its pods may be of another quota now, or keep others away no longer.
        self.wake(now, Whom::All);
    }

    /// A pod came or changed.
    pub(crate) fn pod_changed(&mut self, pod: &Arc<k8s::Pod>, now: Instant) {
        let Some(id) = id_of(pod) else { return };
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        match node {
            _ if pods::has_ended(pod) => {
                self.pod_gone(&id, now);
                self.gangs.finish(&id, pod);
                self.call_mates(&id, now);
            }
            Some(node) => {
                let before = self.cluster.node_of(&id).map(str::to_owned).zip(self.cluster.pod(&id).cloned());
                self.forget(&id);
                self.forget_stranger(&id);
                let converted = Arc::new(self.converted(&id, pod));
                self.cluster.add_pod(&id, &converted, node);
                self.names.insert(id.clone(), key_of(pod));
                self.gangs.join(&id, pod);
                if let Some(gpus) = gpus::held(pod) {
                    self.cluster.hold_gpus(&id, &gpus);
                }
                if converted.pinning.is_some() {
                    self.cluster.hold_cpus(&id, &cpus::held(pod));
                }
                let was_leaving = self.cluster.is_leaving(&id);
                if pod.metadata.deletion_timestamp.is_some() {
                    self.cluster.set_leaving(&id, true);
                }
                if before.is_none() {
                    self.call_mates(&id, now);
                }
                match before {
                    // It was counted elsewhere, or asks for less now: there is room that others may wait for.
                    Some((on, before)) if on != node || yields(&before, &converted) => {
                        self.wake(now, Whom::All)
                    }
                    Some(_) if was_leaving == self.cluster.is_leaving(&id) => {}
                    // It spreads with nobody any more; or it is new.
                    Some(_) | None => self.wake(now, Whom::LookingAtOthers),
                }
            }
            None if !self.is_ours(pod) => {
                self.pod_gone(&id, now);
                self.pass_by(&id, pod);
            }
            None => self.arrive(id, pod),
        }
    }

    /// A pod went.
    pub(crate) fn pod_gone(&mut self, id: &PodId, now: Instant) {
        let held_room = self.cluster.node_of(id).is_some();
        self.forget(id);
        // A gang is as important as the least of its pods: without this one the others may take the place of more.
        self.call_mates(id, now);
        self.gangs.leave(id);
        self.forget_stranger(id);
        self.names.remove(id);
        self.needs.remove(id);
        self.stock.release(id);
        if held_room {
            self.cluster.remove_pod(id);
            self.wake(now, Whom::All);
        }
        for waiting in self.awaited.remove(id).into_iter().flatten() {
            self.awaited_one_less(&waiting);
        }
    }

    /// A disruption budget came, changed, or went (`None`).
    pub(crate) fn budget_changed(&mut self, name: &str, budget: Option<sigma::Budget>) {
        match budget {
            Some(budget) => self.cluster.set_budget(name, budget),
            None => self.cluster.remove_budget(name),
        }
    }

    /// The API did not take a binding: the node's room is given back and the pod tried again after a pause.
    pub(crate) fn bind_failed(&mut self, id: &PodId, now: Instant) {
        if !self.binding.remove(id) {
            return; // Gone or bound meanwhile, as the watch told.
        }
        self.cluster.remove_pod(id);
        self.stock.release(id);
        self.gangs.note_change(id);
        if self.waiting.contains_key(id) {
            self.try_again(id, false, now);
            self.wake(now, Whom::All);
        }
    }

    /// When [`Scheduler::decide`] has something to do again although nothing changes.
    pub(crate) fn next_pause_end(&self) -> Option<Instant> {
        let ends = [self.gangs.next_deadline(), self.reserved.next_deadline(), self.measured.next_end()];
        ends.into_iter().flatten().chain(self.next_try()).min()
    }

    /// When pods are tried again although nothing changes.
    pub(crate) fn next_try(&self) -> Option<Instant> {
        let pause_end = self.paused.first().map(|(until, _)| *until);
        let roused = self.roused.map(|(since, _)| since);
        [pause_end, self.looking.due(), roused, self.review].into_iter().flatten().min()
    }

    /// Places every pod that is due.
    pub(crate) fn decide(&mut self, now: Instant) -> Vec<Decision> {
        while let Some(id) = queue::pop_due(&mut self.paused, now) {
            self.activate(&id);
        }
        self.end_waits(now);
        self.review_reservations(now);
        self.end_usage(now);
        if self.review.take_if(|due| *due <= now).is_some() {
            self.wake(now, Whom::All);
        }
        self.rouse(now);
        let elsewhere = self.look_elsewhere(now);
        let mut due: Vec<PodId> = std::mem::take(&mut self.active).into_iter().map(|(_, id)| id).collect();
        let held: Vec<PodId> = due.iter().filter(|id| self.cluster.node_of(id).is_some()).cloned().collect();
        let held_back = self.hold_back(&mut due, now);
        let (due, gangs, mut decisions) = self.gather(due, now);
        decisions.extend(held_back);
        decisions.extend(elsewhere);
        let batch: Vec<Pending> = due.iter().filter_map(|id| self.pending(id)).collect();
        let outcomes = self.cluster.place_together(&batch, &gangs);
        let put_off = self.promise_to_gangs(&batch, &gangs, &outcomes, now);
        let mut short: Vec<(&Pending, Option<Decision>)> = Vec::new();
        let all = batch.iter().zip(&outcomes).enumerate();
        for (_, (pending, outcome)) in all.filter(|(place, _)| !put_off.contains(place)) {
            let made = self.decided(pending.id.clone(), outcome.clone(), now);
            match outcome {
                Outcome::Unplaced(Unplaced::NoFit(_) | Unplaced::OverQuota(_)) => short.push((pending, made)),
                _ => decisions.extend(made),
            }
        }
        // Only once all are decided on: who was placed just now may have to give way.
        short.sort_by_key(|(pending, _)| std::cmp::Reverse(pending.pod.priority));
        for (pending, report) in short {
            let made = self.make_room(pending, &mut decisions, now);
            let report = if made.is_none() { self.without_nomination(&pending.id, report) } else { report };
            decisions.extend(room::told_together(report, made));
        }
        for gang in gangs.iter().filter(|gang| !gang.members.iter().any(|place| put_off.contains(place))) {
            let half = gang.members.iter().find_map(|&place| gangs::half(&outcomes[place]));
            let made = self.gang_decided((&batch, gang), half, &mut decisions, now);
            decisions.extend(made);
        }
        if held.iter().any(|id| self.cluster.node_of(id).is_none()) {
            self.look_again(now);
        }
        // Who waited for others to go may have to go itself, now that it is placed.
        if decisions.iter().any(|decision| self.took_the_place_of_others(decision)) {
            self.look_again(now);
        }
        // Whoever was placed may be the company that others wait for.
        if decisions.iter().any(|decision| matches!(decision, Decision::Bind(_))) {
            self.wake(now, Whom::LookingAtOthers);
        }
        self.drop_overtaken(&mut decisions);
        let accounts = self.tell_quotas(now);
        self.rouse(now);
        decisions.extend(self.tell_groups());
        decisions.extend(self.tell_reservations());
        decisions.extend(accounts);
        decisions
    }

    fn pending(&self, id: &PodId) -> Option<Pending> {
        let waiting = self.waiting.get(id)?;
        Some(Pending { id: id.clone(), pod: Arc::new(self.converted(id, &waiting.pod)) })
    }

    fn decided(&mut self, id: PodId, outcome: Outcome, now: Instant) -> Option<Decision> {
        if self.reservation_decided(&id, &outcome, now) {
            return None;
        }
        let pod = Arc::clone(&self.waiting.get(&id)?.pod);
        match outcome {
            Outcome::Placed { node, gpus, cpus, .. } => {
                let Some(volumes) = self.choose_volumes(&id, &node) else {
                    return self.lacks_volumes(&id, now);
                };
                let waiting = self.waiting.get_mut(&id)?;
                waiting.place = Place::Binding;
                self.binding.insert(id.clone());
                self.names.insert(id.clone(), key_of(&pod));
                self.gangs.note_change(&id);
                Some(Decision::Bind(Bind { id, pod, node, gpus, cpus, volumes }))
            }
            Outcome::Unplaced(unplaced) => {
                self.park(&id, now);
                let waiting = self.waiting.get_mut(&id)?;
                waiting.report(reason(&unplaced), unplaced.to_string(), Some(unplaced))
            }
        }
    }

    fn arrive(&mut self, id: PodId, pod: &Arc<k8s::Pod>) {
        self.gangs.join(&id, pod);
        if let Some(waiting) = self.waiting.get_mut(&id) {
            let is_same = waiting.pod.spec == pod.spec
                && waiting.pod.metadata.labels == pod.metadata.labels
                && (waiting.pod.metadata.annotations == pod.metadata.annotations
                    || convert::pod(&waiting.pod) == convert::pod(pod));
            waiting.pod = Arc::clone(pod);
            // A changed pod may fit now; one whose status alone changed (by our own report) does not.
            if !is_same && matches!(waiting.place, Place::Parked { .. } | Place::Gathering) {
                self.activate(&id);
            }
            return;
        }
        self.n_arrivals += 1;
        let status = pod.status.as_ref();
        let nominated = status.and_then(|status| status.nominated_node_name.clone());
        // Others have gone for it already, before a restart: it comes before its equals.
        let arrival = if nominated.is_some() { 0 } else { self.n_arrivals };
        let place = Place::Active;
        let waiting =
            Waiting { pod: Arc::clone(pod), arrival, n_failures: 0, place, nominated, last_report: None };
        self.waiting.insert(id.clone(), waiting);
        self.active.insert((arrival, id));
    }
}

impl Waiting {
    /// Whether the pod waits for others to come, not only for room.
    fn looks_at_others(&self) -> bool {
        let Some(spec) = &self.pod.spec else { return false };
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.pod_affinity.as_ref());
        affinity.is_some() || spec.topology_spread_constraints.is_some()
    }
}

/// Whether others may find a place since the pod changed like this.
fn yields(before: &sigma::Pod, after: &sigma::Pod) -> bool {
    let asks_less = |(name, amount): (&String, &u64)| after.requests.get(name).is_none_or(|now| now < amount);
    before.labels != after.labels
        || before.forbidden_pods != after.forbidden_pods
        || before.requests.iter().any(asks_less)
}

/// What identifies the pod to the engine.
pub(crate) fn id_of(pod: &k8s::Pod) -> Option<PodId> {
    pod.metadata.uid.as_deref().map(PodId::new)
}

/// The pod's name, for its binding.
pub(crate) fn key_of(pod: &k8s::Pod) -> ObjectKey {
    ObjectKey::of(pod)
}

fn reason(unplaced: &Unplaced) -> &'static str {
    match unplaced {
        Unplaced::BatchResource(_) | Unplaced::NoFit(_) | Unplaced::HalfGang(_) | Unplaced::OverQuota(_) => {
            "Unschedulable"
        }
    }
}

fn pause(n_failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << n_failures.min(10)).min(LONGEST_PAUSE)
}
