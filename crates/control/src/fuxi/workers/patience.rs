//! Workers that were waited for long enough: those that fell silent, and those that cannot start where others can.

use std::time::Duration;

use fuxi::blame::Fault;

use super::super::master::Master;
use super::{Contact, Worker};

/// A worker whose Pod runs but that is silent for so long is replaced.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// A worker that something keeps from starting for so long is looked for elsewhere, where others of its task do work.
const START_LIMIT: Duration = Duration::from_secs(60);

impl Master {
    /// Deletes the Pods of workers that were not heard of for long.
    pub(in super::super) fn give_up_the_silent(&mut self) {
        let now = self.now();
        let is_silent = |worker: &Worker| matches!(worker.contact, Contact::Silent { since } if now > since + SILENCE_LIMIT);
        for id in self.workers.select(is_silent) {
            if let Some(worker) = self.workers.by_id.get_mut(&id) {
                tracing::warn!(worker = %worker.pod, "Worker is silent: its Pod is deleted");
                // Not every second again.
                worker.contact = Contact::Silent { since: now };
                let pod = worker.pod.clone();
                self.delete_pod(&pod);
            }
        }
    }

    /// Gives up workers that do not start on their machine, so that another one may get them: its image may be there.
    pub(in super::super) fn give_up_the_stuck(&mut self) {
        if self.n_open < 2 {
            return;
        }
        let now = self.now();
        let is_stuck = |worker: &Worker| {
            worker.obstacle.is_some()
                && matches!(worker.contact, Contact::Expected { since } if now > since + START_LIMIT)
                && self.workers.is_any_connected(&worker.job, worker.task)
        };
        for id in self.workers.select(is_stuck) {
            let Some(worker) = self.workers.by_id.get(&id) else { continue };
            let pod = worker.pod.clone();
            let obstacle = worker.obstacle.clone().unwrap_or_default();
            self.lose_worker(id, format!("it does not start there: {obstacle}"), Fault::Machine);
            self.delete_pod(&pod);
        }
    }
}
