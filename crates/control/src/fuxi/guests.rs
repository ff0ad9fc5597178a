//! Guests: Pods that others make and Fuxi places, of the same room and the same quotas as its own workers. Jobs, CronJobs,
//! Spark's executors: whatever says `schedulerName: fuxi`.
//!
//! ```text
//!   waits ──grant──► binding ──► on its Node ──ended, gone──► its room is free
//!     ▲                 │ refused      └── revoked: deleted, as preempted
//!     └────a pause──────┘
//! ```
//! Each is a unit of the ledger that wants one grant. A Pod that only some Nodes may run asks at each of them: with its one
//! grant it waits nowhere else. One of a PodGroup is a unit only when its gang is to be asked for, see [`crews`].

mod crews;
mod decide;
mod gangs;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use fuxi::grants::{
    Definition, Event as LedgerEvent, Gang, GrantId, MachineId, PartyId, Place, Resources, Truth, UnitId,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use model::preemption_batch::Victim;
use serde_json::json;
use sigma::pod::Toleration;

use super::Input;
use super::master::Master;
use crate::key::ObjectKey;
use crate::record::Note;
use crate::sigma::Membership;
use crews::{Crew, Member};
use decide::Standing;

/// A Pod that was not bound is tried again after this.
const PAUSE: Duration = Duration::from_secs(1);
/// One that was not deleted, though its place is revoked, is tried again after this.
const REVOKE_PAUSE: Duration = Duration::from_secs(5);
/// A Pod that waits for longer is told why.
const PATIENCE: Duration = Duration::from_secs(2);

/// All Pods of others that hold or want a place.
#[derive(Debug, Default)]
pub(super) struct Guests {
    by_uid: BTreeMap<String, Guest>,
    uids: BTreeMap<ObjectKey, String>,
    by_unit: HashMap<UnitId, String>,
    by_grant: HashMap<GrantId, String>,
    /// The gangs that they are of.
    crews: BTreeMap<ObjectKey, Crew>,
    /// Gangs that something has happened to. They are looked at when the ledger's decisions have been followed: what is
    /// granted together must not be taken apart halfway.
    unmustered: BTreeSet<ObjectKey>,
    /// Places that were revoked and whose Pods were not deleted, and when that is tried again.
    stays: BTreeMap<GrantId, Duration>,
    /// Pods that ended well and count for their gang until they are deleted: uid and gang.
    ended: BTreeMap<ObjectKey, (String, ObjectKey)>,
}

/// Whether it was tried to delete a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    No,
    Before,
}

#[derive(Debug)]
struct Guest {
    key: ObjectKey,
    /// Its gang, if it is of one.
    gang: Option<ObjectKey>,
    /// The `BatchQuota` that it counts for.
    quota: Option<String>,
    /// `None` while it is not to be asked for.
    unit: Option<UnitId>,
    sequence: u64,
    shape: Resources,
    /// Where it may run.
    places: Vec<Place>,
    tolerations: Vec<Toleration>,
    /// Where it has asked.
    asked: Vec<Place>,
    grant: Option<GrantId>,
    since: Duration,
    not_before: Duration,
    /// Why it waits, as last told.
    told: Option<String>,
}

impl Guests {
    /// What taints those who wait or run tolerate, each.
    pub(super) fn tolerations(&self) -> impl Iterator<Item = &[Toleration]> {
        self.by_uid.values().map(|guest| guest.tolerations.as_slice())
    }

    pub(super) fn units(&self) -> impl Iterator<Item = UnitId> {
        self.by_unit.keys().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_uid.is_empty()
    }

    pub(super) fn is_of_guest(&self, unit: UnitId) -> bool {
        self.by_unit.contains_key(&unit)
    }

    /// Whether a Pod is there of which the ledger does not know.
    fn lacks_unit(&self, uid: &str) -> bool {
        self.by_uid.get(uid).is_some_and(|guest| guest.unit.is_none())
    }

    /// Whether a Pod is there that has no place.
    fn lacks_grant(&self, uid: &str) -> bool {
        self.by_uid.get(uid).is_some_and(|guest| guest.grant.is_none())
    }
}

impl Master {
    /// Something has happened to a Pod of somebody else.
    pub(super) fn on_guest(&mut self, key: &ObjectKey) {
        let pod = self.watched.guests.get(key);
        let uid = pod.as_ref().and_then(|pod| pod.metadata.uid.clone());
        if let Some(known) = self.guests.uids.get(key).filter(|known| Some(*known) != uid.as_ref()).cloned() {
            self.dismiss(&known);
        }
        if let Some((ended, gang)) =
            self.guests.ended.get(key).filter(|(ended, _)| Some(ended) != uid.as_ref()).cloned()
        {
            self.guests.ended.remove(key);
            self.member_gone(&gang, &ended);
        }
        let (Some(pod), Some(uid)) = (pod, uid) else { return };
        match decide::standing(&pod) {
            Standing::Over => {
                self.dismiss(&uid);
                let gang = Membership::of(&pod).filter(|_| decide::has_succeeded(&pod));
                if let Some(Membership { key: gang, .. }) = gang {
                    self.member_is(&gang, &uid, Member::Placed);
                    self.guests.ended.insert(key.clone(), (uid, gang));
                }
            }
            Standing::Held => {
                if self.guests.by_uid.get(&uid).is_some_and(|guest| guest.grant.is_none()) {
                    self.dismiss(&uid);
                }
            }
            Standing::Waits => {
                if !self.guests.by_uid.contains_key(&uid) {
                    self.welcome(key, &uid, &pod);
                    self.let_wait(&uid);
                }
                self.ask_for(&uid);
            }
            Standing::On(node) => self.find_guest(key, (&uid, &pod), &node),
        }
    }

    fn welcome(&mut self, key: &ObjectKey, uid: &str, pod: &Pod) {
        let guest = Guest {
            key: key.clone(),
            gang: Membership::of(pod).map(|member| member.key),
            quota: decide::quota(pod).map(str::to_owned),
            unit: None,
            sequence: 0,
            shape: decide::shape(pod),
            places: decide::places(pod, self.machines.nodes()),
            tolerations: crate::sigma::pod(pod).tolerations,
            asked: Vec::new(),
            grant: None,
            since: self.now(),
            not_before: Duration::ZERO,
            told: None,
        };
        let may_open = self.machines.may_open(&guest.tolerations);
        self.guests.by_uid.insert(uid.to_owned(), guest);
        self.guests.uids.insert(key.clone(), uid.to_owned());
        if may_open {
            self.review_taints();
        }
    }

    /// A Pod waits from now on: for itself, or with its gang.
    fn let_wait(&mut self, uid: &str) {
        match self.guests.by_uid.get(uid).and_then(|guest| guest.gang.clone()) {
            Some(gang) => self.member_is(&gang, uid, Member::Waits),
            None => self.enrol(uid, None),
        }
    }

    /// Makes a Pod a unit of the ledger, of a gang if it is to start with others.
    fn enrol(&mut self, uid: &str, gang: Option<Gang>) {
        let Some(guest) = self.guests.by_uid.get_mut(uid) else { return };
        let Some(pod) = self.watched.guests.get(&guest.key) else { return };
        let unit = UnitId(self.next_unit);
        self.next_unit += 1;
        (guest.unit, guest.sequence) = (Some(unit), 0);
        let shape = guest.shape;
        self.guests.by_unit.insert(unit, uid.to_owned());
        let priority = decide::priority(&pod);
        let quota = guest.quota.as_deref().map(|quota| self.quotas.id(quota));
        let party = Some(PartyId::of_uid(decide::owner(&pod).unwrap_or(uid)));
        let definition = Definition { shape, priority, maximum: 1, quota, party, gang };
        self.tell_ledger(LedgerEvent::Define { unit, definition });
        let machines = self.avoided_by_guest(unit);
        self.tell_ledger(LedgerEvent::Avoid { unit, machines });
    }

    /// Machines whose taints a Pod does not tolerate, though others do.
    pub(super) fn avoided_by_guest(&self, unit: UnitId) -> Vec<MachineId> {
        let guest = self.guests.by_unit.get(&unit).and_then(|uid| self.guests.by_uid.get(uid));
        let avoided = guest.map(|guest| self.machines.untolerated(&guest.tolerations));
        avoided.into_iter().flatten().collect()
    }

    /// The ledger hears nothing of a Pod any more.
    fn retract(&mut self, uid: &str) {
        let Some(guest) = self.guests.by_uid.get_mut(uid) else { return };
        guest.asked.clear();
        let Some(unit) = guest.unit.take() else { return };
        self.guests.by_unit.remove(&unit);
        self.tell_ledger(LedgerEvent::UnitGone { unit });
    }

    /// A Pod that is on its Node already, by this master or by one before it.
    fn find_guest(&mut self, key: &ObjectKey, (uid, pod): (&str, &Pod), node: &str) {
        if !self.guests.by_uid.contains_key(uid) {
            self.welcome(key, uid, pod);
        }
        if self.guests.by_uid.get(uid).is_none_or(|guest| guest.grant.is_some()) {
            return;
        }
        self.retract(uid);
        self.enrol(uid, None);
        let grant = GrantId(self.ledger.last_grant().0 + 1);
        let Some(guest) = self.guests.by_uid.get_mut(uid) else { return };
        let Some(unit) = guest.unit else { return };
        guest.grant = Some(grant);
        guest.sequence += 1;
        let gang = guest.gang.clone();
        let held = vec![(grant, self.machines.id(node))];
        let sequence = guest.sequence;
        let avoided = self.avoided_by_guest(unit);
        let truth = Truth { sequence, seen: grant, wanted: Vec::new(), held, avoided };
        self.guests.by_grant.insert(grant, uid.to_owned());
        self.tell_ledger(LedgerEvent::Sync { unit, truth });
        if let Some(gang) = gang {
            self.member_is(&gang, uid, Member::Placed);
        }
    }

    /// It needs no place any more.
    fn dismiss(&mut self, uid: &str) {
        self.retract(uid);
        let Some(guest) = self.guests.by_uid.remove(uid) else { return };
        self.guests.uids.remove(&guest.key);
        if let Some(grant) = guest.grant {
            self.guests.by_grant.remove(&grant);
        }
        if let Some(gang) = guest.gang {
            self.member_gone(&gang, uid);
        }
    }

    /// Tells the ledger all about a Pod: what it asks for, and what it holds.
    pub(super) fn sync_guest(&mut self, unit: UnitId) {
        let avoided = self.avoided_by_guest(unit);
        let Some(uid) = self.guests.by_unit.get(&unit) else { return };
        let Some(guest) = self.guests.by_uid.get_mut(uid) else { return };
        guest.sequence += 1;
        let node = self.watched.guests.get(&guest.key).and_then(|pod| pod.spec.as_ref()?.node_name.clone());
        let held = guest.grant.zip(node).map(|(grant, node)| (grant, self.machines.id(&node)));
        let truth = Truth {
            sequence: guest.sequence,
            seen: self.ledger.last_grant(),
            wanted: guest.asked.iter().map(|place| (*place, 1)).collect(),
            held: held.into_iter().collect(),
            avoided,
        };
        self.tell_ledger(LedgerEvent::Sync { unit, truth });
    }

    /// Brings what a Pod that waits has asked for in line with where it may run.
    fn ask_for(&mut self, uid: &str) {
        let now = self.now();
        let Some(guest) = self.guests.by_uid.get(uid).filter(|guest| guest.grant.is_none()) else { return };
        let pod = self.watched.guests.get(&guest.key);
        let may_ask = pod.is_some_and(|pod| decide::standing(&pod) == Standing::Waits)
            && guest.unit.is_some()
            && now >= guest.not_before
            && self.quotas.refusal(guest.quota.as_deref(), &guest.key.namespace).is_none();
        let wanted = if may_ask { guest.places.clone() } else { Vec::new() };
        let Some(guest) = self.guests.by_uid.get_mut(uid) else { return };
        let had = std::mem::replace(&mut guest.asked, wanted.clone());
        let less = had.iter().filter(|place| !wanted.contains(place)).map(|place| (*place, -1));
        let more = wanted.iter().filter(|place| !had.contains(place)).map(|place| (*place, 1));
        let deltas: Vec<(Place, i64)> = less.chain(more).collect();
        let Some(unit) = guest.unit else { return };
        for (place, delta) in deltas {
            let Some(guest) = self.guests.by_uid.get_mut(uid) else { return };
            guest.sequence += 1;
            let sequence = guest.sequence;
            self.tell_ledger(LedgerEvent::Ask { unit, sequence, place, delta });
        }
    }

    /// All Pods that wait are looked at again: quotas or Nodes are others now.
    pub(super) fn ask_for_all(&mut self) {
        for uid in self.waiting_guests() {
            self.ask_for(&uid);
        }
    }

    /// Some Node's labels have changed.
    pub(super) fn place_guests_anew(&mut self) {
        for uid in self.waiting_guests() {
            let Some(guest) = self.guests.by_uid.get_mut(&uid) else { continue };
            if let Some(pod) = self.watched.guests.get(&guest.key) {
                guest.places = decide::places(&pod, self.machines.nodes());
            }
            self.ask_for(&uid);
        }
    }

    fn waiting_guests(&self) -> Vec<String> {
        let waiting = self.guests.by_uid.iter().filter(|(_, guest)| guest.grant.is_none());
        waiting.map(|(uid, _)| uid.clone()).collect()
    }

    /// A place was granted: the Pod is bound to it.
    pub(super) fn guest_granted(&mut self, grant: GrantId, unit: UnitId, node: String) {
        let Some(uid) = self.guests.by_unit.get(&unit).cloned() else { return };
        let Some(guest) = self.guests.by_uid.get_mut(&uid).filter(|guest| guest.grant.is_none()) else {
            self.tell_ledger(LedgerEvent::Return { grant });
            return;
        };
        guest.grant = Some(grant);
        let (key, gang) = (guest.key.clone(), guest.gang.clone());
        // Where the grant is from, nothing is asked any more; at other places it still is, in vain.
        self.guests.by_grant.insert(grant, uid.clone());
        if let Some(gang) = gang {
            self.member_is(&gang, &uid, Member::Placed);
        }
        let (client, inputs) = (self.config.client.clone(), self.inputs.clone());
        let pod = self.watched.guests.get(&key);
        let recorder = self.recorder.clone();
        let binding = crate::sigma::binding_to(&key, Some(uid.clone()), &node);
        kit::task::spawn("bind-guest", async move {
            let result = crate::sigma::bind_alone(&client, &key, &binding).await;
            if let (Ok(()), Some(pod)) = (&result, pod) {
                let message = format!("Successfully assigned {key} to {node}");
                recorder.note(&*pod, Note::normal("Scheduled", message));
            }
            // The loop is ending if it does not listen.
            let _ending = inputs.send(Input::GuestBound(uid, result));
        });
    }

    pub(super) fn on_guest_bound(&mut self, uid: &str, result: Result<(), kube::Error>) {
        let now = self.now();
        let (Some(guest), Err(error)) = (self.guests.by_uid.get_mut(uid), result) else { return };
        tracing::warn!(pod = %guest.key, error = %kit::Chain(&error), "Not bound");
        guest.not_before = now + PAUSE;
        let key = guest.key.clone();
        if let Some(grant) = guest.grant.take() {
            self.guests.by_grant.remove(&grant);
        }
        // It may be bound all the same: only the answer was lost.
        if let Some(pod) = self.watched.guests.get(&key)
            && let Standing::On(node) = decide::standing(&pod)
        {
            return self.find_guest(&key, (uid, &pod), &node);
        }
        // It wants nothing and holds nothing, wherever it had asked.
        self.retract(uid);
        self.let_wait(uid);
    }

    /// Others have a better right to the place, or it is not there any more: the Pod is deleted.
    pub(super) fn guest_revoked(&mut self, grant: GrantId) {
        self.delete_guest(grant, Tried::No);
    }

    fn delete_guest(&mut self, grant: GrantId, tried: Tried) {
        let Some(uid) = self.guests.by_grant.get(&grant).cloned() else { return };
        let Some(guest) = self.guests.by_uid.get(&uid) else { return };
        tracing::info!(pod = %guest.key, "Place revoked: the Pod has to go");
        let message =
            "fuxi: its machine offers batch less by now, or others have a better right to the place";
        let victim = Victim { name: guest.key.name.clone(), uid, message: message.to_owned() };
        if let (Tried::No, Some(pod)) = (tried, self.watched.guests.get(&guest.key)) {
            self.recorder.note(&*pod, Note::normal("Preempted", message));
        }
        let (client, key, inputs) = (self.config.client.clone(), guest.key.clone(), self.inputs.clone());
        kit::task::spawn("revoke-guest", async move {
            let to = (key.namespace.as_str(), &PostParams::default());
            let reason = match crate::sigma::preempt_by_batch(&client, to, vec![victim]).await {
                Ok(status) => status.refused.into_iter().next().map(|refusal| refusal.message),
                Err(error) => Some(kit::Chain(&error).to_string()),
            };
            if let Some(reason) = reason {
                tracing::warn!(pod = %key, reason, "A Pod whose place was revoked stays");
                // The loop is ending if it does not listen.
                let _ending = inputs.send(Input::GuestStays(grant));
            }
        });
    }

    /// Somebody else waits for its place: it is tried again.
    pub(super) fn on_guest_stays(&mut self, grant: GrantId) {
        let due = self.now() + REVOKE_PAUSE;
        self.guests.stays.insert(grant, due);
    }

    /// Tries again to delete those Pods that should be gone and still hold their place.
    fn delete_those_who_stay(&mut self) {
        let now = self.now();
        let due: Vec<GrantId> =
            self.guests.stays.extract_if(.., |_, due| *due <= now).map(|(grant, _)| grant).collect();
        for grant in due {
            self.delete_guest(grant, Tried::Before);
        }
    }

    /// Once per second: who was to wait asks again, and who waits for long is told why.
    pub(super) fn look_after_guests(&mut self) {
        self.delete_those_who_stay();
        let (now, waiting) = (self.now(), self.waiting_guests());
        if waiting.is_empty() {
            return;
        }
        let used = self.used_of_quotas();
        for uid in waiting {
            self.ask_for(&uid);
            let Some(guest) = self.guests.by_uid.get(&uid) else { continue };
            let Some(pod) = self.watched.guests.get(&guest.key).filter(|_| now > guest.since + PATIENCE)
            else {
                continue;
            };
            let quota = guest.quota.as_deref();
            let why = self
                .refused_to_gang(guest)
                .or_else(|| self.quotas.refusal(quota, &guest.key.namespace))
                .or_else(|| self.quotas.spent(&used, (quota, guest.shape)))
                .unwrap_or_else(|| decide::why_waiting(guest.shape, &guest.places));
            if guest.told.as_ref() != Some(&why) {
                self.recorder.note(&*pod, Note::warning("FailedScheduling", why.clone()));
                let (client, key) = (self.config.client.clone(), guest.key.clone());
                let message = why.clone();
                kit::task::spawn("tell-guest", async move { tell(client, &key, message).await });
                if let Some(guest) = self.guests.by_uid.get_mut(&uid) {
                    guest.told = Some(why);
                }
            }
        }
    }
}

async fn tell(client: Client, key: &ObjectKey, message: String) {
    let api: Api<Pod> = Api::namespaced(client, &key.namespace);
    let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": message, "lastTransitionTime": kit::clock::wall()});
    let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    if let Err(error) = api.patch_status(&key.name, &PatchParams::default(), &patch).await {
        tracing::debug!(pod = %key, error = %kit::Chain(&error), "A Pod was not told why it waits");
    }
}
