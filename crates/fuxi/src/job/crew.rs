//! The workers of one task by what they do, so that no event has to look at all of them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Phase, Recall, Worker, WorkerId};

/// All workers of a task that are not gone. Those that stop are in no other set than `all`.
#[derive(Clone, Debug, Default)]
pub(super) struct Crew {
    all: BTreeSet<WorkerId>,
    pub(super) starting: BTreeSet<WorkerId>,
    pub(super) busy: BTreeSet<WorkerId>,
    /// Of those the ones that may hold what they have not begun, and can be asked for it.
    pub(super) laden: BTreeSet<WorkerId>,
    /// And those that were asked and have not answered.
    pub(super) recalled: BTreeSet<WorkerId>,
    /// Connected, and to be given an instance or let go.
    pub(super) idle: BTreeSet<WorkerId>,
    /// Let go as soon as their results are stored, or given an instance that comes back until then.
    pub(super) leaving: BTreeSet<WorkerId>,
    /// Run what another worker has ended, as far as that was heard when it ended.
    pub(super) outrun: BTreeSet<WorkerId>,
    /// Were there before this master and may run anything.
    adopting: BTreeSet<WorkerId>,
    /// As long as they cannot be heard, there is no end.
    adopt_until: Option<Duration>,
}

impl Crew {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn expect(&mut self, id: WorkerId) {
        self.all.insert(id);
        self.starting.insert(id);
    }

    pub(super) fn adopt(&mut self, id: WorkerId) {
        self.starting.remove(&id);
        self.adopting.insert(id);
    }

    pub(super) fn adopt_until(&mut self, until: Duration) {
        self.adopt_until = Some(until);
    }

    pub(super) fn heard_of(&mut self, id: WorkerId) {
        self.adopting.remove(&id);
    }

    /// Whether a worker may still say that it runs something that nobody knows of.
    pub(super) fn is_adopting(&self) -> bool {
        !self.adopting.is_empty()
    }

    /// Who has not been heard of by now counts as any other that starts; they are the answer.
    pub(super) fn stop_adopting(&mut self, now: Duration) -> BTreeSet<WorkerId> {
        let is_over = self.adopt_until.is_some_and(|until| now >= until);
        if is_over { std::mem::take(&mut self.adopting) } else { BTreeSet::new() }
    }

    /// Puts a worker where it belongs by what it does now.
    pub(super) fn place(&mut self, id: WorkerId, worker: &Worker) {
        self.take_out(id);
        match worker.phase {
            Phase::Starting | Phase::Found => drop(self.starting.insert(id)),
            Phase::Ready if worker.is_busy() => {
                self.busy.insert(id);
                match worker.recall {
                    Recall::Never if worker.connected && worker.held.len() > 1 => drop(self.laden.insert(id)),
                    Recall::Asked => drop(self.recalled.insert(id)),
                    Recall::Never | Recall::Done => {}
                }
            }
            Phase::Ready if worker.connected => drop(self.idle.insert(id)),
            Phase::Ready | Phase::Stopping => {}
        }
    }

    /// Its connection is lost: nothing can be handed to it.
    pub(super) fn cut(&mut self, id: WorkerId) {
        for set in [&mut self.idle, &mut self.leaving, &mut self.laden] {
            set.remove(&id);
        }
    }

    pub(super) fn forget(&mut self, id: WorkerId) {
        self.take_out(id);
        self.all.remove(&id);
        self.adopting.remove(&id);
        self.outrun.remove(&id);
    }

    fn take_out(&mut self, id: WorkerId) {
        let by_phase = [&mut self.starting, &mut self.idle, &mut self.leaving];
        for set in by_phase.into_iter().chain([&mut self.busy, &mut self.laden, &mut self.recalled]) {
            set.remove(&id);
        }
    }
}
