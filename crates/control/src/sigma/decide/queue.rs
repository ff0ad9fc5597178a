//! Who is tried next, who sleeps, and what wakes whom.

use std::collections::BTreeSet;
use std::time::Instant;

use sigma::PodId;

use super::{Place, Scheduler, Waiting, pause, room};

impl Scheduler {
    pub(super) fn activate(&mut self, id: &PodId) {
        let Some(waiting) = self.waiting.get_mut(id) else { return };
        waiting.place = Place::Active;
        self.active.insert((waiting.arrival, id.clone()));
    }

    /// The pod did not fit. A change may help, but is not looked at at once.
    pub(super) fn park(&mut self, id: &PodId, now: Instant) {
        let Some(waiting) = self.waiting.get_mut(id) else { return };
        let not_before = now + pause(waiting.n_failures);
        waiting.n_failures += 1;
        self.sleep(id, Place::Parked { not_before });
    }

    /// Has the pod tried again at once, or after a pause that is the longer the more often it failed.
    pub(super) fn try_again(&mut self, id: &PodId, is_at_once: bool, now: Instant) {
        let Some(waiting) = self.waiting.get_mut(id) else { return };
        let until = if is_at_once { now } else { now + pause(waiting.n_failures) };
        waiting.n_failures += u32::from(!is_at_once);
        waiting.place = Place::Paused { until };
        self.paused.insert((until, id.clone()));
    }

    /// Puts the pod to a place from which a change wakes it.
    pub(super) fn sleep(&mut self, id: &PodId, place: Place) {
        let Some(waiting) = self.waiting.get_mut(id) else { return };
        waiting.place = place;
        match place {
            Place::Nominated { .. } if !self.gangs.has(id) => {
                self.asleep.remove(id);
                self.looking.add(id, waiting);
            }
            _ => drop(self.asleep.insert(id.clone())),
        }
    }

    /// Something changed that may help those who sleep. They are woken once for all that comes before the next decision:
    /// where thousands of pods go, each of them would wake thousands.
    pub(super) fn wake(&mut self, now: Instant, whom: Whom) {
        let (since, before) = self.roused.unwrap_or((now, whom));
        self.roused = Some((since, before.max(whom)));
    }

    /// Room changed hands, or came free, by what was decided just now: all look again, after a pause.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.review = Some(self.review.unwrap_or(now + room::LOOK_PAUSE));
    }

    /// Wakes those whom what changed since the last time may help.
    pub(super) fn rouse(&mut self, now: Instant) {
        let Some((_, whom)) = self.roused.take() else { return };
        // There may be room elsewhere, sooner than those go that they wait for.
        self.looking.rouse(whom, now);
        let sleeps =
            |waiting: &Waiting| matches!(waiting.place, Place::Parked { .. } | Place::Nominated { .. });
        let waiting = &self.waiting;
        self.asleep.retain(|id| waiting.get(id).is_some_and(sleeps));
        let woken = self.asleep.iter().filter(|id| whom.is_meant(&waiting[*id]));
        for id in woken.cloned().collect::<Vec<_>>() {
            self.wake_one(&id, now);
        }
    }

    pub(super) fn wake_one(&mut self, id: &PodId, now: Instant) {
        let Some(waiting) = self.waiting.get_mut(id) else { return };
        match waiting.place {
            Place::Parked { not_before } if not_before <= now => self.activate(id),
            Place::Parked { not_before } => {
                waiting.place = Place::Paused { until: not_before };
                self.paused.insert((not_before, id.clone()));
            }
            Place::Nominated { .. } => self.activate(id),
            Place::Active | Place::Paused { .. } | Place::Binding | Place::Gathering => {}
        }
    }

    /// The pod waits no more.
    pub(super) fn forget(&mut self, id: &PodId) {
        self.binding.remove(id);
        let Some(waiting) = self.waiting.remove(id) else { return };
        match waiting.place {
            Place::Active => drop(self.active.remove(&(waiting.arrival, id.clone()))),
            Place::Paused { until } => drop(self.paused.remove(&(until, id.clone()))),
            // The room that is held for it is given back, unless it is bound by now.
            Place::Nominated { .. } => self.cluster.remove_pod(id),
            Place::Parked { .. } | Place::Binding | Place::Gathering => {}
        }
    }
}

/// Whom of those who sleep a change may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whom {
    /// Those who wait for others to come, not only for room.
    LookingAtOthers,
    All,
}

impl Whom {
    pub(super) fn is_meant(self, waiting: &Waiting) -> bool {
        match self {
            Self::LookingAtOthers => waiting.looks_at_others(),
            Self::All => true,
        }
    }
}

/// Takes the first that is due by `now` out of a queue.
pub(super) fn pop_due(queue: &mut BTreeSet<(Instant, PodId)>, now: Instant) -> Option<PodId> {
    let is_due = queue.first().is_some_and(|(due, _)| *due <= now);
    is_due.then(|| queue.pop_first()).flatten().map(|(_, id)| id)
}
