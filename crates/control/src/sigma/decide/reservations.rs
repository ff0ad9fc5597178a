//! Reservations in the queue: they wait as pods do, hold their room when they are placed, and give it back in time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::reservation::{Reservation, ReservationPhase, ReservationStatus};
use sigma::{Outcome, PodId};

use super::queue::Whom;
use super::{Decision, Scheduler};
use crate::key::ObjectKey;
use crate::sigma::reservations;

/// All reservations that wait or are held.
#[derive(Debug, Default)]
pub(super) struct Reserved {
    ids: BTreeMap<ObjectKey, PodId>,
    by_id: BTreeMap<PodId, Held>,
    deadlines: BTreeSet<(Instant, PodId)>,
    /// Told to the API as soon as something is decided.
    owed: Vec<Decision>,
    /// What the API did not take, and when it is told again.
    unheard: BTreeMap<ObjectKey, ReservationStatus>,
    again: Option<Instant>,
}

/// After a word that was not taken.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Held {
    key: ObjectKey,
    object: Arc<Reservation>,
    deadline: Option<Instant>,
    told: ReservationStatus,
}

impl Reserved {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline).into_iter().chain(self.again).min()
    }

    /// Whether nothing else was said of the object since.
    fn is_last_word(&self, key: &ObjectKey, status: &ReservationStatus) -> bool {
        let held = self.ids.get(key).and_then(|id| self.by_id.get(id));
        held.is_none_or(|held| held.told == *status)
    }

    fn set_deadline(&mut self, id: &PodId, deadline: Option<Instant>) {
        let Some(held) = self.by_id.get_mut(id) else { return };
        if let Some(before) = std::mem::replace(&mut held.deadline, deadline) {
            self.deadlines.remove(&(before, id.clone()));
        }
        self.deadlines.extend(deadline.map(|deadline| (deadline, id.clone())));
    }

    /// Has the object tell how it stands, unless it does.
    fn tell(&mut self, id: &PodId, status: ReservationStatus) {
        let Some(held) = self.by_id.get_mut(id) else { return };
        if held.told != status {
            held.told = status.clone();
            self.owed.push(Decision::Reserve { key: held.key.clone(), status });
        }
    }
}

impl Scheduler {
    /// A reservation came, changed, or went (`None`); `left` is how long it is to be held, if not for ever.
    pub(crate) fn reservation_changed(
        &mut self,
        key: &ObjectKey,
        object: Option<&Arc<Reservation>>,
        left: Option<Duration>,
        now: Instant,
    ) {
        let id = object.and_then(|object| reservations::id(object));
        if let Some(known) = self.reserved.ids.get(key).filter(|&known| Some(known) != id.as_ref()).cloned() {
            self.give_up_reservation(&known, now);
        }
        let (Some(object), Some(id)) = (object, id) else { return };
        let status = object.status.clone().unwrap_or_default();
        if status.phase == ReservationPhase::Expired {
            return self.give_up_reservation(&id, now);
        }
        let deadline = left.and_then(|left| now.checked_add(left));
        if self.reserved.by_id.contains_key(&id) {
            return self.reserved.set_deadline(&id, deadline);
        }
        self.reserved.ids.insert(key.clone(), id.clone());
        let (key, node) = (key.clone(), status.node_name.clone());
        let held = Held { key, object: Arc::clone(object), deadline: None, told: status };
        self.reserved.by_id.insert(id.clone(), held);
        self.reserved.set_deadline(&id, deadline);
        self.cluster.set_reservation(&id, reservations::owners(object));
        if let Some(replaced) = reservations::replaced(object)
            && self.cluster.set_replaced(&replaced, Some(reservations::owners(object)))
        {
            self.wake(now, Whom::All);
        }
        let pod = Arc::new(reservations::stand_in(object, &self.name));
        match node {
            // As it was before a restart.
            Some(node) => {
                let converted = Arc::new(self.converted(&id, &pod));
                self.cluster.add_pod(&id, &converted, &node);
            }
            None => self.arrive(id, &pod),
        }
    }

    fn give_up_reservation(&mut self, id: &PodId, now: Instant) {
        self.reserved.set_deadline(id, None);
        let Some(held) = self.reserved.by_id.remove(id) else { return };
        self.reserved.ids.remove(&held.key);
        self.forget(id);
        self.cluster.remove_reservation(id);
        if let Some(replaced) = reservations::replaced(&held.object) {
            self.cluster.set_replaced(&replaced, None);
        }
        self.wake(now, Whom::All);
    }

    /// How a reservation stands could not be written.
    pub(crate) fn reservation_untold(&mut self, key: ObjectKey, status: ReservationStatus, now: Instant) {
        if self.reserved.is_last_word(&key, &status) {
            self.reserved.unheard.insert(key, status);
            self.reserved.again.get_or_insert(now + PAUSE);
        }
    }

    /// Those whose time is over give their room back, and those whose node is gone look for another.
    pub(super) fn review_reservations(&mut self, now: Instant) {
        while let Some((deadline, id)) = self.reserved.deadlines.first().cloned()
            && deadline <= now
        {
            let status = ReservationStatus { phase: ReservationPhase::Expired, ..Default::default() };
            self.reserved.tell(&id, status);
            self.give_up_reservation(&id, now);
        }
        if self.reserved.again.take_if(|due| *due <= now).is_some() {
            for (key, status) in std::mem::take(&mut self.reserved.unheard) {
                if self.reserved.is_last_word(&key, &status) {
                    self.reserved.owed.push(Decision::Reserve { key, status });
                }
            }
        }
        let on_lost_node =
            |id: &&PodId| self.cluster.node_of(id).is_some_and(|node| !self.nodes.contains_key(node));
        let lost: Vec<PodId> = self.reserved.by_id.keys().filter(on_lost_node).cloned().collect();
        for id in lost {
            self.cluster.remove_pod(&id);
            let Some(held) = self.reserved.by_id.get(&id) else { continue };
            let pod = Arc::new(reservations::stand_in(&held.object, &self.name));
            self.arrive(id, &pod);
        }
    }

    /// Takes in what has become of a reservation that was tried; false when it is a pod.
    pub(super) fn reservation_decided(&mut self, id: &PodId, outcome: &Outcome, now: Instant) -> bool {
        if !self.reserved.by_id.contains_key(id) {
            return false;
        }
        let status = match outcome {
            Outcome::Placed { node, .. } => {
                self.forget(id);
                let node_name = Some(node.clone());
                ReservationStatus { phase: ReservationPhase::Held, node_name, message: None }
            }
            Outcome::Unplaced(unplaced) => {
                self.park(id, now);
                let message = Some(unplaced.to_string());
                ReservationStatus { phase: ReservationPhase::Pending, node_name: None, message }
            }
        };
        self.reserved.tell(id, status);
        true
    }

    pub(super) fn tell_reservations(&mut self) -> Vec<Decision> {
        std::mem::take(&mut self.reserved.owed)
    }
}
